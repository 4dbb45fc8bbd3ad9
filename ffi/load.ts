import { cachedLibrary, FAULTS_LIBRARY_NAME, LIBRARY_NAME } from "./cache.ts";
import { VERSION } from "./digest.ts";
import {
  blockingSymbols,
  faultSymbols,
  guardSymbols,
  rareSymbols,
  symbols,
} from "./symbols.ts";

type ShimSymbols = typeof symbols & typeof rareSymbols;

/** The functions of the shim, bound. */
export type Shim = Deno.DynamicLibrary<ShimSymbols>["symbols"];

export type BlockingShim = Deno.DynamicLibrary<
  typeof blockingSymbols
>["symbols"];

export type FaultShim = Deno.DynamicLibrary<typeof faultSymbols>["symbols"];

/** Has to be `KIO_ABI` of shim/kio.h. */
const ABI = 10;

/**
 * For each function that is bound Deno compiles a stub: 0.2 ms of the first
 * context, for calls of 10 ns instead of 230. It has none for functions with a
 * struct among their parameters, so the rare ones get one, behind all that they
 * look at.
 */
const STUBLESS = { struct: ["u8"] } as const;
const NO_STUB = new Uint8Array(1);

interface NodeProcess {
  dlopen(module: { exports: unknown }, path: string): void;
}

let shim: Shim | undefined;
let blockingShim: BlockingShim | undefined;
let faultShim: FaultShim | undefined;
let loadedPath = "";
let wantsFaults = false;

/** Says that kio cannot run on this system; undefined where it can. */
export function systemComplaint(): string | undefined {
  const { os, arch } = Deno.build;
  if (os === "linux") return undefined;
  return `kio is for Linux only, this is ${os} on ${arch}; run it in a container or a virtual machine with Linux`;
}

/** Tells if this module is a file of its own, and no part of a bundle. */
function isFile(): boolean {
  return import.meta.url.endsWith("/ffi/load.ts") && !Deno.build.standalone;
}

/** How the library of this very version comes to be, for whoever reads it. */
function advice(explicit: string | undefined): string {
  if (explicit !== undefined) {
    return "unset KIO_LIB, or have it name the library of this version";
  }
  const { url } = import.meta;
  if (isFile() && url.startsWith("file:")) {
    const build = wantsFaults ? "deno task build:faults" : "deno task build";
    return `in a checkout of kio, run: ./setup.sh && ${build}`;
  }
  const jsr = /^\/(@[^/]+\/[^/]+)\/([^/]+)\/ffi\/load\.ts$/.exec(
    new URL(url).pathname,
  );
  const build = jsr !== null
    ? `jsr:${jsr[1]}@${jsr[2]}/build`
    : isFile()
    ? new URL("./build.ts", url).href
    : `jsr:@kio/kio@${VERSION}/build`;
  const option = wantsFaults ? " --faults" : "";
  return `build it once, with: deno run -A ${build}${option}`;
}

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

/** Where the shim was found; threads open it themselves. */
export function shimPath(): string {
  loadShim();
  return loadedPath;
}

/**
 * The calls of the library that fails on demand, which from then on is the one
 * that everything uses. Refused when the other is in use already.
 */
