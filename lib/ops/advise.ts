/** Advice about the page cache of a file, and writing it back. */
import {
  checkFd,
  checkFlags,
  checkInteger,
  checkOptions,
  checkPlace,
  type Fd,
} from "../check.ts";
import {
  SYNC_FILE_RANGE_WAIT_AFTER,
  SYNC_FILE_RANGE_WAIT_BEFORE,
  SYNC_FILE_RANGE_WRITE,
} from "../constants.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import type { Ring } from "../ring/Ring.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { FADVISE, type Row, SYNC_FILE_RANGE } from "./table.ts";

/** sqe->len has 32 bits. */
const LENGTH_MAX = 2 ** 32 - 1;

/**
 * Tells the kernel how a range of a file will be used, by posix_fadvise(2). It
 * changes what is in the page cache and not what is in the file.
 *
 * @param ctx The context.
 * @param fd The file.
 * @param offset Start of the range, 0 to 2^53 - 1 (as a bigint to 2^63 - 1).
 * @param length Bytes, 0 to 2^32 - 1; 0 is all that follows.
 * @param advice `POSIX_FADV_SEQUENTIAL`, `POSIX_FADV_RANDOM`,
 * `POSIX_FADV_WILLNEED`, `POSIX_FADV_DONTNEED` …
 * @returns `EINVAL` for an advice that there is not, `ESPIPE` for a pipe,
 * `EBADF`.
 * @throws {RangeError} If an argument is out of range.
 * @throws {TypeError} If an argument has the wrong type, or the context is
 * closed.
 *
 * @example A backup that leaves the page cache to others
 * ```ts
 * import {
 *   asyncClose, asyncFadvise, asyncOpen, IoContext, O_RDONLY,
 *   POSIX_FADV_DONTNEED, POSIX_FADV_SEQUENTIAL,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/etc/passwd", O_RDONLY).orThrow();
 * await asyncFadvise(ctx, fd, 0, 0, POSIX_FADV_SEQUENTIAL).orThrow();
 * // … read it …
 * await asyncFadvise(ctx, fd, 0, 0, POSIX_FADV_DONTNEED).orThrow();
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncFadvise(
  ctx: IoContext,
  fd: Fd,
  offset: number | bigint,
  length: number,
  advice: number,
): UringOp<void> {
  const ring = ringOf(ctx, FADVISE);
  const sqe = sqeFor(ring, FADVISE, fd, offset, length);
  sqe.opFlags = checkInteger(advice, 2 ** 31 - 1, "advice", FADVISE.verb);
  return start(ring, FADVISE, sqe);
}

/** Options of `asyncSyncFileRange()`. */
export interface SyncFileRangeOptions {
  /** `SYNC_FILE_RANGE_WRITE` alone begins to write and waits for nothing.
   * @default {SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
   * SYNC_FILE_RANGE_WAIT_AFTER} */
  flags?: number | undefined;
}

/**
 * Writes a range of the page cache to the disk by sync_file_range(2).
 *
 * It makes nothing durable: neither the file's metadata nor the disk's own cache
 * is written, and `asyncFdatasync()` is still needed. A program that writes much
 * spreads the work by it, so that the sync at the end is short. Within `link()` a
 * failure does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param fd The file.
 * @param offset Start of the range, as for `asyncFadvise()`.
 * @param length Bytes, 0 to 2^32 - 1; 0 is all that follows.
 * @param options Flags.
 * @returns `EIO`, `ENOSPC` for what could not be written, `EINVAL` for flags that
 * there are not, `ESPIPE` for what is no file, `EBADF`.
 * @throws {RangeError} If an argument is out of range.
 * @throws {TypeError} If an argument has the wrong type, or the context is
 * closed.
 *
 * @example Begin to write each MiB when it is full
 * ```ts
 * import {
 *   asyncClose, asyncFdatasync, asyncOpen, asyncSyncFileRange, asyncWriteExact,
 *   IoContext, O_TMPFILE, O_WRONLY, SYNC_FILE_RANGE_WRITE,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_WRONLY).orThrow();
 * const block = new Uint8Array(1 << 20);
 * const flags = SYNC_FILE_RANGE_WRITE;
 * for (let at = 0; at < 4 * block.length; at += block.length) {
 *   await asyncWriteExact(ctx, fd, block, at).orThrow();
 *   await asyncSyncFileRange(ctx, fd, at, block.length, { flags }).orThrow();
 * }
 * await asyncFdatasync(ctx, fd).orThrow();
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncSyncFileRange(
  ctx: IoContext,
  fd: Fd,
  offset: number | bigint,
  length: number,
  options: SyncFileRangeOptions = {},
): UringOp<void> {
  const ring = ringOf(ctx, SYNC_FILE_RANGE);
  checkOptions(options, SYNC_FILE_RANGE.verb);
  const {
    flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
      SYNC_FILE_RANGE_WAIT_AFTER,
  } = options;
  const sqe = sqeFor(ring, SYNC_FILE_RANGE, fd, offset, length);
  sqe.opFlags = checkFlags(flags, SYNC_FILE_RANGE);
  return start(ring, SYNC_FILE_RANGE, sqe);
}

function sqeFor(
  ring: Ring,
  row: Row,
  fd: Fd,
  offset: number | bigint,
  length: number,
): Sqe {
  const sqe = new Sqe(row.opcode);
  sqe.fd = checkFd(fd, row, ring);
  sqe.len = checkInteger(length, LENGTH_MAX, "length", row.verb);
  sqe.offset = checkPlace(offset, row);
  return sqe;
}
