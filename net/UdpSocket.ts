import { loadShim } from "../ffi/load.ts";
import {
  type BufferLike,
  checkBoolean,
  checkBuffer,
  checkFd,
  checkInteger,
  checkOptions,
} from "../lib/check.ts";
import {
  IP_ADD_MEMBERSHIP,
  IP_DROP_MEMBERSHIP,
  IPPROTO_UDP,
  IPV6_JOIN_GROUP,
  IPV6_LEAVE_GROUP,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_TRUNC,
  POLLIN,
  UDP_SEGMENT,
} from "../lib/constants.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import type { BufferLease } from "../lib/BufferLease.ts";
import { asyncRecvmsgMultishot, asyncSendmsg } from "../lib/io.ts";
import type { MessageLease } from "../lib/MessageLease.ts";
import { bytesFor, held, isLease } from "../lib/ops/held.ts";
import { controlMessage } from "../lib/ops/cmsg.ts";
import { startMessage } from "../lib/ops/msghdr.ts";
import { queueMaxOf } from "../lib/ops/queue_max.ts";
import { RECVMSG, SENDMSG } from "../lib/ops/table.ts";
import { failure, type Result, success } from "../lib/result.ts";
import { start, startStream } from "../lib/ring/start.ts";
import { bytesOfAddress, SocketAddress } from "../lib/SocketAddress.ts";
import type { UringOp } from "../lib/UringOp.ts";
import type { UringStream } from "../lib/UringStream.ts";
import { adopt, DATAGRAMS } from "./adopt.ts";
import { call } from "./call.ts";
import {
  CONTROL_SIZE,
  type Datagram,
  type DatagramError,
  datagramErrorOf,
  datagramOf,
  datagramsIn,
  errorReceivingOf,
  receivingOf,
} from "./datagram.ts";
import { checkAddress, openSocket, Socket } from "./Socket.ts";
import { setMembership } from "./multicast.ts";
import type {
  DatagramsOptions,
  LentDatagramsOptions,
  UdpConnectOptions,
  UdpOptions,
  UdpSendOptions,
} from "./udp_options.ts";

const SIZE_MAX = 65535;
/** Bytes of the datagram that come with an error: more than ICMP returns. */
const CAUSE_SIZE = 2048;

/**
 * A UDP socket, of IPv4 or IPv6. `bind()` and `connect()` make one;
 * `new UdpSocket(fd)` takes ownership of the fd of one that there is.
 *
 * @example A question and its answer
 * ```ts
 * import { IoContext, SocketAddress, UdpSocket, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const local = SocketAddress.v4(0, "127.0.0.1");
 * await using server = unwrap(UdpSocket.bind(local));
 * await using client = unwrap(UdpSocket.connect(server.localAddress!));
 * await client.send(ctx, new TextEncoder().encode("hello")).orThrow();
 *
 * const asked = await server.receive(ctx, new Uint8Array(1500)).orThrow();
 * await server.send(ctx, asked.bytes, asked.address).orThrow();
 * const { bytes } = await client.receive(ctx, new Uint8Array(1500)).orThrow();
 * console.log(new TextDecoder().decode(bytes));
 * ```
 */
export class UdpSocket extends Socket {
  /**
   * Opens a socket and binds it, by socket(2) and bind(2).
   *
   * @param address A `SocketAddress`, or a port on all interfaces, IPv4; 0 lets
   * the kernel choose. `SocketAddress.v6(port)` takes IPv4 as well.
   * @param options Options that are set before.
   * @returns The socket, non-blocking, which the caller has to close.
   * `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES` for a port below 1024, `EMFILE`; the
   * errors of `setOptions()`.
   * @throws {RangeError} If the port or an option is out of range.
   * @throws {TypeError} If `address` is none of IPv4 or IPv6, or an option has
   * the wrong type.
   */
  static override bind(
    address: number | SocketAddress,
    options: UdpOptions = {},
  ): Result<UdpSocket> {
    const at = typeof address === "number"
      ? SocketAddress.v4(address)
      : address;
    return open(at, "bind", options, (socket) => socket.bind(at));
  }

