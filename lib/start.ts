import type { Shim } from "../ffi/load.ts";
import { bound, type BoundOptions } from "./bounds.ts";
import { checkBounds } from "./check.ts";
import { MSG_DONTWAIT, POLLERR, POLLHUP } from "./constants.ts";
import { EAGAIN, ECANCELED, EINTR, ETIME } from "./errno.ts";
import type { Operation } from "./operations.ts";
import type { Course, Extra, Pinned, Ring, Transfer } from "./ring.ts";
import type { UringOp } from "./UringOp.ts";

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

/** How it waits: not, by a poll for one event, by one for each change. */
const Poll = { NONE: 0, ONCE: 1, CHANGES: 2 } as const;

/**
 * What waits by a poll of its own where the kernel does not wait: a splice, and
 * what a non-blocking fd gives `EAGAIN` for after all. io_uring waits by polls
 * too, but tries 128 times at most; then a thread of the kernel does it, where
 * O_NONBLOCK counts. That happens where polls are over at once, as a peer that
 * has shut down its sending side lets them be, or others are always faster.
 */
export abstract class Waiting implements Course {
  readonly #fd: number;
  readonly #events: number;
  #poll: typeof Poll[keyof typeof Poll] = Poll.NONE;

  constructor(fd: number, events: number) {
    this.#fd = fd;
    this.#events = events;
  }

  /** Queues the operation, or what is left of it. */
  abstract submit(shim: Shim, handle: Deno.PointerObject, id: number): number;

  /** Takes in a result; whether there is a next. For `EAGAIN` that means that
   * it is waited for. */
  abstract take(result: number, step: number): boolean;

  get isWaiting(): boolean {
    return this.#poll !== Poll.NONE;
  }

  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number {
    switch (this.#poll) {
      case Poll.NONE:
        return this.submit(shim, handle, id);
      case Poll.ONCE:
        return shim.kio_poll(handle, id, this.#fd, this.#events);
      case Poll.CHANGES:
        return shim.kio_poll_changes(handle, id, this.#fd, this.#events);
    }
  }

  advance(result: number, step: number): boolean {
    const poll = this.#poll;
    this.#poll = Poll.NONE;
    if (poll === Poll.NONE) {
      const goesOn = this.take(result, step);
      if (goesOn && result === -EAGAIN) this.#poll = Poll.ONCE;
      return goesOn;
    }
    const ends = this.#events | POLLERR | POLLHUP;
    const isVain = result > 0 && (result & ends) === 0;
    if (poll === Poll.ONCE && isVain) this.#poll = Poll.CHANGES;
    return result > 0 || result === -ECANCELED || result === -EINTR;
  }
}

/** What connects to a unix listener, again and again while its queue is full:
 * by pauses, as the kernel has nothing to poll for that. */
export class UnixConnect implements Course {
  readonly #fd: number;
  readonly #address: Uint8Array<ArrayBuffer>;
  #attempts = 0;

  constructor(fd: number, address: Uint8Array<ArrayBuffer>) {
    this.#fd = fd;
    this.#address = address;
  }

  get isWaiting(): boolean {
    return this.#attempts > 0;
  }

  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number {
    const address = this.#address;
    return shim.kio_connect_again(
      handle,
      id,
      this.#fd,
      address,
      address.length,
      this.#attempts++,
    );
  }

  advance(result: number): boolean {
    if (!this.isWaiting) return result === -EAGAIN;
    return result === -ETIME || result === -ECANCELED || result === -EINTR;
  }
}

/** A single operation that waits. */
class WaitingOperation extends Waiting {
  readonly submit: Waiting["submit"];

  constructor(fd: number, events: number, submit: Waiting["submit"]) {
    super(fd, events);
    this.submit = submit;
  }

  take(result: number): boolean {
    return result === -EAGAIN;
  }
}