export function loadFaultShim(): FaultShim {
  if (faultShim !== undefined) return faultShim;
  const verb = "Cannot inject faults";
  if (shim === undefined) {
    wantsFaults = true;
    try {
      loadShim();
    } catch (cause) {
      wantsFaults = false;
      if (!(cause instanceof Deno.errors.NotFound)) throw cause;
      throw new Deno.errors.NotFound(
        `${verb}: the library for it is not there\n${cause.message}`,
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
  const complaint = systemComplaint();
  if (complaint !== undefined) throw new Deno.errors.NotSupported(complaint);
  const explicit = explicitPath();
  const then = () => advice(explicit);
  const tried: Error[] = [];
  for (const path of explicit === undefined ? candidates(tried) : [explicit]) {
    let found: Shim;
    try {
      const name = explicit === undefined ? path : `KIO_LIB=${path}`;
      found = openLibrary(path, name, then);
    } catch (error) {
      if (!isElsewhere(error)) throw error;
      tried.push(error);
      continue;
    }
    armGuard(found, path);
    loadedPath = path;
    return found;
  }
  if (tried.every(({ name }) => name === "NotCapable")) throw tried[0];
  const list = tried.map((error) => `  ${error.message}`).join("\n");
  throw new Deno.errors.NotFound(
    `Cannot find the library of kio; ${then()}\n${list}`,
  );
}

/** Tells if there may be a library elsewhere in spite of an error. */
function isElsewhere(error: unknown): error is Error {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.NotCapable;
}

/** The places to look at, in this order, where none is named; what is known to
 * be of no use goes to `tried`. */
function* candidates(tried: Error[]): Generator<string> {
  const [plain, installed] = wantsFaults
    ? ["libkio_faults.so", FAULTS_LIBRARY_NAME]
    : ["libkio.so", LIBRARY_NAME];
  const checkout = isFile()
    ? fileBeside(`./build/${plain}`, import.meta.url)
    : undefined;
  const others = [
    fileBeside(`./.kio/${installed}`, Deno.mainModule),
    `/usr/local/lib/kio/${plain}`,
    `/usr/lib/kio/${plain}`,
  ].filter((path) => path !== undefined);
  if (![checkout, ...others].some((path) => path && isGranted(path))) {
    // One question on a terminal, instead of one for each place.
    Deno.permissions.requestSync({ name: "ffi" });
  }
  if (checkout !== undefined) yield checkout;
  try {
    yield cachedLibrary(installed);
  } catch (error) {
    if (!isElsewhere(error)) throw error;
    tried.push(error);
  }
  yield* others;
}

function explicitPath(): string | undefined {
  const granted = Deno.permissions.querySync({
    name: "env",
    variable: "KIO_LIB",
  }).state === "granted";
  const path = granted ? Deno.env.get("KIO_LIB") : undefined;
  if (path === undefined || path === "") return undefined;
  if (path.startsWith("/")) return path;
  throw new TypeError(
    `Cannot use KIO_LIB: it must be an absolute path, got "${path}"`,
  );
}

function isGranted(path: string): boolean {
  const { state } = Deno.permissions.querySync({ name: "ffi", path });
  return state === "granted";
}

/** Undefined for what is not in the file system; a worker has no main module. */
function fileBeside(
  name: string,
  base: string | undefined,
): string | undefined {
  if (!base?.startsWith("file:")) return undefined;
  return decodeURIComponent(new URL(name, base).pathname);
}

/**
 * Opens a library, which has to be of this version of kio; gives its functions.
 *
 * @param path Where it is.
 * @param name What errors call it.
 * @param then What they say is to be done.
 * @throws {Deno.errors.NotFound} If there is no file, {Deno.errors.NotCapable}
 * without permission, {Error} if there is something that cannot be used.
 */
export function openLibrary(
  path: string,
  name: string,
  then: () => string,
): Shim {
  if (!isGranted(path)) {
    throw new Deno.errors.NotCapable(
      `Cannot open ${name}: run Deno with --allow-ffi`,
    );
  }
  let library: Deno.DynamicLibrary<ShimSymbols>;
  try {
    library = Deno.dlopen(path, { ...symbols, ...stubless() });
  } catch (cause) {
    throw dlopenError(name, then, cause as Error);
  }
  // The shim is linked `-z nodelete` and its functions carry their own data,
  // so closing the handle unmaps nothing; an open one would be reported by
  // the resource sanitizer of whoever makes a context inside a test.
  library.close();
  const functions = shimOf(library.symbols);
  if (functions.kio_abi() !== ABI) throw staleError(name, then);
  return functions;
}

/** The rare functions, with that parameter. */
function stubless(): typeof rareSymbols {
  const entries = Object.entries(rareSymbols).map(([name, definition]) => {
    const { parameters, result } = definition;
    return [name, { parameters: [...parameters, STUBLESS], result }];
  });
  return Object.fromEntries(entries);
}

/** Wraps the bound functions to be called as they are declared: without that
 * parameter. */
function shimOf(bound: Shim): Shim {
  const functions: Record<string, unknown> = { ...bound };
  for (const name of Object.keys(rareSymbols) as (keyof typeof rareSymbols)[]) {
    const call = bound[name] as (...values: unknown[]) => unknown;
    functions[name] = (...values: unknown[]) => call(...values, NO_STUB);
  }
  return functions as Shim;
}

function staleError(name: string, then: () => string, cause?: Error): Error {
  return new Error(
    `Cannot use ${name}: it was built from another version of kio; ${then()}`,
    { cause },
  );
}

/** Translates the message of the system's loader into what to do. */
function dlopenError(name: string, then: () => string, cause: Error): Error {
  const { message } = cause;
  if (/register symbol/i.test(message)) return staleError(name, then, cause);
  // Not so where it is a library that it needs, which has no path.
  if (/: \/.*: cannot open .*: No such file/i.test(message)) {
    return new Deno.errors.NotFound(`${name}: not there`, { cause });
  }
  const hint = /failed to map segment/i.test(message)
    ? "its file system may be mounted noexec: put the library on another, with XDG_CACHE_HOME, KIO_LIB or --project of the build"
    : then();
  return new Error(`Cannot use ${name}: ${message}; ${hint}`, { cause });
}

/**
 * Has Deno call the shim when this isolate ends, in whatever way, before its
 * buffers are freed: the kernel may still be writing to them. No event of
 * JavaScript covers a terminated worker. Two things of Deno do: a library that
 * it closes then, and the cleanup hooks of Node-API. The library is the cheaper
 * one by far, as `process` brings much of Node with it, and Deno leaks two fds
 * for a worker with a hook. But under `deno test` it would be a leak to the
 * resource sanitizer.
 */
function armGuard(shim: Shim, path: string): void {
  if (!isTest() && armByLibrary(shim)) return;
  const { process } = globalThis as unknown as { process: NodeProcess };
  process.dlopen({ exports: {} }, path);
}

/** Tells if this may be the body of a test: elsewhere `Deno.test` does nothing,
 * and its name says so. Workers have no tests. */
function isTest(): boolean {
  return !("WorkerGlobalScope" in globalThis) && Deno.test.name !== "noopTest";
}

function armByLibrary(shim: Shim): boolean {
  const fd = shim.kio_guard_file();
  if (fd < 0) return false;
  // The system's loader takes equal paths for one library: with the thread in
  // it, it is no other guard's, also when that had an fd of the same number.
  const path = `/proc/self/task/${shim.kio_thread_id()}/fd/${fd}`;
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
