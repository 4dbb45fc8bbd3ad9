/** Open files as such: closing, durability, space. */
import {
  checkFd,
  checkFlags,
  checkInteger,
  checkOwned,
  checkPlace,
  type Fd,
} from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { offered } from "../ring/offered.ts";
import {
  CLOSE,
  FALLOCATE,
  FDATASYNC,
  FSYNC,
  FTRUNCATE,
  type Row,
} from "./table.ts";

const IORING_FSYNC_DATASYNC = 1;

/**
 * Closes an fd. Operations that are pending on it are not cancelled by that
 * and go on with the old file: `Socket.close()` ends them first. The fd is
 * gone whatever the result, also in a chain that has ended before; never repeat
 * it. It cannot be cancelled. To close a number that is not the program's own
 * can end the process: Deno has fds for itself. See close(2).
 *
 * The next file or socket gets the lowest number that is free: after
 * `asyncClose(ctx, 2)` it may get what is written to stderr.
 *
 * C++: `AsyncClose`.
 *
 * @param ctx The context.
 * @param fd The fd; a `Socket` is released by it.
 * @returns `EBADF` if it is not open; `EIO`, `ENOSPC`, `EDQUOT` for what could
 * not be written.
 * @throws {RangeError} If `fd` is out of range; {TypeError} if it is no fd or
 * the ring of a context, or the context is closed.
 */
export function asyncClose(
  ctx: IoContext,
  fd: number | { readonly fd: number; release?(): number },
): UringOp<void> {
  const ring = ringOf(ctx, CLOSE);
  const file = checkOwned(checkFd(fd, CLOSE), CLOSE.verb);
  const entry = ring.take(CLOSE);
  // From here on it is the operation that owns the fd.
  if (typeof fd !== "number") fd.release?.();
  offered.delete(file);
  const status = ring.shim.kio_close(ring.handle, entry.id, file);
  return ring.enter(entry, file, null, status);
}

/**
 * Makes a file durable: data and metadata. See fsync(2).
 *
 * C++: `AsyncFsync`.
 *
 * @param ctx The context.
 * @param fd The file. Only writes that are complete are covered; `link()` puts
 * this behind a write.
 * @returns `EIO`, `ENOSPC` if data was lost, `EINVAL` for what cannot be synced.
 * @throws As `asyncClose()`.
 */
export function asyncFsync(ctx: IoContext, fd: Fd): UringOp<void> {
  return sync(ctx, fd, FSYNC, 0);
}

/**
 * Makes the data of a file durable, and of the metadata only what is needed to
 * read it back (the size). See fdatasync(2).
 *
 * C++: `AsyncFdatasync`.
 *
 * @param ctx The context.
 * @param fd The file, as for `asyncFsync()`.
 * @returns As `asyncFsync()`.
 * @throws As `asyncClose()`.
 */
export function asyncFdatasync(ctx: IoContext, fd: Fd): UringOp<void> {
  return sync(ctx, fd, FDATASYNC, IORING_FSYNC_DATASYNC);
}

function sync(
  ctx: IoContext,
  fd: Fd,
  row: Row,
  flags: number,
): UringOp<void> {
  const ring = ringOf(ctx, row);
  const sqe = new Sqe(row.opcode);
  sqe.fd = checkFd(fd, row);
  sqe.opFlags = flags;
  return start(ring, row, sqe);
}

/**
 * Allocates space for a file, so that writing there cannot fail for the lack
 * of it, or punches holes. See fallocate(2).
 *
 * C++: `AsyncFallocate`.
 *
 * @param ctx The context.
 * @param fd The file.
 * @param mode 0, or `FALLOC_FL_KEEP_SIZE` and others.
 * @param offset Start of the range, as for `asyncRead()`.
 * @param length Bytes, 1 to 2^53 - 1.
 * @returns `ENOSPC`, `EFBIG`, `EOPNOTSUPP` where the file system cannot do it,
 * `ESPIPE` for what is no file.
 * @throws {RangeError} If an argument is out of range; {TypeError} as
 * `asyncClose()`.
 */
export function asyncFallocate(
  ctx: IoContext,
  fd: Fd,
  mode: number,
  offset: number | bigint,
  length: number,
): UringOp<void> {
  const ring = ringOf(ctx, FALLOCATE);
  const { verb } = FALLOCATE;
  const sqe = new Sqe(FALLOCATE.opcode);
  sqe.fd = checkFd(fd, FALLOCATE);
  sqe.len = checkFlags(mode, FALLOCATE);
  sqe.at = checkInteger(length, Number.MAX_SAFE_INTEGER, "length", verb, 1);
  sqe.offset = checkPlace(offset, FALLOCATE);
  return start(ring, FALLOCATE, sqe);
}

/**
 * Cuts a file off or extends it with zeros. See ftruncate(2). Before Linux 6.9 it is done at once, on the calling thread,
 * and is refused within `link()` (`EOPNOTSUPP`).
 *
 * C++: `AsyncFtruncate`.
 *
 * @param ctx The context.
 * @param fd The file, open for writing.
 * @param length Its new length in bytes, 0 to 2^53 - 1, as a bigint to
 * 2^63 - 1.
 * @returns `EINVAL` if it is not open for writing, `EFBIG`, `EPERM` …
 * @throws {RangeError} If an argument is out of range; {TypeError} as
 * `asyncClose()`.
 */
export function asyncFtruncate(
  ctx: IoContext,
  fd: Fd,
  length: number | bigint,
): UringOp<void> {
  const ring = ringOf(ctx, FTRUNCATE);
  const file = checkFd(fd, FTRUNCATE);
  const size = checkPlace(length, FTRUNCATE);
  const { shim, handle } = ring;
  const entry = ring.take(FTRUNCATE);
  const status = shim.kio_ftruncate(handle, entry.id, file, BigInt(size));
  return ring.enter(entry, file, null, status);
}
