/** Messages and shared memory between the two sides of a pool: `worker.ts` in
 * the thread that has the pool, `join_pool.ts` in its workers. */

/** The beginning of `self.name` of a pool's worker. */
export const WORKER_NAME = "kio worker";

/** Settings for a worker. It asks for them, as a message would be lost that is
 * sent before it listens. */
export interface Setup {
  kio: "setup";
  index: number;
  workers: number;
  entries: number;
  exclusive: boolean;
  cpuAffinity: boolean;
  data: unknown;
  /** Write end of the pipe that tells of the worker's end. */
  lifeFd: number;
  counters: readonly string[];
  memory: SharedArrayBuffer;
}

/** A message to a worker. `stop`: finish; `abort`: close the context, now. */
export type ToWorker = Setup | { kio: "stop" } | { kio: "abort" };

/** A message from a worker. */
export type FromWorker =
  | { kio: "hello" }
  | { kio: "joined"; ringFd: number; threadId: number }
  | { kio: "ready" }
  | { kio: "done" }
  | { kio: "failed"; error: unknown };

/**
 * Counts of a worker in shared memory: the other side reads them at any time,
 * also when the worker is busy or dead. Each has one writer, and a 64-bit
 * machine never shows a float64 half written.
 */
export class SharedCounters {
  readonly memory: SharedArrayBuffer;
  readonly #cells: Float64Array;
  readonly #places: ReadonlyMap<string, number>;

  constructor(
    counters: readonly string[],
    memory = new SharedArrayBuffer(
      (1 + counters.length) * Float64Array.BYTES_PER_ELEMENT,
    ),
  ) {
    this.memory = memory;
    this.#cells = new Float64Array(memory);
    this.#places = new Map(counters.map((name, i) => [name, 1 + i]));
  }

  get pending(): number {
    return this.#cells[0]!;
  }

  set pending(pending: number) {
    this.#cells[0] = pending;
  }

  /** Adds to a counter; false if there is none of that name. */
  add(counter: string, amount: number): boolean {
    const place = this.#places.get(counter);
    if (place === undefined) return false;
    this.#cells[place]! += amount;
    return true;
  }

  /** The counters by their names. */
  get counters(): Record<string, number> {
    return Object.fromEntries(
      this.#places.entries().map(([name, at]) => [name, this.#cells[at]!]),
    );
  }
}
