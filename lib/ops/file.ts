/** Operations on open files: closing, durability, space. */
import {
  checkFd,
  checkFlags,
  checkInteger,
  checkOwned,
  checkPlace,
  type Fd,
} from "../check.ts";
import { DirectFd } from "../DirectFd.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { offered } from "../ring/offered.ts";
import { startDirectClose } from "./direct.ts";
import { IORING_FSYNC_DATASYNC } from "./layout.ts";
import {
  CLOSE,
  FALLOCATE,
  FDATASYNC,
  FSYNC,
  FTRUNCATE,
  type Row,
} from "./table.ts";

/**
 * Closes an fd by close(2).
 *
 * Operations that are pending on the fd go on with the old file;
 * `Socket.close()` cancels them first. The fd is gone whatever the result, also
 * in a chain that has ended before: never repeat a close. A close cannot be
 * cancelled.
 *
 * Close only what the program has opened: Deno has fds of its own, and without
 * one of them the process may end. The next file or socket gets the lowest
 * number that is free: after `asyncClose(ctx, 2)` that file gets all that is
 * written to stderr.
 *
 * C++: `AsyncClose`
 *
 * @param ctx The context.
 * @param fd The fd; a `Socket` is released by it. The operation owns it from
 * the call on. No operation may be pending on a direct descriptor, whose
 * `close()` cancels them.
 * @returns `EBADF` if it is not open. `EIO`, `ENOSPC`, `EDQUOT` if data could
 * not be written.
 * @throws {RangeError} If `fd` is out of range.
 * @throws {TypeError} If `fd` is no fd or the ring of a context, or the context
 * is closed. For a direct descriptor that is closed, in use or of another
 * context, and within `link()`.
 *
 * @example An fd of one's own
 * ```ts
 * import { asyncClose, asyncOpen, IoContext, O_RDONLY } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/etc/passwd", O_RDONLY).orThrow();
 * await asyncClose(ctx, fd).orThrow();
 * ```
 */
export function asyncClose(
  ctx: IoContext,
  fd: number | { readonly fd: number; release?(): number } | DirectFd,
): UringOp<void> {
  const ring = ringOf(ctx, CLOSE);
  if (fd instanceof DirectFd) return startDirectClose(ring, fd);
  const file = checkOwned(checkFd(fd, CLOSE), CLOSE.verb);
  const entry = ring.take(CLOSE);
  // From here on it is the operation that owns the fd.
  if (typeof fd !== "number") fd.release?.();
  offered.delete(file);
  const status = ring.shim.kio_close(ring.handle, entry.id, file);
  return ring.enter(entry, file, null, status);
}

/**
 * Makes data and metadata of a file durable by fsync(2). It covers the writes
 * that are complete; `link()` puts it behind a write that is not.
 *
 * C++: `AsyncFsync`
 *
 * @param ctx The context.
 * @param fd The file.
 * @returns `EIO` or `ENOSPC` if data was lost, `EINVAL` for a file that cannot
 * be synced.
 * @throws {RangeError} If `fd` is out of range.
 * @throws {TypeError} If `fd` is no fd, or the context is closed.
 *
 * @example The names in a directory
 * ```ts
 * import {
 *   asyncClose, asyncFsync, asyncOpen, IoContext, O_DIRECTORY, O_RDONLY,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const dir = await asyncOpen(ctx, "/tmp", O_DIRECTORY | O_RDONLY).orThrow();
 * await asyncFsync(ctx, dir).orThrow();
 * await asyncClose(ctx, dir);
 * ```
 */
export function asyncFsync(ctx: IoContext, fd: Fd): UringOp<void> {
  return sync(ctx, fd, FSYNC, 0);
}

