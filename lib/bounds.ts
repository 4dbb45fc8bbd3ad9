import { loadShim } from "../ffi/load.ts";
import { checkBounds } from "./check.ts";
import type { UringOp } from "./UringOp.ts";

/** What bounds a transfer of several operations as a whole. */
export interface BoundOptions {
  /** Milliseconds from now, 0 or more and finite: then it ends with
   * `ETIMEDOUT`. */
  timeout?: number | undefined;
  /** When aborted, it ends with `ECANCELED`. */
  signal?: AbortSignal | undefined;
}

/** Bounds one operation; the options are checked. */
export function bound(
  op: UringOp<unknown>,
  { timeout, signal }: BoundOptions,
): void {
  if (timeout !== undefined) op.withTimeout(timeout);
  if (signal !== undefined) op.withSignal(signal);
}

/**
 * Bounds operations that follow each other: none outlives the time or the
 * signal.
 */
export class Bounds implements Disposable {
  readonly #deadlineMs: number;
  readonly #signal: AbortSignal | undefined;
  #current: readonly UringOp<unknown>[] = [];

  constructor(options: BoundOptions, verb: string) {
    checkBounds(options, verb);
    const { timeout, signal } = options;
    this.#deadlineMs = timeout === undefined
      ? Infinity
      : loadShim().kio_now_ms() + timeout;
    this.#signal = signal;
    if (signal !== undefined) addAbortTarget(signal, this);
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
    const signal = this.#signal;
    if (signal === undefined) return;
    removeAbortTarget(signal, this);
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
 */
class AbortGroup {
  readonly signal: AbortSignal;
  readonly targets = new Set<AbortTarget>();
  readonly onAbort = () => {
    for (const target of this.targets) target.cancel();
  };

  constructor(signal: AbortSignal) {
    this.signal = signal;
  }
}

const groups = new WeakMap<AbortSignal, AbortGroup>();

/** Groups that may have lost their last target. */
const idle = new Set<AbortGroup>();

/** Calls `cancel()` of the target when the signal is aborted. */
export function addAbortTarget(
  signal: AbortSignal,
  target: AbortTarget,
): void {
  let group = groups.get(signal);
  if (group === undefined) {
    group = new AbortGroup(signal);
    groups.set(signal, group);
  }
  // An idle group still has its listener.
  if (group.targets.size === 0 && !idle.delete(group)) {
    signal.addEventListener("abort", group.onAbort);
  }
  group.targets.add(target);
}

/** Undoes `addAbortTarget()`. The listener stays until
 * `removeIdleListeners()`: the next operation often has the same signal, and
 * adding and removing a listener takes ten times as long as the rest. */
export function removeAbortTarget(
  signal: AbortSignal,
  target: AbortTarget,
): void {
  const group = groups.get(signal);
  if (group?.targets.delete(target) && group.targets.size === 0) {
    idle.add(group);
  }
}

/** To be called before the thread is left: a listener keeps the timer of
 * `AbortSignal.timeout()` going, and so the process alive. */
export function removeIdleListeners(): void {
  if (idle.size === 0) return;
  for (const group of idle) {
    group.signal.removeEventListener("abort", group.onAbort);
  }
  idle.clear();
}
