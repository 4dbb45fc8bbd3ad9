/**
 * Both sides of a pool are in this folder: this file and `worker.ts` run in the
 * thread that has the pool, `join_pool.ts` in its workers. `messages.ts` is what
 * they say to each other.
 */
import {
  checkArray,
  checkBoolean,
  checkDelay,
  checkFunction,
  checkInteger,
  checkOptions,
} from "../check.ts";
import { ESRCH } from "../errno.ts";
import { passFd } from "../io.ts";
import { checkEntries } from "../context_options.ts";
import { IoContext } from "../IoContext.ts";
import { PASS_FD } from "../ops/table.ts";
import { errorOf, exceptionOf, failureOf, type Result } from "../result.ts";
import { SharedCounters } from "./messages.ts";
import { NO_ROOM_HINT, roomForThreads } from "./room.ts";
import {
  type PoolPlan,
  type PoolStats,
  RESTART_MS_MIN,
  RunningWorker,
  WorkerSlot,
  type WorkerStats,
} from "./worker.ts";

const VERB = "start a pool";

const WORKERS_MAX = 1024;

/** The most time between the death of a worker and the next in its slot. */
const RESTART_MS_MAX = 10_000;
/** After a worker that has lived this long the next starts soon again. */
const LIFE_MS_MIN = 10_000;

/**
 * Options of `WorkerPool.start()`.
 *
 * @typeParam T The type of `data`.
 */
export interface WorkerPoolOptions<T> {
  /** The number of workers, 1 to 1024.
   * @default {navigator.hardwareConcurrency} */
  workers?: number | undefined;
  /** `entries` of each worker's context.
   * @default {256} */
  entries?: number | undefined;
  /** `exclusive` of each worker's context.
   * @default {false} */
  exclusive?: boolean | undefined;
  /** Keeps each worker on a CPU of its own (sched_setaffinity(2)): worker i on
   * the i-th of those that the process may use, round and round.
   * @default {false} */
  cpuAffinity?: boolean | undefined;
  /** Data for the workers: each gets a copy by `structuredClone`. Shared memory
   * is shared. */
  data?: T | undefined;
  /** Names of the counters that workers keep by `pool.count()`.
   * @default {[]} */
  counters?: readonly string[] | undefined;
  /** Replaces a worker that dies: after 100 ms, and after twice as long each
   * time, up to 10 s, until one has lived for 10 s.
   * @default {false} */
  restart?: boolean | undefined;
  /** Called for each worker that dies once the pool has started, with the error
   * and its index. The `cause` of the error is the exception of the worker. If
   * left out, the error is reported like an uncaught one, which ends the
   * program; with `restart` it is printed. */
  onError?: ((error: Error, index: number) => void) | undefined;
  /** Milliseconds that a worker may take until it calls `pool.ready()`.
   * @default {10000} */
  readyTimeoutMs?: number | undefined;
}

/** Options of `WorkerPool.shutdown()`. */
export interface ShutdownOptions {
  /** Milliseconds for the workers to finish, 0 or more.
   * @default {10000} */
  graceMs?: number | undefined;
}

/**
 * Runs a module in worker threads, each with a context of its own: thread per
 * core, without locks between them. The module calls `joinPool()`. Workers
 * share a listening socket by its fd, have one each by `SO_REUSEPORT`, or get
 * connections by `passFd()`. A pool keeps the process alive until all of its
 * workers have ended.
 *
 * Deno needs `--allow-read` to load a module of the file system in a worker.
 *
 * @example
 * ```ts ignore
 * import { SocketAddress, TcpListener, unwrap, WorkerPool } from "@kio/kio";
 *
 * using listener = unwrap(TcpListener.bind(8080));
 * const pool = await WorkerPool.start(import.meta.resolve("./worker.ts"), {
 *   data: { listener: listener.fd },
 * });
 * Deno.addSignalListener("SIGTERM", () => pool.shutdown());
 * await pool.closed;
 * ```
 */
export class WorkerPool implements AsyncDisposable {
  /** Resolves when all workers have ended, by `shutdown()` or because they had
   * nothing left to do. */
  readonly closed: Promise<void>;
  readonly #closed = Promise.withResolvers<void>();
  readonly #plan: PoolPlan;
  readonly #ctx = new IoContext(8);
  readonly #slots: WorkerSlot[] = [];
  #isStarted = false;
  #shutdown: Promise<number> | undefined;
  /** Index of the worker that gets the next fd. */
  #next = 0;

