/**
 * Compiles the C with other compilers than the usual one, and runs its tests:
 * `deno task test:compilers`. clang has the sanitizers, and makes a library that
 * Deno then loads. musl-gcc links the tests with musl; they run here, but no
 * Deno does with musl, as there is none. Both must be installed (Debian: clang,
 * libclang-rt-14-dev, musl-tools).
 */
import { readArguments } from "../examples/command_line.ts";
import {
  compileShim,
  compileTests,
  SANITIZERS,
  SHIM_FOLDER,
} from "../ffi/compile.ts";
import { tidily } from "./tidy.ts";

/** Tests that fail with musl, and why. */
const NOT_WITH_MUSL: Readonly<Record<string, string>> = {
  guard_by_library_ends_its_own_isolate: "a static program loads no library",
  lookup_of_what_needs_no_server_does_not_wait:
    "musl asks a server for LOCALHOST in capitals",
};

/** Runs the tests in C. Gives how many passed, and the names of those that did
 * not. */
async function runTests(folder: string, flags: readonly string[]) {
  const program = await compileTests(folder, flags);
  const { stdout, stderr } = new Deno.Command(program, {
    stdout: "piped",
    stderr: "piped",
  }).outputSync();
  const out = new TextDecoder().decode(stdout);
  const failed = [...out.matchAll(/^(\w+) FAILED$/gm)].map(([, name]) => name!);
  const [, passed] = /^(\d+) passed, \d+ failed, /m.exec(out) ?? [];
  if (passed === undefined) throw new Error(new TextDecoder().decode(stderr));
  return { passed: Number(passed), failed };
}

/** Has Deno load a library, and sleep in it. */
function works(library: string): boolean {
  const script = `
    import { asyncSleep, IoContext } from "${new URL(
    "../mod.ts",
    import.meta.url,
  )}";
    using ctx = new IoContext();
    if (!(await asyncSleep(ctx, 1)).ok) Deno.exit(1);`;
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      `data:application/typescript,${encodeURIComponent(script)}`,
    ],
    env: { KIO_LIB: library },
    stderr: "inherit",
  }).outputSync().success;
}

/** The folder with the archive of liburing, and nothing of another libc. */
function archiveOf(folder: string): string {
  const { stdout } = new Deno.Command("cc", {
    args: ["-print-file-name=liburing.a"],
  }).outputSync();
  const path = new TextDecoder().decode(stdout).trim();
  Deno.copyFileSync(path, `${folder}/liburing.a`);
  return folder;
}

async function withClang(folder: string): Promise<boolean> {
  console.log("clang: compiles and runs the tests");
  Deno.env.set("CC", "clang");
  const { passed, failed } = await runTests(folder, SANITIZERS);
  await compileShim(SHIM_FOLDER, `${folder}/libkio.so`);
  const isLoaded = works(`${folder}/libkio.so`);
  console.log(`clang: ${passed} passed, ${failed.length} failed ${failed}`);
  console.log(
    `clang: Deno ${isLoaded ? "works with" : "FAILED with"} its library`,
  );
  return failed.length === 0 && isLoaded;
}

async function withMusl(folder: string): Promise<boolean> {
  console.log("musl: compiles and runs the tests");
  Deno.env.set("CC", "musl-gcc");
  const { passed, failed } = await runTests(folder, [
    "-static",
    // Headers of the kernel and of liburing; musl's own come first.
    "-idirafter",
    "/usr/include",
    "-idirafter",
    `/usr/include/${Deno.build.arch}-linux-gnu`,
    `-L${archiveOf(folder)}`,
  ]);
  const others = failed.filter((name) => !(name in NOT_WITH_MUSL));
  console.log(`musl: ${passed} passed, ${others.length} failed ${others}`);
  for (const [name, why] of Object.entries(NOT_WITH_MUSL)) {
    console.log(`musl: not counted, ${name}: ${why}`);
  }
  return others.length === 0;
}

async function main(): Promise<number> {
  readArguments({
    command: "deno task test:compilers",
    about: "Compiles the C with clang and with musl, and runs its tests.",
    options: {},
  }, () => {});
  const folder = Deno.makeTempDirSync();
  try {
    const results = [await withClang(folder), await withMusl(folder)];
    return results.includes(false) ? 1 : 0;
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

await tidily(import.meta.url, main);
