import { loadShim } from "../../ffi/load.ts";
import { checkFunction } from "../check.ts";
import { ringOf } from "../internal.ts";
import { IoContext, type Task } from "../IoContext.ts";
import { JOIN_POOL } from "../ops/table.ts";
import { errorOf, exceptionOf } from "../result.ts";
import {
  type FromWorker,
  type Setup,
  SharedCounters,
  type ToWorker,
  WORKER_NAME,
} from "./messages.ts";

/** The pool, as one of its workers sees it. */
export interface PoolMembership {
  /** The number of workers of the pool. */
  readonly workers: number;
  /** Aborted when the pool shuts down: accept no more, finish what there is,
   * and return. */
  readonly stopping: AbortSignal;
  /** Tells the pool that this worker serves: `WorkerPool.start()` waits for all
   * of them. Does nothing the second time. */
  ready(): void;
  /**
   * Adds to a counter, which `WorkerPool.stats()` reads.
   *
   * @param counter One of the `counters` that the pool was started with.
   * @param amount Any finite number, 1 if left out.
   * @throws {TypeError} If there is no such counter, {RangeError} if `amount`
   * is not finite.
   */
  count(counter: string, amount?: number): void;
}

/**
 * The argument of the main function of a worker.
 *
 * @typeParam T The type of `data` of `WorkerPool.start()`.
 */
export interface PoolWorker<T> {
  /** The context of this worker, closed when its main function has ended. */
  readonly ctx: IoContext;
  /** 0 to the number of workers less 1; a worker that replaces another one has
   * its index. */
  readonly index: number;
  /** The CPU that this thread stays on, for `incomingCpu` of
   * `TcpListener.bind()`; undefined without `cpuAffinity`. */
  readonly cpu: number | undefined;
  /** A copy of `data` of `WorkerPool.start()`. */
  readonly data: T;
  /** The pool. */
  readonly pool: PoolMembership;
}

/** The worker's side of `Worker`, which Deno's types for windows lack. */
interface WorkerScope {
  readonly name: string;
  postMessage(message: FromWorker): void;
}

let hasJoined = false;

/**
 * Joins the pool that has started this worker: opens its context, sets the
 * affinity of its thread with `cpuAffinity`, and runs `main`. When `main`
 * returns, the context is closed and the worker ends. When it throws, the pool
 * gets the error. The module that `WorkerPool.start()` names calls it once.
 *
 * If `main` does not return in time after `pool.stopping`, its context is
 * closed: its operations end with `ECANCELED`, and new ones throw. An exception
 * of `main` is ignored then.
 *
 * Do not wait for it at the top level of the module. Deno 2.9.6 keeps the
 * source of all modules of a worker that ends by itself (an uncaught error,
 * `self.close()`) while such an `await` is pending, more than a megabyte each.
 *
 * @typeParam T The type of `data` of `WorkerPool.start()`.
 * @param main The work. It has to call `pool.ready()`, and to return some time
 * after `pool.stopping` is aborted.
 * @returns When the context is closed; errors of `main` go to the pool.
 * @throws {TypeError} (as a rejection) If this is no worker of a pool, or has
 * joined already.
 *
 * @example A worker that serves connections
 * ```ts ignore
 * import {
 *   acceptLoop, asyncRecv, asyncSend, Connections, joinPool,
 * } from "@kio/kio";
 *
 * void joinPool<{ listener: number }>(async ({ ctx, data, pool }) => {
 *   const connections = new Connections(ctx, async (socket) => {
 *     const buffer = new Uint8Array(4096);
 *     for (;;) {
 *       const received = await asyncRecv(ctx, socket, buffer)
 *         .withSignal(pool.stopping);
 *       if (!received.ok || received.value === 0) return;
 *       await asyncSend(ctx, socket, buffer.subarray(0, received.value));
 *     }
 *   });
 *   pool.ready();
 *   const add = (fd: number) => connections.add(fd);
 *   await acceptLoop(ctx, data.listener, add, pool.stopping);
 *   await connections.closed;
 * });
 * ```
 */
