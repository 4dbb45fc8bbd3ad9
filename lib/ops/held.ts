/** Operations that take a lease where they take memory to read from. */
import type { BufferLease } from "../BufferLease.ts";
import { Lease } from "../ring/lease.ts";
import type { Op } from "../ring/op.ts";
import type { Operation } from "../ring/operation.ts";
import type { UringOp } from "../UringOp.ts";

/** Tells a lease from memory of the caller, which most often is a view. */
export function isLease(data: unknown): data is BufferLease {
  return !ArrayBuffer.isView(data) && data instanceof Lease;
}

/** Refuses a lease that was given back. */
export function checkedLease(lease: BufferLease, { verb }: Operation): Lease {
  (lease as Lease).check(verb);
  return lease as Lease;
}

/** Gives the bytes of a lease to an operation. */
export function bytesFor(
  lease: BufferLease,
  operation: Operation,
): Uint8Array<ArrayBuffer> {
  return checkedLease(lease, operation).bytes;
}

/** Lets an operation that was started with the bytes of a lease hold it until
 * its completion. */
export function held<O extends UringOp<unknown>>(
  lease: BufferLease,
  op: O,
): O {
  (op as unknown as Op<unknown>).hold(lease as Lease);
  return op;
}
