import type { Shim } from "../../ffi/load.ts";
import { bound, type BoundOptions } from "./bounds.ts";
import { type BufferLike, checkBounds, TRANSFER_MAX } from "../check.ts";
import {
  MSG_DONTWAIT,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
} from "../constants.ts";
import { EAGAIN, ECANCELED, EINTR, ETIME } from "../errno.ts";
import { type Operation, READ, READV, WRITE, WRITEV } from "../ops/table.ts";
import { type Pinned, PinnedGroup } from "./retained.ts";
import type { Course, Extra, Ring, Transfer } from "./ring.ts";
import type { UringOp } from "../UringOp.ts";

export const IOSQE_FIXED_FILE = 1;

/** As an offset: what has no position takes no other. */
export const NO_POSITION = -1;

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
    : new WaitingOperation(fd, 0, events, prepare);
  return start(
    ring,
    operation,
    fd,
    pinned,
    prepare,
    decode === undefined ? { course } : { course, decode },
  );
}

/** The same for a registered file, by its place. */
export function startOnFixed(
  ring: Ring,
  operation: Operation,
  place: number,
  buffer: BufferLike,
  events: number,
  prepare: Waiting["submit"],
): UringOp<number> {
  const course = ring.chaining
    ? undefined
    : new WaitingOperation(place, IOSQE_FIXED_FILE, events, prepare);
  return start(ring, operation, -1, buffer, prepare, { course });
}

/**
 * How a plain read or write goes on that got `EAGAIN`: most never do, so this
 * is made only then. The kernel gives up on a non-blocking stream (see
 * `Waiting`). Undefined for what is no stream: there the answer is the file's.
 */
export function waitingAgain(
  ring: Ring,
  operation: Operation,
  fd: number,
  pinned: Pinned,
): Course | undefined {
  const submit = submitOf(operation, fd, pinned);
  if (submit === undefined || !ring.shim.kio_fd_is_stream(fd)) return undefined;
  const isRead = operation === READ || operation === READV;
  const course = new WaitingOperation(fd, 0, isRead ? POLLIN : POLLOUT, submit);
  course.advance(-EAGAIN, 0);
  return course;
}

/** Queues a plain read or write of a stream again. */
function submitOf(
  operation: Operation,
  fd: number,
  pinned: Pinned,
): Waiting["submit"] | undefined {
  const at = NO_POSITION;
  if (pinned instanceof PinnedGroup) {
    const { memory, buffers: { length } } = pinned;
    switch (operation) {
      case READV:
        return (shim, ring, id) =>
          shim.kio_readv(ring, id, fd, memory, length, at);
      case WRITEV:
        return (shim, ring, id) =>
          shim.kio_writev(ring, id, fd, memory, length, at);
    }
  } else if (pinned !== null) {
    const length = Math.min(pinned.byteLength, TRANSFER_MAX);
    switch (operation) {
      case READ:
        return (shim, ring, id) =>
          shim.kio_read(ring, id, fd, pinned, 0, length, at, 0);
      case WRITE:
        return (shim, ring, id) =>
          shim.kio_write(ring, id, fd, pinned, 0, length, at, 0);
    }
  }
  return undefined;
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

/** How it waits: not, by a poll for one event, by one for each change, by the
 * clock. */
const Wait = { NONE: 0, POLL: 1, CHANGES: 2, PAUSE: 3 } as const;

/** Polls in a row that were ready for nothing, before it waits by the clock. */
const VAIN_MAX = 2;
const PAUSE_MS_MIN = 1;
const PAUSE_MS_MAX = 64;

/**
 * What waits by a poll of its own where the kernel does not wait: a splice, and
 * what a non-blocking fd gives `EAGAIN` for after all. io_uring waits by polls
 * too, but tries 128 times at most; then a thread of the kernel does it, where
 * O_NONBLOCK counts. That happens where polls are over at once, as a peer that
 * has shut down its sending side lets them be, or others are always faster.
 *
 * Where a poll is ready and the operation is not, again and again, it waits by
 * the clock: a datagram for a full queue of another socket than the connected
 * one, the error queue of a socket that has data. No event tells of these.
 */
export abstract class Waiting implements Course {
  readonly #fd: number;
  readonly #sqeFlags: number;
  readonly #events: number;
  #wait: typeof Wait[keyof typeof Wait] = Wait.NONE;
  /** `EAGAIN` in a row, without any progress. */
  #vain = 0;

  constructor(fd: number, sqeFlags: number, events: number) {
    this.#fd = fd;
    this.#sqeFlags = sqeFlags;
    this.#events = events;
  }

  /** Queues the operation, or what is left of it. */
  abstract submit(shim: Shim, handle: Deno.PointerObject, id: number): number;

  /** Takes in a result; whether there is a next. For `EAGAIN` that means that
   * it is waited for. */
  abstract take(result: number, step: number): boolean;

  get isWaiting(): boolean {
    return this.#wait !== Wait.NONE;
  }

  get pauseMs(): number {
    if (this.#wait !== Wait.PAUSE) return 0;
    const doublings = this.#vain - VAIN_MAX - 1;
    return Math.min(PAUSE_MS_MIN * 2 ** doublings, PAUSE_MS_MAX);
  }

  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number {
    switch (this.#wait) {
      case Wait.POLL:
        return shim.kio_poll(
          handle,
          id,
          this.#fd,
          this.#events,
          this.#sqeFlags,
        );
      case Wait.CHANGES:
        return shim.kio_poll_changes(
          handle,
          id,
          this.#fd,
          this.#events,
          this.#sqeFlags,
        );
      default:
        this.#wait = Wait.NONE;
        return this.submit(shim, handle, id);
    }
  }

  advance(result: number, step: number): boolean {
    const wait = this.#wait;
    this.#wait = Wait.NONE;
    if (wait === Wait.NONE) {
      const goesOn = this.take(result, step);
      if (!goesOn || result !== -EAGAIN) {
        this.#vain = 0;
        return goesOn;
      }
      this.#vain = step === 0 ? this.#vain + 1 : 1;
      this.#wait = this.#vain > VAIN_MAX ? Wait.PAUSE : Wait.POLL;
      return true;
    }
    const ends = this.#events | POLLERR | POLLHUP;
    const isVain = result > 0 && (result & ends) === 0;
    if (wait === Wait.POLL && isVain) this.#wait = Wait.CHANGES;
    return result > 0 || result === -ECANCELED || result === -EINTR;
  }
}

/** What connects to a unix listener, again and again while its queue is full:
 * by pauses, as the kernel has nothing to poll for that. */
export class UnixConnect implements Course {
  /** The ring pauses, see kio_connect_again(). */
  readonly pauseMs = 0;
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

  constructor(
    fd: number,
    sqeFlags: number,
    events: number,
    submit: Waiting["submit"],
  ) {
    super(fd, sqeFlags, events);
    this.submit = submit;
  }

  take(result: number): boolean {
    return result === -EAGAIN;
  }
}