  private constructor(plan: PoolPlan) {
    this.#plan = plan;
    this.closed = this.#closed.promise;
    for (let index = 0; index < plan.workers; index++) {
      const shared = new SharedCounters(plan.counters);
      this.#slots.push(new WorkerSlot(shared, this.#open(index, shared)));
    }
  }

  /**
   * Starts a pool.
   *
   * @typeParam T The type of `data`.
   * @param moduleUrl The module that the workers run, as an absolute URL:
   * `import.meta.resolve("./worker.ts")`.
   * @param options The number of workers, and their data.
   * @returns The pool, when every worker has called `pool.ready()`. After an
   * exception no worker is left.
   * @throws {TypeError} If `moduleUrl` is no absolute URL or an option has the
   * wrong type.
   * @throws {RangeError} If an option is out of range.
   * @throws {Error} If a worker fails before it is ready, with its exception as
   * `cause`, or is not ready in time; with `code` `EMFILE` or `ENFILE` if there
   * are too few fds for so many threads; the exceptions of `structuredClone`
   * and of `new IoContext()`.
   */
  static async start<T>(
    moduleUrl: string | URL,
    options: WorkerPoolOptions<T> = {},
  ): Promise<WorkerPool> {
    const plan = planOf(moduleUrl, options);
    const room = roomForThreads(plan.workers);
    if (room < 0) {
      throw exceptionOf(errorOf(-room), VERB, undefined, `: ${NO_ROOM_HINT}`);
    }
    const pool = new WorkerPool(plan);
    try {
      await pool.#started();
    } catch (error) {
      await pool.#end(0);
      throw error;
    }
    pool.#isStarted = true;
    pool.#endIfOver();
    return pool;
  }

