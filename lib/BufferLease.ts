/**
 * Bytes that have come, in a buffer of a `BufferPool`. The stream lends it: it
 * is yours until you take the next result of the stream, or leave the loop.
 * `keep()` makes it yours until `release()`.
 *
 * The buffer goes back to the pool exactly once: when you are through with it,
 * and so are all operations that have it. After that every member but `length`
 * throws. A view that was taken from `bytes` then shows what comes next: with
 * the option `trace` of the context it is overwritten with 0xfd at once.
 */
export interface BufferLease extends Disposable {
  /** The bytes, in the memory of the pool: a view that is made when first asked
   * for. You may change them.
   * @throws {TypeError} If the buffer was given back. */
  readonly bytes: Uint8Array<ArrayBuffer>;

  /** The number of bytes; 0 only for an empty datagram. */
  readonly length: number;

  /**
   * Copies the bytes.
   *
   * @returns Memory of your own.
   * @throws {TypeError} If the buffer was given back.
   */
  copy(): Uint8Array<ArrayBuffer>;

  /**
   * Takes the buffer over from the stream: it is yours until `release()`. A
   * stream that has lent out its share of buffers waits for them.
   *
   * @returns The same lease.
   * @throws {TypeError} If the buffer was given back.
   */
  keep(): this;

  /** Gives the buffer back, before the stream would do it or after `keep()`.
   * Does nothing the second time. */
  release(): void;

  /**
   * Sends the bytes to a socket by send(2), all of them, without a promise. The
   * buffer goes back when they are sent. Leases for one socket are sent one
   * after the other, in the order of the calls. Other sends to that socket may
   * come in between.
   *
   * A failure ends the stream that the lease is of, whichever socket it was, and
   * is its last result. So does the close of that socket, before the call or
   * after it: `ECANCELED`, or `EPIPE`. So does a peer that does not read while
   * others need the buffer: `ETIMEDOUT`, by `sendTimeoutMs` of the pool. Nothing
   * of that stream is sent after it. A stream whose peer has closed ends when its
   * leases are sent. Do not close the socket by `asyncClose()` before.
   *
   * @param fd The connected socket.
   * @throws {RangeError} If `fd` is out of range, or too many operations are in
   * flight.
   * @throws {TypeError} If `fd` is no fd, the buffer was given back, or the
   * context is closed.
   */
  sendTo(fd: number | { readonly fd: number }): void;

  /** Gives the buffer back, as `release()` does. */
  [Symbol.dispose](): void;
}
