/**
 * The operation table: the root of all memory that the kernel may touch. An
 * entry is released by its own completion, by the clock or by another thread's
 * answer, and never before. The slot that was released last is taken first. The
 * table grows by need, up to `operationsMax`.
 */
import { Entry, State } from "./entry.ts";
import type { Operation } from "./operation.ts";
import { grown } from "./timers.ts";

/** The entries of one ring, and which of them are free. */
export class Table {
  readonly #entriesMax: number;
  readonly #entries: Entry[] = [];
  /** Free slots, as a stack. */
  #free = new Int32Array(64);
  #freeCount = 0;
  /** The start of an operation, by its slot. Times are not in the entry: V8
   * allocates an object for each double of an object, and the garbage collector
   * moves them. */
  startedMs = new Float64Array(64);
  /** In the states of the clock, by slot: the time of its end or next try, and
   * that of its timeout; Infinity for none. */
  wakeMs = new Float64Array(64);
  deadlineMs = new Float64Array(64);

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  /** The number of pending operations: of entries that are taken. */
  get size(): number {
    return this.#entries.length - this.#freeCount;
  }

  /** Tells whether `take()` would refuse an operation now. */
  get isFull(): boolean {
    return this.size >= this.#entriesMax;
  }

  /** Takes an entry for an operation. It counts as pending from now on. */
  take(operation: Operation): Entry {
    if (this.#freeCount > 0) {
      const entry = this.#entries[this.#free[--this.#freeCount]!]!;
      entry.operation = operation;
      return entry;
    }
    const slot = this.#entries.length;
    if (slot >= this.#entriesMax) {
      throw new RangeError(
        `Cannot ${operation.verb}: ${slot} operations are in flight, the limit of this IoContext; await some first or raise operationsMax`,
      );
    }
    if (slot >= this.#free.length) this.#grow(slot + 1);
    const entry = new Entry(slot, operation);
    this.#entries.push(entry);
    return entry;
  }

  #grow(length: number): void {
    this.#free = grown(this.#free, length);
    this.startedMs = grown(this.startedMs, length);
    this.wakeMs = grown(this.wakeMs, length);
    this.deadlineMs = grown(this.deadlineMs, length);
  }

  /** Makes an entry free: tickets to it hold nothing any more. */
  release(entry: Entry): void {
    entry.reset();
    this.#free[this.#freeCount++] = entry.slot;
  }

  /** Gives the entry of a slot, free or taken; undefined for a slot that was
   * never used. */
  at(slot: number): Entry | undefined {
    return this.#entries[slot];
  }

  /** Lists the entries of pending operations: of all, or of those on one fd. */
  live(fd?: number): Entry[] {
    return this.#entries.filter((entry) =>
      entry.state !== State.FREE &&
      (fd === undefined || entry.fd === fd || entry.extra?.otherFd === fd)
    );
  }
}
