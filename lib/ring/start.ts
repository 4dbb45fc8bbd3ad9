import type { Shim } from "../../ffi/load.ts";
import { bound, type BoundOptions } from "./bounds.ts";
import { type Buffer, checkBounds } from "../check.ts";
import { MSG_DONTWAIT } from "../constants.ts";
import type { Extra, Transfer } from "./entry.ts";
import type { Operation } from "./operation.ts";
import type { Retained } from "./retained.ts";
import type { Ring } from "./Ring.ts";
import { type Waiting, WaitingOperation } from "./steps.ts";
import type { UringOp } from "../UringOp.ts";

export const IOSQE_FIXED_FILE = 1;

/**
 * Takes a slot, has the shim prepare the SQE, and enters the operation. What
 * programs do most (read, write, receive, send) has these lines in place: the
 * closure costs 15 ns an operation.
 */
export function start<T>(
  ring: Ring,
  operation: Operation,
  fd: number,
  retained: Retained,
  prepare: (shim: Shim, handle: Deno.PointerObject, id: number) => number,
  extra: Extra | null = null,
): UringOp<T> {
  const entry = ring.take(operation);
  const status = prepare(ring.shim, ring.handle, entry.id);
  return ring.enter(entry, fd, retained, status, extra);
}

/**
 * Starts an operation that waits until one of the events has come, also where
 * the kernel gives up. A link of a chain does not, as the chain has ended then,
 * nor does an operation with `MSG_DONTWAIT`.
 */
export function startWaiting<T>(
  ring: Ring,
  operation: Operation,
  fd: number,
  retained: Retained,
  prepare: Waiting["submit"],
  { events, flags, decode }: {
    events: number;
    flags: number;
    decode?: Extra["decode"];
  },
): UringOp<T> {
  const steps = ring.chaining || flags & MSG_DONTWAIT
    ? undefined
    : new WaitingOperation(fd, 0, events, prepare);
  return start(
    ring,
    operation,
    fd,
    retained,
    prepare,
    decode === undefined ? { steps } : { steps, decode },
  );
}

/** The same for a registered file, by its place. */
export function startOnFixed(
  ring: Ring,
  operation: Operation,
  place: number,
  buffer: Buffer,
  events: number,
  prepare: Waiting["submit"],
): UringOp<number> {
  const steps = ring.chaining
    ? undefined
    : new WaitingOperation(place, IOSQE_FIXED_FILE, events, prepare);
  return start(ring, operation, -1, buffer, prepare, { steps });
}

/** Starts a transfer that goes on by itself until all is moved. */
export function startTransfer(
  ring: Ring,
  operation: Operation,
  fd: number,
  retained: Retained,
  extra: Extra & { transfer: Transfer },
  options: BoundOptions,
): UringOp<number> {
  checkBounds(options, operation.verb);
  if (ring.chaining) {
    throw new TypeError(
      `Cannot ${operation.verb} all in link(): a chain ends with a short transfer; use the plain operation`,
    );
  }
  const op = start<number>(
    ring,
    operation,
    fd,
    retained,
    (shim, handle, id) => extra.transfer.prepare(shim, handle, id),
    { ...extra, steps: extra.transfer },
  );
  bound(op, options);
  return op;
}
