/** Turns of transfers whose bytes this thread moves. */
import { queueNext, resume } from "../lib/ring/clock.ts";
import type { Steps } from "../lib/ring/entry.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import type { Feeder } from "../lib/ring/starving.ts";

/** Bytes of a step, after which others wait for the next one; and those of a
 * call at most. */
export const TURN_BYTES = 1 << 20;

/** A transfer that waits for its turn, with its slot of the operation table. */
export interface Taker extends Steps {
  readonly slot: number;
  /** Bytes that it is going to move. */
  readonly expected: number;
}

const turns = new WeakMap<Ring, Turns>();

/** Gives the turns of a context. */
export function turnsOf(ring: Ring): Turns {
  let ofRing = turns.get(ring);
  if (ofRing === undefined) turns.set(ring, ofRing = new Turns(ring));
  return ofRing;
}

/** Lets transfers move about as many bytes in a step as one of them in a call.
 * Few large calls cost less than many small ones, and all else of the ring
 * does not wait for more than that. Who comes too late goes on in one of the
 * next steps, in order. */
export class Turns implements Feeder {
  readonly #ring: Ring;
  readonly #waiting = new Set<Taker>();
  /** Bytes that were granted in this step. */
  #granted = 0;

  constructor(ring: Ring) {
    this.#ring = ring;
  }

  /** The next step comes at once. */
  readonly dueMs = Infinity;

  get free(): number {
    return this.#waiting.size;
  }

  /** Grants a turn in this step, or a place in the queue. */
  take(taker: Taker): boolean {
    if (this.#waiting.size === 0 && this.#granted < TURN_BYTES) {
      this.#granted += taker.expected;
      this.#ring.starving.add(this);
      return true;
    }
    this.#waiting.add(taker);
    return false;
  }

  /** Takes one out of the queue that ends. */
  leave(taker: Taker): void {
    this.#waiting.delete(taker);
  }

  /** Begins a step: those at the head of the queue go on. */
  feed(): void {
    this.#granted = 0;
    for (const taker of this.#waiting) {
      if (this.#granted >= TURN_BYTES) return;
      this.#granted += taker.expected;
      this.#waiting.delete(taker);
      const entry = this.#ring.table.at(taker.slot)!;
      resume(this.#ring, entry);
      queueNext(this.#ring, entry, taker);
    }
    if (this.#granted === 0) this.#ring.starving.delete(this);
  }
}