  /** `ringFd` of each worker's context, for `wake()` and `asyncMsgRing()`; -1,
   * which these refuse, for one that does not serve now. */
  get ringFds(): readonly number[] {
    return this.#slots.map(({ worker }) =>
      worker.state === "serving" ? worker.ringFd : -1
    );
  }

  /** Waits until all serve; one that dies meanwhile is an error, too. */
  async #started(): Promise<void> {
    const { promise: died, reject } = Promise.withResolvers<never>();
    for (const { worker } of this.#slots) {
      void worker.ended.then((error) => error && reject(error));
    }
    const ready = this.#slots.map(({ worker }) => worker.ready);
    await Promise.race([Promise.all(ready), died]);
  }

  #open(index: number, shared: SharedCounters): RunningWorker {
    const worker = new RunningWorker(this.#ctx, this.#plan, index, shared);
    void worker.ended.then((error) => this.#onEnd(index, error));
    return worker;
  }

  #onEnd(index: number, error: Error | undefined): void {
    // start() waits for the end of a worker itself, and reports it.
    if (!this.#isStarted) return;
    const slot = this.#slots[index]!;
    if (error !== undefined) {
      const { restart, onError } = this.#plan;
      if (restart && this.#shutdown === undefined) this.#restart(index, slot);
      try {
        onError(error, index);
      } catch (thrown) {
        reportError(thrown);
      }
    }
    this.#endIfOver();
  }

  #endIfOver(): void {
    const isOver = this.#slots.every(({ worker, timer }) =>
      worker.state === "ended" && timer === undefined
    );
    if (isOver) void this.shutdown();
  }

  #restart(index: number, slot: WorkerSlot): void {
    if (performance.now() - slot.worker.startMs > LIFE_MS_MIN) {
      slot.restartMs = RESTART_MS_MIN;
    }
    slot.timer = setTimeout(() => {
      if (roomForThreads(1) < 0) return this.#restart(index, slot);
      slot.timer = undefined;
      slot.restarts++;
      slot.cpuMs += slot.worker.cpuMs;
      slot.worker = this.#open(index, slot.shared);
    }, slot.restartMs);
    slot.restartMs = Math.min(2 * slot.restartMs, RESTART_MS_MAX);
  }

  /**
   * Gives an fd, mostly of a connection, to the next worker in turn that
   * serves: its `ctx.onFd` is called with it and owns it. See `passFd()`.
   *
   * @param fd The fd.
   * @param tag An integer from 0 to 2^53 - 1 that comes with it.
   * @returns `ESRCH` if no worker serves (any more), `EBADF` if `fd` is not
   * open. After an error the caller still owns the fd.
   * @throws {RangeError} If an argument is out of range.
   */
  passFd(fd: number, tag = 0): Result<void> {
    for (let tries = this.#slots.length; tries > 0; tries--) {
      const { worker } = this.#slots[this.#next]!;
      this.#next = (this.#next + 1) % this.#slots.length;
      if (worker.state !== "serving") continue;
      const given = passFd(worker.ringFd, fd, tag);
      if (given.ok || given.error.code === "EBADF") return given;
      // Its worker is about to die: the next one.
    }
    return failureOf(PASS_FD, ESRCH);
  }

  /** Reads the counts of the pool and of each worker out of shared memory, at
   * any time, also after the end. */
  stats(): PoolStats {
    const workers = this.#slots.map((slot) => slot.stats);
    const sum = (of: (stats: WorkerStats) => number) =>
      workers.reduce((total, stats) => total + of(stats), 0);
    return {
      workers,
      pending: sum(({ pending }) => pending),
      cpuMs: sum(({ cpuMs }) => cpuMs),
      restarts: sum(({ restarts }) => restarts),
      counters: Object.fromEntries(
        this.#plan.counters.map((name) => [
          name,
          sum(({ counters }) => counters[name]!),
        ]),
      ),
    };
  }

  /**
   * Ends the pool: aborts `pool.stopping` of the workers, and waits until each
   * has finished and returned. After `graceMs` the context of a worker that has
   * not is closed, which cancels its operations. A worker that goes on is
   * terminated. Called again, it gives the same promise.
   *
   * @param options The time for the workers.
   * @returns The number of workers that were cut off, less than a second after
   * `graceMs`. All have ended by then, and their rings and sockets are closed.
   * Deno does not interrupt JavaScript: a thread in a loop ends when that
   * returns, or by `Deno.exit()`.
   * @throws {RangeError} If `graceMs` is out of range.
   */
  shutdown(options: ShutdownOptions = {}): Promise<number> {
    checkOptions(options, "shut down");
    const { graceMs = 10_000 } = options;
    checkDelay(graceMs, "graceMs", "shut down");
    return this.#shutdown ??= this.#end(graceMs);
  }

  async #end(graceMs: number): Promise<number> {
    const forced = await Promise.all(this.#slots.map((slot) => {
      clearTimeout(slot.timer);
      slot.timer = undefined;
      return slot.worker.shutdown(graceMs);
    }));
    await this.#ctx[Symbol.asyncDispose]();
    this.#closed.resolve();
    return forced.filter((isForced) => isForced).length;
  }

  /** Ends the pool as `shutdown()` does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }
}

function planOf<T>(
  moduleUrl: string | URL,
  options: WorkerPoolOptions<T>,
): PoolPlan {
  checkOptions(options, VERB);
  const {
    workers = navigator.hardwareConcurrency,
    entries = 256,
    exclusive = false,
    cpuAffinity = false,
    data,
    counters = [],
    restart = false,
    onError = restart ? console.error : reportError,
    readyTimeoutMs = 10_000,
  } = options;
  checkInteger(workers, WORKERS_MAX, "workers", VERB, 1);
  checkEntries(entries, VERB);
  checkBoolean(exclusive, "exclusive", VERB);
  checkBoolean(cpuAffinity, "cpuAffinity", VERB);
  checkBoolean(restart, "restart", VERB);
  checkArray(counters, "names", VERB);
  checkFunction(onError, "onError", VERB);
  checkDelay(readyTimeoutMs, "readyTimeoutMs", VERB);
  return {
    url: urlOf(moduleUrl),
    // Copied now, not when a worker asks for it.
    data: structuredClone(data),
    counters: counters.map(String),
    ...{ workers, entries, exclusive, cpuAffinity, restart },
    ...{ onError, readyTimeoutMs },
  };
}

function urlOf(moduleUrl: string | URL): string {
  try {
    return new URL(moduleUrl).href;
  } catch {
    throw new TypeError(
      `Cannot start a pool: moduleUrl must be an absolute URL, such as import.meta.resolve("./worker.ts"), got "${moduleUrl}"`,
    );
  }
}
