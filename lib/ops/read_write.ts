/** Reading and writing at an offset: files, and streams that ignore it. */
import {
  type BufferLike,
  checkBuffer,
  checkFd,
  checkInteger,
  checkOffset,
  type Fd,
  type Offset,
} from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import type { Ring } from "../ring/Ring.ts";
import { IOSQE_FIXED_FILE, Sqe } from "../ring/sqe.ts";
import { start, startWaiting } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
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

/**
 * Reads from a file. See pread(2).
 *
 * C++: `AsyncRead`.
 *
 * @param ctx The context.
 * @param fd What to read from: a file, a pipe, a socket, a terminal.
 * @param buffer Where to; it must not be transferred until completion. At most
 * 2147479552 bytes are read at a time.
 * @param offset Where in the file, 0 to 2^53 - 1 (as a bigint to 2^63 - 1);
 * 0 if left out. `CURRENT_POSITION` is the file's own.
 * @returns The number of bytes, often fewer than asked for; 0 at the end.
 * `EBADF`, `EISDIR`, `EINVAL`, `EIO` … It waits for bytes of a stream also if
 * that is non-blocking; only within `link()` that may be `EAGAIN`.
 * @throws {RangeError} If `fd` or `offset` is out of range or `buffer` is
 * empty; {TypeError} if an argument has the wrong type, `buffer` is detached or
 * the context is closed.
 */
export function asyncRead(
  ctx: IoContext,
  fd: Fd,
  buffer: BufferLike,
  offset: Offset = 0,
): UringOp<number> {
  const ring = ringOf(ctx, READ);
  const file = checkFd(fd, READ);
  const length = checkBuffer(buffer, READ);
  const at = checkOffset(offset, READ);
  if (typeof at === "bigint") {
    return start(ring, READ, sqeFor(READ, file, buffer, length, at));
  }
  const { shim, handle } = ring;
  const entry = ring.take(READ);
  const status = shim.kio_read(
    handle,
    entry.id,
    file,
    buffer,
    0,
    length,
    at,
    0,
  );
  return ring.enter(entry, file, buffer, status);
}

/**
 * Writes to a file. See pwrite(2).
 *
 * C++: `AsyncWrite`.
 *
 * @param ctx The context.
 * @param fd What to write to.
 * @param data What to write; it must be neither transferred nor changed until
 * completion. At most 2147479552 bytes are written at a time.
 * @param offset Where in the file, as for `asyncRead()`. A file opened with
 * `O_APPEND` ignores it.
 * @returns The number of bytes, which may be fewer than given. `EBADF`,
 * `ENOSPC`, `EFBIG`, `EIO`, `EPIPE` …
 * @throws As `asyncRead()`.
 */
export function asyncWrite(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike,
  offset: Offset = 0,
): UringOp<number> {
  const ring = ringOf(ctx, WRITE);
  const file = checkFd(fd, WRITE);
  const length = checkBuffer(data, WRITE);
  const at = checkOffset(offset, WRITE);
  if (typeof at === "bigint") {
    return start(ring, WRITE, sqeFor(WRITE, file, data, length, at));
  }
  const { shim, handle } = ring;
  const entry = ring.take(WRITE);
  const status = shim.kio_write(
    handle,
    entry.id,
    file,
    data,
    0,
    length,
    at,
    0,
  );
  return ring.enter(entry, file, data, status);
}

/**
 * Reads from a registered file: `asyncRead()` for
 * `IoContext.registerFiles()`.
 *
 * C++: `AsyncReadFixed`.
 *
 * @param ctx The context that has the files.
 * @param index Place in the list of registered files.
 * @param buffer Where to, as for `asyncRead()`.
 * @param offset Where in the file, as for `asyncRead()`.
 * @returns The number of bytes; 0 at the end. `EBADF` if there is no file at
 * that index.
 * @throws As `asyncRead()`.
 */
