/** Turns of transfers whose bytes this thread moves. */
import type { Shim } from "../../ffi/load.ts";
import { checkRetained } from "./completion.ts";
import type { Core, Queue } from "./core.ts";
import type { Entry, Transfer } from "./entry.ts";
import { conclude } from "./settle.ts";

/** Bytes of a step, after which others wait for the next one; and those of a
 * call at most. */
export const TURN_BYTES = 1 << 20;

/** As many bytes take as long as a turn that moves none. */
const TURN_BYTES_MIN = 1 << 14;

/** A transfer that waits for its turn. The kernel has nothing of it. */
export interface Taker extends Transfer {
  /** Moves them, and queues what comes next: a submission, or its next turn.
   * Returns a status of the shim. */
  takeTurn(shim: Shim, handle: Deno.PointerObject, id: number): number;
}

/** Lets transfers move about as many bytes in a step as one of them in a call.
 * Few large calls cost less than many small ones, and all else of the ring
 * does not wait for more than that. Who comes too late goes on in one of the
 * next steps, in order. */
export class Turns implements Queue {
  readonly #waiting = new Set<Entry>();

  /** Those that wait for their turn. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Gives one a place in the queue. It is its turn behind the next submission
   * at the earliest: sends that were started before come first. */
  add(entry: Entry): void {
    this.#waiting.add(entry);
  }

  /** Takes one out of the queue. Returns whether it was in it. */
  leave(entry: Entry): boolean {
    return this.#waiting.delete(entry);
  }

  /** Ends a step: those at the head of the queue have their turn. Returns how
   * many. */
  give(core: Core): number {
    let bytes = 0;
    let count = 0;
    for (const entry of this.#waiting) {
      if (bytes >= TURN_BYTES) break;
      this.#waiting.delete(entry);
      const taker = entry.extra!.transfer as Taker;
      const { moved } = taker;
      checkRetained(core, entry);
      count++;
      const status = taker.takeTurn(core.shim, core.handle, entry.id);
      bytes += Math.max(taker.moved - moved, TURN_BYTES_MIN);
      if (status < 0) conclude(core, entry, status);
      else {
        core.queued++;
        core.silent++;
      }
    }
    return count;
  }
}
