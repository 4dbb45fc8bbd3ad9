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
const ABI = 14;

/**
 * Deno compiles a stub for each function that it binds. It takes 0.2 ms of the
 * first context, and calls then take 10 ns instead of 230. A function with a
 * struct among its parameters gets no stub. So the rare ones have one more
 * parameter, which they never read.
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

/** Gives the reason why kio cannot run on this system; undefined if it can. */
export function systemComplaint(): string | undefined {
  const { os, arch } = Deno.build;
  if (os === "linux") return undefined;
  return `kio is for Linux only, this is ${os} on ${arch}; run it in a container or a virtual machine with Linux`;
}

/** Tells if this module is a file of its own, and no part of a bundle. */
function isFile(): boolean {
  return import.meta.url.endsWith("/ffi/load.ts") && !Deno.build.standalone;
}

/** Writes how to build the library of this version, for an error message. */
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

/** Gives the shim. The first call opens it, so `import` needs no permission. */
export function loadShim(): Shim {
  return shim ??= open();
}

/** Gives the calls that block, on threads of Deno's pool. Unlike the others
 * they need an open handle of the library. */
export function loadBlockingShim(): BlockingShim {
  loadShim();
  return blockingShim ??= Deno.dlopen(loadedPath, blockingSymbols).symbols;
}

/** Gives the path where the shim was found; threads open it themselves. */
export function shimPath(): string {
  loadShim();
  return loadedPath;
}

/**
 * Gives the calls of the library that fails on demand. From then on all modules
 * use that library. Throws if the other one is in use already.
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
    // This unmaps nothing, as for the other symbols.
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

/** Lists the places to look at, in this order, if none is named. The errors of
 * places that are of no use go to `tried`. */
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

/** Gives the path of a file beside a module; undefined if that is not in the
 * file system. A worker has no main module. */
function fileBeside(
  name: string,
  base: string | undefined,
): string | undefined {
  if (!base?.startsWith("file:")) return undefined;
  return decodeURIComponent(new URL(name, base).pathname);
}

/**
 * Opens a library of this version of kio, and gives its functions.
 *
 * @param path Its path.
 * @param name Its name in errors.
 * @param then The remedy in errors.
 * @throws {Deno.errors.NotFound} If there is no file.
 * @throws {Deno.errors.NotCapable} Without permission.
 * @throws {Error} If the file cannot be used.
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
  // The shim is linked `-z nodelete`, so closing the handle unmaps nothing. The
  // resource sanitizer of a test that makes a context would report an open one.
  library.close();
  const functions = shimOf(library.symbols);
  if (functions.kio_abi() !== ABI) throw staleError(name, then);
  return functions;
}

/** Gives the rare functions that parameter. */
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
  // A library that it needs has no path in that message.
  if (/: \/.*: cannot open .*: No such file/i.test(message)) {
    return new Deno.errors.NotFound(`${name}: not there`, { cause });
  }
  const hint = /failed to map segment/i.test(message)
    ? "its file system may be mounted noexec: put the library on another, with XDG_CACHE_HOME, KIO_LIB or --project of the build"
    : then();
  return new Error(`Cannot use ${name}: ${message}; ${hint}`, { cause });
}

/**
 * Arms the guard: Deno then calls the shim when this isolate ends, in whatever
 * way, before it frees the isolate's buffers. The kernel may still be writing
 * to them.
 *
 * No event of JavaScript covers a terminated worker. Deno has two that do: it
 * closes the isolate's libraries, and it runs the cleanup hooks of Node-API.
 * The library is cheaper by far: `process` loads much of Node, and Deno leaks
 * two fds for a worker with a hook. But the resource sanitizer of `deno test`
 * would report an open library, so a test gets the hook.
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
  // The system's loader takes equal paths for one library. With the thread in
  // the path it is no other guard's, even if that had the same fd.
  const path = `/proc/self/task/${shim.kio_thread_id()}/fd/${fd}`;
  try {
    // Before dlopen(), which may prompt without permission.
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
