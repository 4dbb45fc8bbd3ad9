/** Sockets: connections, and bytes over them. */
import type { BufferLease } from "../BufferLease.ts";
import {
  type BufferLike,
  checkBuffer,
  checkFd,
  checkFlags,
  checkInteger,
  checkOptions,
  type Fd,
} from "../check.ts";
import type { DirectFd } from "../DirectFd.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import type { Ring } from "../ring/Ring.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import { UnixConnect } from "../ring/steps.ts";
import { addressFromBytes, type SocketAddress } from "../SocketAddress.ts";
import type { UringOp } from "../UringOp.ts";
import { checkAddress } from "./address.ts";
import { type DirectOptions, isDirectIn, startDirect } from "./direct.ts";
import { bytesFor, checkedLease, held, isLease } from "./held.ts";
import { ADDRESS_SIZE } from "./layout.ts";
import {
  ACCEPT,
  ACCEPT_DIRECT,
  ACCEPT_FROM,
  CONNECT,
  RECV,
  type Row,
  SEND,
  SHUTDOWN,
} from "./table.ts";

/** Accepts a connection as a direct descriptor. `ENFILE` without accepting one,
 * if all places of `reserveFiles()` are taken. */
export function asyncAccept(
  ctx: IoContext,
  fd: Fd,
  options: DirectOptions,
): UringOp<DirectFd>;
/**
 * Accepts a connection by accept4(2).
 *
 * A lack of fds or memory (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`) is reported
 * 10 ms after it happened. A loop that accepts again at once would spin until
 * there are some.
 *
 * C++: `AsyncAccept`
 *
 * @param ctx The context.
 * @param fd The listening socket.
 * @returns The fd of the connection, which the caller owns and must close; `new
 * Socket(fd)` does that. Its peer may be gone already. `ECONNABORTED`,
 * `EMFILE`, `EINVAL` if the socket does not listen (any more) … After a cancel
 * that came too late the result is an fd. At the end of the context the ring
 * closes it.
 * @throws {RangeError} If `fd` is out of range.
 * @throws {TypeError} If `fd` is no fd, or the context is closed.
 *
 * @example One connection
 * ```ts
 * import {
 *   asyncAccept, IoContext, Socket, SocketAddress, TcpListener, TcpStream, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const address = SocketAddress.v4(0, "127.0.0.1");
 * const listener = unwrap(TcpListener.bind(address));
 * const { port } = listener.localAddress!;
 * const client = unwrap(await TcpStream.connect(ctx, "127.0.0.1", port));
 * const server = new Socket(await asyncAccept(ctx, listener).orThrow());
 * await Promise.all([server, client, listener].map((it) => it.close()));
 * ```
 */
export function asyncAccept(ctx: IoContext, fd: Fd): UringOp<number>;
export function asyncAccept(
  ctx: IoContext,
  fd: Fd,
  options: Partial<DirectOptions> = {},
): UringOp<number> | UringOp<DirectFd> {
  const ring = ringOf(ctx, ACCEPT);
  const sqe = new Sqe(ACCEPT.opcode);
  sqe.fd = checkFd(fd, ACCEPT, ring);
  checkOptions(options, ACCEPT.verb);
  return isDirectIn(options, ACCEPT)
    ? startDirect(ring, ACCEPT_DIRECT, sqe, ACCEPT.verb)
    : start<number>(ring, ACCEPT, sqe);
}

/** A connection, and the address of its peer. */
export interface AcceptedConnection {
  /** The fd, which the caller must close. */
  fd: number;
  /** The address of the peer. */
  address: SocketAddress;
}

/**
 * Accepts a connection by accept4(2), as `asyncAccept()` does, and gives its
 * peer's address.
 *
 * @param ctx The context.
 * @param fd The listening socket.
 * @returns The connection, whose fd the caller owns and must close. Errors as
 * for `asyncAccept()`.
 * @throws As `asyncAccept()`.
 *
 * @example Who is there
 * ```ts
 * import {
 *   asyncAcceptFrom, asyncClose, IoContext, SocketAddress, TcpListener, TcpStream,
 *   unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const address = SocketAddress.v4(0, "127.0.0.1");
 * const listener = unwrap(TcpListener.bind(address));
 * const { port } = listener.localAddress!;
 * const client = unwrap(await TcpStream.connect(ctx, "127.0.0.1", port));
 * const accepted = await asyncAcceptFrom(ctx, listener).orThrow();
 * console.log(`${accepted.address} has connected`);
 * await asyncClose(ctx, accepted.fd);
 * await Promise.all([client.close(), listener.close()]);
 * ```
 */
