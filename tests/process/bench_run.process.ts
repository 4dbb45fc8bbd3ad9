/** `deno task bench` at a terminal, in a log, and at its end. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { hasProgram, Program, ROOT, run } from "./support.ts";

const MAIN = `${ROOT}bench/main.ts`;
const COMMAND = ["run", "-A", "--no-check", MAIN];
/** One case of two programs, which need nothing that is not installed. */
const QUICK = ["log", "--only", "linked", "--rounds", "1"];
const SHORT = [...QUICK, "--seconds", "0.05", "--limit", "0.01"];

const hasCores = navigator.hardwareConcurrency >= 2 &&
  await hasProgram("taskset");

/** The processes that run a program of the benchmark. */
function programsLeft(): string[] {
  return [...Deno.readDirSync("/proc")].flatMap(({ name }) => {
    try {
      const line = Deno.readTextFileSync(`/proc/${name}/cmdline`);
      return line.includes(`${ROOT}bench/`) ? [line] : [];
    } catch {
      return [];
    }
  });
}

Deno.test("bench --help tells the usage, and wrong arguments end with 2", async () => {
  const help = await run(Deno.execPath(), [...COMMAND, "--help"]);
  assertEquals([help.code, help.err], [0, ""]);
  assertMatch(help.out, /^Usage: deno task bench NAME.*\n/);
  for (const line of help.out.split("\n")) assert(line.length <= 80, line);
  for (
    const [args, reason] of [
      [[], "name a benchmark"],
      [["ecco"], "there is no such benchmark"],
      [["all", "ecco"], "there is no such benchmark"],
      [["echo", "--rounds", "0"], "--rounds 0 is no number above 0"],
      [["echo", "--rounds", "1.5"], "--rounds 1.5 is no whole number"],
      [["echo", "--seconds", "soon"], "--seconds soon is no number above 0"],
      [["echo", "--limit", ""], "--limit  is no number above 0"],
      [["echo", "--limit"], "argument missing"],
      [["echo", "--fast"], "Unknown option '--fast'"],
      [["echo", "--only", "nothing"], 'no case with "nothing" in its title'],
    ] as const
  ) {
    const { code, out, err } = await run(Deno.execPath(), [
      ...COMMAND,
      ...args,
    ]);
    assertEquals([code, out], [2, ""], `${args}`);
    assertStringIncludes(err, reason);
    assertMatch(err, /^Cannot measure.*\n\nUsage: deno task bench/);
  }
});

Deno.test({
  name: "bench writes plain lines into a log, and ends with the comparison",
  ignore: !hasCores,
  async fn() {
    const { code, out, err } = await run(Deno.execPath(), [
      ...COMMAND,
      ...SHORT,
    ]);
    assertEquals(code, 0, err);
    assertMatch(err, /^1 round of 0.05 s: about 0:0\d minutes, 0:01 at most\n/);
    assertMatch(err, /^log, round 1: 512 bytes.* \(0:0\d, 0:0\d left\)$/m);
    for (const control of ["\r", "\x1b"]) {
      assertEquals(`${out}${err}`.includes(control), false);
    }
    assertMatch(out, /Compared with C, liburing\n\n.*\n +kio +[\d.]+×\n$/);
  },
});

Deno.test({
  name: "bench has a line at a terminal, and colour unless NO_COLOR is set",
  ignore: !hasCores || !await hasProgram("script"),
  async fn() {
    for (const noColor of ["", "1"]) {
      const command = [Deno.execPath(), ...COMMAND, ...SHORT];
      await using program = new Program("script", [
        ...["--quiet", "--return", "--command"],
        `stty cols 60; ${command.map((word) => `'${word}'`).join(" ")}`,
        "/dev/null",
      ], { env: { NO_COLOR: noColor } });
      const { code, out } = await program.ended();
      assertEquals(code, 0, out);
      const lines = out.split("\r\x1b[K").slice(1);
      assertMatch(lines[0]!, /^log, round 1: .*\(0:0\d, 0:0\d left\)$/);
      for (const line of lines.slice(0, -1)) assert(line.length < 60, line);
      assertEquals(out.includes("\x1b[1m== log =="), noColor === "");
    }
  },
});

Deno.test({
  name: "bench ends by a signal without a program or a file left",
  ignore: !hasCores,
  async fn() {
    const files = `${ROOT}bench/build/small`;
    for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
      await using program = new Program(Deno.execPath(), [
        ...COMMAND,
        ...["small-files", "--seconds", "30"],
      ]);
      while (!programsLeft().some((it) => it.includes("small_files_kio"))) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      assert(Deno.statSync(files).isDirectory);
      program.kill(signal);
      assertEquals((await program.ended()).code, code);
      let isThere = true;
      try {
        Deno.statSync(files);
      } catch {
        isThere = false;
      }
      assertEquals([isThere, programsLeft()], [false, []]);
    }
  },
});
