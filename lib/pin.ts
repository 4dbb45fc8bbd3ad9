import { isAligned } from "../ffi/memory.ts";
import type { BufferLike } from "./check.ts";
import { workerThreads } from "./worker_threads.ts";

/**
 * Marks the memory of a buffer as untransferable: from now on `transfer()`,
 * `structuredClone` and `postMessage` throw. A buffer that moves to another
 * owner while the kernel uses it ends the process. The mark is for good. It
 * costs about a microsecond, once a buffer. Memory of `IoContext.allocate()`
 * has it already.
 *
 * WebAssembly memory and resizable buffers are refused: growing a pinned one
 * would end the process. Copy the data, or use `IoContext.allocate()`.
 *
 * @typeParam T The kind of buffer.
 * @param buffer A view or an `ArrayBuffer`; all views of the same memory are
 * affected. A `SharedArrayBuffer` can never be transferred.
 * @returns The same buffer.
 * @throws {TypeError} If `buffer` is no buffer, is detached, or may grow.
 *
 * @example Receive into memory that stays
 * ```ts
 * import { pin } from "@kio/kio";
 *
 * const buffer = pin(new Uint8Array(4096));
 * ```
 */
export function pin<T extends BufferLike>(buffer: T): T {
  const memory = ArrayBuffer.isView(buffer) ? buffer.buffer : buffer;
  if (memory instanceof SharedArrayBuffer) return buffer;
  if (!(memory instanceof ArrayBuffer)) {
    throw new TypeError(`Cannot pin: expected a buffer, got ${typeof buffer}`);
  }
  if (memory.detached) {
    throw new TypeError("Cannot pin: the buffer is detached");
  }
  const threads = workerThreads();
  if (threads.isMarkedAsUntransferable(memory)) return buffer;
  if (canGrow(memory)) {
    throw new TypeError(
      "Cannot pin: the memory of a WebAssembly module or of a resizable buffer may grow, which would be fatal; use IoContext.allocate() and copy",
    );
  }
  threads.markAsUntransferable(memory);
  return buffer;
}

/** Bytes of a page of WebAssembly memory. */
const WASM_PAGE = 65536;

/**
 * Tells whether memory may grow. WebAssembly memory has no mark of its own, but
 * cannot be transferred: `transfer()` to an impossible length throws a
 * TypeError for it, and a RangeError for other buffers. That takes the engine
 * milliseconds, so only memory of whole pages is tested.
 */
function canGrow(memory: ArrayBuffer): boolean {
  if (memory.resizable) return true;
  if (memory.byteLength % WASM_PAGE !== 0 || !isAligned(memory, WASM_PAGE)) {
    return false;
  }
  try {
    memory.transfer(Number.MAX_SAFE_INTEGER);
  } catch (error) {
    return error instanceof TypeError;
  }
  throw new Error("unreachable: no machine has 2^53 bytes");
}
