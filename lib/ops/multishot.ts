/** Operations that give many results. */
import { checkFd, checkInteger, checkOptions, type Fd } from "../check.ts";
import { EAGAIN, EINTR, errnoNamed } from "../errno.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import type { Ring } from "../ring/Ring.ts";
import { Sqe } from "../ring/sqe.ts";
import { startStream } from "../ring/start.ts";
import { Stream, type Values } from "../ring/stream.ts";
import type { UringStream } from "../UringStream.ts";
import { ACCEPT_MULTISHOT, POLL_MULTISHOT, type Row } from "./table.ts";

const IORING_ACCEPT_MULTISHOT = 1;
const IORING_POLL_ADD_MULTI = 1;

const QUEUE_MAX = 65536;

/** Options of multishot operations. */
export interface MultishotOptions {
  /** The most results that wait to be taken, 1 to 65536. Then the kernel is asked
   * to stop, and some more may come until it has.
   * @default {64} */
  queueMax?: number | undefined;
}

function queueMaxOf(options: MultishotOptions, { verb }: Row): number {
  checkOptions(options, verb);
  const { queueMax = 64 } = options;
  return checkInteger(queueMax, QUEUE_MAX, "queueMax", verb, 1);
}

/** Errors of one connection, or of the system for a while; see accept(2). */
const ACCEPT_GOES_ON = new Set([
  "EAGAIN",
  "ECONNABORTED",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EINTR",
  "EMFILE",
  "ENETDOWN",
  "ENETUNREACH",
  "ENFILE",
  "ENOBUFS",
  "ENOMEM",
  "ENONET",
  "ENOPROTOOPT",
  "EPERM",
  "EPROTO",
].map((code) => errnoNamed(code)!));

/** New fds: those that wait are closed with the isolate. */
function newFds({ shim }: Ring): Values<number> {
  return {
    of: (fd) => fd,
    transient: ACCEPT_GOES_ON,
    keep: (fd) => shim.kio_fd_own(fd),
    give: (fd) => shim.kio_fd_disown(fd),
    discard: (fd) => void shim.kio_fd_close(fd),
  };
}

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
  options: MultishotOptions = {},
): UringStream<number> {
  const ring = ringOf(ctx, ACCEPT_MULTISHOT);
  const sqe = new Sqe(ACCEPT_MULTISHOT.opcode);
  sqe.fd = checkFd(fd, ACCEPT_MULTISHOT);
  sqe.ioprio = IORING_ACCEPT_MULTISHOT;
  const queueMax = queueMaxOf(options, ACCEPT_MULTISHOT);
  return startStream(
    ring,
    ACCEPT_MULTISHOT,
    sqe,
    (entry) => new Stream(ring, entry, sqe, newFds(ring), queueMax),
  );
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
  sqe.fd = checkFd(fd, POLL_MULTISHOT);
  sqe.len = IORING_POLL_ADD_MULTI;
  sqe.opFlags = checkInteger(events, 0xffff, "events", POLL_MULTISHOT.verb);
  const queueMax = queueMaxOf(options, POLL_MULTISHOT);
  return startStream(
    ring,
    POLL_MULTISHOT,
    sqe,
    (entry) => new Stream(ring, entry, sqe, EVENTS, queueMax),
  );
}