export function asyncReadFixed(
  ctx: IoContext,
  index: number,
  buffer: BufferLike,
  offset: Offset = 0,
): UringOp<number> {
  const ring = ringOf(ctx, READ_FIXED);
  return startFixed(ring, READ_FIXED, index, buffer, offset);
}

/**
 * Writes to a registered file: `asyncWrite()` for
 * `IoContext.registerFiles()`.
 *
 * @param ctx The context that has the files.
 * @param index Place in the list of registered files.
 * @param data What to write, as for `asyncWrite()`.
 * @param offset Where in the file, as for `asyncRead()`.
 * @returns The number of bytes. `EBADF` if there is no file at that index.
 * @throws As `asyncRead()`.
 */
export function asyncWriteFixed(
  ctx: IoContext,
  index: number,
  data: BufferLike,
  offset: Offset = 0,
): UringOp<number> {
  const ring = ringOf(ctx, WRITE_FIXED);
  return startFixed(ring, WRITE_FIXED, index, data, offset);
}

/**
 * Reads into several buffers, one after the other. See preadv(2).
 *
 * C++: `AsyncReadv`.
 *
 * @param ctx The context.
 * @param fd What to read from.
 * @param buffers 1 to 1024 buffers, each as for `asyncRead()`; some may be
 * empty, but not all.
 * @param offset Where in the file, as for `asyncRead()`.
 * @returns The number of bytes in all; 0 at the end.
 * @throws As `asyncRead()`; {RangeError} too if there are no or too many
 * buffers.
 */
export function asyncReadv(
  ctx: IoContext,
  fd: Fd,
  buffers: readonly BufferLike[],
  offset: Offset = 0,
): UringOp<number> {
  const ring = ringOf(ctx, READV);
  return startVectors(ring, READV, checkFd(fd, READV), buffers, offset);
}

/**
 * Writes several buffers, one after the other. See pwritev(2).
 *
 * C++: `AsyncWritev`.
 *
 * @param ctx The context.
 * @param fd What to write to.
 * @param buffers 1 to 1024 buffers, each as for `asyncWrite()`; some may be
 * empty, but not all.
 * @param offset Where in the file, as for `asyncRead()`.
 * @returns The number of bytes in all.
 * @throws As `asyncReadv()`.
 */
export function asyncWritev(
  ctx: IoContext,
  fd: Fd,
  buffers: readonly BufferLike[],
  offset: Offset = 0,
): UringOp<number> {
  const ring = ringOf(ctx, WRITEV);
  return startVectors(ring, WRITEV, checkFd(fd, WRITEV), buffers, offset);
}

function sqeFor(
  { opcode }: Row,
  fd: number,
  buffer: BufferLike,
  length: number,
  offset: number | bigint,
): Sqe {
  const sqe = new Sqe(opcode);
  sqe.fd = fd;
  sqe.addr = buffer;
  sqe.len = length;
  sqe.offset = offset;
  return sqe;
}

function startFixed(
  ring: Ring,
  row: Row,
  index: number,
  buffer: BufferLike,
  offset: Offset,
): UringOp<number> {
  const place = checkInteger(index, FIXED_FILE_MAX, "index", row.verb);
  const length = checkBuffer(buffer, row);
  const at = checkOffset(offset, row);
  const sqe = sqeFor(row, place, buffer, length, at);
  sqe.flags = IOSQE_FIXED_FILE;
  return startWaiting(ring, row, sqe, row.waits);
}

function startVectors(
  ring: Ring,
  row: Row,
  fd: number,
  buffers: readonly BufferLike[],
  offset: Offset,
): UringOp<number> {
  const vectors = vectorsFor(ring, buffers, 0, row);
  const at = checkOffset(offset, row);
  const sqe = sqeFor(row, fd, vectors, buffers.length, at);
  sqe.retain([...buffers]);
  return start(ring, row, sqe, { sqe });
}
