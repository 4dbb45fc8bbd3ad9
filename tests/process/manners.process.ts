/** The manners of all programs at a terminal: examples, tools, build and doctor.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  hasProgram,
  Program,
  ROOT,
  run,
  sleep,
  temporaryFolder,
} from "./support.ts";

/** Columns of the widest line that a program prints by itself. */
const COLUMNS_MAX = 100;

/** Files of the examples and tools that are parts of programs. */
const PARTS = [
  ...[
    "command_line",
    "listen_options",
    "demo_client",
    "demo_screen",
    "demo_servers",
    "hash_file",
    "pool_echo",
  ],
  "terminal",
  ...["lint", "mutant_list", "short_tests", "summary", "tidy"],
];

function programsIn(folder: string): string[] {
  return [...Deno.readDirSync(ROOT + folder)]
    .map(({ name }) => name)
    .filter((name) => /\.ts$/.test(name) && !/_worker\.ts$/.test(name))
    .filter((name) => !PARTS.includes(name.slice(0, -3)))
    .map((name) => `${folder}/${name}`)
    .sort();
}

const PROGRAMS = [
  ...programsIn("examples"),
  ...programsIn("tools"),
  ...["doctor.ts", "ffi/build.ts", "tests/fuzz/fuzz.ts", "tests/load/load.ts"],
];

function start(program: string, ...args: string[]) {
  return run(Deno.execPath(), ["run", "-A", "--no-check", program, ...args]);
}

function assertNarrow(text: string): void {
  const wide = text.split("\n").filter((line) => line.length > COLUMNS_MAX);
  assertEquals(wide, []);
}

for (const program of PROGRAMS) {
  Deno.test(`${program} has a --help`, async () => {
    const { code, out, err } = await start(program, "--help");
    assertEquals([code, err], [0, ""]);
    assertNarrow(out);
    const [about = "", usage = "", options = "", ...rest] = out.split("\n\n");
    assertEquals(rest, []);
    assertMatch(about, /^[A-Z][^]+\.$/);
    assertMatch(usage, /^usage: deno (task|run) [^\n]+(\n {7}[^\n]+)*$/);
    // Each option of the usage is explained, with its default if it has one.
    const lines = options.trimEnd().split(/\n(?= {2}--)/);
    assertMatch(lines.pop()!, /^ {2}--help +print this$/);
    const named = usage.match(/--(?!allow-)[\w-]+( [A-Z]+)?/g) ?? [];
    assertEquals(lines.length, named.length, out);
    for (const [i, name] of named.entries()) {
      assert(lines[i]?.startsWith(`  ${name} `), `${lines[i]} is not ${name}`);
    }
  });

  // The others are options of Deno.
  if (program === "tools/test_files.ts") continue;

  Deno.test(`${program} refuses options that it does not have`, async () => {
    const { code, out, err } = await start(program, "--no-such-option");
    assertEquals([code, out], [2, ""]);
    assertNarrow(err);
    assertMatch(err, /^Unknown [^\n]*no-such-option[^]*\nusage: deno [^]*\n$/);
  });
}

/** Arguments that make no sense to a tool. */
const SENSELESS: [program: string, ...args: string[]][] = [
  ["tools/asan.ts", "8"],
  ["tools/asan.ts", "one"],
  ["tools/kernels.ts", "buster"],
  ["tools/masked.ts", "send_zc"],
  ["tools/masked.ts", "SEND_ZC,NOSUCH"],
  ["tools/mutants.ts", "0"],
  ["tools/mutants.ts", "close"],
  ["tools/compilers.ts", "gcc"],
  ["tools/test_files.ts", "--no-such-option"],
  ["tests/fuzz/fuzz.ts", "--ops=many"],
  ["tests/load/load.ts", "calm"],
  ["tests/load/load.ts", "--seconds=0"],
];

for (const args of SENSELESS) {
  Deno.test(`${args.join(" ")} makes no sense`, async () => {
    const { code, out, err } = await start(...args);
    assertEquals([code, out], [2, ""]);
    assertNarrow(err);
    assertMatch(err, /^[^\n]+\n([\w, \n]+\n)?usage: deno (task|run) /);
  });
}

Deno.test("tools/masked.ts lists the masks when it refuses one", async () => {
  const { err } = await start("tools/masked.ts", "NOSUCH");
  assertMatch(err, /^"NOSUCH" is none of the masks:\n/);
  for (const name of ["DEFER_TASKRUN", "SEND_ZC", "IOWQ_MAX_WORKERS"]) {
    assert(err.includes(name), err);
  }
});

// ---- a full disk ----------------------------------------------------------------

const PRINTING: [program: string, ...args: string[]][] = [
  ...PROGRAMS.map((program): [string, string] => [program, "--help"]),
  ["bench/main.ts", "--help"],
  ["doctor.ts"],
  ["examples/echo_server.ts"],
  ["examples/fetch_all.ts", "http://127.0.0.1:1/"],
  ["examples/multi_thread_echo.ts"],
  ["examples/tree_hash.ts", "--summary", "examples/static"],
];

