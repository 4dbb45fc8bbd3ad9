/** Something that a signal cancels. */
export interface AbortTarget {
  cancel(): void;
}

/**
 * One listener a signal, however many operations it ends. Taking a listener
 * off a signal takes time for each that it has: with one for each of 5000
 * connections a receive cost 390 µs.
 *
 * It stays when the last target has gone, until `removeIdleListeners()`: the
 * next operation often has the same signal, and to add and to remove a listener
 * takes longer than all the rest.
 */
export class AbortGroup {
  readonly #signal: AbortSignal;
  readonly #targets = new Set<AbortTarget>();
  #listens = false;
  #isInIdle = false;
  readonly #onAbort = () => {
    for (const target of this.#targets) target.cancel();
  };

  private constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** The group of a signal. */
  static of(signal: AbortSignal): AbortGroup {
    if (latest !== undefined && latest.#signal === signal) return latest;
    let group = groups.get(signal);
    if (group === undefined) {
      group = new AbortGroup(signal);
      groups.set(signal, group);
    }
    latest = group;
    return group;
  }

  /** Calls `cancel()` of the target when the signal is aborted. */
  add(target: AbortTarget): void {
    if (!this.#listens) {
      this.#listens = true;
      this.#signal.addEventListener("abort", this.#onAbort);
    }
    this.#targets.add(target);
  }

  delete(target: AbortTarget): void {
    this.#targets.delete(target);
    if (this.#targets.size > 0 || this.#isInIdle) return;
    this.#isInIdle = true;
    idle.push(this);
  }

  /** Stops listening, if there is still nothing to be ended. */
  rest(): void {
    this.#isInIdle = false;
    if (this.#targets.size > 0) return;
    this.#listens = false;
    this.#signal.removeEventListener("abort", this.#onAbort);
  }
}

const groups = new WeakMap<AbortSignal, AbortGroup>();

/** Of the signal that was asked for last: one for all is the usual. */
let latest: AbortGroup | undefined;

/** Groups that have lost their last target since. */
const idle: AbortGroup[] = [];

/** Stops listening where there is nothing left to cancel. The driver calls it
 * before it leaves the thread: a listener keeps the timer of
 * `AbortSignal.timeout()` going, and so the process alive. */
export function removeIdleListeners(): void {
  if (idle.length === 0) return;
  for (const group of idle) group.rest();
  idle.length = 0;
  latest = undefined;
}
