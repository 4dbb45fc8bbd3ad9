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
  readonly #onAbort = () => {
    for (const op of this.#current) op.cancel();
  };

  constructor(options: BoundOptions, verb: string) {
    checkBounds(options, verb);
    const { timeout, signal } = options;
    this.#deadlineMs = timeout === undefined
      ? Infinity
      : loadShim().kio_now_ms() + timeout;
    this.#signal = signal;
    if (signal !== undefined) addAbortHandler(signal, this.#onAbort);
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
    if (this.#signal?.aborted) this.#onAbort();
  }

  /** How much time is left; Infinity without a limit. */
  get remainingMs(): number {
    if (this.#deadlineMs === Infinity) return Infinity;
    return Math.max(0, this.#deadlineMs - loadShim().kio_now_ms());
  }

  [Symbol.dispose](): void {
    this.#current = [];
    const signal = this.#signal;
    if (signal !== undefined) removeAbortHandler(signal, this.#onAbort);
  }
}

/**
 * One listener a signal, however many operations it ends. Taking a listener
 * off a signal takes time for each that it has: with one for each of 5000
 * connections a receive cost 390 µs.
 */
class AbortGroup {
  readonly handlers = new Set<() => void>();
  readonly onAbort = () => {
    for (const handler of this.handlers) handler();
  };
}

const groups = new WeakMap<AbortSignal, AbortGroup>();

/** Calls the handler when the signal is aborted. */
export function addAbortHandler(
  signal: AbortSignal,
  handler: () => void,
): void {
  let group = groups.get(signal);
  if (group === undefined) {
    group = new AbortGroup();
    groups.set(signal, group);
  }
  if (group.handlers.size === 0) {
    signal.addEventListener("abort", group.onAbort);
  }
  group.handlers.add(handler);
}

/** Undoes `addAbortHandler()`. A signal without handlers has no listener: one
 * would keep the timer of `AbortSignal.timeout()` going. */
export function removeAbortHandler(
  signal: AbortSignal,
  handler: () => void,
): void {
  const group = groups.get(signal);
  if (!group?.handlers.delete(handler) || group.handlers.size > 0) return;
  signal.removeEventListener("abort", group.onAbort);
}
