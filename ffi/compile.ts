/** How the C of the library is compiled, by the build and by its tests. */

const PACKAGES = `
  Debian, Ubuntu:  apt-get install gcc libc6-dev liburing-dev
  Fedora:          dnf install gcc glibc-devel liburing-devel
  Arch:            pacman -S gcc liburing
  Alpine:          apk add gcc musl-dev liburing-dev linux-headers`;

export const WARNINGS: readonly string[] = ["-Wall", "-Wextra", "-Werror"];

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
  ...WARNINGS,
  "-fvisibility=hidden",
  "-fstack-protector-strong",
  "-D_FORTIFY_SOURCE=2",
  "-Wl,-z,relro",
  "-Wl,-z,now",
];

const SHIM = [
  // Nothing of it may be unmapped while the kernel or Deno may call into it.
  "-Wl,-z,nodelete",
  // liburing's own symbols must not meet those of another copy.
  "-Wl,--exclude-libs,ALL",
];

/** Where something in this folder is. */
export function pathOf(name: string): string {
  return decodeURIComponent(new URL(name, import.meta.url).pathname);
}

/**
 * Runs the C compiler (`CC`, else `cc`); throws what it complains about, and
 * which packages to install if it or a header is missing.
 */
export function compile(args: readonly string[]): void {
  const command = Deno.env.get("CC") || "cc";
  let complaint: string;
  try {
    const { success, stderr } = new Deno.Command(command, { args: [...args] })
      .outputSync();
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

/** Compiles the guard that kio.c carries; gives the flag that says where. */
export function compileGuard(
  folder: string,
  source = pathOf("guard.c"),
): string {
  const image = `${folder}/guard.so`;
  compile([...LIBRARY, source, "-o", image]);
  return `-DKIO_GUARD_IMAGE="${image}"`;
}

/** What makes kio.c the one that fails on demand: see faults.c. */
export const FAULTS: readonly string[] = ["-DKIO_FAULTS"];

/** What has it hide what the kernel has, when it is told to: see masks.c. */
export const MASKS: readonly string[] = ["-DKIO_MASKS"];

/** What makes it the one that watches over memory: see asan.c. It fails on
 * demand as well. */
export const ASAN: readonly string[] = [
  ...FAULTS,
  "-DKIO_ASAN",
  ...SANITIZERS,
  // Its checks would come before those of the sanitizers.
  "-U_FORTIFY_SOURCE",
];
export const ASAN_LIBRARY = "build/libkio_asan.so";

/** Compiles kio.c, or a variant of it, to a library. */
export function compileShim(
  source: string,
  output: string,
  { guardSource, flags = [] }: {
    guardSource?: string;
    flags?: readonly string[];
  } = {},
): void {
  const folder = Deno.makeTempDirSync();
  try {
    const guard = compileGuard(folder, guardSource);
    const args = [...LIBRARY, ...SHIM, ...flags, guard, source, "-o", output];
    try {
      // Where there is a static liburing the result needs libc only.
      compile([...args, "-l:liburing.a"]);
    } catch {
      compile([...args, "-luring"]);
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}
