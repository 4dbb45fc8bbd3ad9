/** The struct msghdr of a message, in one block with its name and vectors. */
import { type BufferLike, checkBuffer } from "../check.ts";
import { MSG_DONTWAIT } from "../constants.ts";
import type { Extra } from "../ring/entry.ts";
import type { Operation } from "../ring/operation.ts";
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
import { vectorsFor } from "./vectors.ts";

const NO_NAME = new Uint8Array(0);

/** The memory of a message. */
interface Parts {
  readonly buffers: readonly BufferLike[];
  readonly control?: Uint8Array | undefined;
}

/** Gives the bytes of the receiver's address; none without one. */
export function nameOf(
  address: SocketAddress | undefined,
  operation: Operation,
): Uint8Array {
  return address === undefined ? NO_NAME : checkAddress(address, operation);
}

/** Starts an operation that waits where the kernel gives up, but not with
 * MSG_DONTWAIT. */
export function startMessage<T>(
  ring: Ring,
  operation: Operation,
  sqe: Sqe,
  events: number,
  extra?: Extra,
): UringOp<T> {
  return sqe.opFlags & MSG_DONTWAIT
    ? start(ring, operation, sqe, extra)
    : startWaiting(ring, operation, sqe, events, extra);
}

/** Makes the submission of a struct msghdr. The name and the vectors that the
 * struct points to are in one block with it. */
export function messageSqe(
  ring: Ring,
  operation: Operation,
  fd: number,
  { buffers, control }: Parts,
  name: Uint8Array,
  flags: number,
): Sqe {
  if (control !== undefined && !(control instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot ${operation.verb}: control must be a Uint8Array, got ${typeof control}`,
    );
  }
  const size = control === undefined ? 0 : checkBuffer(control, operation);
  const memory = vectorsFor(ring, buffers, MESSAGE_VECTORS_AT, operation);
  memory.set(name, MESSAGE_NAME_AT);
  ring.shim.kio_message_init(
    memory,
    name.length,
    buffers.length,
    control ?? null,
    size,
  );
  const sqe = new Sqe(operation.opcode);
  sqe.fd = fd;
  sqe.addr = memory;
  sqe.len = 1;
  sqe.opFlags = flags;
  sqe.retain(control === undefined ? [...buffers] : [...buffers, control]);
  return sqe;
}

/** A struct msghdr that the kernel fills. */
export class Receiving {
  readonly sqe: Sqe;
  readonly #ring: Ring;
  readonly #control: Uint8Array | null;
  readonly #count: number;
  readonly #memory: Uint8Array;
  readonly #view: DataView;

  constructor(
    ring: Ring,
    operation: Operation,
    fd: number,
    parts: Parts,
    flags: number,
  ) {
    const name = new Uint8Array(ADDRESS_SIZE);
    this.sqe = messageSqe(ring, operation, fd, parts, name, flags);
    this.#ring = ring;
    this.#control = parts.control ?? null;
    this.#count = parts.buffers.length;
    this.#memory = this.sqe.addr as Uint8Array;
    this.#view = new DataView(this.#memory.buffer);
  }

  /** The sender, if the kernel names one. */
  get address(): SocketAddress | undefined {
    const length = this.#view.getUint32(MSG_NAMELEN_AT, true);
    const end = MESSAGE_NAME_AT + length;
    return length === 0
      ? undefined
      : addressFromBytes(this.#memory.subarray(MESSAGE_NAME_AT, end));
  }

  /** The filled part of the control data. */
  get control(): Uint8Array {
    const length = this.#view.getUint32(MSG_CONTROLLEN_AT, true);
    return this.#control?.subarray(0, length) ?? new Uint8Array(0);
  }

  get flags(): number {
    return this.#view.getUint32(MSG_FLAGS_AT, true) & ~MSG_CMSG_CLOEXEC;
  }

  /** Makes it ready to be filled once more: the kernel has left the lengths of
   * this message there. */
  again(): void {
    const size = this.#control?.byteLength ?? 0;
    this.#ring.shim.kio_message_init(
      this.#memory,
      ADDRESS_SIZE,
      this.#count,
      this.#control,
      size,
    );
  }
}
