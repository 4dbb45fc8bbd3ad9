import type { BufferPool } from "../lib/BufferPool.ts";
import type { SocketAddress } from "../lib/SocketAddress.ts";
import type { SocketOptions } from "./socket_options.ts";

/** Options of `UdpSocket.bind()` and `UdpSocket.connect()`; `SocketOptions` has
 * the others. */
export interface UdpOptions extends SocketOptions {
  /** Several sockets may have the address: each gets all multicast datagrams,
   * one of them the others (`SO_REUSEADDR`).
   * @default {false} */
  reuseAddr?: boolean | undefined;
  /** Several sockets of one user share the address, and the kernel spreads the
   * senders between them (`SO_REUSEPORT`).
   * @default {false} */
  reusePort?: boolean | undefined;
  /** Takes no IPv4 on an IPv6 address (`IPV6_V6ONLY`).
   * @default {false} */
  ipv6Only?: boolean | undefined;
}

/** Options of `UdpSocket.connect()`. */
export interface UdpConnectOptions extends UdpOptions {
  /** The address of this end; the kernel chooses one if left out. */
  localAddress?: SocketAddress | undefined;
}

/** Options of `UdpSocket.send()`. */
export interface UdpSendOptions {
  /** Has the kernel cut the data into datagrams of this size, 1 to 65535 bytes,
   * of which the last may be shorter (GSO, `UDP_SEGMENT`). */
  segmentSize?: number | undefined;
}

/** Options of `UdpSocket.datagrams()`. */
export interface DatagramsOptions {
  /** The longest datagram that is received whole, 1 to 65535 bytes.
   * @default {65535} */
  bufferSize?: number | undefined;
  /** The most datagrams that wait to be taken, 1 to 65536. Others wait in the
   * receive buffer of the socket.
   * @default {64} */
  queueMax?: number | undefined;
}

/** Options of `UdpSocket.datagrams()` with a pool. */
export interface LentDatagramsOptions {
  /** The pool, of the same context. Of each buffer 200 bytes are for the kernel:
   * a datagram of 1500 bytes needs one of 1700. */
  pool: BufferPool;
  /** The most buffers that the stream has out, as for `asyncRecvMultishot()`.
   * @default {half of the pool} */
  leasesMax?: number | undefined;
}
