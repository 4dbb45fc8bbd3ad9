import {
  checkArray,
  checkBoolean,
  checkBounds,
  checkFunction,
} from "../check.ts";
import { type JobOutcome, ringOf, startJobOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { OFFLOAD } from "../ops/table.ts";
import { type Result, success } from "../result.ts";
import { bound, type BoundOptions } from "../ring/bounds.ts";
import type { UringOp } from "../UringOp.ts";
import type { BlockingPool } from "./blocking_pool.ts";

/** Options of a job: its bounds, and memory that is moved instead of copied. */
export interface JobOptions extends BoundOptions {
  /** Memory of the arguments that is moved to the thread instead of copied, like
   * the `transfer` of `structuredClone()`. */
  transfer?: readonly Transferable[] | undefined;
  /**
   * Moves the memory of the result back instead of copying it: that of a
   * buffer, or of the buffers that an array or object holds directly. The job
   * must not keep them.
   * @default {false}
   */
  transferResult?: boolean | undefined;
}

/**
 * A self-contained function, with options.
 *
 * @typeParam A Its parameters.
 * @typeParam T The type that it returns.
 */
export interface FunctionJob<A extends unknown[], T> extends JobOptions {
  /** The function. */
  run: (...args: A) => T;
}

/** A function that a module exports, with options. */
export interface ModuleJob extends JobOptions {
  /** The absolute URL of the module: `import.meta.resolve("./jobs.ts")`. */
  module: string | URL;
  /** The name of the export; `"default"` too. */
  name: string;
}

/**
 * Runs a function on a thread of a pool, so that it may block or compute
 * without stopping anything else. It counts as a pending operation of the
 * context: it keeps the process alive, and closing the context gives it up.
 *
 * The job is one of these, or an object with it and with options
 * (`{ run, timeoutMs: 1000 }`, `{ module, name, signal }`):
 *
 * - A self-contained function. Its text is sent and evaluated in the thread, in
 *   strict mode. It can use its parameters, globals (`Deno`, `process`, `fetch`
 *   …) and modules that it imports itself with `await import()`. It can use
 *   nothing else from outside of it: no variable, no import, no `this`.
 * - An export of a module, `{ module, name }`, which each thread loads once. A
 *   file needs `--allow-read`, a module of another host `--allow-import`; all
 *   else here needs no permission but `--allow-ffi`.
 *
 * The thread has the permissions of the program and shares its environment
 * (`process.env`). A job has the thread for itself until its promise is settled;
 * timers and globals that it leaves stay behind.
 *
 * C++: `Offload`
 *
 * @typeParam A The parameters of the function.
 * @typeParam T The type that it returns.
 * @param ctx The context that the job counts for.
 * @param pool The threads.
 * @param job The function or the export.
 * @param args Its arguments, copied now by structured clone; memory in the
 * option `transfer` is moved.
 * @returns The value that it returns or that its promise gives, copied like the
 * arguments, or moved with the option `transferResult`. `ETIMEDOUT` after
 * `timeoutMs` ms; `ECANCELED` by the `signal`, or if the context or the pool is
 * closed; `EAGAIN` if all threads are busy and the queue is full, or if the
 * system has no thread to spare; `EMFILE` if there are too few fds to start a
 * thread; `EOWNERDEAD` if the thread ends during the job (`Deno.exit()`, an
 * uncaught error that an earlier job has left, which is `error.cause`).
 * @throws The exception of the job (as a rejection). An error keeps name,
 * message, stack, cause and properties like `code`. It keeps its class if that
 * is one of the language, the web or `Deno.errors`.
 * @throws {TypeError} (as a rejection) If the module cannot be loaded, the
 * export is no function, or the result cannot be cloned.
 * @throws {TypeError} If an argument cannot be cloned, the function cannot be
 * sent as text (a native or bound function, a method, a class), the URL is not
 * absolute, or the pool or the context is closed.
 * @throws {RangeError} If `timeoutMs` is out of range.
 *
 * @example Hash beside the event loop, for at most ten seconds
 * ```ts
 * import { BlockingPool, IoContext, offload } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * await using pool = new BlockingPool(1);
 * const data = new Uint8Array(1 << 20);
 * const job = {
 *   run: async (bytes: Uint8Array<ArrayBuffer>) =>
 *     new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)),
 *   transfer: [data.buffer],
 * };
 * const hash = await offload(ctx, pool, job, data).withTimeout(10_000);
 * if (!hash.ok) throw new Error(hash.error.message);
 * assertEquals(hash.value.length, 32);
 * ```
 */
export function offload<A extends unknown[], T>(
  ctx: IoContext,
  pool: BlockingPool,
  job: ((...args: A) => T) | FunctionJob<A, T>,
  ...args: A
): UringOp<Awaited<T>>;
/**
 * Runs an export of a module on a thread of a pool.
 *
 * @typeParam T The type that it returns.
 * @param ctx The context that the job counts for.
 * @param pool The threads.
 * @param job The export.
 * @param args Its arguments.
 * @returns The value that it returns.
 */
export function offload<T = unknown>(
  ctx: IoContext,
  pool: BlockingPool,
  job: ModuleJob,
  ...args: unknown[]
): UringOp<T>;
export function offload(
  ctx: IoContext,
  pool: BlockingPool,
  job: SomeFunction | FunctionJob<never, unknown> | ModuleJob,
  ...args: unknown[]
): UringOp<unknown> {
  const operation = OFFLOAD;
  const ring = ringOf(ctx, operation);
  const startJob = startJobOf(pool, operation);
  const it = typeof job === "function" ? { run: job } : job;
  checkBounds(it, operation.verb);
  const { transfer = [], transferResult = false }: JobOptions = it;
  checkArray(transfer, "transfer", operation.verb);
  checkBoolean(transferResult, "transferResult", operation.verb);
  const source = "run" in it ? sourceOf(it.run) : sourceOfExport(it);
  const call = { source, args, transferResult };
  const op = startJob({ ring, operation, call, transfer, resultOf });
  bound(op, it);
  return op;
}

type SomeFunction = (...args: never) => unknown;

function resultOf(outcome: JobOutcome): Result<unknown> {
  if ("value" in outcome) return success(outcome.value);
  return "lost" in outcome ? outcome.lost : rejecting(outcome.thrown);
}

/** Makes a result that rejects the promise which it settles: a promise does
 * what a thenable does that it is resolved with. */
function rejecting(thrown: unknown): Result<never> {
  const then = (_: unknown, reject: (reason: unknown) => void) =>
    reject(thrown);
  return { ok: true, then } as unknown as Result<never>;
}

/** Writes a function that calls an export of a module. */
function sourceOfExport({ module, name }: ModuleJob): string {
  const url = URL.parse(module);
  if (url === null) {
    throw new TypeError(
      `Cannot ${OFFLOAD.verb}: "${module}" is not an absolute URL; import.meta.resolve() gives one`,
    );
  }
  const [specifier, key, refusal] = [
    url.href,
    String(name),
    `Cannot ${OFFLOAD.verb}: ${url.href} exports no function "${name}"`,
  ].map((text) => JSON.stringify(text));
  return `async (...args) => {
    const job = (await import(${specifier}))[${key}];
    if (typeof job === "function") return await job(...args);
    throw new TypeError(${refusal});
  }`;
}

const sources = new WeakMap<SomeFunction, string>();

/** Gives the text of a function; throws if it cannot be evaluated elsewhere. */
function sourceOf(run: SomeFunction): string {
  checkFunction(run, "the job", OFFLOAD.verb);
  const known = sources.get(run);
  if (known !== undefined) return known;
  const source = Function.prototype.toString.call(run);
  if (!isExpression(source) || /^class\b/.test(source)) {
    throw new TypeError(
      `Cannot ${OFFLOAD.verb}: "${run.name}" cannot be sent as text, as it is a native or bound function, a method or a class; wrap it into an arrow function`,
    );
  }
  sources.set(run, source);
  return source;
}

/** Parses the text, and runs nothing. */
function isExpression(source: string): boolean {
  try {
    new Function(`return (${source});`);
    return true;
  } catch {
    return false;
  }
}
