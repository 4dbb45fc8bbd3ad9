import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import type { Ring } from "./Ring.ts";

/** The pending operations of one owner, which may keep the process alive or
 * not, as `ref()` and `unref()` say. */
export class Refs {
  readonly #ring: Ring;
  #pending = 0;
  #isUnref = false;

  constructor(ctx: IoContext) {
    this.#ring = ringOf(ctx, { verb: "keep the process alive" });
  }

  /** Counts an operation. Call `ended()` in its first reaction: until then the
   * driver does not leave the thread. */
  started(): void {
    this.#pending++;
    if (this.#isUnref) this.#ring.unrefs++;
  }

  /** Counts its end. */
  ended(): void {
    this.#pending--;
    if (this.#isUnref) this.#ring.unrefs--;
  }

  /** Makes operations keep the process alive, or not. */
  set(isUnref: boolean): void {
    if (this.#isUnref === isUnref) return;
    this.#isUnref = isUnref;
    this.#ring.unrefs += isUnref ? this.#pending : -this.#pending;
    // The driver looks at it when it leaves the thread the next time.
    if (!this.#ring.closing) this.#ring.schedule();
  }
}
