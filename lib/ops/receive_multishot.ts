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
import type { MessageLease } from "../MessageLease.ts";
import type { Feature } from "../ring/features.ts";
import type { Operation } from "../ring/operation.ts";
import { LeaseStream, type OnChunk } from "../ring/receive.ts";
import type { Ring } from "../ring/Ring.ts";
import { Sqe } from "../ring/sqe.ts";
import { startShots } from "../ring/start.ts";
import type { UringStream } from "../UringStream.ts";
import { leasesMaxOf } from "./leases_max.ts";
import { headSize, MessageStream } from "./message_stream.ts";
import { RECV_MULTISHOT, RECVMSG_MULTISHOT } from "./table.ts";

const IORING_RECV_MULTISHOT = 2;

/** Options of `asyncRecvMultishot()` and `asyncReadMultishot()`. */
export interface RecvMultishotOptions {
  /** The most buffers that this stream has out at a time, 1 to those of the
   * pool: waiting to be taken, lent, kept, or being sent. Then the kernel is
   * asked to stop, and some more may come until it has: 32, or all that are
   * free where the kernel is old (6.1). It goes on when half of them are back.
   * While other streams wait for a buffer, an equal share of the pool is the
   * limit. If that is one, the streams take turns.
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
  const sqe = sqeFor(ring, RECV_MULTISHOT, fd, "recvMultishot");
  const { verb } = RECV_MULTISHOT;
  checkOptions(options, verb);
  const { leasesMax, onChunk } = options;
  if (onChunk !== undefined) checkFunction(onChunk, "onChunk", verb);
  const buffers = poolOf(pool, ring, RECV_MULTISHOT);
  const max = leasesMaxOf(leasesMax, buffers, verb);
  return startShots(
    ring,
    RECV_MULTISHOT,
    sqe,
    (entry) => new LeaseStream(buffers, entry, sqe, max, onChunk ?? null),
  );
}

/** Options of `asyncRecvmsgMultishot()`. */
export interface RecvmsgMultishotOptions {
  /** As for `asyncRecvMultishot()`.
   * @default {half of the pool} */
  leasesMax?: number | undefined;
  /** Bytes of room for ancillary data in each buffer, 0 to 65536; for fds the
   * length of `scmRightsSpace(count)`. What does not fit is dropped by the
   * kernel, and fds are closed.
   * @default {0} */
  controlSize?: number | undefined;
  /** Called for each message, in place of giving it to the loop, as `onChunk` of
   * `asyncRecvMultishot()` is. The function owns the fds in the message. The
   * stream then gives errors only. */
  onMessage?: ((message: MessageLease) => void) | undefined;
}

const CONTROL_MAX = 65536;

/**
 * Receives messages by recvmsg(2), again and again, with one operation: each
 * with its sender, its ancillary data and the number of bytes that did not fit.
 * The kernel picks a buffer of the pool when one has come.
 *
 * A buffer begins with a head of 144 bytes and the room for ancillary data; the
 * bytes of the message have the rest. A longer datagram is cut.
 *
 * It waits, stops and ends as `asyncRecvMultishot()` does. An error of a
 * datagram that was sent before (`ECONNREFUSED` …) is a result like any other,
 * and the stream goes on. Fds in messages that nobody has taken are closed.
 *
 * Before Linux 6.0 it receives by single shots, and so it does where the trial of
 * `asyncRecvMultishot()` fails.
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param pool The pool, of the same context.
 * @param options The limit of buffers, the room for ancillary data, and the
 * callback.
 * @returns The messages. As the last result `ECONNRESET`, `ENOTCONN`,
 * `ENOTSOCK`, `EBADF`, `ECANCELED`, or the error of a `sendTo()`.
 * @throws {RangeError} If `fd` or an option is out of range, or the buffers of
 * the pool have no room behind the head.
 * @throws {TypeError} As `asyncRecvMultishot()`.
 *
 * @example Answer each datagram
 * ```ts
 * import {
 *   asyncRecv, asyncRecvmsgMultishot, BufferPool, IoContext, SocketAddress,
 *   UdpSocket, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * using pool = new BufferPool(ctx, { count: 16, size: 2048 });
 * const local = SocketAddress.v4(0, "127.0.0.1");
 * await using server = unwrap(UdpSocket.bind(local));
 * await using client = unwrap(UdpSocket.connect(server.localAddress!));
 * await client.send(ctx, new TextEncoder().encode("hello")).orThrow();
 * const messages = asyncRecvmsgMultishot(ctx, server, pool);
 * for await (const { bytes, address } of messages.orThrow()) {
 *   await server.send(ctx, bytes, address).orThrow();
 *   break;
 * }
 * await asyncRecv(ctx, client, new Uint8Array(5)).orThrow();
 * ```
 */
export function asyncRecvmsgMultishot(
  ctx: IoContext,
  fd: Fd,
  pool: BufferPool,
  options: RecvmsgMultishotOptions = {},
): UringStream<MessageLease> {
  const ring = ringOf(ctx, RECVMSG_MULTISHOT);
  const sqe = sqeFor(ring, RECVMSG_MULTISHOT, fd, "recvmsgMultishot");
  const { verb } = RECVMSG_MULTISHOT;
  checkOptions(options, verb);
  const { leasesMax, controlSize = 0, onMessage } = options;
  checkInteger(controlSize, CONTROL_MAX, "controlSize", verb);
  if (onMessage !== undefined) checkFunction(onMessage, "onMessage", verb);
  const buffers = poolOf(pool, ring, RECVMSG_MULTISHOT);
  const max = leasesMaxOf(leasesMax, buffers, verb);
  const head = headSize(controlSize);
  if (buffers.size <= head) {
    throw new RangeError(
      `Cannot ${verb}: buffers of ${buffers.size} bytes have no room behind a head of ${head}; make those of the BufferPool larger`,
    );
  }
  const onChunk = (onMessage ?? null) as OnChunk | null;
  return startShots(
    ring,
    RECVMSG_MULTISHOT,
    sqe,
    (entry) =>
      new MessageStream(buffers, entry, sqe, max, controlSize, onChunk),
  ) as UringStream<BufferLease> as UringStream<MessageLease>;
}

/** Makes the submission, a multishot where that can be trusted. */
function sqeFor(
  { features }: Ring,
  operation: Operation,
  fd: Fd,
  feature: Feature,
): Sqe {
  const sqe = new Sqe(operation.opcode);
  sqe.fd = checkFd(fd, operation);
  if (features.uses(feature)) sqe.ioprio = IORING_RECV_MULTISHOT;
  return sqe;
}
