/** Sockets: opening them, their own address, and listening. */
import { checkFd, checkInteger, checkOptions, type Fd } from "../check.ts";
import type { DirectFd } from "../DirectFd.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { SocketAddress } from "../SocketAddress.ts";
import type { UringOp } from "../UringOp.ts";
import { checkAddress } from "./address.ts";
import { type DirectOptions, isDirectIn, startDirect } from "./direct.ts";
import { BIND, LISTEN, SOCKET, SOCKET_DIRECT } from "./table.ts";

const SOCK_NONBLOCK = 0o4000;
/** The bits of a type below its flags are four; the kernel refuses unknown
 * ones. */
const TYPE_MAX = 255;
const PROTOCOL_MAX = 65535;

/** Makes a socket as a direct descriptor, which the caller must close: see
 * `DirectFd`. */
export function asyncSocket(
  ctx: IoContext,
  domain: number,
  type: number,
  protocol: number,
  options: DirectOptions,
): UringOp<DirectFd>;
/**
 * Opens a socket by socket(2), non-blocking and not inherited by other
 * programs. `Socket.open()` does it without a ring.
 *
 * @param ctx The context.
 * @param domain `AF_INET`, `AF_INET6`, `AF_UNIX` …, 0 to 65535.
 * @param type `SOCK_STREAM`, `SOCK_DGRAM` …, 0 to 255.
 * @param protocol `IPPROTO_TCP`, `IPPROTO_UDP` …, 0 to 65535; 0, the usual one,
 * if left out.
 * @param options `direct` for a `DirectFd` in place of an fd, as for
 * `asyncAccept()`.
 * @returns The fd, which the caller owns and must close; `new Socket(fd)` does
 * that. `EAFNOSUPPORT`, `EPROTONOSUPPORT`, `EMFILE`, `EPERM` … After a cancel
 * that came too late the result is an fd. At the end of the context the ring
 * closes it.
 * @throws {RangeError} If a number is out of range.
 * @throws {TypeError} If an option has the wrong type or the context is closed.
 * With `direct` also without `reserveFiles()`, and within `link()`.
 *
 * @example A listener
 * ```ts
 * import {
 *   AF_INET, asyncBind, asyncListen, asyncSocket, IoContext, SOCK_STREAM, Socket,
 *   SocketAddress,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncSocket(ctx, AF_INET, SOCK_STREAM).orThrow();
 * await using listener = new Socket(fd);
 * await asyncBind(ctx, listener, SocketAddress.v4(0, "127.0.0.1")).orThrow();
 * await asyncListen(ctx, listener, 128).orThrow();
 * console.log(`listening on ${listener.localAddress}`);
 * ```
 */
export function asyncSocket(
  ctx: IoContext,
  domain: number,
  type: number,
  protocol?: number,
): UringOp<number>;
export function asyncSocket(
  ctx: IoContext,
  domain: number,
  type: number,
  protocol = 0,
  options: Partial<DirectOptions> = {},
): UringOp<number> | UringOp<DirectFd> {
  const ring = ringOf(ctx, SOCKET);
  const { verb } = SOCKET;
  const sqe = new Sqe(SOCKET.opcode);
  // The field has no fd here.
  sqe.fd = checkInteger(domain, PROTOCOL_MAX, "domain", verb);
  sqe.off = checkInteger(type, TYPE_MAX, "type", verb) | SOCK_NONBLOCK;
  sqe.len = checkInteger(protocol, PROTOCOL_MAX, "protocol", verb);
  checkOptions(options, verb);
  if (isDirectIn(options, SOCKET)) {
    return startDirect(ring, SOCKET_DIRECT, sqe, verb, -1);
  }
  const entry = ring.take(SOCKET);
  const status = sqe.submit(ring.shim, ring.handle, entry.id);
  return ring.enter<number>(entry, -1, null, status);
}

/**
 * Gives a socket its own address by bind(2). Before Linux 6.11 the calling
 * thread does it, at once, and it is refused within `link()` and for a direct
 * descriptor (`EOPNOTSUPP`). `Socket.bind()` does it without a ring.
 *
 * @param ctx The context.
 * @param fd The socket, of the family of the address.
 * @param address The address; port 0 lets the kernel choose one.
 * @returns `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL` if it has one …
 * @throws {RangeError} If `fd` is out of range.
 * @throws {TypeError} If `fd` is no fd, `address` is no `SocketAddress`, or the
 * context is closed.
 */
export function asyncBind(
  ctx: IoContext,
  fd: Fd,
  address: SocketAddress,
): UringOp<void> {
  const ring = ringOf(ctx, BIND);
  const sqe = new Sqe(BIND.opcode);
  sqe.fd = checkFd(fd, BIND, ring);
  const bytes = checkAddress(address, BIND);
  sqe.addr = bytes;
  sqe.off = bytes.length;
  const action = { toString: () => `${BIND.verb} to ${address}` };
  return start(ring, BIND, sqe, { action });
}

/**
 * Lets connections come in by listen(2). Before Linux 6.11 the calling thread
 * does it, at once, and it is refused within `link()` and for a direct
 * descriptor (`EOPNOTSUPP`).
 *
 * `Socket.listen()` does it without a ring; `TcpListener.bind()` sees to it that
 * no other process has the port.
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param backlog Connections that may wait to be accepted, 1 to 2^31 - 1; the
 * system caps it (`net.core.somaxconn`).
 * @returns `EADDRINUSE`, `EOPNOTSUPP` for datagrams …
 * @throws {RangeError} If `fd` or `backlog` is out of range.
 * @throws {TypeError} If `fd` is no fd, or the context is closed.
 */
export function asyncListen(
  ctx: IoContext,
  fd: Fd,
  backlog = 4096,
): UringOp<void> {
  const ring = ringOf(ctx, LISTEN);
  const sqe = new Sqe(LISTEN.opcode);
  sqe.fd = checkFd(fd, LISTEN, ring);
  sqe.len = checkInteger(backlog, 2 ** 31 - 1, "backlog", LISTEN.verb, 1);
  return start(ring, LISTEN, sqe);
}
