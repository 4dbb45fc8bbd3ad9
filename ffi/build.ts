/**
 * Compiles kio.c to build/libkio.so, when it is older than its sources:
 * `deno task build`.
 */

const SOURCES = ["kio.c", "build.ts"];
const OUTPUT = "build/libkio.so";

const FLAGS = [
  "-std=gnu11",
  "-O2",
  "-g",
  "-fPIC",
  "-shared",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-fvisibility=hidden",
  "-fstack-protector-strong",
  "-D_FORTIFY_SOURCE=2",
  // Nothing of it may be unmapped while the kernel or Deno may call into it.
  "-Wl,-z,nodelete",
  "-Wl,-z,relro",
  "-Wl,-z,now",
  // liburing's own symbols must not meet those of another copy.
  "-Wl,--exclude-libs,ALL",
];

const MISSING =
  `Cannot compile the library of kio: it needs a C compiler and the headers of liburing.
  Debian, Ubuntu:  apt-get install gcc libc6-dev liburing-dev
  Fedora:          dnf install gcc liburing-devel
  Arch:            pacman -S gcc liburing
  Alpine:          apk add gcc musl-dev liburing-dev linux-headers`;

function path(name: string): string {
  return decodeURIComponent(new URL(name, import.meta.url).pathname);
}

function modified(name: string): number {
  try {
    return Deno.statSync(path(name)).mtime!.getTime();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

function compile(output: string, liburing: string): string | undefined {
  const compiler = Deno.env.get("CC") ?? "cc";
  const args = [...FLAGS, path("kio.c"), "-o", output, liburing];
  try {
    const { success, stderr } = new Deno.Command(compiler, { args })
      .outputSync();
    return success ? undefined : new TextDecoder().decode(stderr);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `${compiler}: not found`;
    throw error;
  }
}

function build(): void {
  if (modified(OUTPUT) > Math.max(...SOURCES.map(modified))) return;
  Deno.mkdirSync(path("build"), { recursive: true });
  // Written beside and renamed: whoever has the old one loaded keeps it.
  const output = path(`${OUTPUT}.${Deno.pid}`);
  // Where there is a static liburing the result needs libc only.
  const problem = compile(output, "-l:liburing.a") &&
    compile(output, "-luring");
  if (problem !== undefined) {
    console.error(`${MISSING}\n\n${problem}`);
    Deno.exit(1);
  }
  Deno.renameSync(output, path(OUTPUT));
  console.log(`built ffi/${OUTPUT}`);
}

build();
