/**
 * Streams of messages in buffers of a pool. A multishot writes a struct
 * io_uring_recvmsg_out before the bytes: the head, the name of the sender, the
 * control data. For a single shot the same is made from its struct msghdr.
 */
import type { Shim } from "../../ffi/load.ts";
import {
  IPPROTO_UDP,
  MSG_DONTWAIT,
  MSG_TRUNC,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  UDP_GRO,
} from "../constants.ts";
import { errnoNamed } from "../errno.ts";
import type { BufferLease } from "../BufferLease.ts";
import type { MessageLease } from "../MessageLease.ts";
import { abort } from "../ring/dump.ts";
import type { Entry } from "../ring/entry.ts";
import { Lease, type Lender } from "../ring/lease.ts";
import type { Pool } from "../ring/pool.ts";
import { LEASES, LeaseStream, type OnChunk } from "../ring/receive.ts";
import type { Sqe } from "../ring/sqe.ts";
import type { Values } from "../ring/stream.ts";
import { addressFromBytes, type SocketAddress } from "../SocketAddress.ts";
import { controlMessages } from "./cmsg.ts";
import { parseScmRights } from "./control.ts";
import {
  ADDRESS_SIZE,
  MESSAGE_NAME_AT,
  MESSAGE_VECTORS_AT,
  MSG_CMSG_CLOEXEC,
  MSG_CONTROLLEN_AT,
  MSG_FLAGS_AT,
  MSG_NAMELEN_AT,
  OUT_CONTROLLEN_AT,
  OUT_FLAGS_AT,
  OUT_NAME_AT,
  OUT_NAMELEN_AT,
  OUT_PAYLOADLEN_AT,
} from "./layout.ts";
import { VECTOR_SIZE } from "./vectors.ts";

/** Bytes before the control data. */
const CONTROL_AT = OUT_NAME_AT + ADDRESS_SIZE;

/** Errors of a datagram that was sent before, or of the system for a while. */
export const DATAGRAM_ERRORS: ReadonlySet<number> = new Set([
  "EACCES",
  "EAGAIN",
  "ECONNREFUSED",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EINTR",
  "EMSGSIZE",
  "ENETDOWN",
  "ENETUNREACH",
  "ENOBUFS",
  "ENOMEM",
  "ENONET",
  "ENOPROTOOPT",
  "EOPNOTSUPP",
  "EPROTO",
].map((code) => errnoNamed(code)!));

/** Finds the size of the datagrams that came together (`UDP_GRO`). */
export function segmentSizeIn(control: Uint8Array): number | undefined {
  return controlMessages(control).find(({ level, type }) =>
    level === IPPROTO_UDP && type === UDP_GRO
  )?.data.getInt32(0, true);
}

/** Gives the bytes of a buffer that are before those of the message. */
export function headSize(controlSize: number): number {
  return CONTROL_AT + controlSize;
}

class Message extends Lease implements MessageLease {
  readonly #at: number;
  /** The head, and where it begins. */
  readonly #head: DataView<ArrayBuffer>;
  readonly #headAt: number;

  constructor(
    lender: Lender,
    id: number,
    at: number,
    length: number,
    head: DataView<ArrayBuffer>,
    headAt: number,
  ) {
    super(lender, id, length);
    this.#at = at;
    this.#head = head;
    this.#headAt = headAt;
  }

  override get at(): number {
    return this.#at;
  }

  get missingBytes(): number {
    return this.#field(OUT_PAYLOADLEN_AT) - this.length;
  }

  get address(): SocketAddress | undefined {
    const length = this.#field(OUT_NAMELEN_AT);
    return length === 0
      ? undefined
      : addressFromBytes(this.#part(OUT_NAME_AT, length));
  }

  get control(): Uint8Array<ArrayBuffer> {
    return this.#part(CONTROL_AT, this.#field(OUT_CONTROLLEN_AT));
  }

  get flags(): number {
    return this.#field(OUT_FLAGS_AT) & ~MSG_CMSG_CLOEXEC;
  }

  get segmentSize(): number | undefined {
    const { control } = this;
    return control.length === 0 ? undefined : segmentSizeIn(control);
  }

  /** The fds that came with it. */
  get fds(): readonly number[] {
    const { control } = this;
    return control.length === 0 ? [] : parseScmRights(control);
  }

  #field(at: number): number {
    this.check("look at the message");
    return this.#head.getUint32(this.#headAt + at, true);
  }

  #part(at: number, length: number): Uint8Array<ArrayBuffer> {
    const { buffer, byteOffset } = this.#head;
    return new Uint8Array(buffer, byteOffset + this.#headAt + at, length);
  }
}

/** Owns the fds of messages that wait: they are closed with the isolate. */
function messagesOf(
  shim: Shim,
  transient: ReadonlySet<number>,
): Values<BufferLease> {
  return {
    ...LEASES,
    transient,
    keep: (it) => (it as Message).fds.forEach((fd) => shim.kio_fd_own(fd)),
    give: (it) => (it as Message).fds.forEach((fd) => shim.kio_fd_disown(fd)),
  };
}

