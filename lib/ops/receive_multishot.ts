/** Receives that the kernel picks buffers of a pool for. */
import type { BufferLease } from "../BufferLease.ts";
import type { BufferPool } from "../BufferPool.ts";
import {
  checkFd,
  checkFunction,
  checkInteger,
  checkOptions,
  type Fd,
} from "../check.ts";
import { poolOf, ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { LeaseStream } from "../ring/receive.ts";
import { Sqe } from "../ring/sqe.ts";
import { startShots } from "../ring/start.ts";
import type { UringStream } from "../UringStream.ts";
import { RECV_MULTISHOT } from "./table.ts";

const IORING_RECV_MULTISHOT = 2;

/** Options of `asyncRecvMultishot()`. */
export interface RecvMultishotOptions {
  /** The most buffers that this stream has out at a time, 1 to those of the
   * pool: waiting to be taken, lent, kept, or being sent. Then the kernel is
   * asked to stop, and some more may come until it has: 32, or all that are
   * free where the kernel is old (6.1). It goes on when half of them are back. While other streams wait for a buffer, an equal share of the
   * pool is the limit.
   * @default {half of the pool} */
  leasesMax?: number | undefined;
  /** Called for each chunk, in place of giving it to the loop: no promise is
   * made for it. The chunk is lent until the function returns. It is called after
   * the batch of completions that the chunk came in. An exception is reported
   * like one of an event listener. The stream then gives its last result only;
   * `closed` tells of it without a loop. */
  onChunk?: ((chunk: BufferLease) => void) | undefined;
}

/**
 * Receives from a socket by recv(2), again and again, with one operation. The
 * kernel picks a buffer of the pool when data has come. A connection that waits
 * has no buffer.
 *
 * Each result is a lease of a buffer with some bytes, in their order. It is
 * yours until the next turn of the loop: see `BufferLease`. Without a free buffer
 * the stream waits for one.
 *
 * It is over, without an error, when the peer has closed its side and all leases
 * of it that `sendTo()` has queued are sent. An empty datagram is a lease without
 * bytes. A datagram that is longer than a buffer is cut.
 *
 * It ends when its `Socket` or the pool closes. Do not close the fd by
 * `asyncClose()` before it has ended: the shot goes on with the old file, and the
 * next one would begin with whatever has the number then.
 *
 * Before Linux 6.0 it receives by single shots, and so it does where the kernel
 * forgets the end of a connection (CVE-2026-23473): this is tried once.
 *
 * @param ctx The context.
 * @param fd The connected socket.
 * @param pool The pool, of the same context.
 * @param options The limit of buffers, and the callback.
 * @returns The leases. As the last result `ECONNRESET`, `ENOTCONN`, `ENOTSOCK`,
 * `EBADF`, `ECANCELED`, or the error of a `sendTo()`.
 * @throws {RangeError} If `fd` or `leasesMax` is out of range.
 * @throws {TypeError} If an argument has the wrong type, the context or the pool
 * is closed, the pool is of another context, or it is called within `link()`.
 *
 * @example Count the bytes until the end
 * ```ts
 * import {
 *   asyncRecvMultishot, asyncSend, asyncShutdown, BufferPool, IoContext, SHUT_WR,
 *   Socket, unwrap,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * using pool = new BufferPool(ctx, { count: 4, size: 4096 });
 * const [left, right] = unwrap(Socket.pair());
 * await asyncSend(ctx, left, new TextEncoder().encode("hello"));
 * await asyncShutdown(ctx, left, SHUT_WR);
 * let count = 0;
 * for await (const chunk of asyncRecvMultishot(ctx, right, pool).orThrow()) {
 *   count += chunk.bytes.length;
 * }
 * assertEquals(count, 5);
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncRecvMultishot(
  ctx: IoContext,
  fd: Fd,
  pool: BufferPool,
  options: RecvMultishotOptions = {},
): UringStream<BufferLease> {
  const ring = ringOf(ctx, RECV_MULTISHOT);
  const sqe = new Sqe(RECV_MULTISHOT.opcode);
  sqe.fd = checkFd(fd, RECV_MULTISHOT);
  const { verb } = RECV_MULTISHOT;
  checkOptions(options, verb);
  const { leasesMax, onChunk } = options;
  if (onChunk !== undefined) checkFunction(onChunk, "onChunk", verb);
  const buffers = poolOf(pool, ring, RECV_MULTISHOT);
  const { count } = buffers;
  const max = leasesMax === undefined
    ? Math.max(1, count >> 1)
    : checkInteger(leasesMax, count, "leasesMax", verb, 1);
  if (ring.shim.kio_receives_many()) sqe.ioprio = IORING_RECV_MULTISHOT;
  return startShots(
    ring,
    RECV_MULTISHOT,
    sqe,
    (entry) => new LeaseStream(buffers, entry, sqe, max, onChunk ?? null),
  );
}
