/** How operations begin that have no functions of their own in the shim. */
import { checkBounds } from "../check.ts";
import type { UringOp } from "../UringOp.ts";
import type { UringStream } from "../UringStream.ts";
import { bound, type BoundOptions } from "./bounds.ts";
import type { Extra, Transfer } from "./entry.ts";
import type { Operation } from "./operation.ts";
import type { Retained } from "./retained.ts";
import type { Ring } from "./Ring.ts";
import { IOSQE_FIXED_FILE, type Sqe } from "./sqe.ts";
import { WaitingOperation } from "./steps.ts";
import { Stream, type Values } from "./stream.ts";

/** Starts an operation of one submission. */
export function start<T>(
  ring: Ring,
  operation: Operation,
  sqe: Sqe,
  extra: Extra | null = null,
): UringOp<T> {
  const entry = ring.take(operation);
  const status = sqe.submit(ring.shim, ring.handle, entry.id);
  return ring.enter(entry, fdOf(sqe), sqe.retained, status, extra);
}

/**
 * Starts an operation that waits for one of the events where the kernel gives up
 * with `EAGAIN`; 0 for what no event tells of. A link of a chain does not wait,
 * as the chain has ended then.
 */
export function startWaiting<T>(
  ring: Ring,
  operation: Operation,
  sqe: Sqe,
  events: number,
  extra: Extra = {},
): UringOp<T> {
  const steps = ring.chaining ? undefined : new WaitingOperation(sqe, events);
  return start(ring, operation, sqe, { ...extra, steps });
}

/** Starts a multishot operation. */
export function startStream<T>(
  ring: Ring,
  operation: Operation,
  sqe: Sqe,
  values: Values<T>,
  queueMax: number,
): UringStream<T> {
  if (ring.chaining) {
    throw new TypeError(
      `Cannot ${operation.verb} many times in link(): the chain would never go on; start it before`,
    );
  }
  const entry = ring.take(operation);
  const shots = new Stream(ring, entry, sqe, values, queueMax);
  const status = sqe.submit(ring.shim, ring.handle, entry.id);
  const { retained } = sqe;
  ring.enterSubmitted(entry, null, fdOf(sqe), retained, status, { shots });
  return shots;
}

/** Starts a transfer that goes on by itself until all is moved. */
export function startTransfer(
  ring: Ring,
  operation: Operation,
  fd: number,
  retained: Retained,
  transfer: Transfer,
  options: BoundOptions,
  extra: Extra = {},
): UringOp<number> {
  checkBounds(options, operation.verb);
  if (ring.chaining) {
    throw new TypeError(
      `Cannot ${operation.verb} all in link(): a chain ends with a short transfer; use the plain operation`,
    );
  }
  const entry = ring.take(operation);
  const status = transfer.prepare(ring.shim, ring.handle, entry.id);
  const op = ring.enter<number>(entry, fd, retained, status, {
    ...extra,
    transfer,
    steps: transfer,
  });
  bound(op, options);
  return op;
}

/** The fd that a submission is about; -1 where its field has something else. */
function fdOf({ flags, fd }: Sqe): number {
  return flags & IOSQE_FIXED_FILE || fd < 0 ? -1 : fd;
}
