import type { BufferLease } from "./BufferLease.ts";
import type { SocketAddress } from "./SocketAddress.ts";

/**
 * A message that has come, in a buffer of a `BufferPool`: its bytes, its sender
 * and what came with it. It is lent and given back as each `BufferLease` is.
 * Then every member but `length` throws.
 */
export interface MessageLease extends BufferLease {
  /** The bytes of the datagram that did not fit into the buffer, and are lost; 0
   * if all did. On a stream it is 0: the rest is the next message. */
  readonly missingBytes: number;

  /** The sender; undefined if the kernel names none: the socket is a connected
   * stream, or the sender has no name. */
  readonly address: SocketAddress | undefined;

  /** The ancillary data, in the memory of the pool. Who takes the message owns
   * the fds in it, which `parseScmRights()` finds. */
  readonly control: Uint8Array<ArrayBuffer>;

  /** `MSG_TRUNC` if the datagram did not fit, `MSG_CTRUNC` if the ancillary data
   * did not, and others. */
  readonly flags: number;

  /** With the option `gro` of a `UdpSocket`, where several datagrams came
   * together: the size of each in `bytes`; the last may be shorter. Else
   * undefined. */
  readonly segmentSize: number | undefined;
}