  /**
   * Opens a socket and connects it, by socket(2) and connect(2): it sends to
   * one address, and receives from that alone. Nothing is sent yet.
   *
   * The errors that come back from there are the results of the next send or
   * receive: `ECONNREFUSED` if nothing has the port.
   *
   * @param address The address of the other end.
   * @param options Options that are set before.
   * @returns The socket, non-blocking, which the caller has to close.
   * `ENETUNREACH`, and the errors of `bind()`.
   * @throws As `bind()`.
   */
  static connect(
    address: SocketAddress,
    options: UdpConnectOptions = {},
  ): Result<UdpSocket> {
    return open(address, "connect", options, (socket) => {
      const { localAddress } = options;
      const bytes = bytesOfAddress(address);
      const bound = localAddress && socket.bind(localAddress);
      return bound?.ok === false ? bound : call(
        socket,
        "connect",
        (fd) => loadShim().kio_connect_now(fd, bytes, bytes.length),
        address,
      );
    });
  }

  /**
   * Takes ownership of a socket that other processes may have as well, of systemd
   * with `ListenDatagram=` for example. It sets FD_CLOEXEC.
   *
   * @param fd The fd.
   * @returns The socket, which the caller has to close. `EBADF`; `ENOTSOCK`;
   * `EPROTOTYPE` if it is not for datagrams; `EAFNOSUPPORT` if it is neither IPv4
   * nor IPv6. The fd is the caller's then.
   * @throws As `Socket.adopt()`.
   */
  static override adopt(fd: number): Result<UdpSocket> {
    return adopt((fd) => new UdpSocket(fd), fd, DATAGRAMS);
  }

  /**
   * Sends a datagram by sendmsg(2). Where the socket is connected `asyncSend()`
   * and `asyncRecv()` do it as well, and cost less.
   *
   * @param ctx The context.
   * @param data The bytes, or up to 1024 buffers that make one datagram; none
   * make an empty one. They must be neither transferred nor changed until
   * completion. A lease is held until then.
   * @param address The receiver; left out for a socket that is connected.
   * @param options `segmentSize` makes several datagrams of the data.
   * @returns The number of bytes, which is all. `EMSGSIZE` for more than 65507
   * bytes, or if it must not be fragmented; `EINVAL` for more segments than the
   * kernel makes of one send, 64 or 128; `EDESTADDRREQ` without an address;
   * `EACCES` for a broadcast address without the option; `ENETUNREACH` … The
   * error of an earlier datagram that came back: this one is not sent then.
   * @throws {RangeError} If `segmentSize` is out of range, or there are too many
   * buffers.
   * @throws {TypeError} If an argument has the wrong type, a buffer is detached,
   * or the context is closed.
   */
  send(
    ctx: IoContext,
    data: BufferLike | BufferLease | readonly BufferLike[],
    address?: SocketAddress,
    options: UdpSendOptions = {},
  ): UringOp<number> {
    if (isLease(data)) {
      const bytes = bytesFor(data, SENDMSG);
      return held(data, this.send(ctx, bytes, address, options));
    }
    checkOptions(options, SENDMSG.verb);
    const { segmentSize } = options;
    const buffers = Array.isArray(data) ? data : [data];
    if (segmentSize === undefined) {
      return asyncSendmsg(ctx, this, { buffers, address });
    }
    checkInteger(segmentSize, SIZE_MAX, "segmentSize", SENDMSG.verb, 1);
    const control = controlMessage(IPPROTO_UDP, UDP_SEGMENT, 2, (data) => {
      data.setUint16(0, segmentSize, true);
    });
    return asyncSendmsg(ctx, this, { buffers, address, control });
  }

  /**
   * Receives a datagram by recvmsg(2). Many may be in flight: each takes one
   * datagram. Each datagram wakes all of them, so where many come `datagrams()`
   * is cheaper.
   *
   * @param ctx The context.
   * @param buffer The memory for it, which must not be transferred until
   * completion. A longer datagram is cut, and `missingBytes` tells.
   * @returns The datagram; its `bytes` are in `buffer`. With no bytes it is
   * empty, and no end. The error of a datagram that was sent before:
   * `ECONNREFUSED`, `EHOSTUNREACH` …
   * @throws {RangeError} If `buffer` is empty, or the socket is closed.
   * @throws {TypeError} If an argument has the wrong type, `buffer` is detached,
   * or the context is closed.
   */
  receive(ctx: IoContext, buffer: BufferLike): UringOp<Datagram> {
    const ring = ringOf(ctx, RECVMSG);
    const fd = checkFd(this, RECVMSG);
    checkBuffer(buffer, RECVMSG);
    const receiving = receivingOf(ring, fd, buffer, MSG_TRUNC);
    return startMessage(ring, RECVMSG, receiving.sqe, POLLIN, {
      decode: (length) => datagramOf(receiving, buffer, length),
    });
  }

