/** How the C of the library is compiled, by the build and by its tests. */

export const WARNINGS: readonly string[] = ["-Wall", "-Wextra", "-Werror"];

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

/** Runs the C compiler; throws what it complains about. */
export function compile(args: readonly string[]): void {
  const command = Deno.env.get("CC") ?? "cc";
  let complaint = `${command}: not found`;
  try {
    const { success, stderr } = new Deno.Command(command, { args: [...args] })
      .outputSync();
    if (success) return;
    complaint = new TextDecoder().decode(stderr);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  throw new Error(complaint);
}

/** Compiles the guard that kio.c carries; gives the flag that says where. */
export function compileGuard(folder: string): string {
  const image = `${folder}/guard.so`;
  compile([...LIBRARY, pathOf("guard.c"), "-o", image]);
  return `-DKIO_GUARD_IMAGE="${image}"`;
}

/** What makes kio.c the one that fails on demand: see faults.c. */
export const FAULTS: readonly string[] = ["-DKIO_FAULTS"];

/** Compiles kio.c, or a variant of it, to a library. */
export function compileShim(
  source: string,
  output: string,
  options: readonly string[] = [],
): void {
  const folder = Deno.makeTempDirSync();
  try {
    const guard = compileGuard(folder);
    const args = [
      ...LIBRARY,
      ...SHIM,
      ...options,
      guard,
      source,
      "-o",
      output,
    ];
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
