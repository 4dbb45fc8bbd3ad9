/** Operations on messages: several buffers, addresses, ancillary data. */
import { type BufferLike, checkFd, checkFlags, type Fd } from "../check.ts";
import { POLLIN, POLLOUT } from "../constants.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import type { SocketAddress } from "../SocketAddress.ts";
import type { UringOp } from "../UringOp.ts";
import { parseScmRights } from "./control.ts";
import { messageSqe, nameOf, Receiving, startMessage } from "./msghdr.ts";
import { RECVMSG, SENDMSG } from "./table.ts";

/** A message for `asyncSendmsg()`. */
export interface SendmsgHeader {
  /** 0 to 1024 buffers, sent as one message. Without bytes it is an empty
   * datagram. */
  buffers: readonly BufferLike[];
  /** The receiver, for a socket that is not connected. */
  address?: SocketAddress | undefined;
  /** Ancillary data as in cmsg(3): headers and data, aligned. For fds
   * `scmRights()` makes it. */
  control?: Uint8Array | undefined;
}

/**
 * Sends several buffers as one message by sendmsg(2), to an address or with
 * ancillary data if wanted.
 *
 * The queue of a unix datagram socket that is not the connected one may be
 * full. No event tells of room there: it tries again after pauses of 1 to 32
 * ms.
 *
 * C++: `AsyncSendmsg`
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param message The message. Its buffers and control data must be neither
 * transferred nor changed until completion.
 * @param flags As for `asyncSend()`. `MSG_DONTWAIT` gives `EAGAIN` at once.
 * @returns The number of bytes. `EMSGSIZE` for a datagram that is too long;
 * else the errors of `asyncSend()`.
 * @throws {RangeError} If `fd` or `flags` is out of range, or there are too
 * many buffers.
 * @throws {TypeError} If an argument has the wrong type, a buffer is detached,
 * or the context is closed.
 *
 * @example A head and a body
 * ```ts
 * import { asyncRecv, asyncSendmsg, IoContext, Socket, unwrap } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * const buffers = [new Uint8Array([2]), new Uint8Array([7, 8])];
 * assertEquals(await asyncSendmsg(ctx, left, { buffers }).orThrow(), 3);
 * const received = new Uint8Array(3);
 * await asyncRecv(ctx, right, received).orThrow();
 * assertEquals([...received], [2, 7, 8]);
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncSendmsg(
  ctx: IoContext,
  fd: Fd,
  message: SendmsgHeader,
  flags = 0,
): UringOp<number> {
  const ring = ringOf(ctx, SENDMSG);
  const socket = checkFd(fd, SENDMSG, ring);
  const bits = checkFlags(flags, SENDMSG);
  const name = nameOf(message.address, SENDMSG);
  const sqe = messageSqe(ring, SENDMSG, socket, message, name, bits);
  return startMessage(ring, SENDMSG, sqe, POLLOUT);
}

/** The memory that `asyncRecvmsg()` fills. */
export interface RecvmsgHeader {
  /** 0 to 1024 buffers, filled one after the other. */
  buffers: readonly BufferLike[];
  /** Room for ancillary data; `scmRightsSpace()` makes it for fds. */
  control?: Uint8Array | undefined;
}

/** A message that `asyncRecvmsg()` has received. */
export interface ReceivedMessage {
  /** The number of bytes; 0 when the peer has closed its side, or for an empty
   * datagram, which is no end. */
  bytes: number;
  /** The sender; undefined if the kernel names none: the socket is a connected
   * stream, or the sender has no name. */
  address: SocketAddress | undefined;
  /** The filled part of `control`. The caller owns the fds in it, which
   * `parseScmRights()` finds. */
  control: Uint8Array;
  /** `MSG_TRUNC` if the datagram did not fit, and others. */
  flags: number;
}

/**
 * Receives a message into several buffers by recvmsg(2), with the sender's
 * address and ancillary data.
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param message The memory for it, which must not be transferred until
 * completion.
 * @param flags As for `asyncRecv()`. `MSG_DONTWAIT` gives `EAGAIN` at once.
 * @returns The message. Errors as for `asyncRecv()`. After a cancel that came
 * too late the message is the result, and so are its fds.
 * @throws As `asyncSendmsg()`.
 *
 * @example A datagram and its sender
 * ```ts
 * import { asyncRecvmsg, asyncSend, IoContext, Socket, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair("datagram"));
 * await asyncSend(ctx, left, new TextEncoder().encode("hello")).orThrow();
 * const buffers = [new Uint8Array(1500)];
 * const message = await asyncRecvmsg(ctx, right, { buffers }).orThrow();
 * console.log(`${message.bytes} bytes of ${message.address ?? "no name"}`);
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncRecvmsg(
  ctx: IoContext,
  fd: Fd,
  message: RecvmsgHeader,
  flags = 0,
): UringOp<ReceivedMessage> {
  const ring = ringOf(ctx, RECVMSG);
  const socket = checkFd(fd, RECVMSG, ring);
  const bits = checkFlags(flags, RECVMSG);
  const received = new Receiving(ring, RECVMSG, socket, message, bits);
  return startMessage(ring, RECVMSG, received.sqe, POLLIN, {
    discard: () => {
      const { control } = received;
      for (const fd of parseScmRights(control)) ring.shim.kio_fd_close(fd);
    },
    decode: (bytes) => {
      const { address, control, flags } = received;
      return { bytes, address, control, flags };
    },
  });
}
