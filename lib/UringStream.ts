import type { Result } from "./result.ts";

/**
 * An operation that gives many results: a multishot, or a directory that is
 * read. It starts at once, and keeps the process alive until it ends. A
 * multishot arms itself again until then.
 *
 * Results that are not taken yet wait in a queue. When that is full the ring
 * asks the kernel to stop. The kernel goes on when half of the queue was taken.
 *
 * A directory ends behind its last entry. Else a stream ends with an error that
 * it cannot go on after, which is its last result:
 * `ECANCELED` after `cancel()`, an aborted signal, or the end of its fd or of its
 * context. A loop that ends by `break`, `return` or an exception ends it too.
 * Results that were not taken by then are dropped, their fds closed, and their
 * buffers given back. A stream of bytes ends without an error when the peer has
 * closed its side.
 *
 * There is one consumer: all iterators take from the same queue. A stream of
 * leases rejects a `next()` with a `TypeError` while another one waits, as the
 * lease before is given back by it.
 *
 * @typeParam T The value of a result: an fd, events …
 */
export interface UringStream<T>
  extends AsyncIterable<Result<T>>, AsyncDisposable {
  /**
   * Gives values instead of results, and throws for an error.
   *
   * @returns The same stream, as values. Its iterator rejects with the class of
   * `Deno.errors` that fits the errno (else `Error`), and has ended the stream
   * by then.
   */
  orThrow(): AsyncIterable<T>;

  /**
   * Takes a result that is there already, without a promise.
   *
   * @returns The next result in order; undefined if none waits.
   */
  take(): Result<T> | undefined;

  /**
   * Tells how the stream has ended: settles when the kernel has let go of it,
   * without an error or with the failure that is the last result. It is
   * `ECANCELED` after a loop was left before. It never rejects.
   *
   * It takes nothing from the queue. Results may still wait there when it
   * settles. A stream of bytes ends only when they were taken. For a stream with a
   * callback this takes less memory than a loop that waits for the end.
   */
  readonly closed: Promise<Result<void>>;

  /**
   * Asks the kernel to end the operation. The last result is `ECANCELED`, when
   * the kernel has let go of it. Does nothing once it has ended.
   */
  cancel(): void;

  /**
   * Ends the operation when the signal is aborted, as `cancel()` does.
   *
   * @param signal The signal. Of several signals each counts.
   * @returns The same stream.
   * @throws {TypeError} If `signal` is not an `AbortSignal`; the operation is
   * cancelled then.
   */
  withSignal(signal: AbortSignal): this;

  /**
   * Ends the operation when the time is over: its last result is `ETIMEDOUT`.
   *
   * @param timeoutMs Milliseconds from now, 0 or more and finite, for the whole
   * stream. Of several timeouts the earliest counts.
   * @returns The same stream.
   * @throws {RangeError} If `timeoutMs` is negative, NaN or infinite; the
   * operation is cancelled then.
   */
  withTimeout(timeoutMs: number): this;

  /**
   * Ends the operation, and waits until the kernel has let go of it. Results
   * that were not taken are dropped, their fds closed, and their buffers given
   * back.
   */
  [Symbol.asyncDispose](): Promise<void>;
}
