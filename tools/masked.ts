/**
 * Runs the tests on kernels that have less than this one: `deno task
 * test:masked [--short] [MASK …]`. A MASK has the names of hidden features, with
 * commas between; see ffi/shim/test/masks.h. A test that fails is a failure. So
 * is a mask that nothing has met: then the fallback did not run.
 */
import { readArguments } from "../examples/command_line.ts";
import { wrapped } from "../examples/terminal.ts";
import { SHORT_TESTS } from "./short_tests.ts";
import { summariesIn } from "./summary.ts";
import { tidily } from "./tidy.ts";

/** Everything that Linux 6.1, the oldest tested kernel, lacks. */
const LINUX_6_1 = "NO_IOWAIT,SYNC_MSG_RING,FTRUNCATE";

/** All but IOWQ_MAX_WORKERS: some of the tests see its effect. The trial of
 * multishot receives is not made without buffers. */
const EVERYTHING =
  `${LINUX_6_1},SUBMIT_ALL,REGISTERED_RING,SEND_ZC,BUFFER_RING,ACCEPT_MULTISHOT`;

const MASKS: readonly string[] = [
  LINUX_6_1,
  "DEFER_TASKRUN",
  "SUBMIT_ALL",
  "REGISTERED_RING",
  "SEND_ZC",
  "RECV_MULTISHOT",
  "ACCEPT_MULTISHOT",
  EVERYTHING,
];

const ROOT = decodeURIComponent(new URL("../", import.meta.url).pathname);
const LIBRARY = `${ROOT}ffi/build/libkio_faults.so`;

let passed = 0;
let failed = 0;

/** Counts a failure that is no test: a run that ends early, a mask unmet. */
function fail(what: string): void {
  console.log(`  FAILED: ${what}`);
  failed++;
}

/** Runs tests under a mask and counts. Returns the output, and shows it if a test fails. */
function run(mask: string, args: readonly string[]): string {
  const { success, stdout, stderr } = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
    env: { KIO_MASK: mask, KIO_LIB: LIBRARY, NO_COLOR: "1" },
    stdin: "null",
  }).outputSync();
  const said = new TextDecoder().decode(stdout) +
    new TextDecoder().decode(stderr);
  if (!success) console.log(said);
  const [summary = { passed: 0, failed: 0 }] = summariesIn(said);
  console.log(
    `  ${args[0]}: ${summary.passed} passed, ${summary.failed} failed`,
  );
  passed += summary.passed;
  failed += summary.failed;
  if (!success && summary.failed === 0) fail("it ended early");
  return said;
}

/** Counts how often each mask was met, from the last output of the processes.
 */
function metIn(said: string): Map<string, number> {
  const met = new Map<string, number>();
  for (
    const [, name = "", count] of said.matchAll(/^kio: (\w+) hidden (\d+)/gm)
  ) {
    met.set(name, (met.get(name) ?? 0) + Number(count));
  }
  return met;
}

/** Gives the names that the shim knows. */
function namesOfMasks(): string[] {
  const header = Deno.readTextFileSync(`${ROOT}ffi/shim/test/masks.h`);
  return Array.from(header.matchAll(/EACH\((\w+)\)/g), ([, name]) => name!);
}

function check(mask: string, tests: readonly string[]): void {
  const said = run(mask, [
    "test",
    "--allow-ffi",
    "--allow-env=KIO_LIB",
    ...tests,
  ]);
  const met = metIn(said);
  const counts = Array.from(met, ([name, count]) => `${name} ${count}`);
  console.log(`  hidden: ${counts.join(", ")} times`);
  for (const name of mask.split(",")) {
    if (!met.get(name)) fail(`nothing has met ${name}`);
  }
}

function main(): number {
  const { isShort, masks } = readArguments({
    command: "deno task test:masked",
    about: "Runs the tests on kernels that have less than this one.",
    operands: "[MASK ...]",
    options: { short: { help: "the fewest features, and a few tests" } },
  }, ({ short }, operands) => {
    const known = namesOfMasks();
    for (const name of operands.flatMap((it) => it.split(","))) {
      if (!known.includes(name)) {
        const names = wrapped(known.join(", "), 0);
        throw new TypeError(`"${name}" is none of the masks:\n${names}`);
      }
    }
    const masks = short ? [EVERYTHING] : MASKS;
    return { isShort: short, masks: operands.length > 0 ? operands : masks };
  });
  for (const [i, mask] of masks.entries()) {
    console.log(`${i + 1} of ${masks.length}: ${mask}`);
    check(mask, isShort ? SHORT_TESTS : []);
    if (!isShort) run(mask, ["run", "-A", "tools/c_tests.ts"]);
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

await tidily(import.meta.url, main);
