/** Reads of pipes and terminals that the kernel picks buffers of a pool for. */
import type { BufferLease } from "../BufferLease.ts";
import type { BufferPool } from "../BufferPool.ts";
import { checkFd, checkFunction, checkOptions, type Fd } from "../check.ts";
import { poolOf, ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { Sqe } from "../ring/sqe.ts";
import { startShots } from "../ring/start.ts";
import type { UringStream } from "../UringStream.ts";
import { leasesMaxOf } from "./leases_max.ts";
import { ReadStream } from "./read_stream.ts";
import type { RecvMultishotOptions } from "./receive_multishot.ts";
import { READ_MULTISHOT } from "./table.ts";

/**
 * Reads from a pipe, a terminal or another file by read(2), again and again. The
 * kernel picks a buffer of the pool when there is data. A pipe that waits has no
 * buffer, and needs one operation for all that comes.
 *
 * Each result is a lease of a buffer with some bytes, in their order. It is
 * yours until the next turn of the loop: see `BufferLease`. Without a free buffer
 * the stream waits for one.
 *
 * It is over, without an error, when read(2) gives 0 and all leases of it that
 * `sendTo()` has queued are sent. A pipe does so when all its writers have closed
 * it, a terminal when the user types Ctrl-D, a regular file at its end. A file
 * with offsets is read from its own position.
 *
 * It ends when the pool closes. End it before you close the fd: the shot goes on
 * with the old file, and the next one would begin with whatever has the number
 * then.
 *
 * All files but those of pipe(2), and all before Linux 6.12, are read by single
 * shots, which pick a buffer. An fd with `O_NONBLOCK` gives the same. Where the
 * kernel has no rings of buffers (Linux 5.18), a poll comes before each read.
 *
 * @param ctx The context.
 * @param fd The fd to read from.
 * @param pool The pool, of the same context.
 * @param options The limit of buffers, and the callback.
 * @returns The leases. As the last result `EIO` if the other end of a terminal is
 * gone, `EISDIR`, `EBADF`, `ECANCELED`, or the error of a `sendTo()`.
 * @throws {RangeError} If `fd` or `leasesMax` is out of range.
 * @throws {TypeError} If an argument has the wrong type, the context or the pool
 * is closed, the pool is of another context, or it is called within `link()`.
 *
 * @example Count the bytes of a pipe
 * ```ts
 * import {
 *   asyncClose, asyncPipe, asyncReadMultishot, asyncWrite, BufferPool, IoContext,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * using pool = new BufferPool(ctx, { count: 4, size: 4096 });
 * const { readFd, writeFd } = await asyncPipe(ctx).orThrow();
 * await asyncWrite(ctx, writeFd, new TextEncoder().encode("hello")).orThrow();
 * await asyncClose(ctx, writeFd).orThrow();
 * let count = 0;
 * for await (const chunk of asyncReadMultishot(ctx, readFd, pool).orThrow()) {
 *   count += chunk.bytes.length;
 * }
 * assertEquals(count, 5);
 * await asyncClose(ctx, readFd).orThrow();
 * ```
 */
export function asyncReadMultishot(
  ctx: IoContext,
  fd: Fd,
  pool: BufferPool,
  options: RecvMultishotOptions = {},
): UringStream<BufferLease> {
  const ring = ringOf(ctx, READ_MULTISHOT);
  const sqe = new Sqe(READ_MULTISHOT.opcode);
  sqe.fd = checkFd(fd, READ_MULTISHOT);
  const { verb } = READ_MULTISHOT;
  checkOptions(options, verb);
  const { leasesMax, onChunk } = options;
  if (onChunk !== undefined) checkFunction(onChunk, "onChunk", verb);
  const buffers = poolOf(pool, ring, READ_MULTISHOT);
  const max = leasesMaxOf(leasesMax, buffers, verb);
  return startShots(
    ring,
    READ_MULTISHOT,
    sqe,
    (entry) => new ReadStream(buffers, entry, sqe, max, onChunk ?? null),
  );
}
