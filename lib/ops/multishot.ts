/** Operations that give many results. */
import { checkFd, checkInteger, type Fd } from "../check.ts";
import type { DirectFd } from "../DirectFd.ts";
import { EAGAIN, EINTR } from "../errno.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { Sqe } from "../ring/sqe.ts";
import { startStream } from "../ring/start.ts";
import type { Values } from "../ring/stream.ts";
import type { UringStream } from "../UringStream.ts";
import { acceptDirectStream, acceptStream, newFds } from "./accept_stream.ts";
import { type DirectOptions, isDirectIn } from "./direct.ts";
import { queueMaxOf } from "./queue_max.ts";
import { ACCEPT_MULTISHOT, POLL_MULTISHOT } from "./table.ts";

const IORING_POLL_ADD_MULTI = 1;

/** Options of multishot operations. */
export interface MultishotOptions {
  /** The most results that wait to be taken, 1 to 65536. Then the kernel is asked
   * to stop, and some more may come until it has.
   * @default {64} */
  queueMax?: number | undefined;
}

/** Accepts connections as direct descriptors. Reserve more places than
 * connections may be open: when all are taken, the kernel accepts a connection,
 * finds no place and closes it. That is an `ENFILE` each 10 ms. */
export function asyncAcceptMultishot(
  ctx: IoContext,
  fd: Fd,
  options: MultishotOptions & DirectOptions,
): UringStream<DirectFd>;
/**
 * Accepts connections by accept4(2), one after the other, with one operation:
 * the kernel goes on accepting until the stream ends.
 *
 * An error of one connection is a result like any other, and the stream goes on.
 * A lack of fds or memory (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`) holds it back
 * for 10 ms.
 *
 * It ends when its `Socket` closes. Do not close the listener by
 * `asyncClose()` before it has ended: the shot goes on with the old file, and
 * the next one would begin with whatever has the number then.
 *
 * @param ctx The context.
 * @param fd The listening socket.
 * @param options The length of the queue.
 * @returns The fds of the connections. Who takes one owns it and must close it;
 * `new Socket()` makes that easy. `ECONNABORTED`, `EMFILE` …; as the last result
 * `EINVAL` if the socket does not listen (any more), `EBADF`, `ENOTSOCK`,
 * `ECANCELED`.
 * @throws {RangeError} If `fd` or `queueMax` is out of range.
 * @throws {TypeError} If an argument has the wrong type, the context is closed,
 * or it is called within `link()`.
 *
 * @example Greet who connects
 * ```ts
 * import {
 *   asyncAcceptMultishot, asyncSend, IoContext, Socket, SocketAddress,
 *   TcpListener, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * await using listener = unwrap(TcpListener.bind(SocketAddress.v4(0)));
 * const stop = AbortSignal.timeout(10);
 * const accepted = asyncAcceptMultishot(ctx, listener).withSignal(stop);
 * for await (const result of accepted) {
 *   if (!result.ok) continue;
 *   await using socket = new Socket(result.value);
 *   await asyncSend(ctx, socket, new TextEncoder().encode("hello\n"));
 * }
 * ```
 */
export function asyncAcceptMultishot(
  ctx: IoContext,
  fd: Fd,
  options?: MultishotOptions,
): UringStream<number>;
export function asyncAcceptMultishot(
  ctx: IoContext,
  fd: Fd,
  options: MultishotOptions & Partial<DirectOptions> = {},
): UringStream<number> | UringStream<DirectFd> {
  const ring = ringOf(ctx, ACCEPT_MULTISHOT);
  const listener = checkFd(fd, ACCEPT_MULTISHOT, ring);
  const queueMax = queueMaxOf(options, ACCEPT_MULTISHOT);
  return isDirectIn(options, ACCEPT_MULTISHOT)
    ? acceptDirectStream(ring, listener, queueMax)
    : acceptStream(ring, listener, queueMax, newFds(ring));
}

const EVENTS: Values<number> = {
  of: (events) => events,
  transient: new Set([EAGAIN, EINTR]),
  keep: () => {},
  give: () => {},
  discard: () => {},
};

/**
 * Tells of each change of an fd by poll(2): when it gets ready, and when it gets
 * ready once more. It is edge-triggered: what was ready before, and was not
 * used up, is not told of again. A file that is always ready (a regular file,
 * /dev/null) is told of 100 times a second at most.
 *
 * @param ctx The context.
 * @param fd The fd.
 * @param events `POLLIN`, `POLLOUT` …, or several with `|`.
 * @param options The length of the queue.
 * @returns The events, each time; `POLLERR`, `POLLHUP` and `POLLRDHUP` come
 * without being asked for. As the last result `EBADF`, `ECANCELED`.
 * @throws {RangeError} If `fd`, `events` or `queueMax` is out of range.
 * @throws {TypeError} If an argument has the wrong type, the context is closed,
 * or it is called within `link()`.
 *
 * @example Read each time when there is something
 * ```ts
 * import {
 *   asyncPollMultishot, asyncRecv, asyncSend, IoContext, MSG_DONTWAIT, POLLIN,
 *   Socket, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * const buffer = new Uint8Array(64);
 * await asyncSend(ctx, left, new TextEncoder().encode("hello")).orThrow();
 * for await (const events of asyncPollMultishot(ctx, right, POLLIN).orThrow()) {
 *   if ((events & POLLIN) === 0) break;
 *   const count = await asyncRecv(ctx, right, buffer, MSG_DONTWAIT).orThrow();
 *   console.log(new TextDecoder().decode(buffer.subarray(0, count)));
 *   break;
 * }
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncPollMultishot(
  ctx: IoContext,
  fd: Fd,
  events: number,
  options: MultishotOptions = {},
): UringStream<number> {
  const ring = ringOf(ctx, POLL_MULTISHOT);
  const sqe = new Sqe(POLL_MULTISHOT.opcode);
  sqe.fd = checkFd(fd, POLL_MULTISHOT, ring);
  sqe.len = IORING_POLL_ADD_MULTI;
  sqe.opFlags = checkInteger(events, 0xffff, "events", POLL_MULTISHOT.verb);
  const queueMax = queueMaxOf(options, POLL_MULTISHOT);
  return startStream(ring, POLL_MULTISHOT, sqe, EVENTS, queueMax);
}