/**
 * Makes the data of a file durable by fdatasync(2), and only the metadata that
 * reading it back needs (the size). It covers the writes that are complete;
 * `link()` has an example for one that is not.
 *
 * C++: `AsyncFdatasync`
 *
 * @param ctx The context.
 * @param fd The file.
 * @returns As `asyncFsync()`.
 * @throws As `asyncFsync()`.
 *
 * @example A record
 * ```ts
 * import {
 *   asyncClose, asyncFdatasync, asyncOpen, asyncWriteExact, IoContext, O_RDWR,
 *   O_TMPFILE,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR).orThrow();
 * await asyncWriteExact(ctx, fd, new TextEncoder().encode("record")).orThrow();
 * await asyncFdatasync(ctx, fd).orThrow();
 * await asyncClose(ctx, fd);
 * ```
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
  sqe.fd = checkFd(fd, row, ring);
  sqe.opFlags = flags;
  return start(ring, row, sqe);
}

/**
 * Allocates space for a file by fallocate(2), or punches holes. A write to
 * allocated space cannot fail for lack of it.
 *
 * C++: `AsyncFallocate`
 *
 * @param ctx The context.
 * @param fd The file, open for writing.
 * @param mode 0, or `FALLOC_FL_KEEP_SIZE` and others.
 * @param offset The start of the range, 0 to 2^53 - 1, as a bigint to 2^63 - 1.
 * @param length Bytes, 1 to 2^53 - 1.
 * @returns `ENOSPC`, `EFBIG`, `EOPNOTSUPP` if the file system cannot do it,
 * `ESPIPE` for a pipe …
 * @throws {RangeError} If an argument is out of range.
 * @throws {TypeError} If an argument has the wrong type, `offset` is
 * `CURRENT_POSITION`, or the context is closed.
 *
 * @example A megabyte
 * ```ts
 * import {
 *   asyncClose, asyncFallocate, asyncFstat, asyncOpen, IoContext, O_RDWR,
 *   O_TMPFILE,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR).orThrow();
 * await asyncFallocate(ctx, fd, 0, 0, 2 ** 20).orThrow();
 * assertEquals((await asyncFstat(ctx, fd).orThrow()).size, 2 ** 20);
 * await asyncClose(ctx, fd);
 * ```
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
  sqe.fd = checkFd(fd, FALLOCATE, ring);
  sqe.len = checkFlags(mode, FALLOCATE);
  sqe.at = checkInteger(length, Number.MAX_SAFE_INTEGER, "length", verb, 1);
  sqe.offset = checkPlace(offset, FALLOCATE);
  return start(ring, FALLOCATE, sqe);
}

/**
 * Cuts a file off, or extends it with zeros, by ftruncate(2). Before Linux 6.9
 * the calling thread does it, at once, and it is refused within `link()` and
 * for a direct descriptor (`EOPNOTSUPP`).
 *
 * C++: `AsyncFtruncate`
 *
 * @param ctx The context.
 * @param fd The file, open for writing.
 * @param length The new length in bytes, 0 to 2^53 - 1, as a bigint to 2^63 -
 * 1.
 * @returns `EINVAL` if the file is not open for writing, `EFBIG`, `EPERM` …
 * @throws {RangeError} If an argument is out of range.
 * @throws {TypeError} If an argument has the wrong type, `length` is
 * `CURRENT_POSITION`, or the context is closed.
 *
 * @example An empty file
 * ```ts
 * import {
 *   asyncClose, asyncFtruncate, asyncOpen, IoContext, O_RDWR, O_TMPFILE,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR).orThrow();
 * await asyncFtruncate(ctx, fd, 0).orThrow();
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncFtruncate(
  ctx: IoContext,
  fd: Fd,
  length: number | bigint,
): UringOp<void> {
  const ring = ringOf(ctx, FTRUNCATE);
  const sqe = new Sqe(FTRUNCATE.opcode);
  sqe.fd = checkFd(fd, FTRUNCATE, ring);
  sqe.offset = checkPlace(length, FTRUNCATE);
  return start(ring, FTRUNCATE, sqe);
}
