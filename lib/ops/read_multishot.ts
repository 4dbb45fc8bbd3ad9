/** Reads of pipes and terminals that the kernel picks buffers of a pool for. */
import type { BufferLease } from "../BufferLease.ts";
import type { BufferPool } from "../BufferPool.ts";
import { checkFd, checkFunction, checkOptions, type Fd } from "../check.ts";
import { EAGAIN, EINVAL, errnoNamed } from "../errno.ts";
import { poolOf, ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import type { Entry } from "../ring/entry.ts";
import type { Pool } from "../ring/pool.ts";
import { LeaseStream, type OnChunk } from "../ring/receive.ts";
import { Sqe } from "../ring/sqe.ts";
import { startShots } from "../ring/start.ts";
import { NO_POSITION } from "../ring/steps.ts";
import type { UringStream } from "../UringStream.ts";
import { leasesMaxOf, type RecvMultishotOptions } from "./receive_multishot.ts";
import { READ_MULTISHOT } from "./table.ts";

/** IORING_OP_READ_MULTISHOT; a single shot is the opcode of the row. */
const READ_MANY = 49;

/** A multishot cannot wait for this file. */
const EBADFD = errnoNamed("EBADFD")!;

class ReadStream extends LeaseStream {
  constructor(
    pool: Pool,
    entry: Entry,
    sqe: Sqe,
    leasesMax: number,
    onChunk: OnChunk | null,
  ) {
    super(pool, entry, sqe, leasesMax, onChunk);
    sqe.offset = NO_POSITION;
    const { shim } = pool.ring;
    // Of a terminal or a named pipe the kernel makes single shots, and misses the
    // end (6.18). Of a file it does not advance the position: each shot would
    // read the same.
    const isMany = pool.group >= 0 && shim.kio_pipe_has_nowait(sqe.fd) &&
      shim.kio_reads_many();
    if (isMany) sqe.opcode = READ_MANY;
    else sqe.len = pool.size;
  }

  override last(result: number, flags: number): void {
    const { sqe } = this;
    if (result === -EAGAIN) {
      // The file has O_NONBLOCK, and the kernel does not wait for its data.
      this.polls = true;
    } else if (
      sqe.opcode === READ_MANY && (result === -EBADFD || result === -EINVAL)
    ) {
      sqe.opcode = READ_MULTISHOT.opcode;
      sqe.len = this.size;
      result = -EAGAIN;
    }
    super.last(result, flags);
  }
}

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
 * shots, which pick a buffer. An fd with `O_NONBLOCK` gives the same. Where the kernel has no
 * rings of buffers (Linux 5.18), a poll comes before each read.
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
