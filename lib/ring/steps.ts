/**
 * Operations of several submissions: what has to wait where the kernel gives up
 * waiting, and tries again.
 */
import type { Shim } from "../../ffi/load.ts";
import { type BufferLike, TRANSFER_MAX } from "../check.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT } from "../constants.ts";
import { EAGAIN, ECANCELED, EINTR } from "../errno.ts";
import type { Core } from "./core.ts";
import type { Entry, Steps } from "./entry.ts";
import { Sqe } from "./sqe.ts";

/** As an offset: the file's own position, and the only one for what has none. */
export const NO_POSITION = -1;

/** IORING_OP_POLL_ADD, and its flag for one completion a change. */
const POLL_ADD = 6;
const POLL_ADD_MULTI = 1;

/** What READV, WRITEV, READ and WRITE wait for. */
const EVENTS = new Map([[1, POLLIN], [2, POLLOUT], [22, POLLIN], [
  23,
  POLLOUT,
]]);

/** How it waits: not, by a poll for one event, by one for each change, by the
 * clock. */
const Wait = { NONE: 0, POLL: 1, CHANGES: 2, PAUSE: 3 } as const;

/** Polls in a row that were ready for nothing, before it waits by the clock. */
const VAIN_MAX = 2;
const PAUSE_MS_MIN = 1;
const PAUSE_MS_MAX = 32;

/**
 * Waits by a poll of its own where the kernel does not wait: a splice, and an
 * operation that gives `EAGAIN` on a non-blocking fd after all. io_uring waits by
 * polls too, but tries 128 times at most. Then a thread of the kernel does it,
 * where O_NONBLOCK counts. That happens where polls are over at once: the peer
 * has shut down its sending side, or others are always faster.
 *
 * Where a poll is ready and the operation is not, again and again, it waits by
 * the clock: a datagram for a full queue of another socket than the connected
 * one, the error queue of a socket that has data. No event tells of these. With
 * no events at all (0) it waits by the clock from the start.
 */
export abstract class Waiting implements Steps {
  readonly #fd: number;
  readonly #sqeFlags: number;
  readonly #events: number;
  /** `EAGAIN` in a row before it waits by the clock. */
  readonly #patience: number;
  #wait: typeof Wait[keyof typeof Wait] = Wait.NONE;
  /** `EAGAIN` in a row, without any progress. */
  #vain = 0;

  constructor(fd: number, sqeFlags: number, events: number) {
    this.#fd = fd;
    this.#sqeFlags = sqeFlags;
    this.#events = events;
    this.#patience = events === 0 ? 0 : VAIN_MAX;
  }

  /** Queues the operation, or what is left of it. */
  abstract submit(shim: Shim, handle: Deno.PointerObject, id: number): number;

  /** Takes in a result. Returns true if there is more to do; for `EAGAIN` that
   * means to wait for it. */
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
    poll.fd = this.#fd;
    poll.len = this.#wait === Wait.CHANGES ? POLL_ADD_MULTI : 0;
    poll.opFlags = this.#events;
    return poll.submit(shim, handle, id);
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
      this.#wait = this.#vain > this.#patience ? Wait.PAUSE : Wait.POLL;
      return true;
    }
    const ends = this.#events | POLLERR | POLLHUP;
    const isVain = result > 0 && (result & ends) === 0;
    if (wait === Wait.POLL && isVain) this.#wait = Wait.CHANGES;
    return result > 0 || result === -ECANCELED || result === -EINTR;
  }
}

/** One submission that waits, and is then done again. */
export class WaitingOperation extends Waiting {
  readonly #sqe: Sqe;

  constructor(sqe: Sqe, events: number) {
    super(sqe.fd, sqe.flags, events);
    this.#sqe = sqe;
  }

  submit(shim: Shim, handle: Deno.PointerObject, id: number): number {
    return this.#sqe.submit(shim, handle, id);
  }

  take(result: number): boolean {
    return result === -EAGAIN;
  }
}

/**
 * Makes the steps of a plain read or write that got `EAGAIN`. Most never do, so
 * they are made only then. The kernel gives up on a non-blocking stream (see
 * `Waiting`). Undefined for what is no stream: there the answer is the file's.
 */
export function waitingAgain(
  { shim }: Core,
  { operation: { opcode }, fd, retained, extra }: Entry,
): Steps | undefined {
  const events = EVENTS.get(opcode);
  if (events === undefined || !shim.kio_fd_is_stream(fd)) return undefined;
  const sqe = extra?.sqe ?? new Sqe(opcode);
  if (extra?.sqe === undefined) {
    const buffer = retained as BufferLike;
    sqe.fd = fd;
    sqe.addr = buffer;
    sqe.len = Math.min(buffer.byteLength, TRANSFER_MAX);
  }
  sqe.offset = NO_POSITION;
  const steps = new WaitingOperation(sqe, events);
  steps.advance(-EAGAIN, 0);
  return steps;
}
