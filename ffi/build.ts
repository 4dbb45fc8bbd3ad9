/**
 * Compiles kio.c to build/libkio.so, when it is older than its sources:
 * `deno task build`. With `--faults` it is build/libkio_faults.so, for tests
 * against a kernel on a bad day: `deno task build:faults`.
 */
import { compileShim, FAULTS, pathOf } from "./compile.ts";

const withFaults = Deno.args.includes("--faults");
const SOURCES = ["kio.c", "guard.c", "compile.ts"];
if (withFaults) SOURCES.push("faults.c");
const OUTPUT = withFaults ? "build/libkio_faults.so" : "build/libkio.so";

const MISSING =
  `Cannot compile the library of kio: it needs a C compiler and the headers of liburing.
  Debian, Ubuntu:  apt-get install gcc libc6-dev liburing-dev
  Fedora:          dnf install gcc liburing-devel
  Arch:            pacman -S gcc liburing
  Alpine:          apk add gcc musl-dev liburing-dev linux-headers`;

function modified(name: string): number {
  try {
    return Deno.statSync(pathOf(name)).mtime!.getTime();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

function build(): void {
  if (modified(OUTPUT) > Math.max(...SOURCES.map(modified))) return;
  Deno.mkdirSync(pathOf("build"), { recursive: true });
  // Written beside and renamed: whoever has the old one loaded keeps it.
  const output = pathOf(`${OUTPUT}.${Deno.pid}`);
  try {
    compileShim(pathOf("kio.c"), output, withFaults ? FAULTS : []);
  } catch (error) {
    console.error(`${MISSING}\n\n${(error as Error).message}`);
    Deno.exit(1);
  }
  Deno.renameSync(output, pathOf(OUTPUT));
  console.log(`built ffi/${OUTPUT}`);
}

build();
