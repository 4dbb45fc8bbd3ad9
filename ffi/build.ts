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
function buildCheckout(name: string, variant: Variant): void {
  const newest = Math.max(...ingredientsOf(variant).map(modified));
  if (modified(name) > newest) return;
  Deno.mkdirSync(pathOf("build"), { recursive: true });
  // Written beside and renamed: a process that has loaded the old one keeps it.
  const output = pathOf(`${name}.${Deno.pid}`);
  compileShim(SHIM_FOLDER, output, variant);
  Deno.renameSync(output, pathOf(name));
  console.log(`built ffi/${name}`);
}

/** Compiles the sources that came with this module. The result has no debug
 * information, as each start of a program reads and checks all of it. */
function compileInstalled(variant: Variant): Uint8Array<ArrayBuffer> {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.mkdirSync(`${folder}/test`);
    for (const [name, text] of Object.entries(SOURCES)) {
      Deno.writeTextFileSync(`${folder}/${name}`, text);
    }
    const { flags, sources } = variant;
    compileShim(folder, `${folder}/libkio.so`, {
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
    try {
      Deno.removeSync(beside);
    } catch {
      // It was not made.
    }
    throw new Error(
      `Cannot build into ${folder}: ${(cause as Error).message}`,
      { cause },
    );
  }
  return path;
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

function main(args: readonly string[]): void {
  const complaint = systemComplaint();
  if (complaint !== undefined) throw new Deno.errors.NotSupported(complaint);
  const isCheckout = import.meta.url.startsWith("file:");
  // For the tests of a checkout: no package has its source.
  if (isCheckout && args.includes("--asan")) {
    return buildCheckout(ASAN_LIBRARY, ASAN);
  }
  const unknown = args.find((it) => it !== "--project" && it !== "--faults");
  if (unknown !== undefined) {
    throw new TypeError(
      `Cannot build: unknown argument ${unknown}; there are --project and --faults`,
    );
  }
  const isProject = args.includes("--project");
  const withFaults = args.includes("--faults");
  if (!isProject && isCheckout) {
    return withFaults
      ? buildCheckout("build/libkio_faults.so", MASKED_FAULTS)
      : buildCheckout("build/libkio.so", PLAIN);
  }
  const name = withFaults ? FAULTS_LIBRARY_NAME : LIBRARY_NAME;
  // First, so that a wrong folder is known before the compiler runs.
  const folder = isProject ? projectFolder() : cacheFolder(makeFolder);
  const path = install(
    `${folder}/${name}`,
    compileInstalled(withFaults ? FAULTS : PLAIN),
  );
  console.log(`built ${path}`);
}

if (import.meta.main) {
  try {
    main(Deno.args);
  } catch (error) {
    console.error((error as Error).message);
    Deno.exit(1);
  }
}
