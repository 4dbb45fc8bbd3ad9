import { loadShim } from "../../ffi/load.ts";
import {
  checkArray,
  checkDelay,
  checkFunction,
  checkInteger,
  checkOptions,
} from "../check.ts";
import { POLLIN } from "../constants.ts";
import { ESRCH } from "../errno.ts";
import { checkEntries, IoContext } from "../IoContext.ts";
import { asyncPoll, handOver } from "../io.ts";
import {
  Cells,
  type FromWorker,
  type ToWorker,
  WORKER_NAME,
} from "./pool_messages.ts";
import { HAND_OVER } from "../ops/table.ts";
import { errorOf, exceptionOf, failureOf, type Result } from "../result.ts";
import { NO_ROOM_HINT, roomForThreads } from "./worker_threads.ts";

const VERB = "start a pool";

const WORKERS_MAX = 1024;
/** The least there is: nothing is ever written to it. */
const PIPE_SIZE = 4096;

/** How long a worker may take to close its context when the time is over. */
const ABORT_MS = 300;

/** How long a worker may take to end after `terminate()`, which does not
 * interrupt JavaScript: a thread that never comes back is given up. */
const TERMINATE_MS = 500;

/** How long what a worker has said before its end may take to arrive. */
const LAST_WORDS_MS = 100;

/** Between the death of a worker and the next in its place; doubled each time
 * until one has lived long enough. */
const RESTART_MS_MIN = 100;
const RESTART_MS_MAX = 10_000;
const LIFE_MS_MIN = 10_000;

/**
 * How a pool is started.
 *
 * @typeParam T What `data` is.
 */
export interface WorkerPoolOptions<T> {
  /** How many workers, 1 to 1024.
   * @default {navigator.hardwareConcurrency} */
  workers?: number | undefined;
  /** `entries` of each worker's context.
   * @default {256} */
  entries?: number | undefined;
  /** Whether each worker stays on a CPU of its own: worker i on the i-th of
   * those that the process may use, round and round.
   * @default {false} */
  pin?: boolean | undefined;
  /** For the workers; each gets a copy (but of shared memory), made by
   * `structuredClone`. */
  data?: T | undefined;
  /** Names of the counters that workers keep by `pool.count()`.
   * @default {[]} */
  counters?: readonly string[] | undefined;
  /** Whether a worker that dies is replaced: after 100 ms, and after twice as
   * long each time, up to 10 s, until one has lived for 10 s.
   * @default {false} */
  restart?: boolean | undefined;
  /** Told of each worker that dies once the pool has started: the error, whose
   * `cause` is what the worker threw, and its index. Left out, it is reported
   * like an uncaught error, which ends the program; with `restart` it is
   * printed. */
  onError?: ((error: Error, index: number) => void) | undefined;
  /** Milliseconds a worker may take until it calls `pool.ready()`.
   * @default {10000} */
  readyTimeoutMs?: number | undefined;
}

/** What `WorkerPool.shutdown()` is told. */
export interface ShutdownOptions {
  /** Milliseconds for the workers to finish, 0 or more.
   * @default {10000} */
  graceMs?: number | undefined;
}

/** What a worker does: not ready yet, serving, told to finish, or none in this
 * place (any more). */
export type WorkerState = "starting" | "serving" | "stopping" | "ended";

/** Figures of a worker, or of all. */
export interface WorkerFigures {
  /** Operations that are not complete, as of when the worker last had nothing
   * to do, 2 ms ago at most. */
  pending: number;
  /** Milliseconds spent on a processor, of the worker's own thread. */
  cpuMs: number;
  /** How often it was replaced. */
  restarts: number;
  /** What the counters have come to; also what workers that died have
   * counted. */
  counters: Record<string, number>;
}

/** Figures of one worker. */
export interface WorkerStats extends WorkerFigures {
  /** What it does. */
  state: WorkerState;
}

/** What `WorkerPool.stats()` gives: the sums, and each worker by its index. */
export interface PoolStats extends WorkerFigures {
  /** The workers by their index. */
  workers: WorkerStats[];
}

/** Options with nothing left out. */
interface Plan {
  url: string;
  workers: number;
  entries: number;
  pin: boolean;
  data: unknown;
  counters: readonly string[];
  restart: boolean;
  onError: (error: Error, index: number) => void;
  readyTimeoutMs: number;
}

/**
 * A worker from its start to its end. The worker holds the write end of a pipe
 * as long as there is anything of it: what wakes here when it closes covers
 * every way to end, and comes when its ring and its sockets are gone.
 */
