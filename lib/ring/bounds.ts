/**
 * Limits of time and by signal. `bound()` gives them to one operation; `Bounds`
 * spans operations that follow each other, as those of `TcpStream.connect()`.
 * Who uses them checks the options before anything starts.
 */
import { loadShim } from "../../ffi/load.ts";
import { checkBounds } from "../check.ts";
import { AbortGroup, removeIdleListeners } from "./abort.ts";
import type { UringOp } from "../UringOp.ts";
import type { UringStream } from "../UringStream.ts";

/** Limits of a transfer of several operations, as a whole. */
export interface BoundOptions {
  /** Milliseconds from now, 0 or more and finite. After that it ends with
   * `ETIMEDOUT`. */
  timeoutMs?: number | undefined;
  /** Ends it with `ECANCELED` when aborted. */
  signal?: AbortSignal | undefined;
}

/** Bounds one operation, or a stream, by options that the caller has checked. */
export function bound(
  op: UringOp<unknown> | UringStream<unknown>,
  { timeoutMs, signal }: BoundOptions,
): void {
  if (timeoutMs !== undefined) op.withTimeout(timeoutMs);
  if (signal !== undefined) op.withSignal(signal);
}

/** Bounds operations that follow each other: none outlives the time or the
 * signal. */
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

  /** Cancels the current operations; the signal calls it. */
  cancel(): void {
    for (const op of this.#current) op.cancel();
  }

  /** Bounds the next operation. */
  of<T>(op: UringOp<T>): UringOp<T> {
    this.ofAll([op]);
    return op;
  }

  /** Bounds the next operations, in place of those before. */
  ofAll(ops: readonly UringOp<unknown>[]): void {
    this.#current = ops;
    if (this.#deadlineMs !== Infinity) {
      for (const op of ops) op.withTimeout(this.remainingMs);
    }
    if (this.#signal?.aborted) this.cancel();
  }

  /** Milliseconds that are left; Infinity without a limit. */
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
