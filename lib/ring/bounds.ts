import { loadShim } from "../../ffi/load.ts";
import { checkBounds } from "../check.ts";
import type { UringOp } from "../UringOp.ts";

/** What bounds a transfer of several operations as a whole. */
export interface BoundOptions {
  /** Milliseconds from now, 0 or more and finite: then it ends with
   * `ETIMEDOUT`. */
  timeoutMs?: number | undefined;
  /** When aborted, it ends with `ECANCELED`. */
  signal?: AbortSignal | undefined;
}

/** Bounds one operation; the options are checked. */
export function bound(
  op: UringOp<unknown>,
  { timeoutMs, signal }: BoundOptions,
): void {
  if (timeoutMs !== undefined) op.withTimeout(timeoutMs);
  if (signal !== undefined) op.withSignal(signal);
}

/**
 * Bounds operations that follow each other: none outlives the time or the
 * signal.
 */
export class Bounds implements Disposable {
  readonly #deadlineMs: number;
  readonly #signal: AbortSignal | undefined;
  readonly #group: AbortGroup | undefined;
  #current: readonly UringOp<unknown>[] = [];

  constructor(options: BoundOptions, verb: string) {
    checkBounds(options, verb);
    const { timeoutMs, signal } = options;
    this.#deadlineMs = timeoutMs === undefined
      ? Infinity
      : loadShim().kio_now_ms() + timeoutMs;
    this.#signal = signal;
    this.#group = signal && AbortGroup.of(signal);
    this.#group?.add(this);
  }

  /** Called when the signal is aborted. */
  cancel(): void {
    for (const op of this.#current) op.cancel();
  }

  /** Bounds the next operation. */
  of<T>(op: UringOp<T>): UringOp<T> {
    this.ofAll([op]);
    return op;
  }

  /** Bounds the operations that are next, instead of those before. */
  ofAll(ops: readonly UringOp<unknown>[]): void {
    this.#current = ops;
    if (this.#deadlineMs !== Infinity) {
      for (const op of ops) op.withTimeout(this.remainingMs);
    }
    if (this.#signal?.aborted) this.cancel();
  }

  /** How much time is left; Infinity without a limit. */
  get remainingMs(): number {
    if (this.#deadlineMs === Infinity) return Infinity;
    return Math.max(0, this.#deadlineMs - loadShim().kio_now_ms());
  }

  [Symbol.dispose](): void {
    this.#current = [];
    this.#group?.delete(this);
    removeIdleListeners();
  }
}

/** What a signal ends. */
interface AbortTarget {
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

/** To be called before the thread is left: a listener keeps the timer of
 * `AbortSignal.timeout()` going, and so the process alive. */
export function removeIdleListeners(): void {
  if (idle.length === 0) return;
  for (const group of idle) group.rest();
  idle.length = 0;
  latest = undefined;
}
