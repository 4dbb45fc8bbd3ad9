import {
  blockingSymbols,
  faultSymbols,
  guardSymbols,
  symbols,
} from "./symbols.ts";

/** The functions of the shim, bound. */
export type Shim = Deno.DynamicLibrary<typeof symbols>["symbols"];

export type BlockingShim = Deno.DynamicLibrary<
  typeof blockingSymbols
>["symbols"];

export type FaultShim = Deno.DynamicLibrary<typeof faultSymbols>["symbols"];

/** Has to be `KIO_ABI` of kio.c. */
const ABI = 2;

const BUILD_HINT = "in a checkout of kio, run: ./setup.sh && deno task build";

interface NodeProcess {
  dlopen(module: { exports: unknown }, path: string): void;
}

let shim: Shim | undefined;
let blockingShim: BlockingShim | undefined;
let faultShim: FaultShim | undefined;
let loadedPath = "";
let libraryName = "libkio.so";

/** The shim; opened by the first call, which is why `import` needs nothing. */
export function loadShim(): Shim {
  return shim ??= open();
}

/** The calls that block, on threads of Deno's pool; unlike the others they
 * need the library's handle to stay open. */
export function loadBlockingShim(): BlockingShim {
  loadShim();
  return blockingShim ??= Deno.dlopen(loadedPath, blockingSymbols).symbols;
}

/**
 * The calls of the library that fails on demand, which from then on is the one
 * that everything uses. Refused when the other is in use already.
 */
export function loadFaultShim(): FaultShim {
  if (faultShim !== undefined) return faultShim;
  const verb = "Cannot inject faults";
  if (shim === undefined) {
    libraryName = "libkio_faults.so";
    try {
      loadShim();
    } catch (cause) {
      libraryName = "libkio.so";
      if (!(cause instanceof Deno.errors.NotFound)) throw cause;
      throw new Deno.errors.NotFound(
        `${verb}: the library for it is not built; in a checkout of kio, run: deno task build:faults\n${cause.message}`,
      );
    }
  }
  try {
    const library = Deno.dlopen(loadedPath, faultSymbols);
    // As for the other symbols: nothing is unmapped by that.
    library.close();
    return faultShim = library.symbols;
  } catch (cause) {
    throw new TypeError(
      `${verb}: ${loadedPath}, which has no faults, is in use; call FaultPlan.load() before anything else of kio, and leave KIO_LIB unset`,
      { cause },
    );
  }
}

function open(): Shim {
  const tried: Error[] = [];
  for (const path of candidates()) {
    const found = tryOpen(path, tried);
    if (found === undefined) continue;
    if (found.kio_abi() !== ABI) {
      throw new Error(
        `Cannot use ${path}: it was built from another version of kio; ${BUILD_HINT}`,
      );
    }
    armGuard(found, path);
    loadedPath = path;
    return found;
  }
  const refused = tried.find((e) => e instanceof Deno.errors.NotCapable);
  if (refused !== undefined) throw refused;
  const list = tried.map((error) => `  ${error.message}`).join("\n");
  throw new Deno.errors.NotFound(
    `Cannot find the library of kio; ${BUILD_HINT}\n${list}`,
  );
}

/** An explicit path is the only one; else the checkout, the main module's
 * folder, the system. Nothing here needs more than `--allow-ffi`. */
function candidates(): string[] {
  const granted = Deno.permissions.querySync({
    name: "env",
    variable: "KIO_LIB",
  }).state === "granted";
  const explicit = granted ? Deno.env.get("KIO_LIB") : undefined;
  if (explicit !== undefined && explicit !== "") {
    if (explicit.startsWith("/")) return [explicit];
    throw new TypeError(
      `Cannot use KIO_LIB: it must be an absolute path, got "${explicit}"`,
    );
  }
  return [
    fileBeside(`./build/${libraryName}`, import.meta.url),
    fileBeside(`./.kio/${libraryName}`, Deno.mainModule),
    `/usr/local/lib/kio/${libraryName}`,
    `/usr/lib/kio/${libraryName}`,
  ].filter((path) => path !== undefined);
}

/** Undefined for what is not in the file system; a worker has no main module. */
function fileBeside(
  name: string,
  base: string | undefined,
): string | undefined {
  if (!base?.startsWith("file:")) return undefined;
  return decodeURIComponent(new URL(name, base).pathname);
}

function tryOpen(path: string, tried: Error[]): Shim | undefined {
  try {
    const library = Deno.dlopen(path, symbols);
    // The shim is linked `-z nodelete` and its functions carry their own data,
    // so closing the handle unmaps nothing; an open one would be reported by
    // the resource sanitizer of whoever makes a context inside a test.
    library.close();
    return library.symbols;
  } catch (cause) {
    const error = cause instanceof Deno.errors.NotCapable
      ? new Deno.errors.NotCapable(
        `Cannot open ${path}: run Deno with --allow-ffi`,
        { cause },
      )
      : cause as Error;
    if (/register symbol/i.test(error.message)) {
      throw new Error(
        `Cannot use ${path}: it was built from another version of kio; ${BUILD_HINT}`,
        { cause },
      );
    }
    tried.push(error);
    return undefined;
  }
}

/**
 * Has Deno call the shim when this isolate ends, in whatever way, before its
 * buffers are freed: the kernel may still be writing to them. No event of
 * JavaScript covers a terminated worker. Two things of Deno do: a library that
 * it closes then, and the cleanup hooks of Node-API. A worker gets the former
 * where it may, as Deno leaks two fds with the latter; elsewhere the library
 * would be a leak to the resource sanitizer of tests.
 */
function armGuard(shim: Shim, path: string): void {
  if ("WorkerGlobalScope" in globalThis && armByLibrary(shim)) return;
  const { process } = globalThis as unknown as { process: NodeProcess };
  process.dlopen({ exports: {} }, path);
}

function armByLibrary(shim: Shim): boolean {
  const fd = shim.kio_guard_file();
  if (fd < 0) return false;
  const path = `/proc/self/fd/${fd}`;
  try {
    // Asked first, because dlopen() without permission may prompt.
    const { state } = Deno.permissions.querySync({ name: "ffi", path });
    if (state !== "granted") return false;
    Deno.dlopen(path, guardSymbols).symbols.kio_guard_arm(shim.kio_guarded());
    return true;
  } catch {
    return false;
  } finally {
    shim.kio_fd_close(fd);
  }
}
