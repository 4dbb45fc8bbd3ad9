import { loadShim } from "../../ffi/load.ts";
import { POLLIN } from "../constants.ts";
import { asyncPoll } from "../io.ts";
import type { IoContext } from "../IoContext.ts";
import { errorOf } from "../result.ts";
import {
  type FromWorker,
  type SharedCounters,
  type ToWorker,
  WORKER_NAME,
} from "./messages.ts";

/** The smallest capacity of a pipe: nothing is ever written to it. */
const PIPE_SIZE = 4096;

/** Time for a worker to close its context when `graceMs` is over. */
const ABORT_MS = 300;

/** Time for a worker to end after `terminate()`, which does not interrupt
 * JavaScript: a thread that never returns is given up. */
const TERMINATE_MS = 500;

/** Time between the death of a worker and the next in its slot; doubled each
 * time until one has lived long enough. */
export const RESTART_MS_MIN = 100;

/** Time for the last messages of a worker to arrive after its end. */
const LAST_WORDS_MS = 100;

/** The state of a worker: not ready yet, serving, told to finish, or none in
 * this slot (any more). */
export type WorkerState = "starting" | "serving" | "stopping" | "ended";

/** Counts of a worker, or the sums of all. */
export interface WorkerMetrics {
  /** Operations in flight when the worker last had nothing to do, at most 2 ms
   * ago. */
  pending: number;
  /** Milliseconds of processor time of the worker's own thread. */
  cpuMs: number;
  /** Times that it was replaced. */
  restarts: number;
  /** The counters by their names; they include those of workers that died. */
  counters: Record<string, number>;
}

/** Counts of one worker. */
export interface WorkerStats extends WorkerMetrics {
  /** Its state. */
  state: WorkerState;
}

/** The value of `WorkerPool.stats()`: the sums, and each worker by its index. */
export interface PoolStats extends WorkerMetrics {
  /** The workers by their index. */
  workers: WorkerStats[];
}

/** Options with nothing left out. */
export interface PoolPlan {
  url: string;
  workers: number;
  entries: number;
  exclusive: boolean;
  cpuAffinity: boolean;
  data: unknown;
  counters: readonly string[];
  restart: boolean;
  onError: (error: Error, index: number) => void;
  readyTimeoutMs: number;
}

/**
 * A worker from its start to its end, as its pool sees it. The worker holds the
 * write end of a pipe. The kernel closes that end when the thread is gone with
 * its ring and its sockets, in whatever way it has ended, and a poll of the
 * read end tells the pool.
 */
export class RunningWorker {
  /** Resolved when it serves; rejected if it ends before. */
  readonly ready: Promise<void>;
  /** Resolved when it has ended: with undefined, or with what was wrong. */
  readonly ended: Promise<Error | undefined>;
  ringFd = -1;
  state: WorkerState = "starting";
  readonly startMs = performance.now();
  readonly #index: number;
  readonly #plan: PoolPlan;
  readonly #shared: SharedCounters;
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

  constructor(
    ctx: IoContext,
    plan: PoolPlan,
    index: number,
    shared: SharedCounters,
  ) {
    this.#plan = plan;
    this.#index = index;
    this.#shared = shared;
    this.ready = this.#ready.promise;
    // A pool that restarts workers does not look at this promise.
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
    this.#shared.pending = 0;
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
    const { entries, exclusive, cpuAffinity, data, counters, workers } = this
      .#plan;
    this.#tell({
      kio: "setup",
      index: this.#index,
      lifeFd: this.#lifeFd,
      memory: this.#shared.memory,
      ...{ workers, entries, exclusive, cpuAffinity, data, counters },
    });
  }

  #tell(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  /** Notes the first reason for its end, and ends it. */
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

  /** Processor time so far; after its end the last that was seen. */
  get cpuMs(): number {
    if (this.#threadId !== 0 && this.state !== "ended") {
      const cpuMs = loadShim().kio_thread_cpu_ms(this.#threadId);
      if (cpuMs > this.#cpuMs) this.#cpuMs = cpuMs;
    }
    return this.#cpuMs;
  }

  /** Ends it, at once if it does not serve yet; gives true if it had to be cut
   * off. */
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

/** A slot of a pool: a worker, and those that were there before it. */
export class WorkerSlot {
  readonly shared: SharedCounters;
  worker: RunningWorker;
  restarts = 0;
  restartMs = RESTART_MS_MIN;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** Processor time of those before the present one. */
  cpuMs = 0;

  constructor(shared: SharedCounters, worker: RunningWorker) {
    this.shared = shared;
    this.worker = worker;
  }

  get stats(): WorkerStats {
    return {
      state: this.worker.state,
      pending: this.shared.pending,
      cpuMs: this.cpuMs + this.worker.cpuMs,
      restarts: this.restarts,
      counters: this.shared.counters,
    };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
