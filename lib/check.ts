import { loadShim } from "../ffi/load.ts";
import { DirectFd, useDirect } from "./DirectFd.ts";
import { AT_FDCWD } from "./ops/layout.ts";
import type { Operation } from "./ring/operation.ts";

/** A file descriptor, an object that owns one, like a `Socket`, or a direct
 * descriptor. `node:fs` opens files as such numbers; a `Deno.FsFile` has
 * none. */
export type Fd = number | { readonly fd: number } | DirectFd;

/** Memory that the kernel reads or fills: a view or an `ArrayBuffer`. */
export type BufferLike = ArrayBufferView | ArrayBuffer;

/** A path: a string, or its bytes, which need not be UTF-8. Neither has a NUL. */
export type Path = string | Uint8Array;

/** A place in a file: a number of bytes, or `CURRENT_POSITION`. */
export type Offset = number | bigint | typeof CURRENT_POSITION;

/**
 * As an offset: the file's own position, which the operation then moves, as
 * read(2) and write(2) do. A stream (a pipe, a terminal) ignores any offset.
 * Two operations in flight on one position are in no order.
 */
export const CURRENT_POSITION: unique symbol = Symbol("CURRENT_POSITION");

/** The most bytes that Linux transfers at a time: 2 GiB less a page. */
export const TRANSFER_MAX = 0x7ffff000;
const OFFSET_MAX = 0x7fffffffffffffffn;

// Deno checks integers of FFI calls until it has optimised them, and then cuts
// them (2^32 + 5 arrives as 5). So everything is checked here.

/** Checks an fd, and gives its number. With its ring an operation takes direct
 * descriptors, too: they are numbers from `DIRECT_FIRST` down. */
export function checkFd(
  fd: Fd,
  operation: { verb: string },
  ring?: object,
): number {
  const number = typeof fd === "number" ? fd : (fd as { fd: number })?.fd;
  if ((number | 0) === number && number >= 0) return number | 0;
  if (fd instanceof DirectFd) return useDirect(fd, ring, operation.verb);
  if (typeof number !== "number") {
    const hint = fd instanceof Deno.FsFile
      ? "; a Deno.FsFile has none, asyncOpen() gives one"
      : "";
    throw new TypeError(
      `Cannot ${operation.verb}: expected an fd or an object that has one, got ${typeof fd}${hint}`,
    );
  }
  const hint = number === -1
    ? "; the socket is closed or released, or the worker has ended"
    : "";
  throw new RangeError(
    `Cannot ${operation.verb}: fd must be an integer from 0 to 2147483647, got ${number}${hint}`,
  );
}

/** Checks an fd that the caller gives up. The ring of a context is refused: the
 * context owns it, and would notice its end only by the kernel's errors. */
export function checkOwned(fd: number, verb: string): number {
  if (!loadShim().kio_fd_is_ring(fd)) return fd;
  throw new TypeError(
    `Cannot ${verb}: fd ${fd} is the ring of an IoContext; close the context instead`,
  );
}

/** Checks a buffer, and gives the most bytes that one operation moves of it. */
export function checkBuffer(buffer: BufferLike, operation: Operation): number {
  const length = checkMemory(buffer, operation);
  return length <= TRANSFER_MAX ? length : TRANSFER_MAX;
}

/** Checks a buffer, and gives its length. */
export function checkMemory(
  buffer: BufferLike,
  operation: { verb: string },
): number {
  if (!ArrayBuffer.isView(buffer) && !(buffer instanceof ArrayBuffer)) {
    const hint = typeof buffer === "string" ? "; encode it as bytes" : "";
    throw new TypeError(
      `Cannot ${operation.verb}: expected a Uint8Array, another view or an ArrayBuffer, got ${typeof buffer}${hint}`,
    );
  }
  const length = buffer.byteLength;
  if (length > 0) return length;
  if (isDetached(buffer)) {
    throw new TypeError(
      `Cannot ${operation.verb}: the buffer is detached; it was transferred elsewhere`,
    );
  }
  throw new RangeError(
    `Cannot ${operation.verb}: the buffer is empty; pass at least one byte`,
  );
}

/** Checks memory for what takes bytes only, and no other view. */
export function checkBytes(
  bytes: Uint8Array,
  name: string,
  verb: string,
): void {
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(`Cannot ${verb}: ${name} must be a Uint8Array`);
  }
  checkMemory(bytes, { verb });
}

/** Checks a buffer among several, which may be empty, and gives the most bytes
 * that one operation moves of it. */
export function checkPart(buffer: BufferLike, operation: Operation): number {
  return isEmpty(buffer) ? 0 : checkBuffer(buffer, operation);
}

/** Tells whether a buffer has no bytes and never had any. */
function isEmpty(buffer: BufferLike): boolean {
  if (!ArrayBuffer.isView(buffer) && !(buffer instanceof ArrayBuffer)) {
    return false;
  }
  const memory = memoryOf(buffer);
  const isResizable = memory instanceof ArrayBuffer && memory.resizable;
  return buffer.byteLength === 0 && !isDetached(buffer) && !isResizable;
}

/** Tells whether the memory of a buffer was taken away. */
export function isDetached(buffer: BufferLike): boolean {
  const memory = memoryOf(buffer);
  return memory instanceof ArrayBuffer && memory.detached;
}

function memoryOf(buffer: BufferLike): ArrayBufferLike {
  return ArrayBuffer.isView(buffer) ? buffer.buffer : buffer;
}

/** Checks an integer from `min` to `max`; -0 becomes 0. */
export function checkInteger(
  value: number,
  max: number,
  name: string,
  verb: string,
  min = 0,
): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value + 0;
  throw new RangeError(
    `Cannot ${verb}: ${name} must be an integer from ${min} to ${max}, got ${
      String(value)
    }`,
  );
}

