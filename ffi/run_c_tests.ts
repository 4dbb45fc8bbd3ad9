/**
 * Compiles kio_test.c, which includes kio.c, with the address and undefined
 * behaviour sanitizers, and runs it: `deno task test:c [name …]`.
 */
import { compile, compileGuard, pathOf, WARNINGS } from "./compile.ts";

const FLAGS = [
  "-std=gnu11",
  "-O1",
  "-g",
  ...WARNINGS,
  "-fsanitize=address,undefined",
  "-fno-sanitize-recover=all",
  "-fno-omit-frame-pointer",
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
