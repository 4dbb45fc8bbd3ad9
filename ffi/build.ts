/**
 * Builds the native library of kio, once for each version:
 *
 * ```sh
 * deno run -A jsr:@kio/kio/build             # for all programs of this user
 * deno run -A jsr:@kio/kio/build --project   # for those of the current folder
 * ```
 *
 * It needs a C compiler and the headers of liburing, and names the missing
 * packages.
 *
 * The first form writes to the private cache of the user, `$XDG_CACHE_HOME/kio`
 * or `$HOME/.cache/kio`. Only that user and root may be able to change it. It
 * serves programs with `--allow-ffi`. The second form writes to `.kio/`, which
 * belongs beside the main module. It serves programs with `--allow-ffi=.kio`
 * too. With `--faults` both write the library of `@kio/kio/testing`, beside the
 * other.
 *
 * In a checkout, `deno task build` writes ffi/build/libkio.so if that is older
 * than its sources. `deno task build:faults` writes libkio_faults.so, for tests
 * with a kernel that fails on demand.
 *
 * @module
 */
import {
  cacheFolder,
  FAULTS_LIBRARY_NAME,
  LIBRARY_NAME,
  sealed,
} from "./cache.ts";
import {
  ASAN,
  ASAN_LIBRARY,
  compileShim,
  FAULTS,
  MASKED_FAULTS,
  pathOf,
  PLAIN,
  SHIM_FOLDER,
  stopCompilers,
  type Variant,
} from "./compile.ts";
import { openLibrary, systemComplaint } from "./load.ts";
import { SOURCES } from "./sources.ts";

/** The sources of a library of the checkout, as paths in this folder. */
function ingredientsOf(variant: Variant): string[] {
  const names = [...Object.keys(SOURCES), ...variant.sources, "test/masks.h"];
  return [...names.map((name) => `shim/${name}`), "compile.ts"];
}

function modified(name: string): number {
  try {
    return Deno.statSync(pathOf(name)).mtime!.getTime();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

/** Builds a library of the checkout. */
async function buildCheckout(
  name: string,
  variant: Variant,
): Promise<void> {
  const newest = Math.max(...ingredientsOf(variant).map(modified));
  if (modified(name) > newest) return;
  Deno.mkdirSync(pathOf("build"), { recursive: true });
  // Written beside and renamed: a process that has loaded the old one keeps it.
  const output = pathOf(`${name}.${Deno.pid}`);
  try {
    await compileShim(SHIM_FOLDER, output, variant);
    Deno.renameSync(output, pathOf(name));
  } catch (error) {
    remove(output);
    throw error;
  }
  console.log(`built ffi/${name}`);
}

/** Compiles the sources that came with this module. The result has no debug
 * information, as each start of a program reads and checks all of it. */
async function compileInstalled(
  variant: Variant,
): Promise<Uint8Array<ArrayBuffer>> {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.mkdirSync(`${folder}/test`);
    for (const [name, text] of Object.entries(SOURCES)) {
      Deno.writeTextFileSync(`${folder}/${name}`, text);
    }
    const { flags, sources } = variant;
    await compileShim(folder, `${folder}/libkio.so`, {
      flags: ["-s", ...flags],
      sources,
    });
    return sealed(Deno.readFileSync(`${folder}/libkio.so`));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Puts the library in place by one rename, after it was seen to work there.
 * Other processes may build or load it at the same time. */
function install(path: string, library: Uint8Array): string {
  const folder = path.slice(0, path.lastIndexOf("/"));
  const beside = `${folder}/.${crypto.randomUUID()}.so`;
  try {
    const file = Deno.openSync(beside, {
      write: true,
      createNew: true,
      mode: 0o600,
    });
    try {
      for (let at = 0; at < library.length;) {
        at += file.writeSync(library.subarray(at));
      }
      file.syncSync();
    } finally {
      file.close();
    }
    openLibrary(beside, path, () => "see what the C compiler does (CC)");
    Deno.renameSync(beside, path);
  } catch (cause) {
    remove(beside);
    throw new Error(
      `Cannot build into ${folder}: ${(cause as Error).message}`,
      { cause },
    );
  }
  return path;
}

/** Removes a file, if it is there. */
function remove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It was not made.
  }
}

/** Makes a folder; another process may make it at the same time. */
function makeFolder(path: string): void {
  try {
    Deno.mkdirSync(path, { mode: 0o700 });
  } catch (cause) {
    if (cause instanceof Deno.errors.AlreadyExists) return;
    throw new Error(
      `Cannot make ${path}: ${
        (cause as Error).message
      }; set XDG_CACHE_HOME to a folder of yours, or build with --project`,
      { cause },
    );
  }
}

/** Gives the folder for programs of the current folder. */
function projectFolder(): string {
  const path = `${Deno.cwd()}/.kio`;
  makeFolder(path);
  return path;
}

const USAGE = "usage: deno run -A jsr:@kio/kio/build [--project] [--faults]";
const HELP = `Builds the native library of kio, once for each version.

${USAGE}

  --project  for the programs of this folder, into .kio; else for all of a user
  --faults   the library of @kio/kio/testing, beside the other
  --help     print this`;

/** Builds what the arguments ask for; gives the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const options = ["--project", "--faults", "--help"];
  const isCheckout = import.meta.url.startsWith("file:");
  // For the tests of a checkout: no package has its source.
  const withAsan = isCheckout && args.includes("--asan");
  const unknown = args.find((it) => !options.includes(it));
  if (unknown !== undefined && !withAsan) {
    console.error(`Unknown argument "${unknown}"\n${USAGE}`);
    return 2;
  }
  if (args.includes("--help")) {
    console.log(HELP);
    return 0;
  }
  const complaint = systemComplaint();
  if (complaint !== undefined) throw new Deno.errors.NotSupported(complaint);
  if (withAsan) await buildCheckout(ASAN_LIBRARY, ASAN);
  else await build(args);
  return 0;
}

async function build(args: readonly string[]): Promise<void> {
  const isCheckout = import.meta.url.startsWith("file:");
  const isProject = args.includes("--project");
  const withFaults = args.includes("--faults");
  if (!isProject && isCheckout) {
    return withFaults
      ? await buildCheckout("build/libkio_faults.so", MASKED_FAULTS)
      : await buildCheckout("build/libkio.so", PLAIN);
  }
  const name = withFaults ? FAULTS_LIBRARY_NAME : LIBRARY_NAME;
  // First, so that a wrong folder is known before the compiler runs.
  const folder = isProject ? projectFolder() : cacheFolder(makeFolder);
  const path = install(
    `${folder}/${name}`,
    await compileInstalled(withFaults ? FAULTS : PLAIN),
  );
  console.log(`built ${path}`);
}

if (import.meta.main) {
  let interrupted = 0;
  for (const [name, number] of [["SIGINT", 2], ["SIGTERM", 15]] as const) {
    Deno.addSignalListener(name, () => {
      interrupted = 128 + number;
      stopCompilers();
    });
  }
  try {
    const code = await main(Deno.args);
    Deno.exit(interrupted || code);
  } catch (error) {
    if (!interrupted) console.error((error as Error).message);
    Deno.exit(interrupted || 1);
  }
}
