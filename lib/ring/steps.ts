/**
 * Operations of several submissions. They wait where the kernel gives up with
 * `EAGAIN`, by a poll or by the clock, and try again.
 */
import type { Shim } from "../../ffi/load.ts";
import { type BufferLike, TRANSFER_MAX } from "../check.ts";
import { POLLERR, POLLHUP, RWF_NOWAIT } from "../constants.ts";
import { EAGAIN, ECANCELED, EINTR } from "../errno.ts";
import type { Core } from "./core.ts";
import type { Entry, Steps } from "./entry.ts";
import { Sqe } from "./sqe.ts";

/** As an offset: the file's own position, and the only one of a stream. */
export const NO_POSITION = -1;

/** IORING_OP_POLL_ADD, and its flag for one completion a change. */
export const POLL_ADD = 6;
const POLL_ADD_MULTI = 1;

/** Ways to wait: none, a poll for one event, a poll for each change, and the
 * clock. */
const Wait = { NONE: 0, POLL: 1, CHANGES: 2, PAUSE: 3 } as const;

/** Polls in a row that were ready in vain before it waits by the clock. */
const VAIN_MAX = 2;
const PAUSE_MS_MIN = 1;
const PAUSE_MS_MAX = 32;

/**
 * An operation that waits by itself after `EAGAIN`: a splice, and any operation
 * on a non-blocking fd that the kernel gives up on.
 *
 * io_uring waits by polls too, but tries 128 times at most. Then a thread of
 * the kernel does the operation, and O_NONBLOCK counts there. That happens if
 * polls end at once: the peer has shut down its sending side, or other readers
 * are always faster.
 *
 * Sometimes a poll is ready again and again and the operation is not. It then
 * waits by the clock, in pauses from 1 ms doubling to 32 ms. Two cases are
 * known: a datagram for a full queue of an unconnected socket, and the error
 * queue of a socket that has data. With no events (0) it waits by the clock
 * from the start. No event tells of room in the backlog of a unix listener.
 */
export abstract class Waiting implements Steps {
  protected fd: number;
  readonly #sqeFlags: number;
  #events: number;
  /** `EAGAIN` in a row before it waits by the clock. */
  readonly #patience: number;
  #wait: typeof Wait[keyof typeof Wait] = Wait.NONE;
  /** `EAGAIN` in a row, without any progress. */
  #vain = 0;

  constructor(fd: number, sqeFlags: number, events: number) {
    this.fd = fd;
    this.#sqeFlags = sqeFlags;
    this.#events = events;
    this.#patience = events === 0 ? 0 : VAIN_MAX;
  }

  /** Waits for another event from now on. */
  protected waitFor(fd: number, events: number): void {
    this.fd = fd;
    this.#events = events;
  }

  /** Makes the next submission a poll, or a pause if polls were in vain. */
  protected waitAgain(hasMoved: boolean): void {
    this.#vain = hasMoved ? 1 : this.#vain + 1;
    this.#wait = this.#vain > this.#patience ? Wait.PAUSE : Wait.POLL;
  }

  /** Notes progress: the next `EAGAIN` is the first in a row. */
  protected noteProgress(): void {
    this.#vain = 0;
  }

  /** Queues the operation, or what is left of it. */
  abstract submit(shim: Shim, handle: Deno.PointerObject, id: number): number;

  /** Takes a result. Returns true if there is more to do; after `EAGAIN` it
   * waits first. */
  abstract take(result: number, step: number): boolean;

  get isWaiting(): boolean {
    return this.#wait !== Wait.NONE;
  }

  get pauseMs(): number {
    if (this.#wait !== Wait.PAUSE) return 0;
    const doublings = this.#vain - this.#patience - 1;
    return Math.min(PAUSE_MS_MIN * 2 ** doublings, PAUSE_MS_MAX);
  }

  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number {
    if (this.#wait === Wait.NONE || this.#wait === Wait.PAUSE) {
      this.#wait = Wait.NONE;
      return this.submit(shim, handle, id);
    }
    const poll = new Sqe(POLL_ADD);
    poll.flags = this.#sqeFlags;
    poll.fd = this.fd;
    poll.len = this.#wait === Wait.CHANGES ? POLL_ADD_MULTI : 0;
    poll.opFlags = this.#events;
    return poll.submit(shim, handle, id);
  }

  advance(result: number, step: number): boolean {
    const wait = this.#wait;
    this.#wait = Wait.NONE;
    if (wait === Wait.NONE || wait === Wait.PAUSE) {
      const goesOn = this.take(result, step);
      if (!goesOn || result !== -EAGAIN) {
        this.#vain = 0;
        return goesOn;
      }
      this.waitAgain(step > 0);
      return true;
    }
    const ends = this.#events | POLLERR | POLLHUP;
    const isVain = result > 0 && (result & ends) === 0;
    if (wait === Wait.POLL && isVain) this.#wait = Wait.CHANGES;
    return result > 0 || result === -ECANCELED || result === -EINTR;
  }
}

/** An operation of one submission, which it repeats after each wait. */
export class WaitingOperation extends Waiting {
  protected readonly sqe: Sqe;

  constructor(sqe: Sqe, events: number) {
    super(sqe.fd, sqe.flags, events);
    this.sqe = sqe;
  }

  submit(shim: Shim, handle: Deno.PointerObject, id: number): number {
    return this.sqe.submit(shim, handle, id);
  }

  take(result: number): boolean {
    return result === -EAGAIN;
  }
}

/** A connect to a unix listener whose queue may be full: no event tells of room
 * there. */
export class UnixConnect extends WaitingOperation {
  constructor(sqe: Sqe) {
    super(sqe, 0);
  }

  /** Tries by connect(2): once, where the ring would try 128 times. */
  attempt(shim: Shim): number {
    const { fd, addr, off } = this.sqe;
    if (fd < 0) return 1;
    return shim.kio_connect_now(fd, addr, off);
  }
}

/**
 * Makes the steps of a plain read or write that got `EAGAIN`: the kernel gives
 * up on a non-blocking stream, see `Waiting`. Most operations never need them,
 * so they are made only then. Undefined for a file that is no stream, and with
 * `RWF_NOWAIT`: there the error is the result.
 */
export function waitingAgain(
  { shim }: Core,
  { operation: { opcode, waits }, fd, retained, extra }: Entry,
): Steps | undefined {
  if (waits === 0) return undefined;
  // A direct descriptor cannot be asked.
  if (fd >= 0 && !shim.kio_fd_is_stream(fd)) return undefined;
  const sqe = extra?.sqe ?? new Sqe(opcode);
  if (sqe.opFlags & RWF_NOWAIT) return undefined;
  if (extra?.sqe === undefined) {
    const buffer = retained as BufferLike;
    sqe.fd = fd;
    sqe.addr = buffer;
    sqe.len = Math.min(buffer.byteLength, TRANSFER_MAX);
  }
  sqe.offset = NO_POSITION;
  const steps = new WaitingOperation(sqe, waits);
  steps.advance(-EAGAIN, 0);
  return steps;
}