  /**
   * Receives datagrams into buffers of a pool, by `asyncRecvmsgMultishot()`:
   * with one operation, and without copies. Each is lent until the next turn.
   *
   * @throws {RangeError} If the buffers of the pool have 200 bytes or less.
   *
   * @example An echo without copies
   * ```ts
   * import {
   *   BufferPool, IoContext, SocketAddress, UdpSocket, unwrap,
   * } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * using pool = new BufferPool(ctx, { count: 64, size: 1700 });
   * const local = SocketAddress.v4(0, "127.0.0.1");
   * await using socket = unwrap(UdpSocket.bind(local));
   * const stop = AbortSignal.timeout(10);
   * for await (const it of socket.datagrams(ctx, { pool }).withSignal(stop)) {
   *   // The send holds the buffer until it is through.
   *   if (it.ok) void socket.send(ctx, it.value, it.value.address);
   * }
   * ```
   */
  datagrams(
    ctx: IoContext,
    options: LentDatagramsOptions,
  ): UringStream<MessageLease>;
  /**
   * Receives datagrams by recvmsg(2), one after the other, until the stream
   * ends. An error of a datagram that was sent before is a result like any
   * other, and the stream goes on.
   *
   * @param ctx The context.
   * @param options The size of its buffer, and the length of its queue.
   * @returns The datagrams. Their bytes are copies, and the consumer's own. As
   * the last result `ECANCELED` …
   * @throws {RangeError} If an option is out of range, or the socket is closed.
   * @throws {TypeError} If an argument has the wrong type, the context is closed,
   * or it is called within `link()`.
   *
   * @example An echo
   * ```ts
   * import { IoContext, SocketAddress, UdpSocket, unwrap } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * const local = SocketAddress.v4(0, "127.0.0.1");
   * await using socket = unwrap(UdpSocket.bind(local));
   * const stop = AbortSignal.timeout(10);
   * for await (const result of socket.datagrams(ctx).withSignal(stop)) {
   *   if (!result.ok) continue;
   *   const { bytes, address } = result.value;
   *   void socket.send(ctx, bytes, address);
   * }
   * ```
   */
  datagrams(
    ctx: IoContext,
    options?: DatagramsOptions,
  ): UringStream<Datagram>;
  datagrams(
    ctx: IoContext,
    options: DatagramsOptions & Partial<LentDatagramsOptions> = {},
  ): UringStream<Datagram> | UringStream<MessageLease> {
    const { verb } = RECVMSG;
    const ring = ringOf(ctx, RECVMSG);
    const fd = checkFd(this, RECVMSG);
    checkOptions(options, verb);
    const { pool, leasesMax } = options;
    if (pool !== undefined) {
      const lent = { leasesMax, controlSize: CONTROL_SIZE };
      return asyncRecvmsgMultishot(ctx, this, pool, lent);
    }
    const { bufferSize = SIZE_MAX } = options;
    checkInteger(bufferSize, SIZE_MAX, "bufferSize", verb, 1);
    const queueMax = queueMaxOf(options, RECVMSG);
    const buffer = new Uint8Array(bufferSize);
    const receiving = receivingOf(ring, fd, buffer, MSG_TRUNC);
    const values = datagramsIn(receiving, buffer);
    const { sqe } = receiving;
    return startStream(ring, RECVMSG, sqe, values, queueMax);
  }

