/**
 * Runs the tests on Linux 6.1, the oldest kernel that kio supports:
 * `deno task test:linux61 [file …]`. Without files it runs the C tests and all
 * tests that `deno test` finds.
 *
 * The kernel is Debian's user-mode-linux, which runs as a program. It needs no
 * privileges, and reads the files of this system without changing them. It is
 * fetched if it is not installed. Its system calls take some 50 times as long, so
 * a run takes some minutes.
 */
import { compileTests } from "../ffi/compile.ts";
import { summariesIn } from "./summary.ts";

const ROOT = decodeURIComponent(new URL("../", import.meta.url).pathname);
/** The tests are stopped after that time. */
const LIMIT_S = 1800;

function run(command: string, args: readonly string[], cwd?: string): string {
  const { success, stdout, stderr } = new Deno.Command(command, {
    args: [...args],
    ...(cwd && { cwd }),
  }).outputSync();
  if (success) return new TextDecoder().decode(stdout);
  const said = new TextDecoder().decode(stderr);
  throw new Error(`Cannot run ${command} ${args.join(" ")}: ${said}`);
}

/** The kernel: the one that is installed, else a copy in the folder. */
function kernelIn(folder: string): string {
  const paths = Deno.env.get("PATH")!.split(":");
  for (const path of paths.map((path) => `${path}/linux.uml`)) {
    try {
      Deno.statSync(path);
      return path;
    } catch {
      // It is not there.
    }
  }
  run("apt-get", ["download", "-qq", "user-mode-linux"], folder);
  const file = Deno.readDirSync(folder).find(({ name }) =>
    name.endsWith(".deb")
  )!;
  run("dpkg-deb", ["-x", `${folder}/${file.name}`, folder]);
  return `${folder}/usr/bin/linux.uml`;
}

/** Makes a sparse disk for /tmp. */
function makeDisk(path: string): void {
  Deno.createSync(path).close();
  Deno.truncateSync(path, 2 ** 33);
  run("/sbin/mkfs.ext4", ["-q", "-O", "^has_journal", path]);
}

/** Writes the commands for the kernel's init. Returns the number of summaries
 * that they will print. */
function writeCommand(folder: string, files: readonly string[]): number {
  const lines = [
    "uname -sr",
    `timeout ${LIMIT_S} deno test --no-check --cached-only --allow-ffi ${
      files.join(" ")
    }`,
  ];
  // Without sanitizers: `deno task test:c` has them.
  if (files.length === 0) lines.splice(1, 0, compileTests(folder, ["-O1"]));
  Deno.writeTextFileSync(`${folder}/command`, lines.join("\n"));
  return lines.length - 1;
}

/** Boots the kernel, shows its output, and returns it. */
async function boot(kernel: string, folder: string): Promise<string> {
  const { denoDir } = JSON.parse(run(Deno.execPath(), ["info", "--json"]));
  const child = new Deno.Command(kernel, {
    args: [
      "mem=3G",
      "rootfstype=hostfs",
      "rootflags=/",
      "ro",
      `ubd0=${folder}/disk`,
      `uml_dir=${folder}/uml/`,
      `init=${ROOT}tools/linux61_init.sh`,
      `KIO_ROOT=${ROOT}`,
      `KIO_FOLDER=${folder}`,
      `KIO_DENO_DIR=${denoDir}`,
      `KIO_MODULES=${kernel.replace(/bin\/linux.uml$/, "lib/uml/modules")}`,
      "con0=fd:0,fd:1",
      "con=null",
      "quiet",
    ],
    // Where its memory is, in a file without a name.
    env: { TMPDIR: "/dev/shm" },
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const stop = () => child.kill("SIGKILL");
  Deno.addSignalListener("SIGINT", stop);
  let printed = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    printed += text;
    Deno.stdout.writeSync(new TextEncoder().encode(text));
  }
  await child.status;
  Deno.removeSignalListener("SIGINT", stop);
  return printed;
}

const folder = Deno.makeTempDirSync();
try {
  const kernel = kernelIn(folder);
  makeDisk(`${folder}/disk`);
  const expected = writeCommand(folder, Deno.args);
  const summaries = summariesIn(await boot(kernel, folder));
  const passed = summaries.reduce((sum, { passed }) => sum + passed, 0);
  const failed = summaries.reduce((sum, { failed }) => sum + failed, 0) +
    expected - summaries.length;
  console.log(`${passed} passed, ${failed} failed`);
  Deno.exitCode = failed > 0 ? 1 : 0;
} finally {
  Deno.removeSync(folder, { recursive: true });
}
