/** Operations on messages: several buffers, addresses, ancillary data. */
import {
  type BufferLike,
  checkBuffer,
  checkFd,
  checkFlags,
  type Fd,
} from "../check.ts";
import { MSG_DONTWAIT, POLLIN, POLLOUT } from "../constants.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import type { Extra } from "../ring/entry.ts";
import type { Ring } from "../ring/Ring.ts";
import { Sqe } from "../ring/sqe.ts";
import { start, startWaiting } from "../ring/start.ts";
import { addressFromBytes, type SocketAddress } from "../SocketAddress.ts";
import type { UringOp } from "../UringOp.ts";
import { checkAddress } from "./address.ts";
import { parseScmRights } from "./control.ts";
import {
  ADDRESS_SIZE,
  MESSAGE_NAME_AT,
  MESSAGE_VECTORS_AT,
  MSG_CMSG_CLOEXEC,
  MSG_CONTROLLEN_AT,
  MSG_FLAGS_AT,
  MSG_NAMELEN_AT,
} from "./layout.ts";
import { RECVMSG, type Row, SENDMSG } from "./table.ts";
import { vectorsFor } from "./vectors.ts";

const NO_NAME = new Uint8Array(0);

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
  const { address } = message;
  const name = address === undefined ? NO_NAME : checkAddress(address, SENDMSG);
  const sqe = sqeFor(ring, SENDMSG, socket, message, name, bits);
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
  const { control: room = new Uint8Array(0) } = message;
  const name = new Uint8Array(ADDRESS_SIZE);
  const sqe = sqeFor(ring, RECVMSG, socket, message, name, bits);
  const memory = sqe.addr as Uint8Array;
  const control = () => room.subarray(0, uint32At(memory, MSG_CONTROLLEN_AT));
  return startMessage(ring, RECVMSG, sqe, POLLIN, {
    discard: () => {
      for (const fd of parseScmRights(control())) ring.shim.kio_fd_close(fd);
    },
    decode: (bytes) => {
      const nameLength = uint32At(memory, MSG_NAMELEN_AT);
      const from = memory.subarray(
        MESSAGE_NAME_AT,
        MESSAGE_NAME_AT + nameLength,
      );
      return {
        bytes,
        address: nameLength === 0 ? undefined : addressFromBytes(from),
        control: control(),
        flags: uint32At(memory, MSG_FLAGS_AT) & ~MSG_CMSG_CLOEXEC,
      };
    },
  });
}

/** Starts an operation that waits where the kernel gives up, but not with
 * MSG_DONTWAIT. */
function startMessage<T>(
  ring: Ring,
  row: Row,
  sqe: Sqe,
  events: number,
  extra?: Extra,
): UringOp<T> {
  return sqe.opFlags & MSG_DONTWAIT
    ? start(ring, row, sqe, extra)
    : startWaiting(ring, row, sqe, events, extra);
}

/** Makes the submission of a struct msghdr. The name and the vectors that the
 * struct points to are in one block with it. */
function sqeFor(
  ring: Ring,
  row: Row,
  fd: number,
  { buffers, control }: RecvmsgHeader,
  name: Uint8Array,
  flags: number,
): Sqe {
  if (control !== undefined && !(control instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot ${row.verb}: control must be a Uint8Array, got ${typeof control}`,
    );
  }
  const size = control === undefined ? 0 : checkBuffer(control, row);
  const memory = vectorsFor(ring, buffers, MESSAGE_VECTORS_AT, row);
  memory.set(name, MESSAGE_NAME_AT);
  ring.shim.kio_message_init(
    memory,
    name.length,
    buffers.length,
    control ?? null,
    size,
  );
  const sqe = new Sqe(row.opcode);
  sqe.fd = fd;
  sqe.addr = memory;
  sqe.len = 1;
  sqe.opFlags = flags;
  sqe.retain(control === undefined ? [...buffers] : [...buffers, control]);
  return sqe;
}

function uint32At(memory: Uint8Array, at: number): number {
  return new DataView(memory.buffer, memory.byteOffset).getUint32(at, true);
}
