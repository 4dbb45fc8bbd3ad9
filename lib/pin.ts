import type { Buffer } from "./check.ts";
import { workerThreads } from "./worker_threads.ts";

/**
 * Keeps a buffer from being taken away: from now on `transfer()`,
 * `structuredClone` and `postMessage` throw instead of moving its memory to
 * another owner, which would be fatal while the kernel is using it. Cannot be
 * undone. Costs about a microsecond, once for a buffer; memory of
 * `IoContext.allocate()` is made like that.
 *
 * @typeParam T The kind of buffer.
 * @param buffer A view or an `ArrayBuffer`; all views of the same memory are
 * affected. A `SharedArrayBuffer` cannot be taken away anyway.
 * @returns The same buffer.
 * @throws {TypeError} If it is no buffer, or detached already.
 *
 * @example Receive into memory that stays
 * ```ts
 * import { pin } from "@kio/kio";
 *
 * const buffer = pin(new Uint8Array(4096));
 * ```
 */
export function pin<T extends Buffer>(buffer: T): T {
  const memory = ArrayBuffer.isView(buffer) ? buffer.buffer : buffer;
  if (memory instanceof SharedArrayBuffer) return buffer;
  if (!(memory instanceof ArrayBuffer)) {
    throw new TypeError(`Cannot pin: expected a buffer, got ${typeof buffer}`);
  }
  if (memory.detached) {
    throw new TypeError("Cannot pin: the buffer is detached");
  }
  workerThreads().markAsUntransferable(memory);
  return buffer;
}