class Life {
  /** When it serves; rejected if it ends before. */
  readonly ready: Promise<void>;
  /** When it has ended: undefined as it should, or why it has not. */
  readonly ended: Promise<Error | undefined>;
  ringFd = -1;
  state: WorkerState = "starting";
  readonly startMs = performance.now();
  readonly #index: number;
  readonly #plan: Plan;
  readonly #cells: Cells;
  readonly #worker: Worker;
  readonly #ready = Promise.withResolvers<void>();
  readonly #lastWords = Promise.withResolvers<void>();
  readonly #timer: ReturnType<typeof setTimeout>;
  /** This side's copy of the write end, until the worker has its own. */
  #lifeFd = -1;
  #threadId = 0;
  #cpuMs = 0;
  #isExpected = false;
  #error: Error | undefined;

  constructor(ctx: IoContext, plan: Plan, index: number, cells: Cells) {
    this.#plan = plan;
    this.#index = index;
    this.#cells = cells;
    this.ready = this.#ready.promise;
    // Who restarts it does not look at this one.
    this.ready.catch(() => {});
    const name = `${WORKER_NAME} ${index}`;
    this.#worker = new Worker(plan.url, { type: "module", name });
    this.#worker.onmessage = ({ data }) => this.#onMessage(data);
    this.#worker.onerror = (event) => {
      // It is reported, but does not end this thread.
      event.preventDefault();
      this.#fail(event.message);
    };
    const { readyTimeoutMs } = plan;
    this.#timer = setTimeout(() => {
      this.#fail(
        `not ready within ${readyTimeoutMs} ms; its module has to call joinPool(), and in there pool.ready()`,
      );
    }, readyTimeoutMs);
    const fds = new Int32Array([-1, -1]);
    const made = loadShim().kio_pipe(fds, PIPE_SIZE);
    if (made < 0) this.#fail(`no pipe: ${errorOf(-made).message}`);
    this.#lifeFd = fds[1]!;
    this.ended = this.#watch(ctx, fds[0]!);
  }

  async #watch(ctx: IoContext, readFd: number): Promise<Error | undefined> {
    if (readFd >= 0) {
      await asyncPoll(ctx, readFd, POLLIN);
      loadShim().kio_fd_close(readFd);
    }
    if (!this.#isExpected && this.#error === undefined) {
      const timer = setTimeout(this.#lastWords.resolve, LAST_WORDS_MS);
      await this.#lastWords.promise;
      clearTimeout(timer);
    }
    if (!this.#isExpected) this.#fail("it has ended by itself");
    this.state = "ended";
    this.#cells.pending = 0;
    this.#end();
    return this.#error;
  }

  #onMessage(message: FromWorker): void {
    switch (message?.kio) {
      case "hello":
        this.#setUp();
        break;
      case "joined":
        this.ringFd = message.ringFd;
        this.#threadId = message.threadId;
        this.#giveUpLife();
        break;
      case "ready":
        clearTimeout(this.#timer);
        if (this.state === "starting") this.state = "serving";
        this.#ready.resolve();
        break;
      case "failed":
        this.#fail(messageOf(message.error), message.error);
        break;
      case "done":
        this.#isExpected = true;
        this.#end();
    }
  }

  #setUp(): void {
    const { entries, pin, data, counters, workers } = this.#plan;
    this.#tell({
      kio: "setup",
      index: this.#index,
      lifeFd: this.#lifeFd,
      cells: this.#cells.memory,
      ...{ workers, entries, pin, data, counters },
    });
  }

  #tell(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  /** Notes the first reason for its end, and sees to it. */
  #fail(message: string, cause?: unknown): void {
    if (!this.#isExpected) {
      this.#error ??= new Error(
        `Worker ${this.#index} failed: ${message}`,
        cause === undefined ? {} : { cause },
      );
      this.#ready.reject(this.#error);
    }
    this.#end();
  }

  #end(): void {
    clearTimeout(this.#timer);
    this.#lastWords.resolve();
    this.#ready.reject(
      new Error(`Worker ${this.#index} has ended before it was ready`),
    );
    void this.cpuMs;
    this.#worker.terminate();
    this.#giveUpLife();
  }

  #giveUpLife(): void {
    if (this.#lifeFd < 0) return;
    loadShim().kio_fd_close(this.#lifeFd);
    this.#lifeFd = -1;
  }

  /** What it has spent; of one that has ended, what was seen last. */
  get cpuMs(): number {
    if (this.#threadId !== 0 && this.state !== "ended") {
      const cpuMs = loadShim().kio_thread_cpu_ms(this.#threadId);
      if (cpuMs > this.#cpuMs) this.#cpuMs = cpuMs;
    }
    return this.#cpuMs;
  }

  /** Ends it, at once if it does not serve yet; true if it had to be cut off. */
  async shutdown(graceMs: number): Promise<boolean> {
    const serves = this.state === "serving";
    if (this.state !== "ended") this.state = "stopping";
    if (serves) {
      this.#tell({ kio: "stop" });
      if (await this.#endsWithin(graceMs)) return false;
      this.#isExpected = true;
      this.#tell({ kio: "abort" });
      if (await this.#endsWithin(ABORT_MS)) return true;
    }
    this.terminate();
    await this.#endsWithin(TERMINATE_MS);
    return serves;
  }

  terminate(): void {
    this.#isExpected = true;
    this.#end();
  }

  async #endsWithin(timeMs: number): Promise<boolean> {
    const { promise: over, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), timeMs);
    const isOver = await Promise.race([this.ended.then(() => true), over]);
    clearTimeout(timer);
    return isOver;
  }
}

/** The place of a worker, which several may take one after the other. */
class Place {
  readonly cells: Cells;
  life: Life;
  restarts = 0;
  restartMs = RESTART_MS_MIN;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** What those before the present one have spent. */
  cpuMs = 0;

  constructor(cells: Cells, life: Life) {
    this.cells = cells;
    this.life = life;
  }

  get stats(): WorkerStats {
    return {
      state: this.life.state,
      pending: this.cells.pending,
      cpuMs: this.cpuMs + this.life.cpuMs,
      restarts: this.restarts,
      counters: this.cells.counters,
    };
  }
}

/**
 * Worker threads of one module, each with a context of its own: thread per
 * core, without locks between them. The module calls `joinPool()`. Workers
 * share listening sockets by their fd, have one each by `SO_REUSEPORT`, or are
 * handed connections by `handOver()`. A pool keeps the process alive until all
 * of its workers have ended.
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
  /** Resolved when all workers have ended, by `shutdown()` or because there
   * was nothing left for them to do. */
  readonly closed: Promise<void>;
  readonly #closed = Promise.withResolvers<void>();
  readonly #plan: Plan;
  readonly #ctx = new IoContext(8);
  readonly #places: Place[] = [];
  #isStarted = false;
  #shutdown: Promise<number> | undefined;
  /** Whose turn it is to be handed an fd. */
  #next = 0;

  private constructor(plan: Plan) {
    this.#plan = plan;
    this.closed = this.#closed.promise;
    for (let index = 0; index < plan.workers; index++) {
      const cells = new Cells(plan.counters);
      this.#places.push(new Place(cells, this.#open(index, cells)));
    }
  }

  /**
   * Starts a pool.
   *
   * @typeParam T What `data` is.
   * @param moduleUrl The module that the workers run, as an absolute URL:
   * `import.meta.resolve("./worker.ts")`.
   * @param options How many workers, and what they get.
   * @returns The pool, when every worker has called `pool.ready()`.
   * @throws {TypeError} If `moduleUrl` is no absolute URL or an option has the
   * wrong type; {RangeError} if an option is out of range; what
   * `structuredClone` throws if `data` cannot be copied; what
   * `new IoContext()` throws; {Error} with `code` `EMFILE` or `ENFILE` if there
   * are too few fds for so many threads; {Error} if a worker fails before it is
   * ready, or is not ready in time, with what it threw as `cause`. No worker is
   * left then.
   */
  static async start<T>(
    moduleUrl: string | URL,
    options: WorkerPoolOptions<T> = {},
  ): Promise<WorkerPool> {
    const plan = planOf(moduleUrl, options);
    const room = roomForThreads(plan.workers);
    if (room < 0) {
      throw exceptionOf(errorOf(-room), VERB, undefined, NO_ROOM_HINT);
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
   * which these refuse, where there is none at present. */
  get ringFds(): readonly number[] {
    return this.#places.map(({ life }) =>
      life.state === "serving" ? life.ringFd : -1
    );
  }

  /** Waits until all serve; one that dies meanwhile is an error, too. */
  async #started(): Promise<void> {
    const { promise: died, reject } = Promise.withResolvers<never>();
    for (const { life } of this.#places) {
      void life.ended.then((error) => error && reject(error));
    }
    const ready = this.#places.map(({ life }) => life.ready);
    await Promise.race([Promise.all(ready), died]);
  }

  #open(index: number, cells: Cells): Life {
    const life = new Life(this.#ctx, this.#plan, index, cells);
    void life.ended.then((error) => this.#onEnd(index, error));
    return life;
  }

  #onEnd(index: number, error: Error | undefined): void {
    // Who starts or ends the pool waits for that, and reports it.
    if (!this.#isStarted) return;
    const place = this.#places[index]!;
    if (error !== undefined) {
      const { restart, onError } = this.#plan;
      if (restart && this.#shutdown === undefined) this.#restart(index, place);
      try {
        onError(error, index);
      } catch (thrown) {
        reportError(thrown);
      }
    }
    this.#endIfOver();
  }

  #endIfOver(): void {
    const isOver = this.#places.every(({ life, timer }) =>
      life.state === "ended" && timer === undefined
    );
    if (isOver) void this.shutdown();
  }

  #restart(index: number, place: Place): void {
    if (performance.now() - place.life.startMs > LIFE_MS_MIN) {
      place.restartMs = RESTART_MS_MIN;
    }
    place.timer = setTimeout(() => {
      if (roomForThreads(1) < 0) return this.#restart(index, place);
      place.timer = undefined;
      place.restarts++;
      place.cpuMs += place.life.cpuMs;
      place.life = this.#open(index, place.cells);
    }, place.restartMs);
    place.restartMs = Math.min(2 * place.restartMs, RESTART_MS_MAX);
  }

  /**
   * Gives an fd, a connection as a rule, to the next worker in turn that
   * serves: its `ctx.onFd` gets it. See `handOver()`, also for who owns it.
   *
   * @param fd The fd.
   * @param tag An integer from 0 to 2^53 - 1 that comes with it.
   * @returns After an error the fd is still the caller's: `ESRCH` if no worker
   * serves (any more), `EBADF` if `fd` is not open.
   * @throws {RangeError} If an argument is out of range.
   */
  handOver(fd: number, tag = 0): Result<void> {
    for (let tries = this.#places.length; tries > 0; tries--) {
      const { life } = this.#places[this.#next]!;
      this.#next = (this.#next + 1) % this.#places.length;
      if (life.state !== "serving") continue;
      const given = handOver(life.ringFd, fd, tag);
      if (given.ok || given.error.code === "EBADF") return given;
      // Its worker is about to die: the next one.
    }
    return failureOf(HAND_OVER, ESRCH);
  }

  /** Figures of the pool and of each worker; no worker is asked for them, so
   * they can be had at any time, also afterwards. */
  stats(): PoolStats {
    const workers = this.#places.map((place) => place.stats);
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
   * has finished and returned. What is not done after `graceMs` gets its
   * context closed, which cancels its operations, and is terminated if it does
   * not end by that either. Called again, it gives the same promise.
   *
   * @param options How long the workers may take.
   * @returns How many workers had to be cut off, less than a second after
   * `graceMs`. All have ended by then, their rings and sockets are closed. Only
   * a thread in JavaScript that does not come back, which Deno does not
   * interrupt, ends when it does, or by `Deno.exit()`.
   * @throws {RangeError} If `graceMs` is out of range.
   */
  shutdown(options: ShutdownOptions = {}): Promise<number> {
    checkOptions(options, "shut down");
    const { graceMs = 10_000 } = options;
    checkDelay(graceMs, "graceMs", "shut down");
    return this.#shutdown ??= this.#end(graceMs);
  }

  async #end(graceMs: number): Promise<number> {
    const forced = await Promise.all(this.#places.map((place) => {
      clearTimeout(place.timer);
      place.timer = undefined;
      return place.life.shutdown(graceMs);
    }));
    await this.#ctx[Symbol.asyncDispose]();
    this.#closed.resolve();
    return forced.filter((isForced) => isForced).length;
  }

  /** The same as `shutdown()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }
}

function planOf<T>(
  moduleUrl: string | URL,
  options: WorkerPoolOptions<T>,
): Plan {
  checkOptions(options, VERB);
  const {
    workers = navigator.hardwareConcurrency,
    entries = 256,
    pin = false,
    data,
    counters = [],
    restart = false,
    onError = restart ? console.error : reportError,
    readyTimeoutMs = 10_000,
  } = options;
  checkInteger(workers, WORKERS_MAX, "workers", VERB, 1);
  checkEntries(entries, VERB);
  checkArray(counters, "names", VERB);
  checkFunction(onError, "onError", VERB);
  checkDelay(readyTimeoutMs, "readyTimeoutMs", VERB);
  return {
    url: urlOf(moduleUrl),
    // Now, not when a worker is there to be told.
    data: structuredClone(data),
    counters: counters.map(String),
    ...{ workers, entries, pin, restart, onError, readyTimeoutMs },
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
