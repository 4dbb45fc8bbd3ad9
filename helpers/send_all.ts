/** The transfer of several buffers as one. */
import { type BufferLike, checkFd, type Fd } from "../lib/check.ts";
import { MSG_WAITALL, POLLOUT } from "../lib/constants.ts";
import { EAGAIN, EINTR } from "../lib/errno.ts";
import { MESSAGE_VECTORS_AT } from "../lib/ops/layout.ts";
import { SEND_ALL } from "../lib/ops/table.ts";
import { vectorsFor } from "../lib/ops/vectors.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import type { Transfer } from "../lib/ring/entry.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import { Sqe } from "../lib/ring/sqe.ts";
import { startTransfer } from "../lib/ring/start.ts";
import { Waiting } from "../lib/ring/steps.ts";
import type { UringOp } from "../lib/UringOp.ts";

/** Sends all of several buffers, in their order, by sendmsg(2). */
export function sendAll(
  ring: Ring,
  fd: Fd,
  buffers: readonly BufferLike[],
  options: BoundOptions,
): UringOp<number> {
  const sqe = new Sqe(SEND_ALL.opcode);
  sqe.fd = checkFd(fd, SEND_ALL, ring);
  const transfer = new SendAll(ring, sqe, [...buffers]);
  const { retained } = sqe;
  return startTransfer(ring, SEND_ALL, sqe.fd, retained, transfer, options);
}

/** A transfer that goes on within the buffer that a short send has cut. */
class SendAll extends Waiting implements Transfer {
  moved = 0;
  readonly #shim: Ring["shim"];
  readonly #sqe: Sqe;
  readonly #buffers: readonly BufferLike[];
  readonly #lengths: readonly number[];
  readonly #total: number;
  readonly #memory: Uint8Array;

  constructor(ring: Ring, sqe: Sqe, buffers: readonly BufferLike[]) {
    super(sqe.fd, 0, POLLOUT);
    this.#memory = vectorsFor(ring, buffers, MESSAGE_VECTORS_AT, SEND_ALL);
    this.#lengths = buffers.map(({ byteLength }) => byteLength);
    this.#total = this.#lengths.reduce((sum, length) => sum + length, 0);
    if (this.#total === 0) {
      throw new RangeError(
        `Cannot ${SEND_ALL.verb}: the buffers are empty; pass at least one byte`,
      );
    }
    this.#shim = ring.shim;
    this.#buffers = buffers;
    this.#sqe = sqe;
    sqe.addr = this.#memory;
    sqe.len = 1;
    sqe.opFlags = MSG_WAITALL;
    sqe.retain(buffers);
  }

  get isComplete(): boolean {
    return this.moved === this.#total;
  }

  submit(...to: Parameters<Sqe["submit"]>): number {
    const vectors = this.#memory.subarray(MESSAGE_VECTORS_AT);
    const { kio_vector_set, kio_message_init, kio_message_advance } =
      this.#shim;
    this.#buffers.forEach((buffer, i) =>
      kio_vector_set(vectors, i, buffer, this.#lengths[i]!)
    );
    kio_message_init(this.#memory, 0, this.#lengths.length, null, 0);
    kio_message_advance(this.#memory, this.moved);
    return this.#sqe.submit(...to);
  }

  take(result: number): boolean {
    if (result <= 0) return result === -EINTR || result === -EAGAIN;
    this.moved += result;
    return this.moved < this.#total;
  }
}
