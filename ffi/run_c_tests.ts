/**
 * Compiles kio_test.c, which includes kio.c, with the address and undefined
 * behaviour sanitizers, and runs it: `deno task test:c [name …]`.
 */
import {
  compile,
  compileGuard,
  pathOf,
  SANITIZERS,
  WARNINGS,
} from "./compile.ts";

const FLAGS = [
  "-std=gnu11",
  "-g",
  ...WARNINGS,
  ...SANITIZERS,
];

const folder = Deno.makeTempDirSync();
try {
  const program = `${folder}/kio_test`;
  const guard = compileGuard(folder);
  compile([...FLAGS, guard, pathOf("kio_test.c"), "-o", program, "-luring"]);
  const { code } = new Deno.Command(program, {
    args: Deno.args,
    stdout: "inherit",
    stderr: "inherit",
  }).outputSync();
  Deno.exitCode = code;
} finally {
  Deno.removeSync(folder, { recursive: true });
}
