/** Operations that take a lease where they take memory to read from. */
import type { BufferLease } from "../BufferLease.ts";
import type { BufferLike } from "../check.ts";
import { Lease } from "../ring/lease.ts";
import type { Op } from "../ring/op.ts";
import type { Operation } from "../ring/operation.ts";
import type { UringOp } from "../UringOp.ts";

/** Tells a lease from memory of the caller, which most often is a view. */
export function isLease(data: BufferLike | BufferLease): data is BufferLease {
  return !ArrayBuffer.isView(data) && data instanceof Lease;
}

/** Gives the bytes of a lease to an operation. */
export function bytesFor(
  lease: BufferLease,
  { verb }: Operation,
): Uint8Array<ArrayBuffer> {
  (lease as Lease).check(verb);
  return lease.bytes;
}

/** Lets an operation that was started with the bytes of a lease hold it until
 * its completion. */
export function held<T>(lease: BufferLease, op: UringOp<T>): UringOp<T> {
  (lease as Lease).hold();
  (op as Op<T>).letGoAtEnd(lease as Lease);
  return op;
}
