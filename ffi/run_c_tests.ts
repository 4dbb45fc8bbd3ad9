/**
 * Compiles the tests in C (shim/test/) with the shim, with the address and
 * undefined behaviour sanitizers, and runs them: `deno task test:c [word …]`.
 */
import { compileTests, SANITIZERS } from "./compile.ts";

const folder = Deno.makeTempDirSync();
try {
  const program = compileTests(folder, SANITIZERS);
  const { code } = new Deno.Command(program, {
    args: Deno.args,
    stdout: "inherit",
    stderr: "inherit",
  }).outputSync();
  Deno.exitCode = code;
} finally {
  Deno.removeSync(folder, { recursive: true });
}
