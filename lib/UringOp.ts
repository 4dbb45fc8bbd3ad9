import type { Result } from "./result.ts";

/**
 * An operation that has started: a real promise of its `Result`. It starts at
 * once, awaited or not, and keeps its buffers referenced until the kernel has
 * completed it. It never rejects; only that of `offload()` does, with the
 * exception of its job.
 *
 * `Promise.race()` does not end an operation that lost: such a receive takes
 * bytes from the next one. `withTimeout()` and `withSignal()` end it, and lose
 * nothing.
 *
 * C++: `UringOp<Derived>`
 *
 * @typeParam T The value of the result: a number of bytes, an fd …
 */
export interface UringOp<T> extends Promise<Result<T>> {
  /**
   * Cancels the operation when the time is over, and gives it the error
   * `ETIMEDOUT`. If it was done already, its result counts, as the bytes have
   * moved. Of several timeouts the earliest counts. May be called at any time;
   * does nothing once the operation is complete.
   *
   * C++: `WithTimeout`
   *
   * @param timeoutMs Milliseconds from now, 0 or more and finite. Never early,
   * late by up to a millisecond and the load of the thread. With 0 an operation
   * succeeds only if the kernel can do it at once. One that goes to a thread of
   * the kernel mostly does not: `asyncFallocate()`, `asyncFdatasync()`,
   * `asyncFsync()`, `asyncFtruncate()`, `asyncShutdown()`, `asyncSplice()`,
   * `asyncTee()`, `asyncSyncFileRange()`, all on paths and attributes, most
   * writes to files, all on tmpfs, and opening a file that is created or not in
   * the cache.
   * @returns The same operation.
   * @throws {RangeError} If `timeoutMs` is negative, NaN or infinite; the
   * operation is cancelled then.
   */
  withTimeout(timeoutMs: number): this;

  /**
   * Cancels the operation when the signal is aborted, as `cancel()` does. A
   * signal that is aborted already keeps the operation from happening at all,
   * unless it was submitted before. Of several signals each counts.
   *
   * @param signal The signal. Its listener is gone when the thread goes back to
   * the event loop after completion.
   * @returns The same operation.
   * @throws {TypeError} If `signal` is not an `AbortSignal`; the operation is
   * cancelled then.
   */
  withSignal(signal: AbortSignal): this;

  /**
   * Asks the kernel to cancel the operation. That is a request: the operation
   * completes with `ECANCELED`, or with its result if it was done already. One
   * that the same turn of the event loop has queued was not submitted, and
   * never happens. Nor does a link that has not started, see `link()`. Buffers
   * stay in use until completion.
   */
  cancel(): void;

  /**
   * Gives the value, and throws for an error.
   *
   * @returns A promise of the value. It rejects with the class of `Deno.errors`
   * that fits the errno, else with an `Error`. That has `code`, `errno` and
   * `operation`, the name of the function that started the operation.
   */
  orThrow(): Promise<T>;
}
