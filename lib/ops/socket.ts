/** Sockets: connections, and bytes over them. */
import {
  type BufferLike,
  checkBuffer,
  checkFd,
  checkFlags,
  checkInteger,
  type Fd,
} from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { Sqe } from "../ring/sqe.ts";
import { start, startWaiting } from "../ring/start.ts";
import { addressFromBytes, SocketAddress } from "../SocketAddress.ts";
import type { UringOp } from "../UringOp.ts";
import { checkAddress } from "./address.ts";
import { ADDRESS_SIZE } from "./layout.ts";
import { ACCEPT, ACCEPT_FROM, CONNECT, RECV, SEND, SHUTDOWN } from "./table.ts";

/**
 * Accepts a connection. See accept4(2).
 *
 * A lack of fds or memory (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`) is reported
 * 10 ms later than it happened, so that a loop that accepts again at once does
 * not spin until there are some.
 *
 * C++: `AsyncAccept`.
 *
 * @param ctx The context.
 * @param fd A listening socket.
 * @returns The fd of the connection, to be closed by the caller: `new Socket()`
 * makes that easy. The peer may be gone already. `EMFILE`, `ECONNABORTED`,
 * `EINVAL` if the socket does not listen (any more).
 * @throws As `asyncClose()`.
 */
export function asyncAccept(ctx: IoContext, fd: Fd): UringOp<number> {
  const ring = ringOf(ctx, ACCEPT);
  const sqe = new Sqe(ACCEPT.opcode);
  sqe.fd = checkFd(fd, ACCEPT);
  return start(ring, ACCEPT, sqe);
}

/** A connection, and who is at the other end. */
export interface AcceptedConnection {
  /** The fd, to be closed by the caller. */
  fd: number;
  /** The address of the peer. */
  address: SocketAddress;
}

/**
 * Accepts a connection and tells where it comes from; else `asyncAccept()`.
 *
 * @param ctx The context.
 * @param fd A listening socket.
 * @returns The fd of the connection and the address of the peer.
 * @throws As `asyncClose()`.
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
  sqe.fd = checkFd(fd, ACCEPT_FROM);
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
 * A unix listener whose queue is full is waited for, without limit: give it a
 * timeout. A non-blocking socket tries again every 32 ms at most, a blocking one
 * holds a thread of the kernel meanwhile. As a link of a chain it does not wait,
 * and fails with `EAGAIN`.
 *
 * A TCP socket may be connected to itself where nobody listens: if the port is
 * one of those that the kernel gives to who connects, and it gives just that
 * one. `TcpStream.connect()` refuses it.
 *
 * Close the socket after a timeout or a cancel. The kernel may go on connecting
 * it: another try gives `EALREADY`, or finds it connected.
 *
 * C++: `AsyncConnect`.
 *
 * @param ctx The context.
 * @param fd The socket, of the family of the address.
 * @param address Where to.
 * @returns `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, `EAFNOSUPPORT` if the
 * families differ, `ENOENT` for a unix socket that is not there …
 * @throws {TypeError} If `address` is no `SocketAddress`; else as
 * `asyncClose()`.
 */
export function asyncConnect(
  ctx: IoContext,
  fd: Fd,
  address: SocketAddress,
): UringOp<void> {
  const ring = ringOf(ctx, CONNECT);
  const sqe = new Sqe(CONNECT.opcode);
  sqe.fd = checkFd(fd, CONNECT);
  const bytes = checkAddress(address, CONNECT);
  sqe.addr = bytes;
  sqe.off = bytes.length;
  const action = { toString: () => `${CONNECT.verb} to ${address}` };
  // No event tells of room in the queue of a unix listener.
  return address.family === "unix"
    ? startWaiting(ring, CONNECT, sqe, 0, { action })
    : start(ring, CONNECT, sqe, { action });
}

/**
 * Receives from a socket. See recv(2).
 *
 * C++: `AsyncRecv`.
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param buffer Where to; it must not be transferred until completion.
 * @param flags `MSG_WAITALL`, `MSG_PEEK` …
 * @returns The number of bytes; 0 when the peer has closed its side, or for an
 * empty datagram, which is no end. `ECONNRESET`, `ENOTCONN` … With
 * `MSG_WAITALL` fewer bytes than asked for may come with a timeout or cancel:
 * they are not lost. It joins the records of a seqpacket socket, and cuts the
 * last; `asyncRecvExact()` does not.
 * @throws {RangeError} If `fd` or `flags` is out of range or `buffer` is empty;
 * {TypeError} as `asyncRead()`.
 */
export function asyncRecv(
  ctx: IoContext,
  fd: Fd,
  buffer: BufferLike,
  flags = 0,
): UringOp<number> {
  const ring = ringOf(ctx, RECV);
  const socket = checkFd(fd, RECV);
  const length = checkBuffer(buffer, RECV);
  const bits = checkFlags(flags, RECV);
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
 * Sends to a connected socket. See send(2).
 *
 * It waits for room whether the socket is blocking or not. While it waits for a
 * peer that has shut down its own sending side, Linux may have a thread for it:
 * `kernelWorkersMax` is how many at most.
 *
 * C++: `AsyncSend`.
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param data What to send; it must be neither transferred nor changed until
 * completion.
 * @param flags `MSG_MORE`, `MSG_WAITALL` … `MSG_NOSIGNAL` is always set.
 * @returns The number of bytes that the kernel took, which may be fewer than
 * given. `EPIPE` and `ECONNRESET` if the peer is gone, `ENOTCONN` …
 * @throws As `asyncRecv()`.
 */
export function asyncSend(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike,
  flags = 0,
): UringOp<number> {
  const ring = ringOf(ctx, SEND);
  const socket = checkFd(fd, SEND);
  const length = checkBuffer(data, SEND);
  const bits = checkFlags(flags, SEND);
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
 * Shuts down one direction of a connection or both, in order with what was
 * sent before. Stands for shutdown(2).
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param how `SHUT_WR`, `SHUT_RD` or `SHUT_RDWR`.
 * @returns `ENOTCONN` if it is not connected.
 * @throws As `asyncClose()`; {RangeError} too for another `how`.
 */
export function asyncShutdown(
  ctx: IoContext,
  fd: Fd,
  how: number,
): UringOp<void> {
  const ring = ringOf(ctx, SHUTDOWN);
  const sqe = new Sqe(SHUTDOWN.opcode);
  sqe.fd = checkFd(fd, SHUTDOWN);
  sqe.len = checkInteger(how, 2, "how", SHUTDOWN.verb);
  return start(ring, SHUTDOWN, sqe);
}
