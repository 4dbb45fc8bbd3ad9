/** Sends for which the kernel reads the caller's memory in place. */
import type { BufferLease } from "../BufferLease.ts";
import {
  type BufferLike,
  checkBuffer,
  checkFd,
  checkFlags,
  type Fd,
} from "../check.ts";
import { DIRECT_FIRST } from "../DirectFd.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import type { Result } from "../result.ts";
import { useFixedMemory } from "../ring/fixed_memory.ts";
import type { Ring } from "../ring/Ring.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import { ZeroCopySend, type ZeroCopySent } from "../ring/zero_copy.ts";
import type { UringOp } from "../UringOp.ts";
import { bytesFor, held, isLease } from "./held.ts";
import type { SendmsgHeader } from "./message.ts";
import { messageSqe, nameOf } from "./msghdr.ts";
import { type Row, SEND_ZC, SENDMSG_ZC } from "./table.ts";

export type { ZeroCopySent };

/** A zero-copy send that has started. It settles when its buffers are free. */
export interface ZeroCopyOp extends UringOp<ZeroCopySent> {
  /**
   * The number of bytes, as soon as the kernel has taken them. The next send may
   * start then, as bytes stay in order. The buffers are still in use.
   */
  readonly sent: Promise<Result<number>>;
}

/**
 * Sends to a connected socket by send(2) with `MSG_ZEROCOPY`: the network card
 * reads the data where it is.
 *
 * It settles when the kernel is done with the data. TCP needs it until the peer
 * has acknowledged it, and a peer may wait up to 40 ms with that. So a send that
 * waits for this pays only for large data: see the guide. `sent` comes earlier.
 *
 * Once `sent` has a number nothing ends the operation but the peer, or a reset
 * of the connection: no cancel, no timeout, no close of the socket. The end of
 * the context waits for it, and resets a connection after a second. It cannot
 * reset one whose socket is closed; there the kernel gives up after some
 * minutes.
 *
 * It becomes a plain send, which copies, on a unix socket and any other that
 * knows no zero copy; where the kernel may not lock the memory (`ulimit -l`);
 * on a direct descriptor, and within `link()`.
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param data The data; it must be neither transferred nor changed until the
 * operation settles, or the peer may get the change. A lease is held until then.
 * @param flags As for `asyncSend()`.
 * @returns The number of bytes, which may be fewer than given, and whether the
 * kernel copied them. Errors as for `asyncSend()`.
 * @throws As `asyncSend()`.
 *
 * @example The next part goes out while the last one is on its way
 * ```ts
 * import {
 *   asyncAccept, asyncRecvExact, asyncSendZc, IoContext, Socket, SocketAddress,
 *   TcpListener, TcpStream, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * await using listener = unwrap(TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")));
 * const { port } = listener.localAddress!;
 * await using client = unwrap(await TcpStream.connect(ctx, "127.0.0.1", port));
 * await using server = new Socket(await asyncAccept(ctx, listener).orThrow());
 * const data = ctx.allocate(131072).fill(7);
 * const first = asyncSendZc(ctx, client, data.subarray(0, 65536));
 * unwrap(await first.sent);
 * const second = asyncSendZc(ctx, client, data.subarray(65536));
 * const received = asyncRecvExact(ctx, server, new Uint8Array(data.length));
 * for (const op of [first, second]) {
 *   const { bytes, copied } = await op.orThrow();
 *   console.log(`${bytes} bytes, ${copied ? "copied" : "in place"}`);
 * }
 * await received;
 * ```
 */
export function asyncSendZc(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike | BufferLease,
  flags = 0,
): ZeroCopyOp {
  if (isLease(data)) {
    return held(data, asyncSendZc(ctx, fd, bytesFor(data, SEND_ZC), flags));
  }
  const ring = ringOf(ctx, SEND_ZC);
  const sqe = new Sqe(SEND_ZC.opcode);
  sqe.fd = checkFd(fd, SEND_ZC, ring);
  sqe.addr = data;
  sqe.len = checkBuffer(data, SEND_ZC);
  sqe.opFlags = checkFlags(flags, SEND_ZC);
  return startZeroCopy(ring, SEND_ZC, sqe);
}

/**
 * Sends several buffers as one message by sendmsg(2) with `MSG_ZEROCOPY`: to an
 * address or with ancillary data if wanted, as `asyncSendmsg()` does. Apart from
 * that it is `asyncSendZc()`.
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param message The message. Its buffers must be neither transferred nor
 * changed until the operation settles.
 * @param flags As for `asyncSendmsg()`.
 * @returns The number of bytes, and whether the kernel copied them. Errors as
 * for `asyncSendmsg()`.
 * @throws As `asyncSendmsg()`.
 *
 * @example A head and a body, in place
 * ```ts
 * import { asyncSendmsgZc, IoContext, Socket, SocketAddress, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * await using socket = unwrap(Socket.open("ipv4", "datagram"));
 * const buffers = [new Uint8Array(20), ctx.allocate(1400)];
 * const address = SocketAddress.v4(9, "127.0.0.1");
 * const { bytes } = await asyncSendmsgZc(ctx, socket, { buffers, address }).orThrow();
 * console.log(`${bytes} bytes`);
 * ```
 */
export function asyncSendmsgZc(
  ctx: IoContext,
  fd: Fd,
  message: SendmsgHeader,
  flags = 0,
): ZeroCopyOp {
  const ring = ringOf(ctx, SENDMSG_ZC);
  const socket = checkFd(fd, SENDMSG_ZC, ring);
  const bits = checkFlags(flags, SENDMSG_ZC);
  const name = nameOf(message.address, SENDMSG_ZC);
  const sqe = messageSqe(ring, SENDMSG_ZC, socket, message, name, bits);
  return startZeroCopy(ring, SENDMSG_ZC, sqe);
}

function startZeroCopy(ring: Ring, row: Row, sqe: Sqe): ZeroCopyOp {
  // The kernel goes on with a chain before the notification: a link could be
  // queued again while its memory is still in use. And the end of a context can
  // reset sockets only by their fds.
  const plain = row.orElse!;
  if (ring.chaining || sqe.fd <= DIRECT_FIRST) sqe.opcode = plain;
  else if (!ring.features.uses("sendZc")) sqe.opcode = plain;
  useFixedMemory(ring, sqe);
  const send = new ZeroCopySend(sqe, plain);
  const op = start<ZeroCopySent>(ring, row, sqe, {
    decode: (bytes) => send.decode(bytes),
    notified: send,
    steps: ring.chaining ? undefined : send,
  });
  void op.then((result) => send.end(result));
  return Object.assign(op, { sent: send.sent });
}
