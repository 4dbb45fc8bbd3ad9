/**
 * The deadlines of a context: a 4-ary heap of slots in typed arrays, without an
 * object for each. Timeouts and sleeps are set, moved and deleted in
 * logarithmic time. The kernel gets one timeout for the earliest of them, when
 * the thread is left to Deno.
 */

/** The deadlines of the slots of one ring. */
export class Timers {
  #deadlinesMs = new Float64Array(64);
  #slots = new Int32Array(64);
  /** The place of a slot in the heap, plus 1; 0 without a deadline. */
  #places = new Int32Array(64);
  #size = 0;

  /** The number of slots with a deadline. */
  get size(): number {
    return this.#size;
  }

  /** The earliest deadline, 0 when there is none. */
  get nextMs(): number {
    return this.#size === 0 ? 0 : this.#deadlinesMs[0]!;
  }

  /** Sets the deadline of a slot, in place of an earlier one. */
  set(slot: number, deadlineMs: number): void {
    if (slot >= this.#places.length) {
      this.#places = grown(this.#places, slot + 1);
    }
    const place = this.#places[slot]!;
    if (place !== 0) this.#remove(place - 1);
    if (this.#size === this.#slots.length) {
      this.#slots = grown(this.#slots, this.#size + 1);
      this.#deadlinesMs = grown(this.#deadlinesMs, this.#size + 1);
    }
    this.#up(this.#size++, slot, deadlineMs);
  }

  /** Tells whether a slot has a deadline at or before a time. */
  isBefore(slot: number, timeMs: number): boolean {
    const deadlineMs = this.of(slot);
    return deadlineMs <= timeMs && deadlineMs !== Infinity;
  }

  /** The deadline of a slot; Infinity if it has none. */
  of(slot: number): number {
    const place = slot < this.#places.length ? this.#places[slot]! : 0;
    return place === 0 ? Infinity : this.#deadlinesMs[place - 1]!;
  }

  /** Deletes the deadline of a slot; does nothing if there is none. */
  delete(slot: number): void {
    if (slot >= this.#places.length) return;
    const place = this.#places[slot]!;
    if (place === 0) return;
    this.#places[slot] = 0;
    this.#remove(place - 1);
  }

  /** Takes out a slot whose deadline has come; -1 if there is none. */
  takeDue(nowMs: number): number {
    if (this.#size === 0 || this.#deadlinesMs[0]! > nowMs) return -1;
    const slot = this.#slots[0]!;
    this.#places[slot] = 0;
    this.#remove(0);
    return slot;
  }

  /** Closes the gap at `at` with the last entry. */
  #remove(at: number): void {
    const last = --this.#size;
    if (at === last) return;
    const slot = this.#slots[last]!;
    const deadlineMs = this.#deadlinesMs[last]!;
    if (at > 0 && deadlineMs < this.#deadlinesMs[(at - 1) >> 2]!) {
      this.#up(at, slot, deadlineMs);
    } else {
      this.#down(at, slot, deadlineMs);
    }
  }

  #up(at: number, slot: number, deadlineMs: number): void {
    while (at > 0) {
      const parent = (at - 1) >> 2;
      if (this.#deadlinesMs[parent]! <= deadlineMs) break;
      this.#place(at, this.#slots[parent]!, this.#deadlinesMs[parent]!);
      at = parent;
    }
    this.#place(at, slot, deadlineMs);
  }

  #down(at: number, slot: number, deadlineMs: number): void {
    for (;;) {
      const first = 4 * at + 1;
      if (first >= this.#size) break;
      const end = Math.min(first + 4, this.#size);
      let least = first;
      for (let child = first + 1; child < end; child++) {
        if (this.#deadlinesMs[child]! < this.#deadlinesMs[least]!) {
          least = child;
        }
      }
      if (deadlineMs <= this.#deadlinesMs[least]!) break;
      this.#place(at, this.#slots[least]!, this.#deadlinesMs[least]!);
      at = least;
    }
    this.#place(at, slot, deadlineMs);
  }

  #place(at: number, slot: number, deadlineMs: number): void {
    this.#slots[at] = slot;
    this.#deadlinesMs[at] = deadlineMs;
    this.#places[slot] = at + 1;
  }
}

/** Copies an array into one of twice the length, or of `length` if that is
 * more. */
export function grown<
  A extends Int32Array<ArrayBuffer> | Float64Array<ArrayBuffer>,
>(array: A, length: number): A {
  const make = array.constructor as new (length: number) => A;
  const copy = new make(Math.max(2 * array.length, length));
  copy.set(array);
  return copy;
}
