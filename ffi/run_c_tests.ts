/**
 * Compiles kio_test.c, which includes kio.c, with the address and undefined
 * behaviour sanitizers, and runs it: `deno task test:c`.
 */

const FLAGS = [
  "-std=gnu11",
  "-O1",
  "-g",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-fsanitize=address,undefined",
  "-fno-sanitize-recover=all",
  "-fno-omit-frame-pointer",
];

function run(command: string, args: string[]): number {
  return new Deno.Command(command, {
    args,
    stdout: "inherit",
    stderr: "inherit",
  })
    .outputSync().code;
}

const folder = Deno.makeTempDirSync();
const program = `${folder}/kio_test`;
const source = decodeURIComponent(
  new URL("kio_test.c", import.meta.url).pathname,
);
const compiler = Deno.env.get("CC") ?? "cc";
const code = run(compiler, [...FLAGS, source, "-o", program, "-luring"]) ||
  run(program, []);
Deno.removeSync(folder, { recursive: true });
Deno.exitCode = code;
