/** Datagrams that were received, and errors that were sent back. */
import type { BufferLike } from "../lib/check.ts";
import {
  IP_RECVERR,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_RECVERR,
} from "../lib/constants.ts";
import { controlMessages, controlSpace } from "../lib/ops/cmsg.ts";
import { DATAGRAM_ERRORS, segmentSizeIn } from "../lib/ops/message_stream.ts";
import { Receiving } from "../lib/ops/msghdr.ts";
import { RECVMSG } from "../lib/ops/table.ts";
import { errorOf, type IoError } from "../lib/result.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import type { Values } from "../lib/ring/stream.ts";
import { addressFromBytes, type SocketAddress } from "../lib/SocketAddress.ts";

/** A datagram that a `UdpSocket` has received. */
export interface Datagram {
  /** Its bytes, as many as the buffer took. */
  readonly bytes: Uint8Array;
  /** The bytes that did not fit into the buffer, and are lost; 0 if all did. */
  readonly missingBytes: number;
  /** The sender; undefined if it has no name. */
  readonly address: SocketAddress | undefined;
  /** With the option `gro`, where several datagrams came together: the size of
   * each in `bytes`; the last may be shorter. Else undefined. */
  readonly segmentSize: number | undefined;
}

/** An error that the network has sent back. */
export interface DatagramError {
  /** The error: `ECONNREFUSED`, `EHOSTUNREACH`, `EMSGSIZE` … */
  readonly error: IoError;
  /** The receiver of the datagram that caused it. */
  readonly address: SocketAddress | undefined;
  /** The machine that has sent the error; undefined if it is this one. */
  readonly offender: SocketAddress | undefined;
  /** The type of the ICMP message; 0 if it is none. */
  readonly icmpType: number;
  /** Its code. */
  readonly icmpCode: number;
  /** For `EMSGSIZE` the MTU of the path. */
  readonly info: number;
  /** The datagram that caused it, or the head of it. */
  readonly bytes: Uint8Array;
}

/** The number of GRO, behind a time of receipt if the socket asks for that. */
export const CONTROL_SIZE = controlSpace(4) + controlSpace(16);
/** A struct sock_extended_err and an address of IPv6. */
const ERROR_CONTROL_SIZE = controlSpace(16 + 28) + controlSpace(16);

/** Parts of struct sock_extended_err, and its size. */
const ERROR_TYPE_AT = 5;
const ERROR_CODE_AT = 6;
const ERROR_INFO_AT = 8;
const ERROR_SIZE = 16;
const AF_UNSPEC = 0;

/** Makes the struct msghdr of one receive. */
export function receivingOf(
  ring: Ring,
  fd: number,
  buffer: BufferLike,
  flags: number,
  controlSize = CONTROL_SIZE,
): Receiving {
  const control = new Uint8Array(controlSize);
  return new Receiving(
    ring,
    RECVMSG,
    fd,
    { buffers: [buffer], control },
    flags,
  );
}

/** Gives the part of a buffer that was filled. */
function filled(buffer: BufferLike, length: number): Uint8Array {
  const size = Math.min(length, buffer.byteLength);
  return ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, size)
    : new Uint8Array(buffer, 0, size);
}

/** Makes a datagram of a message of `length` bytes, of which `bytes` are those
 * that did fit. */
function datagramWith(
  { address, control }: Receiving,
  bytes: Uint8Array,
  length: number,
): Datagram {
  return {
    bytes,
    missingBytes: length - bytes.length,
    address,
    segmentSize: segmentSizeIn(control),
  };
}

/** Makes a datagram of a message of `length` bytes, in the caller's buffer. */
export function datagramOf(
  receiving: Receiving,
  buffer: BufferLike,
  length: number,
): Datagram {
  return datagramWith(receiving, filled(buffer, length), length);
}

/** Makes the struct msghdr of one receive from the error queue. */
export function errorReceivingOf(
  ring: Ring,
  fd: number,
  buffer: BufferLike,
  flags: number,
): Receiving {
  return receivingOf(ring, fd, buffer, flags, ERROR_CONTROL_SIZE);
}

/** Makes an error of a message of the error queue. */
export function datagramErrorOf(
  { address, control }: Receiving,
  buffer: BufferLike,
  length: number,
): DatagramError {
  const { data } = controlMessages(control).find(({ level, type }) =>
    level === IPPROTO_IP && type === IP_RECVERR ||
    level === IPPROTO_IPV6 && type === IPV6_RECVERR
  )!;
  const offender = new Uint8Array(
    data.buffer,
    data.byteOffset + ERROR_SIZE,
    data.byteLength - ERROR_SIZE,
  );
  return {
    error: errorOf(data.getUint32(0, true)),
    address,
    offender: offender[0] === AF_UNSPEC
      ? undefined
      : addressFromBytes(offender),
    icmpType: data.getUint8(ERROR_TYPE_AT),
    icmpCode: data.getUint8(ERROR_CODE_AT),
    info: data.getUint32(ERROR_INFO_AT, true),
    bytes: filled(buffer, length),
  };
}

/** The datagrams that come into one buffer, one after the other: each is copied
 * out before the kernel may fill it again. */
export function datagramsIn(
  receiving: Receiving,
  buffer: Uint8Array,
): Values<Datagram> {
  return {
    of: (length) => {
      const bytes = buffer.slice(0, length);
      const datagram = datagramWith(receiving, bytes, length);
      receiving.again();
      return datagram;
    },
    transient: DATAGRAM_ERRORS,
    isSingle: true,
    keep: () => {},
    give: () => {},
    discard: () => {},
  };
}
