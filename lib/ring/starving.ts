/** A pool of buffers that streams wait for. */
export interface Feeder {
  /** Free buffers: as many can go on in the next step. */
  readonly free: number;
  /** When it looks at those that have waited all the time; Infinity for never. */
  readonly dueMs: number;
  /** Lets them go on. */
  feed(): void;
}

/** The pools of a ring whose streams wait for a buffer. */
export class Starving {
  readonly #pools = new Set<Feeder>();

  add(pool: Feeder): void {
    this.#pools.add(pool);
  }

  delete(pool: Feeder): void {
    this.#pools.delete(pool);
  }

  /** The next step lets one go on. */
  get hasWork(): boolean {
    return this.#pools.size > 0 &&
      this.#pools.values().some((it) => it.free > 0);
  }

  /** Gives the earlier of a deadline and theirs; 0 for none. */
  earlierOf(deadlineMs: number): number {
    if (this.#pools.size === 0) return deadlineMs;
    let earliestMs = deadlineMs || Infinity;
    for (const { dueMs } of this.#pools) {
      if (dueMs < earliestMs) earliestMs = dueMs;
    }
    return earliestMs === Infinity ? 0 : earliestMs;
  }

  feed(): void {
    if (this.#pools.size === 0) return;
    for (const pool of this.#pools) pool.feed();
  }
}
