import { loadShim } from "../../ffi/load.ts";
import { checkBounds } from "../check.ts";
import { AbortGroup, removeIdleListeners } from "./abort.ts";
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
