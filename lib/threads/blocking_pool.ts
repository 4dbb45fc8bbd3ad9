import { bound, type BoundOptions } from "../ring/bounds.ts";
import {
  checkArray,
  checkBounds,
  checkFunction,
  checkInteger,
  checkOptions,
} from "../check.ts";
import { EAGAIN, EINVAL, EOWNERDEAD } from "../errno.ts";
import { type IoContext, ringOf } from "../IoContext.ts";
import { OFFLOAD } from "../ops/table.ts";
import type { Operation } from "../ring/operation.ts";
import { type Outcome, PoolThread, type Task } from "./pool_thread.ts";
import {
  errorOf,
  exceptionOf,
  failureOf,
  type Result,
  success,
} from "../result.ts";
import type { Ring } from "../ring/Ring.ts";
import type { UringOp } from "../UringOp.ts";
import { NO_ROOM_HINT, roomForThreads } from "./worker_threads.ts";

/** How a `BlockingPool` is made. */
export interface BlockingPoolOptions {
  /**
   * Threads at most, 1 to 256, those included that still run a job which was
   * given up.
   * @default {4}
   */
  threads?: number | undefined;
  /**
   * Jobs that may wait for a thread, 0 to 2^20: one more fails with `EAGAIN`.
   * @default {1024}
   */
  queueMax?: number | undefined;
}

/** What bounds a job, and what is moved instead of copied. */
export interface JobOptions extends BoundOptions {
  /** Of the arguments: memory that is moved to the thread instead of copied,
   * like the `transfer` of `structuredClone()`. */
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
 * @typeParam T What it returns.
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

const THREADS_MAX = 256;
const QUEUE_MAX = 2 ** 20;

/** Throws unless it is a pool that takes jobs. */
export let checkPool: (pool: BlockingPool, operation: Operation) => void;

/**
 * Starts a job as an operation of a ring; the pool is checked. What it is sent is cloned now: the
 * caller may change it while the job waits for a thread.
 */
export let startJob: <T>(
  pool: BlockingPool,
  ring: Ring,
  operation: Operation,
  task: Task,
  transfer: readonly Transferable[],
  resultOf: (outcome: Outcome) => Result<T>,
  action?: string,
) => UringOp<T>;

/** A job that waits or runs. */
interface Job {
  readonly op: UringOp<unknown>;
  readonly task: Task;
  readonly transfer: readonly Transferable[];
  readonly finish: (outcome: Outcome) => void;
  /** It does not run, for want of that. */
  readonly refuse: (errno: number) => void;
}

/**
 * Threads for work that blocks or computes, which would stop everything else
 * in the program: `offload()` gives it to them, `SocketAddress.resolveAsync()`
 * uses them. A thread is started when a job finds none idle, which takes some
 * 50 ms of the caller's thread, and is kept. Idle threads do not keep the
 * process alive. Stands for `BlockingPool`.
 *
 * A job whose promise was given up (by a timeout, a signal or a closed
 * context) may still be running: nothing can interrupt native code or a loop
 * of JavaScript. Its thread ends as soon as it returns, and only then another
 * takes its place, so there are never more than `threads`.
 *
 * @example Compute beside the event loop
 * ```ts
 * import { BlockingPool, IoContext, offload } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * await using pool = new BlockingPool(2);
 * const sum = await offload(ctx, pool, (n: number) => {
 *   let total = 0;
 *   for (let i = 1; i <= n; i++) total += i;
 *   return total;
 * }, 1000);
 * assertEquals(sum, 500500);
 * ```
 */
export class BlockingPool implements Disposable, AsyncDisposable {
  readonly #threadsMax: number;
  readonly #queueMax: number;
  /** All threads that have not ended, with the job of each: its last one
   * where that was given up, null while it is idle. */
  readonly #threads = new Map<PoolThread, Job | null>();
  /** In the order in which they came. */
  readonly #queue = new Set<Job>();
  #closing = false;

  /**
   * Makes a pool; no thread is started yet.
   *
   * @param options `threads`, or all options.
   * @throws {RangeError} If an option is out of range.
   */
  constructor(options: number | BlockingPoolOptions = {}) {
    const verb = "make a BlockingPool";
    if (typeof options !== "number") checkOptions(options, verb);
    const { threads = 4, queueMax = 1024 } = typeof options === "number"
      ? { threads: options }
      : options;
    this.#threadsMax = checkInteger(threads, THREADS_MAX, "threads", verb, 1);
    this.#queueMax = checkInteger(queueMax, QUEUE_MAX, "queueMax", verb);
  }

