/**
 * Removes one safety rule after the other from a copy of the checkout, and finds
 * the test that notices: `deno task mutants [number …]`. A mutant that no test
 * notices is a failure. So are a mutant that cannot be made or does not compile,
 * tests that fail without any mutant, and a run that fails without naming a
 * test: these would make the others look better than they are.
 */
import { readArguments, wholeNumber } from "../examples/command_line.ts";
import { LiveLine, minutesOf } from "../examples/terminal.ts";
import { type Mutant, MUTANTS } from "./mutant_list.ts";
import { tidily } from "./tidy.ts";

const ROOT = decodeURIComponent(new URL("../", import.meta.url).pathname);
/** Parts of the checkout that tests need; the rest is not copied. */
const TREE = [
  "deno.json",
  "README.md",
  "LICENSE",
  "mod.ts",
  "imports.ts",
  "doctor.ts",
  "otel.ts",
  "ffi",
  "lib",
  "net",
  "helpers",
  "node",
  "testing",
  "tests",
  "tools",
  "examples",
];
/** A mutant that hangs is noticed too: after this time, and this many times the
 * time of the tests without a mutant. */
const HANG_MS = 60_000;
const HANG_FACTOR = 3;

function copy(from: string, to: string): void {
  const { isFile, mtime } = Deno.statSync(from);
  if (isFile) {
    Deno.copyFileSync(from, to);
    // Keep the time, so that nothing is built again.
    return Deno.utimeSync(to, mtime!, mtime!);
  }
  Deno.mkdirSync(to);
  for (const { name } of Deno.readDirSync(from)) {
    copy(`${from}/${name}`, `${to}/${name}`);
  }
}

/** A copy of the checkout, gone at the end of its block. */
export function workshop(): Disposable & { folder: string } {
  const folder = Deno.makeTempDirSync();
  for (const name of TREE) copy(ROOT + name, `${folder}/${name}`);
  return {
    folder,
    [Symbol.dispose]: () => Deno.removeSync(folder, { recursive: true }),
  };
}

/** Runs a command in a copy. Returns its output if it failed or hung. */
async function complaintOf(
  cwd: string,
  args: readonly string[],
  limitMs: number,
): Promise<string | undefined> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    // A group of its own: its children end with it.
    detached: true,
  }).spawn();
  let isOver = false;
  const limit = setTimeout(() => {
    isOver = true;
    Deno.kill(-child.pid, "SIGKILL");
  }, limitMs);
  const { success, signal, stdout, stderr } = await child.output();
  clearTimeout(limit);
  if (isOver) return "kio: it hangs";
  if (success) return undefined;
  const printed = new TextDecoder().decode(stdout) +
    new TextDecoder().decode(stderr);
  return signal === null ? printed : `${printed}\nkio: ${signal}`;
}

/** Finds the failed test in the output of a test run. Returns undefined if no test
 * has failed, but a module cannot be loaded, for example. */
function nameIn(complaint: string): string | undefined {
  const found = /^(.*) \.\.\. .*FAILED/m.exec(complaint) ??
    // One that took long has a remark of Deno's in between.
    /^(.+) => \S+:\d+:\d+$/m.exec(complaint) ??
    /^(\w+) FAILED$/m.exec(complaint) ?? /^(kio: .*)$/m.exec(complaint) ??
    /^(seed \d+: .*)$/m.exec(complaint) ??
    /^(.*) \.\.\. cancelled/m.exec(complaint);
  return found?.[1];
}

export function mutate(
  folder: string,
  { file, from, to }: Pick<Mutant, "file" | "from" | "to">,
): void {
  const path = `${folder}/${file}`;
  const source = Deno.readTextFileSync(path);
  Deno.writeTextFileSync(path, source.replace(from, () => to));
}

/** Builds both libraries, and checks the types of a mutant: tests run without that
 * check, and a mutant that does not compile would fail each of them. */
async function build(folder: string, file?: string): Promise<void> {
  const commands = [
    ["run", "-A", "ffi/build.ts"],
    ["run", "-A", "ffi/build.ts", "--faults"],
  ];
  if (file?.endsWith(".ts")) commands.push(["check", "mod.ts", file]);
  for (const command of commands) {
    const broken = await complaintOf(folder, command, HANG_MS);
    if (broken !== undefined) throw new Error(`it does not compile: ${broken}`);
  }
}