export class MessageStream extends LeaseStream {
  readonly #type: number;
  readonly #headSize: number;
  /** The memory of the pool. */
  readonly #heads: DataView<ArrayBuffer>;
  /** The struct msghdr, with the name, a vector and the control data of single
   * shots. */
  readonly #block: Uint8Array<ArrayBuffer>;
  readonly #control: Uint8Array<ArrayBuffer>;

  constructor(
    pool: Pool,
    entry: Entry,
    sqe: Sqe,
    leasesMax: number,
    controlSize: number,
    onMessage: OnChunk | null,
  ) {
    const { shim } = pool.ring;
    const type = shim.kio_option_get(sqe.fd, SOL_SOCKET, SO_TYPE);
    const transient = type === SOCK_DGRAM ? DATAGRAM_ERRORS : LEASES.transient;
    const values = messagesOf(shim, transient);
    super(pool, entry, sqe, leasesMax, onMessage, values);
    const { buffer, byteOffset, byteLength } = pool.memory;
    this.#type = type;
    this.#headSize = headSize(controlSize);
    this.#heads = new DataView(buffer, byteOffset, byteLength);
    const controlAt = MESSAGE_VECTORS_AT + VECTOR_SIZE;
    this.#block = new Uint8Array(controlAt + controlSize);
    this.#control = this.#block.subarray(controlAt);
    sqe.addr = this.#block;
    sqe.len = 1;
    // Of a stream the kernel would drop bytes.
    if (type !== SOCK_STREAM) sqe.opFlags = MSG_TRUNC;
    this.#pointTo(shim, 0);
  }

  protected override make(id: number, result: number): Message {
    if (!this.isMultishot) return this.#makeOfSingle(id, result);
    const at = id * this.size;
    const length = result - this.#headSize;
    const heads = this.#heads;
    const isWhole = length >= 0 &&
      heads.getUint32(at + OUT_PAYLOADLEN_AT, true) >= length &&
      heads.getUint32(at + OUT_NAMELEN_AT, true) <= ADDRESS_SIZE &&
      heads.getUint32(at + OUT_CONTROLLEN_AT, true) <= this.#control.length;
    if (!isWhole) abort(this.core, "the kernel has received a wrong message");
    return new Message(this, id, at + this.#headSize, length, heads, at);
  }

  #makeOfSingle(id: number, result: number): Message {
    const bytes = new Uint8Array(this.#headSize);
    const head = new DataView(bytes.buffer);
    const { buffer } = this.#block;
    const header = new DataView(buffer);
    const copy = (from: number, to: number) =>
      head.setUint32(to, header.getUint32(from, true), true);
    copy(MSG_NAMELEN_AT, OUT_NAMELEN_AT);
    copy(MSG_CONTROLLEN_AT, OUT_CONTROLLEN_AT);
    copy(MSG_FLAGS_AT, OUT_FLAGS_AT);
    head.setUint32(OUT_PAYLOADLEN_AT, result, true);
    bytes.set(
      new Uint8Array(buffer, MESSAGE_NAME_AT, ADDRESS_SIZE),
      OUT_NAME_AT,
    );
    bytes.set(this.#control, CONTROL_AT);
    const length = Math.min(result, this.size - this.#headSize);
    return new Message(this, id, Math.max(0, id * this.size), length, head, 0);
  }

  protected override drop(message: BufferLease): void {
    // Nobody has taken it.
    for (const fd of (message as Message).fds) this.core.shim.kio_fd_close(fd);
    super.drop(message);
  }

  protected override isDatagram(): boolean {
    return this.#type === SOCK_DGRAM;
  }

  override prepare(
    shim: Shim,
    handle: Deno.PointerObject,
    id: number,
  ): number {
    const { isMultishot } = this;
    shim.kio_message_init(
      this.#block,
      ADDRESS_SIZE,
      isMultishot ? 0 : 1,
      isMultishot ? null : this.#control,
      this.#control.length,
    );
    return super.prepare(shim, handle, id);
  }

  protected override receiveAt(
    at: number,
    shim: Shim,
    handle: Deno.PointerObject,
    id: number,
  ): number {
    this.#pointTo(shim, at);
    this.sqe.opFlags |= MSG_DONTWAIT;
    return this.sqe.submit(shim, handle, id);
  }

  /** A single shot has as many bytes as a multishot, at the front of a buffer. */
  #pointTo(shim: Shim, at: number): void {
    const vector = this.#block.subarray(MESSAGE_VECTORS_AT);
    const room = this.size - this.#headSize;
    shim.kio_vector_set(vector, 0, this.memory.subarray(at), room);
  }

  override last(result: number, flags: number): void {
    // The end of a stream comes with a head.
    const isEnd = this.isMultishot && result === this.#headSize &&
      !this.isDatagram();
    super.last(isEnd ? 0 : result, flags);
  }
}