  /**
   * Receives an error that the network has sent back, by recvmsg(2) with
   * MSG_ERRQUEUE. The socket needs the option `queueErrors`. It does not wait;
   * `asyncPoll()` does, and gives `POLLERR`.
   *
   * @param ctx The context.
   * @returns The error, with the datagram that caused it. `EAGAIN` if there is
   * none.
   * @throws {RangeError} If the socket is closed.
   * @throws {TypeError} If the context is closed.
   *
   * @example Nothing has the port
   * ```ts
   * import {
   *   asyncPoll, IoContext, SocketAddress, UdpSocket, unwrap,
   * } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * const local = SocketAddress.v4(0, "127.0.0.1");
   * const gone = unwrap(UdpSocket.bind(local));
   * const address = gone.localAddress!;
   * await gone.close();
   * await using socket = unwrap(UdpSocket.bind(local, { queueErrors: true }));
   * await socket.send(ctx, new Uint8Array(8), address).orThrow();
   * await asyncPoll(ctx, socket, 0).orThrow();
   * const { error, address: to } = await socket.receiveError(ctx).orThrow();
   * console.log(`${to}: ${error.message}`);
   * ```
   */
  receiveError(ctx: IoContext): UringOp<DatagramError> {
    const ring = ringOf(ctx, RECVMSG);
    const fd = checkFd(this, RECVMSG);
    const buffer = new Uint8Array(CAUSE_SIZE);
    const flags = MSG_ERRQUEUE | MSG_DONTWAIT;
    const receiving = errorReceivingOf(ring, fd, buffer, flags);
    return start(ring, RECVMSG, receiving.sqe, {
      decode: (length) => datagramErrorOf(receiving, buffer, length),
    });
  }

  /**
   * Joins a multicast group by setsockopt(2) (`IP_ADD_MEMBERSHIP`,
   * `IPV6_JOIN_GROUP`). Datagrams to it come to the port that the socket is
   * bound to, on `0.0.0.0` or `::` or the group itself.
   *
   * @param group The address of the group: `"239.1.2.3"`, `"ff02::1:3"`.
   * @param interfaceIndex The number of the interface, 0 to 2^31 - 1; 0 lets the
   * kernel choose by its routes.
   * @returns `EINVAL` for an address that is no group, `ENODEV`, `EADDRINUSE` if
   * it has joined already, `ENOBUFS` for too many groups.
   * @throws {RangeError} If `interfaceIndex` is out of range.
   * @throws {TypeError} If `group` is no address, or the socket is closed.
   */
  joinMulticast(group: string, interfaceIndex = 0): Result<void> {
    const verb = "join a group";
    return setMembership(this, group, interfaceIndex, verb, [
      IP_ADD_MEMBERSHIP,
      IPV6_JOIN_GROUP,
    ]);
  }

  /**
   * Leaves a multicast group by setsockopt(2) (`IP_DROP_MEMBERSHIP`,
   * `IPV6_LEAVE_GROUP`). The end of the socket does it too.
   *
   * @param group As it was joined.
   * @param interfaceIndex As it was joined.
   * @returns `EADDRNOTAVAIL` if it has not joined.
   * @throws As `joinMulticast()`.
   */
  leaveMulticast(group: string, interfaceIndex = 0): Result<void> {
    const verb = "leave a group";
    return setMembership(this, group, interfaceIndex, verb, [
      IP_DROP_MEMBERSHIP,
      IPV6_LEAVE_GROUP,
    ]);
  }
}

/** Opens a socket of the family of an address, sets its options and makes it
 * ready. Closes it if one of these fails. */
function open(
  address: SocketAddress,
  verb: string,
  options: UdpOptions,
  ready: (socket: UdpSocket) => Result<void>,
): Result<UdpSocket> {
  checkOptions(options, verb);
  const { family } = checkAddress(address, verb);
  if (family === "unix") {
    throw new TypeError(
      `Cannot ${verb}: expected an IPv4 or IPv6 address, got ${address}; Socket has unix datagrams`,
    );
  }
  const { reuseAddr = false, reusePort = false, ipv6Only = false } = options;
  checkBoolean(reuseAddr, "reuseAddr", verb);
  checkBoolean(reusePort, "reusePort", verb);
  checkBoolean(ipv6Only, "ipv6Only", verb);
  const fd = openSocket(family, "datagram");
  if (fd < 0) return failure(-fd, `${verb} to ${address}`);
  const socket = new UdpSocket(fd);
  const steps = [
    () => family === "ipv6" ? socket.setIpv6Only(ipv6Only) : undefined,
    () => reuseAddr ? socket.setReuseAddr() : undefined,
    () => reusePort ? socket.setReusePort() : undefined,
    () => socket.setOptions(options),
    () => ready(socket),
  ];
  try {
    for (const step of steps) {
      const result = step();
      if (result?.ok === false) {
        socket[Symbol.dispose]();
        return result;
      }
    }
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
  return success(socket);
}