for (const args of PRINTING) {
  Deno.test(`${args.join(" ")} says in a line that its output is full`, async () => {
    const { code, err } = await run("sh", [
      ...["-c", 'exec "$@" >/dev/full', "sh"],
      ...[Deno.execPath(), "run", "-A", "--no-check", ...args],
    ]);
    assertMatch(err, /^[^\n]*No space left on device[^\n]*\n$/);
    assertEquals(code, 1);
  });
}

// ---- Ctrl-C ---------------------------------------------------------------------

/** Counts the processes that have the folder in their environment. */
function processesWith(folder: string): number {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc")) {
    try {
      const text = Deno.readTextFileSync(`/proc/${name}/environ`);
      if (/^\d+$/.test(name) && text.includes(folder)) count++;
    } catch {
      // It has ended, or is no process.
    }
  }
  return count;
}

/** Programs that would take long, and how many processes they consist of when
 * the signal comes. */
const LONG: [processes: number, program: string, ...args: string[]][] = [
  [1, "tests/fuzz/fuzz.ts"],
  [2, "tests/load/load.ts", "soak"],
  [3, "examples/demo.ts"],
  [3, "tools/asan.ts", "1"],
  [3, "tools/c_tests.ts"],
  [3, "tools/compilers.ts"],
  [3, "tools/masked.ts"],
  [3, "tools/mutants.ts"],
  [4, "tools/test_files.ts", "-A", "tests/process/limits.process.ts"],
];

for (const [processes, ...args] of LONG) {
  Deno.test(`SIGINT ends ${args.join(" ")}, which leaves nothing behind`, async () => {
    using folder = temporaryFolder();
    const others = new Set(namesInTmp());
    await using program = new Program(Deno.execPath(), [
      ...["run", "-A", "--no-check", "--v8-flags=--expose-gc"],
      ...args,
    ], { env: { TMPDIR: folder.path } });
    while (processesWith(folder.path) < processes) {
      const ended = await Promise.race([program.ended(), turn()]);
      assert(ended === undefined, JSON.stringify(ended));
    }
    // Not its group, as a terminal would: that ends children by itself.
    program.kill("SIGINT");
    const { code, err } = await program.ended();
    assertEquals(code, 130, err);
    await noneIsLeft(folder.path);
    assertEquals([...Deno.readDirSync(folder.path)], []);
    const left = namesInTmp().filter((name) =>
      name.includes(`${program.pid}`) && !others.has(name)
    );
    assertEquals(left, []);
  });
}

/** Waits for processes that were killed: the kernel may need a while. */
async function noneIsLeft(folder: string): Promise<void> {
  for (let i = 0; i < 500 && processesWith(folder) > 0; i++) await turn();
  assertEquals(processesWith(folder), 0);
}

function namesInTmp(): string[] {
  return [...Deno.readDirSync("/tmp")].map(({ name }) => name);
}

async function turn(): Promise<undefined> {
  await sleep(20);
}

Deno.test("SIGINT ends a build, which leaves nothing behind", async () => {
  using folder = temporaryFolder();
  const compiler = `${folder.path}/cc`;
  Deno.writeTextFileSync(compiler, "#!/bin/sh\nexec sleep 600\n", {
    mode: 0o755,
  });
  const temporary = `${folder.path}/temporary`;
  Deno.mkdirSync(temporary);
  await using program = new Program(Deno.execPath(), [
    ...["run", "-A", "--no-check", `${ROOT}ffi/build.ts`, "--project"],
  ], { cwd: folder.path, env: { CC: compiler, TMPDIR: temporary } });
  while (processesWith(temporary) < 2) await turn();
  program.kill("SIGINT");
  const { code, out, err } = await program.ended();
  assertEquals([code, out, err], [130, "", ""]);
  await noneIsLeft(temporary);
  assertEquals([...Deno.readDirSync(temporary)], []);
  assertEquals([...Deno.readDirSync(`${folder.path}/.kio`)], []);
});

// ---- a terminal -----------------------------------------------------------------

Deno.test({
  name: "a line of progress is as wide as its terminal",
  ignore: !await hasProgram("script"),
  async fn() {
    const fuzz = `${Deno.execPath()} run --allow-ffi --no-check ` +
      `--v8-flags=--expose-gc ${ROOT}tests/fuzz/fuzz.ts --ops 3000`;
    const command = `stty columns 30; ${fuzz}`;
    const { out } = await run("script", [
      ...["--quiet", "--return", "--command", command, "/dev/null"],
    ]);
    // deno-lint-ignore no-control-regex -- What clears a line begins with ESC.
    const lines = [...out.matchAll(/\r\x1b\[K([^\r]*)(?=\r)/g)];
    assertEquals(lines[0]?.[1], "seed 1, 0 of 3,000 operations".slice(0, 29));
    for (const [, line] of lines.slice(0, -1)) assert(line!.length < 30, line);
  },
});
