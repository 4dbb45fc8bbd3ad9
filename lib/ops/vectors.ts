import { type BufferLike, checkArray, checkPart } from "../check.ts";
import type { Operation } from "../ring/operation.ts";
import type { Ring } from "../ring/Ring.ts";

/** IOV_MAX of the kernel: buffers of one operation at most. */
export const VECTORS_MAX = 1024;
/** sizeof(struct iovec). */
export const VECTOR_SIZE = 16;

/** Makes memory of `head` bytes and a struct iovec for each buffer behind. */
export function vectorsFor(
  ring: Ring,
  buffers: readonly BufferLike[],
  head: number,
  operation: Operation,
): Uint8Array<ArrayBuffer> {
  checkArray(buffers, "buffers", operation.verb);
  const count = buffers.length;
  const countMin = head === 0 ? 1 : 0;
  if (count < countMin || count > VECTORS_MAX) {
    throw new RangeError(
      `Cannot ${operation.verb}: expected ${countMin} to ${VECTORS_MAX} buffers, got ${count}`,
    );
  }
  const memory = new Uint8Array(head + VECTOR_SIZE * count);
  const vectors = memory.subarray(head);
  let total = 0;
  for (let i = 0; i < count; i++) {
    const buffer = buffers[i]!;
    const length = checkPart(buffer, operation);
    ring.shim.kio_vector_set(vectors, i, buffer, length);
    total += length;
  }
  if (total === 0 && countMin > 0) {
    throw new RangeError(
      `Cannot ${operation.verb}: the buffers are empty; pass at least one byte`,
    );
  }
  return memory;
}
