/** Messages: several buffers at once, addresses, ancillary data. */
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

/** What `asyncSendmsg()` sends. */
export interface SendmsgHeader {
  /** Up to 1024 buffers, sent as one; none, or empty ones, for an empty
   * datagram. */
  buffers: readonly BufferLike[];
  /** Where to, for a socket that is not connected. */
  address?: SocketAddress | undefined;
  /** Ancillary data as in cmsg(3): headers and data, aligned. */
  control?: Uint8Array | undefined;
}

/**
 * Sends several buffers as one message, to an address or with ancillary data
 * where wanted. See sendmsg(2).
 *
 * C++: `AsyncSendmsg`.
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param message What to send; the memory stays in use until completion.
 * @param flags As for `asyncSend()`.
 * @returns The number of bytes. As `asyncSend()`; `EMSGSIZE` for a datagram
 * that is too long. For a full queue of an address that the socket is not
 * connected to it tries again by the clock, every 32 milliseconds at the
 * longest, as no event tells of room there.
 * @throws As `asyncSend()`.
 */
export function asyncSendmsg(
  ctx: IoContext,
  fd: Fd,
  message: SendmsgHeader,
  flags = 0,
): UringOp<number> {
  const ring = ringOf(ctx, SENDMSG);
  const socket = checkFd(fd, SENDMSG);
  const bits = checkFlags(flags, SENDMSG);
  const { address } = message;
  const name = address === undefined ? NO_NAME : checkAddress(address, SENDMSG);
  const sqe = sqeFor(ring, SENDMSG, socket, message, name, bits);
  return startMessage(ring, SENDMSG, sqe, POLLOUT);
}

/** Where `asyncRecvmsg()` puts what it receives. */
export interface RecvmsgHeader {
  /** Up to 1024 buffers, filled one after the other. */
  buffers: readonly BufferLike[];
  /** Room for ancillary data. */
  control?: Uint8Array | undefined;
}

/** What `asyncRecvmsg()` received. */
export interface ReceivedMessage {
  /** The number of bytes; 0 when the peer has closed its side, or for an empty
   * datagram. */
  bytes: number;
  /** Who sent it; undefined where the socket is connected or has no name. */
  address: SocketAddress | undefined;
  /** The part of `control` that was filled. Fds in it are the caller's. */
  control: Uint8Array;
  /** `MSG_TRUNC` if the datagram did not fit, and others. */
  flags: number;
}

/**
 * Receives a message into several buffers, with the address of the sender and
 * ancillary data. Stands for recvmsg(2).
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param message Where to; the memory stays in use until completion.
 * @param flags As for `asyncRecv()`.
 * @returns What was received. As `asyncRecv()`.
 * @throws As `asyncRecv()`.
 */
export function asyncRecvmsg(
  ctx: IoContext,
  fd: Fd,
  message: RecvmsgHeader,
  flags = 0,
): UringOp<ReceivedMessage> {
  const ring = ringOf(ctx, RECVMSG);
  const socket = checkFd(fd, RECVMSG);
  const bits = checkFlags(flags, RECVMSG);
  const { control: room = new Uint8Array(0) } = message;
  const name = new Uint8Array(ADDRESS_SIZE);
  const sqe = sqeFor(ring, RECVMSG, socket, message, name, bits);
  const memory = sqe.addr as Uint8Array;
  return startMessage(ring, RECVMSG, sqe, POLLIN, {
    decode: (bytes) => {
      const nameLength = uint32At(memory, MSG_NAMELEN_AT);
      const from = memory.subarray(
        MESSAGE_NAME_AT,
        MESSAGE_NAME_AT + nameLength,
      );
      return {
        bytes,
        address: nameLength === 0 ? undefined : addressFromBytes(from),
        control: room.subarray(0, uint32At(memory, MSG_CONTROLLEN_AT)),
        flags: uint32At(memory, MSG_FLAGS_AT) & ~MSG_CMSG_CLOEXEC,
      };
    },
  });
}

/** Waits where the kernel gives up, unless the user does not want to. */
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

/** The submission of a struct msghdr, which is in one block with the name and
 * the vectors that it points to. */
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
