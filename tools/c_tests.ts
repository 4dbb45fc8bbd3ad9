/**
 * Compiles the tests in C (ffi/shim/test/) with the shim, with the address and
 * undefined behaviour sanitizers, and runs them: `deno task test:c [WORD ...]`.
 */
import { readArguments } from "../examples/command_line.ts";
import { compileTests, SANITIZERS } from "../ffi/compile.ts";
import { tidily } from "./tidy.ts";

async function main(): Promise<number> {
  const words = readArguments({
    command: "deno task test:c",
    about: "Runs the tests in C, or those whose name has one of the words.",
    operands: "[WORD ...]",
    options: {},
  }, (_, operands) => operands);
  const folder = Deno.makeTempDirSync();
  try {
    const program = await compileTests(folder, SANITIZERS);
    const { code } = new Deno.Command(program, {
      args: words,
      stdout: "inherit",
      stderr: "inherit",
    }).outputSync();
    return code;
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

await tidily(import.meta.url, main);
