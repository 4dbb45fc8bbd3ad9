/**
 * Starting operations from an `Sqe`: with one submission, with a wait after
 * `EAGAIN`, or as a transfer. From the first line to the last no code of the
 * user runs, so an entry that is taken is always started.
 */
import { checkBounds } from "../check.ts";
import { DIRECT_FIRST } from "../DirectFd.ts";
import type { UringOp } from "../UringOp.ts";
import type { UringStream } from "../UringStream.ts";
import { bound, type BoundOptions } from "./bounds.ts";
import type { Entry, Extra, Transfer } from "./entry.ts";
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
 * Starts an operation that waits for one of `events` after `EAGAIN`, and tries
 * again; with 0 it waits by the clock. A link of a chain does not wait, as
 * `EAGAIN` has ended the chain.
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
  const make = (entry: Entry) => new Stream(ring, entry, sqe, values, queueMax);
  return startShots(ring, operation, sqe, make);
}

/** Starts a multishot operation, with the stream that `make` makes of it. */
export function startShots<S extends Stream<unknown>>(
  ring: Ring,
  operation: Operation,
  sqe: Sqe,
  make: (entry: Entry) => S,
): S {
  if (ring.chaining) {
    throw new TypeError(
      `Cannot ${operation.verb} many times in link(): the chain would never go on; start it before`,
    );
  }
  const entry = ring.take(operation);
  const shots = make(entry);
  const status = shots.prepare(ring.shim, ring.handle, entry.id);
  const { retained } = sqe;
  ring.enterSubmitted(entry, null, fdOf(sqe), retained, status, { shots });
  return shots;
}

/** Starts a transfer, which continues until all bytes are moved. */
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

/** Gives the fd of a submission, or its direct descriptor; -1 if its field has
 * another number. */
export function fdOf({ flags, fd }: Sqe): number {
  if (flags & IOSQE_FIXED_FILE) return -1;
  return fd < 0 && fd > DIRECT_FIRST ? -1 : fd;
}