function commandOf(test: string): string[] {
  const [first, ...names] = test.split(" ");
  if (first === "C") return ["run", "-A", "tools/c_tests.ts", ...names];
  return ["test", "-A", "--no-check", "--fail-fast", test];
}

/** Milliseconds of the tests that pass without a mutant. */
const baselinesMs = new Map<string, number>();

/** Checks that a test passes without a mutant, and measures it. */
async function baselineMs(folder: string, test: string): Promise<number> {
  const known = baselinesMs.get(test);
  if (known !== undefined) return known;
  const startMs = performance.now();
  const limitMs = 3 * HANG_MS;
  const broken = await complaintOf(folder, commandOf(test), limitMs);
  if (broken !== undefined) {
    throw new Error(`${test} fails without any mutant: ${broken}`);
  }
  const timeMs = performance.now() - startMs;
  baselinesMs.set(test, timeMs);
  return timeMs;
}

/** Finds the test that notices a mutant; undefined if none does. */
async function killerOf(
  mutant: Mutant,
  untouched: string,
): Promise<string | undefined> {
  using copied = workshop();
  mutate(copied.folder, mutant);
  await build(copied.folder, mutant.file);
  for (const test of mutant.tests) {
    const limitMs = HANG_MS + HANG_FACTOR * await baselineMs(untouched, test);
    const complaint = await complaintOf(
      copied.folder,
      commandOf(test),
      limitMs,
    );
    if (complaint === undefined) continue;
    const name = nameIn(complaint);
    if (name === undefined) {
      throw new Error(`${test} fails, and no test of it: ${complaint}`);
    }
    return `${test}: ${name}`;
  }
  return undefined;
}

/** Lists the mutants that cannot be made of the sources as they are. */
export function staleMutants(): string[] {
  return MUTANTS.flatMap(({ rule, file, from, to }) => {
    const count = Deno.readTextFileSync(ROOT + file).split(from).length - 1;
    if (count === 1 && from !== to) return [];
    return [`${rule}: its text is ${count} times in ${file}`];
  });
}

/** The numbers of the mutants that are asked for, each from 1. */
function chosenNumbers(): number[] {
  const count = MUTANTS.length;
  return readArguments({
    command: "deno task mutants",
    about: "Removes one safety rule after the other, and finds the test that " +
      "notices.",
    operands: `[1 to ${count} ...]`,
    options: {},
  }, (_, operands) => {
    const chosen = operands.map((text) =>
      wholeNumber("a mutant", text, 1, count)
    );
    return Array.from({ length: count }, (_, i) => i + 1)
      .filter((it) => chosen.length === 0 || chosen.includes(it));
  });
}

async function main(): Promise<number> {
  const numbers = chosenNumbers();
  const stale = staleMutants();
  for (const complaint of stale) console.error(complaint);
  if (stale.length > 0) return 1;
  let failures = 0;
  using live = new LiveLine();
  live.show("builds");
  using untouched = workshop();
  await build(untouched.folder);
  const startMs = performance.now();
  for (const [done, number] of numbers.entries()) {
    const mutant = MUTANTS[number - 1]!;
    live.keep(() => {
      const seconds = (performance.now() - startMs) / 1000;
      const left = done === 0
        ? ""
        : `, about ${minutesOf(seconds / done * (numbers.length - done))} left`;
      const part = `${done + 1} of ${numbers.length}`;
      return `${part}, ${minutesOf(seconds)}${left}: ${mutant.rule}`;
    });
    let verdict: string;
    try {
      const killer = await killerOf(mutant, untouched.folder);
      if (killer === undefined) failures++;
      verdict = killer ?? "SURVIVED";
    } catch (error) {
      failures++;
      verdict = `NO VERDICT: ${(error as Error).message}`;
    }
    live.print(`${number}. ${mutant.rule}\n   ${verdict}`);
  }
  live.print(`${failures} failures`);
  return failures > 0 ? 1 : 0;
}

if (import.meta.main) await tidily(import.meta.url, main);
