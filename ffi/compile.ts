/** Compiles the C of the library, for the build and for its tests. */
import { SOURCES } from "./sources.ts";

const PACKAGES = `
  Debian, Ubuntu:  apt-get install gcc libc6-dev liburing-dev
  Fedora:          dnf install gcc glibc-devel liburing-devel
  Arch:            pacman -S gcc liburing
  Alpine:          apk add gcc musl-dev liburing-dev linux-headers`;

/** For the tests only: a compiler of tomorrow has warnings that nobody knows. */
const WARNINGS: readonly string[] = ["-Wall", "-Wextra", "-Werror"];

export const SANITIZERS: readonly string[] = [
  "-O1",
  "-fsanitize=address,undefined",
  "-fno-sanitize-recover=all",
  "-fno-omit-frame-pointer",
];

const LIBRARY = [
  "-std=gnu11",
  "-O2",
  "-g",
  "-fPIC",
  "-shared",
  "-fvisibility=hidden",
  "-fstack-protector-strong",
  "-D_FORTIFY_SOURCE=2",
  "-Wl,-z,relro",
  "-Wl,-z,now",
];

const SHIM = [
  // Deno or the kernel may still call into it: it must never be unmapped.
  "-Wl,-z,nodelete",
  // liburing's own symbols must not meet those of another copy.
  "-Wl,--exclude-libs,ALL",
];

/** Gives the path of a file in this folder. */
export function pathOf(name: string): string {
  return decodeURIComponent(new URL(name, import.meta.url).pathname);
}

/** The compilers that run. */
const running = new Set<Deno.ChildProcess>();
let isStopped = false;

/** Ends the compilers, and lets no other start. */
export function stopCompilers(): void {
  isStopped = true;
  for (const compiler of running) compiler.kill("SIGKILL");
}

/**
 * Runs the C compiler (`CC`, else `cc`). Throws its messages, and the packages
 * to install if it or a header is missing.
 */
export async function compile(args: readonly string[]): Promise<void> {
  const command = Deno.env.get("CC") || "cc";
  let complaint: string;
  if (isStopped) throw new Error("Cannot compile the library of kio: stopped");
  try {
    const child = new Deno.Command(command, {
      args: [...args],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    running.add(child);
    const { success, stderr } = await child.output();
    running.delete(child);
    if (success) return;
    complaint = new TextDecoder().decode(stderr);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    complaint = (error as Error).message;
    if (error instanceof Deno.errors.NotFound) {
      throw new Error(
        `Cannot compile the library of kio: there is no C compiler "${command}"; install it:${PACKAGES}`,
      );
    }
  }
  const missing = /([\w./-]+\.h): No such file|cannot find (-l\S+)/.exec(
    complaint,
  );
  throw new Error(
    missing === null
      ? `Cannot compile the library of kio: ${command} says:\n${complaint}`
      : `Cannot compile the library of kio: ${
        missing[1] ?? missing[2]
      } is missing; install it:${PACKAGES}`,
  );
}

/** Compiles the guard that isolate.c carries. Gives the flag with its path. */
export async function compileGuard(
  folder: string,
  shim = SHIM_FOLDER,
): Promise<string> {
  const image = `${folder}/guard.so`;
  await compile([...LIBRARY, `${shim}/guard.c`, "-o", image]);
  return `-DKIO_GUARD_IMAGE="${image}"`;
}

/** The folder of the C, in a checkout. */
export const SHIM_FOLDER: string = pathOf("shim");

/** Lists the files of the library; the guard is a library of its own. */
export function sourcesIn(shim: string): string[] {
  return Object.keys(SOURCES)
    .filter((name) => /^\w+\.c$/.test(name) && name !== "guard.c")
    .map((name) => `${shim}/${name}`);
}

/** A difference from the plain library: see shim/seams.h. */
export interface Variant {
  flags: readonly string[];
  /** In the folder of the shim. */
  sources: readonly string[];
}

/** The library without seams. */
export const PLAIN: Variant = { flags: [], sources: [] };

/** The library that fails on demand. */
export const FAULTS: Variant = {
  flags: ["-DKIO_FAULTS"],
  sources: ["test/faults.c", "test/fault_plan.c"],
};

/** The library that fails on demand, and hides features of the kernel. */
export const MASKED_FAULTS: Variant = {
  flags: [...FAULTS.flags, "-DKIO_MASKS"],
  sources: [...FAULTS.sources, "test/masks.c"],
};

/** The library that fails on demand, and watches over memory. */
export const ASAN: Variant = {
  flags: [
    ...FAULTS.flags,
    "-DKIO_ASAN",
    ...SANITIZERS,
    // Its checks would come before those of the sanitizers.
    "-U_FORTIFY_SOURCE",
  ],
  sources: [...FAULTS.sources, "test/watch.c"],
};
export const ASAN_LIBRARY = "build/libkio_asan.so";

/** Compiles the shim in a folder, or a variant of it, to a library. */
export async function compileShim(
  shim: string,
  output: string,
  { flags, sources }: Variant = PLAIN,
): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    const args = [
      ...LIBRARY,
      ...SHIM,
      ...flags,
      await compileGuard(folder, shim),
      ...sourcesIn(shim),
      ...sources.map((name) => `${shim}/${name}`),
      "-o",
      output,
    ];
    try {
      // With a static liburing the result needs libc only.
      await compile([...args, "-l:liburing.a"]);
    } catch {
      await compile([...args, "-luring"]);
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Compiles the tests in C with the shim; extra flags are for the compiler. */
export async function compileTests(
  folder: string,
  flags: readonly string[],
): Promise<string> {
  const program = `${folder}/shim_test`;
  const tests = [...Deno.readDirSync(`${SHIM_FOLDER}/test`)]
    .map(({ name }) => `${SHIM_FOLDER}/test/${name}`)
    .filter((path) => path.endsWith("_test.c"))
    .sort();
  await compile([
    ...["-std=gnu11", "-g", ...WARNINGS, ...flags, "-DKIO_MASKS"],
    // names_test.c and folders_test.c have their own.
    "-Wl,--wrap=getaddrinfo,--wrap=pthread_create",
    "-Wl,--wrap=call_getdents,--wrap=call_statx",
    await compileGuard(folder),
    ...sourcesIn(SHIM_FOLDER),
    `${SHIM_FOLDER}/test/masks.c`,
    `${SHIM_FOLDER}/test/harness.c`,
    ...tests,
    ...["-o", program, "-luring"],
  ]);
  return program;
}