  static {
    checkPool = (pool, { verb }) => {
      if (!(pool instanceof BlockingPool)) {
        throw new TypeError(
          `Cannot ${verb}: expected a BlockingPool, got ${typeof pool}`,
        );
      }
      if (!pool.#closing) return;
      throw new TypeError(
        `Cannot ${verb}: the BlockingPool is closed; make a new one`,
      );
    };

    startJob = <T>(
      pool: BlockingPool,
      ring: Ring,
      operation: Operation,
      task: Task,
      transfer: readonly Transferable[],
      resultOf: (outcome: Outcome) => Result<T>,
      action?: string,
    ) => {
      const { op, settle } = ring.external<T>(
        ring.take(operation),
        () => pool.#giveUp(job),
        action,
      );
      const finish = (outcome: Outcome) => settle(resultOf(outcome));
      const refuse = (errno: number) => settle(failureOf(operation, errno));
      const copy = cloned(task, transfer, settle);
      const job: Job = { op, finish, refuse, ...copy };
      if (pool.#isFull) refuse(EAGAIN);
      else pool.#add(job);
      return op;
    };
  }

  /** Jobs that wait or run; one that was given up does not count. */
  get pending(): number {
    return this.#jobs.length;
  }

  /**
   * Closes the pool: no more jobs from now on. It waits until those that wait
   * or run are done, then ends the threads and waits for that.
   *
   * @param options With `cancel`, jobs are given up instead: each rejects with
   * `ECANCELED`. A thread that still runs one is not waited for.
   * @returns When it is closed. May be called again, to cancel after all.
   */
  async close(options: { cancel?: boolean | undefined } = {}): Promise<void> {
    checkOptions(options, "close a BlockingPool");
    this.#closing = true;
    const ops = this.#jobs.map(({ op }) => op);
    if (options.cancel === true) { for (const op of ops) op.cancel(); }
    await Promise.all(ops);
    const ends: Promise<void>[] = [];
    for (const [thread, job] of this.#threads) {
      if (job !== null) continue;
      thread.end();
      thread.ref();
      ends.push(thread.ended);
    }
    await Promise.all(ends);
  }

  /** Gives up all jobs and ends the threads, without waiting for anything. */
  [Symbol.dispose](): void {
    void this.close({ cancel: true });
  }

  /** The same as `close()`: waits for the jobs. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #jobs(): Job[] {
    const running = [...this.#threads]
      .map(([thread, job]) => thread.isEnding ? null : job)
      .filter((job) => job !== null);
    // First those that wait: cancelled in this order none of them is started.
    return [...this.#queue, ...running];
  }

  get #isFull(): boolean {
    const idle = this.#threads.entries().filter(isIdle).toArray().length;
    const startable = this.#threadsMax - this.#threads.size;
    return this.#queue.size >= this.#queueMax + idle + startable;
  }

  /** It starts a microtask later: cancelled before that, it never does. */
  #add(job: Job): void {
    this.#queue.add(job);
    queueMicrotask(() => this.#dispatch());
  }

  #dispatch(): void {
    for (const job of this.#queue) {
      const idle = this.#threads.entries().find(isIdle)?.[0];
      if (!idle && this.#threads.size >= this.#threadsMax) return;
      this.#queue.delete(job);
      const room = idle ? 0 : roomForThreads(1);
      if (room < 0) {
        job.refuse(-room);
        continue;
      }
      try {
        const thread = idle ?? this.#startThread();
        this.#threads.set(thread, job);
        thread.run(job.task, job.transfer);
      } catch (thrown) {
        // The system has no thread to spare.
        job.finish({ thrown });
      }
    }
  }

  #startThread(): PoolThread {
    return new PoolThread({
      onOutcome: (thread, outcome) => {
        this.#threads.get(thread)?.finish(outcome);
        if (!thread.isEnding) this.#threads.set(thread, null);
        this.#dispatch();
      },
      onEnd: (thread, why, cause) => {
        this.#threads.get(thread)?.finish({ thrown: endedError(why, cause) });
        this.#threads.delete(thread);
        this.#dispatch();
      },
    });
  }

  /** Its promise is settled already. */
  #giveUp(job: Job): void {
    if (this.#queue.delete(job)) return;
    for (const [thread, its] of this.#threads) if (its === job) thread.end();
  }
}

function isIdle([thread, job]: [PoolThread, Job | null]): boolean {
  return job === null && !thread.isEnding;
}

/** A copy for the thread, and in it what is moved. */
function cloned(
  task: Task,
  transfer: readonly Transferable[],
  settle: (result: Result<never>) => void,
): Pick<Job, "task" | "transfer"> {
  try {
    return structuredClone({ task, transfer }, { transfer: [...transfer] });
  } catch (cause) {
    settle(failureOf(OFFLOAD, EINVAL));
    const { message } = cause as Error;
    throw new TypeError(
      `Cannot offload a job: an argument cannot be cloned or moved: ${message}`,
      { cause },
    );
  }
}

function endedError(exitCode: number, cause: unknown): Error {
  const why = cause === undefined ? `exit code ${exitCode}` : `${cause}`;
  const error = errorOf(EOWNERDEAD);
  const hint = `: its thread has ended (${why})`;
  return Object.assign(
    exceptionOf(error, OFFLOAD.verb, OFFLOAD.name, hint),
    { cause },
  );
}

/**
 * Runs a function on a thread of a pool, so that it may block or compute
 * without stopping anything else. It counts as a pending operation of the
 * context: it keeps the process alive, and closing the context gives it up.
 * Stands for `Offload`.
 *
 * What to run is one of these, or an object with it and with options
 * (`{ run, timeout: 1000 }`, `{ module, name, signal }`):
 *
 * - A self-contained function. Its text is sent and evaluated in the thread, in
 *   strict mode: it can use its parameters, globals (`Deno`, `process`, `fetch`
 *   …) and what it imports itself with `await import()`, but nothing else from
 *   outside of it, no variable, no import, no `this`.
 * - An export of a module, `{ module, name }`. It is loaded once for each
 *   thread. For a file that needs `--allow-read`, for a module of another host
 *   `--allow-import`; all else here needs no permission but `--allow-ffi`.
 *
 * The thread has the permissions of the program and shares its environment
 * (`process.env`). A job has it for itself until its promise is settled; timers
 * and globals that it leaves stay behind.
 *
 * @typeParam A The parameters of the function.
 * @typeParam T What it returns.
 * @param ctx The context that the job counts for.
 * @param pool The threads.
 * @param job What to run.
 * @param args Its arguments, copied now by structured clone; memory in the
 * option `transfer` is moved.
 * @returns What it returns (or its promise gives), copied likewise, or moved
 * with the option `transferResult`. Rejects with what it throws: an error
 * keeps name, message, stack, cause and properties like `code`, and its class
 * if that is one of the language, the web or `Deno.errors`. Rejects also with
 * a `code` of its own, as `orThrow()` does: `ETIMEDOUT` after `timeout` ms,
 * `ECANCELED` by the `signal` or because the context or the pool was closed,
 * `EAGAIN` if all threads are busy and the queue is full, `EMFILE` if there are
 * too few fds to start a thread, `EOWNERDEAD` if the
 * thread ends during the job (`Deno.exit()`, an uncaught error of something
 * that was left there). `TypeError` for a module that cannot be loaded, an
 * export that is no function, a result that cannot be cloned.
 * @throws {TypeError} If an argument cannot be cloned, the function cannot be
 * sent as text (a native or bound function, a method, a class), the URL is not
 * absolute, or the pool or the context is closed.
 * @throws {RangeError} If `timeout` is out of range.
 *
 * @example Hash beside the event loop, for at most a second
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
 *   timeout: 10_000,
 * };
 * const hash = await offload(ctx, pool, job, data);
 * assertEquals(hash.length, 32);
 * ```
 */
export function offload<A extends unknown[], T>(
  ctx: IoContext,
  pool: BlockingPool,
  job: ((...args: A) => T) | FunctionJob<A, T>,
  ...args: A
): Promise<Awaited<T>>;
/**
 * The same for an export of a module.
 *
 * @typeParam T What it returns.
 * @param ctx The context that the job counts for.
 * @param pool The threads.
 * @param job What to run.
 * @param args Its arguments.
 * @returns What it returns.
 */
export function offload<T = unknown>(
  ctx: IoContext,
  pool: BlockingPool,
  job: ModuleJob,
  ...args: unknown[]
): Promise<T>;
export function offload(
  ctx: IoContext,
  pool: BlockingPool,
  job: SomeFunction | FunctionJob<never, unknown> | ModuleJob,
  ...args: unknown[]
): Promise<unknown> {
  const ring = ringOf(ctx, OFFLOAD);
  const { verb } = OFFLOAD;
  checkPool(pool, OFFLOAD);
  const it = typeof job === "function" ? { run: job } : job;
  checkBounds(it, verb);
  const { transfer = [], transferResult = false }: JobOptions = it;
  checkArray(transfer, "transfer", verb);
  const source = "run" in it ? sourceOf(it.run) : sourceOfExport(it);
  const task: Task = { source, args, transferResult };
  const op = startJob(pool, ring, OFFLOAD, task, transfer, success);
  bound(op, it);
  return valueOf(op);
}

type SomeFunction = (...args: never) => unknown;

const HINTS: Record<string, string> = {
  EAGAIN:
    ": all threads are busy and the queue is full; wait for some jobs or raise queueMax",
  EMFILE: NO_ROOM_HINT,
  ENFILE: NO_ROOM_HINT,
};

async function valueOf(op: UringOp<Outcome>): Promise<unknown> {
  const result = await op;
  if (!result.ok) {
    const hint = HINTS[result.error.code];
    throw exceptionOf(result.error, OFFLOAD.verb, OFFLOAD.name, hint);
  }
  if ("thrown" in result.value) throw result.value.thrown;
  return result.value.value;
}

/** The text of a function that calls an export of a module. */
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

/** The text of a function, if it is one that can be evaluated. */
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

/** Parses it, and runs nothing. */
function isExpression(source: string): boolean {
  try {
    new Function(`return (${source});`);
    return true;
  } catch {
    return false;
  }
}