export function asyncAcceptFrom(
  ctx: IoContext,
  fd: Fd,
): UringOp<AcceptedConnection> {
  const ring = ringOf(ctx, ACCEPT_FROM);
  // The address, and behind it its length: first the room for it.
  const memory = new Uint8Array(ADDRESS_SIZE + 4);
  const view = new DataView(memory.buffer);
  view.setUint32(ADDRESS_SIZE, ADDRESS_SIZE, true);
  const sqe = new Sqe(ACCEPT_FROM.opcode);
  sqe.fd = checkFd(fd, ACCEPT_FROM, ring);
  sqe.addr = memory;
  sqe.addr2 = memory;
  sqe.off = ADDRESS_SIZE;
  return start(ring, ACCEPT_FROM, sqe, {
    decode: (accepted) => ({
      fd: accepted,
      address: addressFromBytes(
        memory.subarray(0, view.getUint32(ADDRESS_SIZE, true)),
      ),
    }),
  });
}

/**
 * Connects a socket by connect(2).
 *
 * It waits for a unix listener whose backlog is full, without limit: give it a
 * timeout. A non-blocking socket tries again after pauses of 1 to 32 ms. A
 * blocking one holds a thread of the kernel meanwhile. As a link of a chain it
 * does not wait, and fails with `EAGAIN`.
 *
 * A TCP socket may connect to itself where no socket listens. The port must
 * then be one of those that the kernel gives to clients, and the kernel must
 * give just that one. `TcpStream.connect()` refuses such a connection.
 *
 * Close the socket after a timeout or a cancel. The kernel may go on connecting
 * it: another try gives `EALREADY`, or finds it connected.
 *
 * C++: `AsyncConnect`
 *
 * @param ctx The context.
 * @param fd The socket, of the family of the address.
 * @param address The address of the listener.
 * @returns `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, `EAFNOSUPPORT` if the
 * families differ, `ENOENT` for a unix socket that does not exist …
 * @throws {RangeError} If `fd` is out of range.
 * @throws {TypeError} If `fd` is no fd, `address` is no `SocketAddress`, or the
 * context is closed.
 *
 * @example At most a second
 * ```ts
 * import {
 *   asyncConnect, IoContext, Socket, SocketAddress, TcpListener, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const listener = unwrap(TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")));
 * const socket = unwrap(Socket.open("ipv4"));
 * const connecting = asyncConnect(ctx, socket, listener.localAddress!);
 * await connecting.withTimeout(1000).orThrow();
 * await Promise.all([socket.close(), listener.close()]);
 * ```
 */
export function asyncConnect(
  ctx: IoContext,
  fd: Fd,
  address: SocketAddress,
): UringOp<void> {
  const ring = ringOf(ctx, CONNECT);
  const sqe = new Sqe(CONNECT.opcode);
  sqe.fd = checkFd(fd, CONNECT, ring);
  const bytes = checkAddress(address, CONNECT);
  sqe.addr = bytes;
  sqe.off = bytes.length;
  const action = { toString: () => `${CONNECT.verb} to ${address}` };
  const isUnix = address.family === "unix" && !ring.chaining;
  const steps = isUnix ? new UnixConnect(sqe) : undefined;
  return start(ring, CONNECT, sqe, { action, steps });
}

