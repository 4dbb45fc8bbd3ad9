import { checkBoolean, checkInteger, checkOptions } from "../check.ts";
import { EAGAIN, EINVAL, EOWNERDEAD } from "../errno.ts";
import {
  type Job,
  type JobCall,
  type JobOutcome,
  START,
  type StartJob,
} from "../internal.ts";
import type { Operation } from "../ring/operation.ts";
import { failureOf, failureOver, type Result } from "../result.ts";
import type { UringOp } from "../UringOp.ts";
import { PoolThread } from "./pool_thread.ts";
import { NO_ROOM_HINT, roomForThreads } from "./room.ts";

/** Options of `new BlockingPool()`. */
export interface BlockingPoolOptions {
  /**
   * The most threads, 1 to 256, those included that still run a job which was
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

const THREADS_MAX = 256;
const QUEUE_MAX = 2 ** 20;

const BUSY = "all threads are busy and the queue is full; " +
  "wait for some jobs or raise queueMax";

/** A job that waits or runs. */
interface QueuedJob {
  readonly op: UringOp<unknown>;
  readonly operation: Operation;
  readonly call: JobCall;
  readonly transfer: readonly Transferable[];
  /** Settles its operation, when it has run. */
  readonly finish: (outcome: JobOutcome) => void;
  /** Settles its operation, as there is no thread for it. */
  readonly refuse: (errno: number, reason: string) => void;
}

/**
 * Has threads for jobs that block or compute, which would stop everything else
 * in the program. `offload()` and `SocketAddress.resolveAsync()` give it jobs. A
 * job that finds no idle thread starts one, which takes some 50 ms of the
 * caller's thread. Threads are kept. Idle ones do not keep the process alive.
 *
 * A job that was given up (by a timeout, a signal or a closed context) may still
 * be running: nothing can interrupt native code or a loop of JavaScript. Its
 * thread ends as soon as it returns. Only then another takes its place, so there
 * are never more than `threads`.
 *
 * C++: `BlockingPool`
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
 * }, 1000).orThrow();
 * assertEquals(sum, 500500);
 * ```
 */
export class BlockingPool implements Disposable, AsyncDisposable {
  readonly #threadsMax: number;
  readonly #queueMax: number;
  /** All threads that have not ended, with the job of each: its last one if
   * that was given up, null while it is idle. */
  readonly #threads = new Map<PoolThread, QueuedJob | null>();
  /** In the order in which they came. */
  readonly #queue = new Set<QueuedJob>();
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

  /** Jobs that wait or run; one that was given up does not count. */
  get pending(): number {
    return this.#jobs().length;
  }

  /**
   * Closes the pool: it takes no more jobs. It waits until those that wait or
   * run are done, then ends the threads and waits for that.
   *
   * @param options With `cancel`, jobs are given up instead: each ends with
   * `ECANCELED`. The pool does not wait for a thread that still runs one.
   * @returns When the pool is closed. May be called again, to cancel after all.
   */
  async close(options: { cancel?: boolean | undefined } = {}): Promise<void> {
    const verb = "close a BlockingPool";
    checkOptions(options, verb);
    const isCancelled = checkBoolean(options.cancel ?? false, "cancel", verb);
    this.#closing = true;
    const ops = this.#jobs().map(({ op }) => op);
    if (isCancelled) { for (const op of ops) op.cancel(); }
    await Promise.allSettled(ops);
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

  /** Closes the pool as `close()` does: waits for the jobs. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Gives what starts jobs; throws if the pool is closed. */
  private [START]({ verb }: Operation): StartJob {
    if (!this.#closing) return (job) => this.#start(job);
    throw new TypeError(
      `Cannot ${verb}: the BlockingPool is closed; make a new one`,
    );
  }

  #start<T>(
    { ring, operation, action, call, transfer, resultOf }: Job<T>,
  ): UringOp<T> {
    const { op, settle } = ring.external<T>(
      ring.take(operation),
      () => this.#giveUp(job),
      action,
    );
    const job: QueuedJob = {
      op,
      operation,
      finish: (outcome) => settle(resultOf(outcome)),
      refuse: (errno, reason) =>
        settle(failureOver(errno, reason, action ?? operation.verb)),
      ...cloned(operation, call, transfer, settle),
    };
    if (this.#isFull()) job.refuse(EAGAIN, BUSY);
    else this.#add(job);
    return op;
  }

  #jobs(): QueuedJob[] {
    const running = [...this.#threads]
      .map(([thread, job]) => thread.isEnding ? null : job)
      .filter((job) => job !== null);
    // First those that wait: cancelled in this order none of them is started.
    return [...this.#queue, ...running];
  }

  #isFull(): boolean {
    const idle = this.#threads.entries().filter(isIdle).toArray().length;
    const startable = this.#threadsMax - this.#threads.size;
    return this.#queue.size >= this.#queueMax + idle + startable;
  }

  /** Queues a job. It starts a microtask later: cancelled before that, it never
   * does. */
  #add(job: QueuedJob): void {
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
        job.refuse(-room, NO_ROOM_HINT);
        continue;
      }
      try {
        const thread = idle ?? this.#startThread();
        this.#threads.set(thread, job);
        thread.run(job.call, job.transfer);
      } catch (error) {
        lose(job, EAGAIN, `there is no thread (${error})`, error);
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
      onEnd: (thread, exitCode, cause) => {
        const job = this.#threads.get(thread);
        const why = cause === undefined ? `exit code ${exitCode}` : `${cause}`;
        if (job) lose(job, EOWNERDEAD, `its thread has ended (${why})`, cause);
        this.#threads.delete(thread);
        this.#dispatch();
      },
    });
  }

  /** Drops a job whose promise is settled already. */
  #giveUp(job: QueuedJob): void {
    if (this.#queue.delete(job)) return;
    for (const [thread, its] of this.#threads) if (its === job) thread.end();
  }
}

function isIdle([thread, job]: [PoolThread, QueuedJob | null]): boolean {
  return job === null && !thread.isEnding;
}

/** Ends a job whose thread did not start, or has ended. */
function lose(
  { finish, operation }: QueuedJob,
  errno: number,
  reason: string,
  cause?: unknown,
): void {
  finish({ lost: failureOver(errno, reason, operation.verb, cause) });
}

/** Copies a call for the thread, and moves the memory in `transfer`. */
function cloned(
  operation: Operation,
  call: JobCall,
  transfer: readonly Transferable[],
  settle: (result: Result<never>) => void,
): Pick<QueuedJob, "call" | "transfer"> {
  try {
    return structuredClone({ call, transfer }, { transfer: [...transfer] });
  } catch (cause) {
    settle(failureOf(operation, EINVAL));
    const { message } = cause as Error;
    throw new TypeError(
      `Cannot ${operation.verb}: an argument cannot be cloned or moved: ${message}`,
      { cause },
    );
  }
}