export async function joinPool<T = unknown>(
  main: (worker: PoolWorker<T>) => Task<void>,
): Promise<void> {
  checkFunction(main, "main", JOIN_POOL.verb);
  const scope = globalThis as unknown as WorkerScope;
  if (
    !("WorkerGlobalScope" in globalThis) || !scope.name.startsWith(WORKER_NAME)
  ) {
    throw new TypeError(
      "Cannot join a pool: this is no worker of one; let WorkerPool.start() run this module",
    );
  }
  if (hasJoined) {
    throw new TypeError(
      "Cannot join a pool: this worker has joined already; call joinPool() once",
    );
  }
  hasJoined = true;
  const worker = new WorkerSide<T>(scope);
  try {
    await worker.run(main);
  } catch (error) {
    if (!worker.isAborted) {
      scope.postMessage({ kio: "failed", error: cloneableOf(error) });
      return;
    }
  }
  scope.postMessage({ kio: "done" });
}

/** A worker as it sees itself. */
class WorkerSide<T> {
  isAborted = false;
  readonly #scope: WorkerScope;
  readonly #setup = Promise.withResolvers<Setup>();
  readonly #aborted = Promise.withResolvers<void>();
  readonly #stopping = new AbortController();
  #ctx: IoContext | undefined;

  constructor(scope: WorkerScope) {
    this.#scope = scope;
    addEventListener("message", (event) => {
      this.#onMessage((event as MessageEvent<ToWorker>).data);
    });
    // What is sent to a worker that does not listen yet is lost: so it asks.
    scope.postMessage({ kio: "hello" });
  }

  #onMessage(message: ToWorker): void {
    switch (message?.kio) {
      case "setup":
        this.#setup.resolve(message);
        break;
      case "stop":
        // Fds that have come before are served, too.
        if (this.#ctx) ringOf(this.#ctx, JOIN_POOL).takeFds();
        this.#stopping.abort();
        break;
      case "abort":
        void this.#abort();
    }
  }

  async #abort(): Promise<void> {
    this.isAborted = true;
    await this.#ctx?.[Symbol.asyncDispose]();
    this.#aborted.resolve();
  }

  async run(main: (worker: PoolWorker<T>) => Task<void>): Promise<void> {
    const setup = await this.#setup.promise;
    const { index, workers, entries, exclusive, data } = setup;
    const shim = loadShim();
    const alive = shim.kio_life_begin(setup.lifeFd);
    if (alive < 0) throw exceptionOf(errorOf(-alive), "join a pool");
    const cpu = setup.cpuAffinity ? setAffinity(index) : undefined;
    await using ctx = new IoContext({ entries, exclusive });
    this.#ctx = ctx;
    const shared = new SharedCounters(setup.counters, setup.memory);
    const ring = ringOf(ctx, JOIN_POOL);
    ring.onLeave = () => shared.pending = ring.pending;
    const pool: PoolMembership = {
      workers,
      stopping: this.#stopping.signal,
      ready: () => this.#scope.postMessage({ kio: "ready" }),
      count: (counter, amount = 1) => count(shared, counter, amount),
    };
    this.#scope.postMessage({
      kio: "joined",
      ringFd: ctx.ringFd,
      threadId: shim.kio_thread_id(),
    });
    const worker = { ctx, index, cpu, data: data as T, pool };
    await Promise.race([main(worker), this.#aborted.promise]);
  }
}

/** Keeps this thread on the index-th CPU, and gives its number. */
function setAffinity(index: number): number {
  const cpu = loadShim().kio_thread_pin(index);
  if (cpu < 0) throw exceptionOf(errorOf(-cpu), "set the affinity of a thread");
  return cpu;
}

function count(shared: SharedCounters, counter: string, amount: number): void {
  if (!Number.isFinite(amount)) {
    throw new RangeError(
      `Cannot count: amount must be a finite number, got ${String(amount)}`,
    );
  }
  if (shared.add(counter, amount)) return;
  throw new TypeError(
    `Cannot count: the pool has no counter "${counter}"; name it in the counters of WorkerPool.start()`,
  );
}

/** Makes an error that can be sent, without what cannot. */
function cloneableOf(error: unknown): unknown {
  try {
    return structuredClone(error);
  } catch {
    return new Error(String(error));
  }
}