/**
 * Receives from a socket by recv(2).
 *
 * With `MSG_WAITALL` a timeout or a cancel may come when some bytes are there:
 * the result is then their number, as none is lost. That flag joins the records
 * of a seqpacket socket and cuts the last; `asyncRecvExact()` does not.
 *
 * C++: `AsyncRecv`
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param buffer The buffer; it must not be transferred until completion.
 * @param flags `MSG_WAITALL`, `MSG_PEEK` …
 * @returns The number of bytes. 0 when the peer has closed its side, or for an
 * empty datagram, which is no end. `ECONNRESET`, `ENOTCONN` …
 * @throws {RangeError} If `fd` or `flags` is out of range or `buffer` is empty.
 * @throws {TypeError} If an argument has the wrong type, `buffer` is detached,
 * or the context is closed.
 *
 * @example An echo, until the peer has closed its side
 * ```ts
 * import {
 *   asyncRecv, asyncSendExact, asyncShutdown, IoContext, SHUT_WR, Socket, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * await asyncSendExact(ctx, left, new TextEncoder().encode("hello"));
 * await asyncShutdown(ctx, left, SHUT_WR).orThrow();
 * const buffer = new Uint8Array(4096);
 * for (;;) {
 *   const length = await asyncRecv(ctx, right, buffer).orThrow();
 *   if (length === 0) break;
 *   await asyncSendExact(ctx, right, buffer.subarray(0, length)).orThrow();
 * }
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncRecv(
  ctx: IoContext,
  fd: Fd,
  buffer: BufferLike,
  flags = 0,
): UringOp<number> {
  const ring = ringOf(ctx, RECV);
  const socket = checkFd(fd, RECV, ring);
  const length = checkBuffer(buffer, RECV);
  const bits = checkFlags(flags, RECV);
  if (socket < 0) return startOn(ring, RECV, socket, buffer, length, bits);
  const { shim, handle } = ring;
  const entry = ring.take(RECV);
  const status = shim.kio_recv(
    handle,
    entry.id,
    socket,
    buffer,
    length,
    bits,
  );
  return ring.enter(entry, socket, buffer, status);
}

/**
 * Sends to a connected socket by send(2).
 *
 * It waits for room, on a blocking and on a non-blocking socket. While it waits
 * for a peer that has shut down its own sending side, Linux may use a thread
 * for it; `kernelWorkersMax` limits their number.
 *
 * Linux 6.18 empties a datagram that waits for room in the queue of a unix
 * socket: it arrives with no bytes, and the result is 0. There send with
 * `MSG_DONTWAIT`, and wait by `asyncPoll()` for `POLLOUT` after `EAGAIN`.
 *
 * C++: `AsyncSend`
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param data The data; it must be neither transferred nor changed until
 * completion. A lease is held until then.
 * @param flags `MSG_MORE`, `MSG_WAITALL` … `MSG_NOSIGNAL` is always set.
 * @returns The number of bytes that the kernel took, which may be fewer than
 * given; `asyncSendExact()` sends all. `EPIPE` and `ECONNRESET` if the peer is
 * gone, `ENOTCONN` …
 * @throws As `asyncRecv()`.
 *
 * @example A datagram, which is sent whole or not at all
 * ```ts
 * import { asyncRecv, asyncSend, IoContext, Socket, unwrap } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair("datagram"));
 * await asyncSend(ctx, left, new Uint8Array([2, 7, 8])).orThrow();
 * assertEquals(await asyncRecv(ctx, right, new Uint8Array(64)).orThrow(), 3);
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncSend(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike | BufferLease,
  flags = 0,
): UringOp<number> {
  const ring = ringOf(ctx, SEND);
  const socket = checkFd(fd, SEND, ring);
  if (isLease(data)) return sendLease(ring, socket, data, flags);
  const length = checkBuffer(data, SEND);
  const bits = checkFlags(flags, SEND);
  if (socket < 0) return startOn(ring, SEND, socket, data, length, bits);
  const { shim, handle } = ring;
  const entry = ring.take(SEND);
  const status = shim.kio_send(
    handle,
    entry.id,
    socket,
    data,
    length,
    bits,
  );
  return ring.enter(entry, socket, data, status);
}

/**
 * Shuts down one direction of a connection, or both, by shutdown(2). The peer
 * still gets what was sent before.
 *
 * @param ctx The context.
 * @param fd The socket, which stays open.
 * @param how `SHUT_WR`, `SHUT_RD` or `SHUT_RDWR`.
 * @returns `ENOTCONN` if it is not connected.
 * @throws {RangeError} If `fd` or `how` is out of range.
 * @throws {TypeError} If `fd` is no fd, or the context is closed.
 *
 * @example The end of the data
 * ```ts
 * import {
 *   asyncRecv, asyncShutdown, IoContext, SHUT_WR, Socket, unwrap,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * await asyncShutdown(ctx, left, SHUT_WR).orThrow();
 * assertEquals(await asyncRecv(ctx, right, new Uint8Array(1)).orThrow(), 0);
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncShutdown(
  ctx: IoContext,
  fd: Fd,
  how: number,
): UringOp<void> {
  const ring = ringOf(ctx, SHUTDOWN);
  const sqe = new Sqe(SHUTDOWN.opcode);
  sqe.fd = checkFd(fd, SHUTDOWN, ring);
  sqe.len = checkInteger(how, 2, "how", SHUTDOWN.verb);
  return start(ring, SHUTDOWN, sqe);
}

/** Sends from the memory of the pool, without a view of the lease's part. */
function sendLease(
  ring: Ring,
  socket: number,
  lease: BufferLease,
  flags: number,
): UringOp<number> {
  const bits = checkFlags(flags, SEND);
  if (socket < 0 || lease.length === 0) {
    const bytes = bytesFor(lease, SEND);
    const length = checkBuffer(bytes, SEND);
    return held(lease, startOn(ring, SEND, socket, bytes, length, bits));
  }
  const { lender: { memory }, at } = checkedLease(lease, SEND);
  const entry = ring.take(SEND);
  const status = ring.shim.kio_sqe(
    ring.handle,
    entry.id,
    SEND.opcode,
    socket,
    memory,
    at,
    lease.length,
    0,
    bits,
  );
  return held(lease, ring.enter(entry, socket, memory, status));
}

/** Receives or sends by a direct descriptor. */
function startOn(
  ring: Ring,
  row: Row,
  socket: number,
  buffer: BufferLike,
  length: number,
  flags: number,
): UringOp<number> {
  const sqe = new Sqe(row.opcode);
  sqe.fd = socket;
  sqe.addr = buffer;
  sqe.len = length;
  sqe.opFlags = flags;
  return start(ring, row, sqe);
}
