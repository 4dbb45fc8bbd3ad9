/** Data in several pieces, of which each submission of a transfer takes what is
 * left. */
import { type BufferLike, checkPart, TRANSFER_MAX } from "../lib/check.ts";
import { VECTOR_SIZE, VECTORS_MAX } from "../lib/ops/vectors.ts";
import type { Operation } from "../lib/ring/operation.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import type { Sqe } from "../lib/ring/sqe.ts";

/** Pieces with their iovecs. */
export class Vectors {
  /** Bytes of all pieces. */
  readonly total: number;
  readonly #shim: Ring["shim"];
  /** None is empty, and each is small enough for one submission. */
  readonly #pieces: readonly Uint8Array[];
  readonly #memory: Uint8Array<ArrayBuffer>;
  /** The first piece of which something is left. */
  #first = 0;
  /** Bytes of it that are gone. */
  #gone = 0;

  constructor(
    { shim }: Ring,
    buffers: readonly BufferLike[],
    operation: Operation,
  ) {
    this.#shim = shim;
    this.#pieces = [...buffers].flatMap((buffer) => cut(buffer, operation));
    this.total = this.#pieces.reduce((sum, { length }) => sum + length, 0);
    if (this.total === 0) {
      throw new RangeError(
        `Cannot ${operation.verb}: the buffers are empty; pass at least one byte`,
      );
    }
    this.#memory = new Uint8Array(VECTOR_SIZE * this.#pieces.length);
    for (const at of this.#pieces.keys()) this.#set(at, 0);
  }

  /** Points to what is left, or to the first iovecs that fit. */
  point(sqe: Sqe): void {
    sqe.addr = this.#memory;
    sqe.at = VECTOR_SIZE * this.#first;
    sqe.len = Math.min(this.#pieces.length - this.#first, VECTORS_MAX);
    sqe.retain(this.#pieces);
  }

  /** Takes off what was moved. */
  skip(count: number): void {
    this.#gone += count;
    while (this.#gone > 0 && this.#gone >= this.#length()) {
      this.#gone -= this.#length();
      this.#first++;
    }
    if (this.#gone > 0) this.#set(this.#first, this.#gone);
  }

  /** Bytes of the first piece that has some left. */
  #length(): number {
    return this.#pieces[this.#first]!.length;
  }

  #set(at: number, gone: number): void {
    const rest = this.#pieces[at]!.subarray(gone);
    this.#shim.kio_vector_set(this.#memory, at, rest, rest.length);
  }
}

/** Cuts a buffer into pieces that one submission can take. */
function cut(buffer: BufferLike, operation: Operation): Uint8Array[] {
  if (checkPart(buffer, operation) === 0) return [];
  const [memory, from] = ArrayBuffer.isView(buffer)
    ? [buffer.buffer, buffer.byteOffset]
    : [buffer, 0];
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < buffer.byteLength; at += TRANSFER_MAX) {
    const length = Math.min(buffer.byteLength - at, TRANSFER_MAX);
    pieces.push(new Uint8Array(memory, from + at, length));
  }
  return pieces;
}