/** Checks that a value is a function. */
export function checkFunction(
  value: unknown,
  name: string,
  verb: string,
): void {
  if (typeof value === "function") return;
  throw new TypeError(
    `Cannot ${verb}: ${name} must be a function, got ${typeof value}`,
  );
}

/** Checks an option that is true or false. */
export function checkBoolean(
  value: unknown,
  name: string,
  verb: string,
): boolean {
  if (typeof value === "boolean") return value;
  throw new TypeError(
    `Cannot ${verb}: ${name} must be a boolean, got ${typeof value}`,
  );
}

/** Checks that a value is an object with options. */
export function checkOptions(options: unknown, verb: string): void {
  const isArray = Array.isArray(options);
  if (typeof options === "object" && options !== null && !isArray) return;
  const it = isArray ? "an array" : options === null ? "null" : typeof options;
  throw new TypeError(`Cannot ${verb}: options must be an object, got ${it}`);
}

/** Checks that a value is an `AbortSignal`. */
export function checkSignal(signal: unknown, verb: string): void {
  if (signal instanceof AbortSignal) return;
  throw new TypeError(
    `Cannot ${verb}: expected an AbortSignal, got ${typeof signal}`,
  );
}

/** Checks the limits of a transfer. */
export function checkBounds(
  options: { timeoutMs?: number | undefined; signal?: AbortSignal | undefined },
  verb: string,
): void {
  checkOptions(options, verb);
  const { timeoutMs, signal } = options;
  if (timeoutMs !== undefined) checkDelay(timeoutMs, "timeoutMs", verb);
  if (signal !== undefined) checkSignal(signal, verb);
}

/** Checks that a value is an array: its length is that of its elements. */
export function checkArray(array: unknown, of: string, verb: string): void {
  if (Array.isArray(array)) return;
  throw new TypeError(
    `Cannot ${verb}: expected an array of ${of}, got ${typeof array}`,
  );
}

/** Checks a finite number of milliseconds, 0 or more. */
export function checkDelay(delayMs: number, name: string, verb: string): void {
  if (
    typeof delayMs === "number" && delayMs >= 0 &&
    delayMs <= Number.MAX_SAFE_INTEGER
  ) return;
  throw new RangeError(
    `Cannot ${verb}: ${name} must be a number of milliseconds from 0 to 2^53 - 1, got ${
      String(delayMs)
    }`,
  );
}

/** Checks a path, and gives a copy of it with the NUL of C. */
export function checkPath(
  path: Path,
  { verb }: Operation,
  name = "path",
): Uint8Array<ArrayBuffer> {
  if (typeof path === "string") {
    checkText(path, name, verb);
    return new TextEncoder().encode(`${path}\0`);
  }
  if (!(path instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot ${verb}: ${name} must be a string or a Uint8Array, got ${typeof path}`,
    );
  }
  if (isDetached(path)) {
    throw new TypeError(
      `Cannot ${verb}: the bytes of ${name} are detached; they were transferred elsewhere`,
    );
  }
  const memory = new Uint8Array(path.length + 1);
  memory.set(path);
  if (memory.indexOf(0) === path.length) return memory;
  throw new TypeError(`Cannot ${verb}: ${name} must be bytes without NUL`);
}

/** Checks the directory that a relative path starts from, and gives its fd. */
export function checkDir(dir: Fd | undefined, operation: Operation): number {
  return dir === undefined ? AT_FDCWD : checkFd(dir, operation);
}

/** Checks that UTF-8 can encode a string. It would replace a lone surrogate,
 * and the string would name another file. */
export function checkText(text: string, name: string, verb: string): void {
  if (typeof text === "string" && !text.includes("\0")) {
    if (text.isWellFormed()) return;
    throw new TypeError(
      `Cannot ${verb}: ${name} has a lone surrogate, which UTF-8 cannot express`,
    );
  }
  throw new TypeError(`Cannot ${verb}: ${name} must be a string without NUL`);
}

/** Checks flags of a system call: any 31 bits. */
export function checkFlags(
  flags: number,
  operation: Operation,
  name = "flags",
): number {
  if ((flags | 0) === flags && flags >= 0) return flags | 0;
  return checkInteger(flags, 2 ** 31 - 1, name, operation.verb);
}

/** Checks an offset that cannot be the current position. */
export function checkPlace(
  offset: number | bigint,
  operation: Operation,
): number | bigint {
  const at = checkOffset(offset, operation);
  if (at !== -1) return at;
  throw new TypeError(
    `Cannot ${operation.verb}: CURRENT_POSITION is not possible here`,
  );
}

/** Checks an offset. Gives -1 for the current position, and a bigint only if a
 * number would round it. */
export function checkOffset(
  offset: Offset,
  operation: Operation,
): number | bigint {
  if (typeof offset === "number") {
    if (offset >= 0 && offset <= Number.MAX_SAFE_INTEGER && offset % 1 === 0) {
      return offset;
    }
  } else if (offset === CURRENT_POSITION) {
    return -1;
  } else if (typeof offset === "bigint") {
    if (offset >= 0n && offset <= OFFSET_MAX) {
      return offset <= Number.MAX_SAFE_INTEGER ? Number(offset) : offset;
    }
  } else {
    throw new TypeError(
      `Cannot ${operation.verb}: offset must be a number, a bigint or CURRENT_POSITION, got ${typeof offset}`,
    );
  }
  throw new RangeError(
    `Cannot ${operation.verb}: offset must be an integer from 0 to 2^53 - 1, or a bigint to 2^63 - 1, got ${offset}; CURRENT_POSITION means the file's own`,
  );
}
