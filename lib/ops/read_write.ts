/** Operations that read and write at an offset, which a stream ignores. */
import type { BufferLease } from "../BufferLease.ts";
import {
  type BufferLike,
  checkBuffer,
  checkFd,
  checkFlags,
  checkInteger,
  checkOffset,
  checkOptions,
  type Fd,
  type Offset,
} from "../check.ts";
import { RWF_NOWAIT } from "../constants.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { useFixedMemory } from "../ring/fixed_memory.ts";
import type { Ring } from "../ring/Ring.ts";
import { IOSQE_FIXED_FILE, Sqe } from "../ring/sqe.ts";
import { start, startWaiting } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { bytesFor, held, isLease } from "./held.ts";
import {
  READ,
  READ_FIXED,
  READV,
  type Row,
  WRITE,
  WRITE_FIXED,
  WRITEV,
} from "./table.ts";
import { vectorsFor } from "./vectors.ts";

const FIXED_FILE_MAX = 65535;

/** Options of reads and writes. */
export interface RwOptions {
  /** `RWF_DSYNC` and others, with `|`: flags of preadv2(2) and pwritev2(2).
   * @default {0} */
  rwFlags?: number | undefined;
}

/**
 * Reads from a file by pread(2).
 *
 * C++: `AsyncRead`
 *
 * @param ctx The context.
 * @param fd The file, or a pipe, a socket, a terminal.
 * @param buffer The buffer; it must not be transferred until completion. The
 * kernel fills 2147479552 bytes of it at most.
 * @param offset The place in the file, 0 to 2^53 - 1, as a bigint to 2^63 - 1.
 * `CURRENT_POSITION` is the file's own. A stream ignores it.
 * @param options `rwFlags`: with `RWF_NOWAIT` it reads only what is there.
 * @returns The number of bytes, often fewer than asked for; 0 at the end.
 * `EBADF`, `EISDIR`, `EINVAL`, `EIO` … It waits for the bytes of a stream, a
 * non-blocking one too; only with `RWF_NOWAIT` or within `link()` that may give
 * `EAGAIN`. `EOPNOTSUPP` for a flag that the file does not know.
 * @throws {RangeError} If `fd`, `offset` or `rwFlags` is out of range or
 * `buffer` is empty.
 * @throws {TypeError} If an argument has the wrong type, `buffer` is detached,
 * or the context is closed.
 *
 * @example The first bytes of a file
 * ```ts
 * import { asyncClose, asyncOpen, asyncRead, IoContext, O_RDONLY } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/etc/passwd", O_RDONLY).orThrow();
 * const buffer = new Uint8Array(4096);
 * const length = await asyncRead(ctx, fd, buffer).orThrow();
 * console.log(new TextDecoder().decode(buffer.subarray(0, length)));
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncRead(
  ctx: IoContext,
  fd: Fd,
  buffer: BufferLike,
  offset: Offset = 0,
  options?: RwOptions,
): UringOp<number> {
  const ring = ringOf(ctx, READ);
  const file = checkFd(fd, READ, ring);
  const length = checkBuffer(buffer, READ);
  const at = checkOffset(offset, READ);
  if (
    options !== undefined || typeof at === "bigint" || file < 0 ||
    ring.fixedMemory !== null
  ) {
    const sqe = sqeFor(ring, READ, file, buffer, length, at, options);
    return start(ring, READ, sqe, { sqe });
  }
  const { shim, handle } = ring;
  const entry = ring.take(READ);
  const status = shim.kio_read(
    handle,
    entry.id,
    file,
    buffer,
    length,
    at,
  );
  return ring.enter(entry, file, buffer, status);
}

/**
 * Writes to a file by pwrite(2).
 *
 * C++: `AsyncWrite`
 *
 * @param ctx The context.
 * @param fd The file, or a pipe, a socket, a terminal.
 * @param data The data; it must be neither transferred nor changed until
 * completion. A lease is held until then. The kernel takes 2147479552 bytes of
 * it at most.
 * @param offset The place in the file, as for `asyncRead()`. A file opened with
 * `O_APPEND` ignores it.
 * @param options `rwFlags`: `RWF_DSYNC`, `RWF_APPEND` …
 * @returns The number of bytes, which may be fewer than given. `EBADF`,
 * `ENOSPC`, `EFBIG`, `EIO`, `EPIPE` … It waits for room in a stream, a
 * non-blocking one too; only with `RWF_NOWAIT` or within `link()` that may give
 * `EAGAIN`. With `RWF_DSYNC` an error leaves it unknown what is on the disk.
 * @throws As `asyncRead()`.
 *
 * @example A line at the end of a new file
 * ```ts
 * import {
 *   asyncClose, asyncOpen, asyncWrite, IoContext, O_RDWR, O_TMPFILE,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR).orThrow();
 * const line = new TextEncoder().encode("first\n");
 * assertEquals(await asyncWrite(ctx, fd, line).orThrow(), line.length);
 * await asyncWrite(ctx, fd, line, line.length).orThrow();
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncWrite(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike | BufferLease,
  offset: Offset = 0,
  options?: RwOptions,
): UringOp<number> {
  if (isLease(data)) {
    const bytes = bytesFor(data, WRITE);
    return held(data, asyncWrite(ctx, fd, bytes, offset, options));
  }
  const ring = ringOf(ctx, WRITE);
  const file = checkFd(fd, WRITE, ring);
  const length = checkBuffer(data, WRITE);
  const at = checkOffset(offset, WRITE);
  if (
    options !== undefined || typeof at === "bigint" || file < 0 ||
    ring.fixedMemory !== null
  ) {
    const sqe = sqeFor(ring, WRITE, file, data, length, at, options);
    return start(ring, WRITE, sqe, { sqe });
  }
  const { shim, handle } = ring;
  const entry = ring.take(WRITE);
  const status = shim.kio_write(
    handle,
    entry.id,
    file,
    data,
    length,
    at,
  );
  return ring.enter(entry, file, data, status);
}

/**
 * Reads from a registered file by io_uring_prep_read(3) with
 * `IOSQE_FIXED_FILE`. `IoContext.registerFiles()` registers files. Apart from
 * that it is `asyncRead()`.
 *
 * C++: `AsyncReadFixed`
 *
 * @param ctx The context that has the files.
 * @param index The place in the list of registered files, 0 to 65535.
 * @param buffer The buffer, as for `asyncRead()`.
 * @param offset The place in the file, as for `asyncRead()`.
 * @param options As for `asyncRead()`.
 * @returns The number of bytes; 0 at the end. `EBADF` if that place is empty;
 * else the errors of `asyncRead()`.
 * @throws {RangeError} If `index` or `offset` is out of range or `buffer` is
 * empty.
 * @throws {TypeError} As `asyncRead()`.
 *
 * @example The file at place 0
 * ```ts
 * import {
 *   asyncClose, asyncOpen, asyncReadFixed, IoContext, O_RDONLY, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/etc/passwd", O_RDONLY).orThrow();
 * unwrap(ctx.registerFiles([fd]));
 * const length = await asyncReadFixed(ctx, 0, new Uint8Array(64)).orThrow();
 * console.log(`${length} bytes`);
 * unwrap(ctx.unregisterFiles());
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncReadFixed(
  ctx: IoContext,
  index: number,
  buffer: BufferLike,
  offset: Offset = 0,
  options?: RwOptions,
): UringOp<number> {
  const ring = ringOf(ctx, READ_FIXED);
  return startFixed(ring, READ_FIXED, index, buffer, offset, options);
}

/**
 * Writes to a registered file by io_uring_prep_write(3) with
 * `IOSQE_FIXED_FILE`. `IoContext.registerFiles()` registers files. Apart from
 * that it is `asyncWrite()`.
 *
 * @param ctx The context that has the files.
 * @param index The place in the list of registered files, 0 to 65535.
 * @param data The data, as for `asyncWrite()`.
 * @param offset The place in the file, as for `asyncRead()`.
 * @param options As for `asyncRead()`.
 * @returns The number of bytes. `EBADF` if that place is empty; else the errors
 * of `asyncWrite()`.
 * @throws As `asyncReadFixed()`.
 *
 * @example The file at place 0
 * ```ts
 * import {
 *   asyncClose, asyncOpen, asyncWriteFixed, IoContext, O_RDWR, O_TMPFILE, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR).orThrow();
 * unwrap(ctx.registerFiles([fd]));
 * await asyncWriteFixed(ctx, 0, new Uint8Array([2, 7, 8])).orThrow();
 * unwrap(ctx.unregisterFiles());
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncWriteFixed(
  ctx: IoContext,
  index: number,
  data: BufferLike | BufferLease,
  offset: Offset = 0,
  options?: RwOptions,
): UringOp<number> {
  if (isLease(data)) {
    const bytes = bytesFor(data, WRITE_FIXED);
    return held(data, asyncWriteFixed(ctx, index, bytes, offset, options));
  }
  const ring = ringOf(ctx, WRITE_FIXED);
  return startFixed(ring, WRITE_FIXED, index, data, offset, options);
}

/**
 * Reads into several buffers, one after the other, by preadv(2).
 *
 * C++: `AsyncReadv`
 *
 * @param ctx The context.
 * @param fd The file, as for `asyncRead()`.
 * @param buffers 1 to 1024 buffers, each as for `asyncRead()`; some may be
 * empty, but not all.
 * @param offset The place in the file, as for `asyncRead()`.
 * @param options As for `asyncRead()`.
 * @returns The number of bytes in all; 0 at the end. Errors as for
 * `asyncRead()`.
 * @throws {RangeError} As `asyncRead()`; also for no buffer, or too many.
 * @throws {TypeError} As `asyncRead()`.
 *
 * @example A head and a body
 * ```ts
 * import {
 *   asyncReadv, asyncSend, IoContext, Socket, unwrap,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * await asyncSend(ctx, left, new Uint8Array([2, 7, 8])).orThrow();
 * const [head, body] = [new Uint8Array(1), new Uint8Array(2)];
 * assertEquals(await asyncReadv(ctx, right, [head, body]).orThrow(), 3);
 * assertEquals([...body], [7, 8]);
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncReadv(
  ctx: IoContext,
  fd: Fd,
  buffers: readonly BufferLike[],
  offset: Offset = 0,
  options?: RwOptions,
): UringOp<number> {
  const ring = ringOf(ctx, READV);
  const file = checkFd(fd, READV, ring);
  return startVectors(ring, READV, file, buffers, offset, options);
}

/**
 * Writes several buffers, one after the other, by pwritev(2).
 *
 * C++: `AsyncWritev`
 *
 * @param ctx The context.
 * @param fd The file, as for `asyncWrite()`.
 * @param buffers 1 to 1024 buffers, each as for `asyncWrite()`; some may be
 * empty, but not all.
 * @param offset The place in the file, as for `asyncWrite()`.
 * @param options As for `asyncWrite()`.
 * @returns The number of bytes in all. Errors as for `asyncWrite()`.
 * @throws As `asyncReadv()`.
 *
 * @example A head and a body
 * ```ts
 * import {
 *   asyncClose, asyncOpen, asyncWritev, IoContext, O_RDWR, O_TMPFILE,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR).orThrow();
 * const [head, body] = [new Uint8Array([2]), new Uint8Array([7, 8])];
 * assertEquals(await asyncWritev(ctx, fd, [head, body]).orThrow(), 3);
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncWritev(
  ctx: IoContext,
  fd: Fd,
  buffers: readonly BufferLike[],
  offset: Offset = 0,
  options?: RwOptions,
): UringOp<number> {
  const ring = ringOf(ctx, WRITEV);
  const file = checkFd(fd, WRITEV, ring);
  return startVectors(ring, WRITEV, file, buffers, offset, options);
}

function sqeFor(
  ring: Ring,
  row: Row,
  fd: number,
  buffer: BufferLike,
  length: number,
  offset: number | bigint,
  options: RwOptions = {},
): Sqe {
  checkOptions(options, row.verb);
  const { rwFlags = 0 } = options;
  const sqe = new Sqe(row.opcode);
  sqe.opFlags = checkFlags(rwFlags, row, "rwFlags");
  sqe.fd = fd;
  sqe.addr = buffer;
  sqe.len = length;
  sqe.offset = offset;
  useFixedMemory(ring, sqe);
  return sqe;
}

function startFixed(
  ring: Ring,
  row: Row,
  index: number,
  buffer: BufferLike,
  offset: Offset,
  options: RwOptions | undefined,
): UringOp<number> {
  const place = checkInteger(index, FIXED_FILE_MAX, "index", row.verb);
  if (ring.places !== null) {
    throw new TypeError(
      `Cannot ${row.verb}: the places of this IoContext are those of reserveFiles(); pass a DirectFd to asyncRead() or asyncWrite()`,
    );
  }
  const length = checkBuffer(buffer, row);
  const at = checkOffset(offset, row);
  const sqe = sqeFor(ring, row, place, buffer, length, at, options);
  sqe.flags = IOSQE_FIXED_FILE;
  if (sqe.opFlags & RWF_NOWAIT) return start(ring, row, sqe);
  return startWaiting(ring, row, sqe, row.waits);
}

function startVectors(
  ring: Ring,
  row: Row,
  fd: number,
  buffers: readonly BufferLike[],
  offset: Offset,
  options: RwOptions | undefined,
): UringOp<number> {
  const vectors = vectorsFor(ring, buffers, 0, row);
  const at = checkOffset(offset, row);
  const sqe = sqeFor(ring, row, fd, vectors, buffers.length, at, options);
  sqe.retain([...buffers]);
  return start(ring, row, sqe, { sqe });
}
