import type { Shim } from "../ffi/load.ts";
import { bound, type BoundOptions } from "./bounds.ts";
import { checkBounds } from "./check.ts";
import { MSG_DONTWAIT } from "./constants.ts";
import type { Operation } from "./operations.ts";
import type { Extra, Pinned, Ring, Transfer } from "./ring.ts";
import type { UringOp } from "./UringOp.ts";
import { type Waiting, WaitingOperation } from "./waiting.ts";

/**
 * Takes a slot, has the shim prepare the SQE, and enters the operation. What
 * programs do most (read, write, receive, send) has these lines in place: the
 * closure costs 15 ns an operation.
 */
export function start<T>(
  ring: Ring,
  operation: Operation,
  fd: number,
  pinned: Pinned,
  prepare: (shim: Shim, handle: Deno.PointerObject, id: number) => number,
  extra: Extra<T> | null = null,
): UringOp<T> {
  const slot = ring.take(operation);
  const status = prepare(ring.shim, ring.handle, ring.idOf(slot, operation));
  return ring.queued(slot, operation, fd, pinned, status, extra);
}

/**
 * Starts what waits until one of the events has come, also where the kernel
 * gives up; not so a link of a chain, which has ended then, nor what the user
 * does not want to wait.
 */
export function startWaiting<T>(
  ring: Ring,
  operation: Operation,
  fd: number,
  pinned: Pinned,
  prepare: Waiting["submit"],
  { events, flags, decode }: {
    events: number;
    flags: number;
    decode?: Extra<T>["decode"];
  },
): UringOp<T> {
  const course = ring.chaining || flags & MSG_DONTWAIT
    ? undefined
    : new WaitingOperation(fd, events, prepare);
  return start(ring, operation, fd, pinned, prepare, { course, decode });
}

/** Starts a transfer that goes on by itself until all is moved. */
export function startTransfer(
  ring: Ring,
  operation: Operation,
  fd: number,
  pinned: Pinned,
  extra: Extra<number> & { transfer: Transfer },
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
    pinned,
    (shim, handle, id) => extra.transfer.prepare(shim, handle, id),
    extra,
  );
  bound(op, options);
  return op;
}
