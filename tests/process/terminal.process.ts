/** Deno asks no question at a terminal: the event loop would stand still. */
import { assertEquals, assertMatch } from "@std/assert";
import * as kio from "@kio/kio";
import { hasProgram, Program, ROOT } from "./support.ts";

const PROGRAM = `${ROOT}tests/process/every_export.ts`;
const ignore = !await hasProgram("script");

/** The first that a program says at a terminal: a question, or its end. */
async function saidAtTerminal(...args: string[]): Promise<string> {
  const command = [Deno.execPath(), "run", "--no-check", ...args];
  // The terminal is a new one, without a user.
  await using program = new Program("script", [
    "--quiet",
    "--return",
    "--command",
    command.map((word) => `'${word}'`).join(" "),
    "/dev/null",
  ]);
  const [said] = await program.printed(
    /requests .*access.*|^error: .*|^done$/m,
  );
  return said;
}

Deno.test("every_export.ts leaves no export out", () => {
  const source = Deno.readTextFileSync(PROGRAM);
  const left = Object.entries(kio).filter(([name, it]) =>
    typeof it === "function" &&
    !new RegExp(`\\b${name}\\(|\\b${name}\\.`).test(source)
  );
  assertEquals(left.map(([name]) => name), []);
});

Deno.test({
  name: "a terminal is asked where --allow-ffi is missing",
  ignore,
  async fn() {
    assertMatch(await saidAtTerminal(PROGRAM), /requests .*ffi access/);
  },
});

for (const flag of ["--allow-ffi", `--allow-ffi=${ROOT}ffi/build`]) {
  Deno.test({
    name: `nothing asks at a terminal with ${flag.replace(ROOT, "")}`,
    ignore,
    async fn() {
      assertEquals((await saidAtTerminal(flag, PROGRAM)).trim(), "done");
    },
  });
}

Deno.test({
  name:
    "WorkerPool asks for nothing at a terminal with --allow-ffi and --allow-read",
  ignore,
  async fn() {
    const said = await saidAtTerminal(
      "--allow-ffi",
      "--allow-read",
      PROGRAM,
      "pool",
    );
    assertEquals(said.trim(), "done");
  },
});
