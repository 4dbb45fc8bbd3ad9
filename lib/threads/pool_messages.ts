/** What the two sides of a pool say to each other: `worker_pool.ts` in the
 * thread that has the pool, `join_pool.ts` in its workers. */

/** What `self.name` of a pool's worker begins with. */
export const WORKER_NAME = "kio worker";

/** What a worker is to know; it asks for that, so that nothing is sent before
 * it listens. */
export interface Setup {
  kio: "setup";
  index: number;
  workers: number;
  entries: number;
  pin: boolean;
  data: unknown;
  /** Write end of the pipe that tells when the worker has ended. */
  lifeFd: number;
  counters: readonly string[];
  cells: SharedArrayBuffer;
}

/** To a worker. `stop`: finish; `abort`: close the context, now. */
export type ToWorker = Setup | { kio: "stop" } | { kio: "abort" };

/** From a worker. */
export type FromWorker =
  | { kio: "hello" }
  | { kio: "joined"; ringFd: number; threadId: number }
  | { kio: "ready" }
  | { kio: "done" }
  | { kio: "failed"; error: unknown };

/**
 * Figures of a worker in shared memory: they can be read at any time, also
 * when it is busy or dead. Each has one writer, and a float64 in its place is
 * never seen half written on a 64-bit machine.
 */
export class Cells {
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

  /** All counters by their names. */
  get counters(): Record<string, number> {
    return Object.fromEntries(
      this.#places.entries().map(([name, at]) => [name, this.#cells[at]!]),
    );
  }
}
