/**
 * How a link of a chain that was given up is kept from running. The kernel
 * finds a link only once it has started, and one that completes at once is then
 * too late for a cancel. So the chain is ended at its front: the kernel cancels
 * the operation that it is at, which nobody has given up, and with it ends all
 * that waits behind. That operation and what is between it and the one that was
 * given up are then queued again, as a chain of their own.
 */
import { POLLOUT } from "../constants.ts";
import { ECANCELED, EINTR, ENOENT } from "../errno.ts";
import { requestCancel } from "./cancel.ts";
import { checkRetained, complete } from "./completion.ts";
import type { Core } from "./core.ts";
import { type Entry, type Links, Mark } from "./entry.ts";
import type { Operation } from "./operation.ts";
import { conclude } from "./settle.ts";
import { Sqe } from "./sqe.ts";
import { POLL_ADD } from "./steps.ts";

/** IORING_OP_CONNECT, IORING_OP_FALLOCATE */
const CONNECT = 16;
const FALLOCATE = 17;

/** Bytes of a struct io_uring_sqe. */
const SQE_SIZE = 64;

const LinkState = {
  /** Its completion is to come. */
  PENDING: 0,
  /** Its completion has come and was not given out: it may be ours. */
  KEPT: 1,
  DONE: 2,
} as const;

const Phase = {
  NONE: 0,
  /** The kernel was asked to cancel the front. */
  ASKED: 1,
  /** It has found the front, which ends for that, and all behind it. */
  FOUND: 2,
  /** The front is a connect that began before, and is polled for. */
  CONNECTING: 3,
} as const;

/** The operations of one `link()`, in their order. */
export class Chain implements Links {
  readonly #core: Core;
  readonly #links: Entry[] = [];
  readonly #states: number[] = [];
  #copies = new Uint8Array(0);
  /** All links before it are done. */
  #first = 0;
  #phase: typeof Phase[keyof typeof Phase] = Phase.NONE;
  /** The last link that the kernel was asked for, -1 for none. */
  #front = -1;
  #frontResult = 0;
  /** What comes again ends before this link. */
  #cut = 0;
  #isCut = false;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Takes in the link that was queued last. */
  add(link: Entry): void {
    (link.extra ??= {}).chain = this;
    this.#links.push(link);
    this.#states.push(LinkState.PENDING);
  }

  /** Closes the fd of a close that could not be queued, after the links before
   * it: one that has not started looks its fd up only then, and would meet the
   * next file of that number. */
  closeBehind(fd: number): void {
    const { shim } = this.#core;
    const links = this.#links.filter(({ extra }) => extra?.chain === this);
    let left = links.length;
    if (left === 0) shim.kio_fd_close(fd);
    for (const link of links) {
      const { settle } = link;
      link.settle = (result) => {
        if (--left === 0) shim.kio_fd_close(fd);
        settle(result);
      };
    }
  }

  /** Keeps what is needed to queue the links again. */
  end(): void {
    const count = this.#links.length;
    if (count < 2) return;
    const { shim, handle } = this.#core;
    this.#copies = new Uint8Array(SQE_SIZE * count);
    shim.kio_chain_copy(handle, this.#copies, count);
  }

  /** Keeps the first link that was given up from running; false if that has to
   * be tried again. */
  cancel(): boolean {
    const { shim, handle } = this.#core;
    this.#isCut = true;
    const first = this.#skipDone();
    if (this.#states[first] === LinkState.KEPT) return true;
    if (this.#phase === Phase.CONNECTING) this.#trim(first + 1);
    const cut = this.#givenUpFrom(first, this.#links.length);
    if (cut === this.#links.length || neverRuns(this.#links[cut]!)) {
      return true;
    }
    const link = this.#links[first]!;
    const { id } = link;
    if (cut === first) return shim.kio_cancel(handle, id) >= 0;
    if (first === this.#front || !isRepeatable(link.operation)) {
      return true;
    }
    if (shim.kio_take_back(handle, id) < 0) return false;
    this.#phase = Phase.ASKED;
    this.#front = first;
    this.#cut = cut;
    return true;
  }

  /** Takes in what the kernel says to having been asked for the front. */
  answer(link: Entry, result: number): void {
    if (this.#phase !== Phase.ASKED || this.#links[this.#front] !== link) {
      return;
    }
    if (result === -ENOENT) return this.#letGo();
    this.#phase = Phase.FOUND;
    this.#goOn();
  }

  /** Whether a completion is not to be given out: it may be ours. */
  keeps(link: Entry, result: number): boolean {
    const at = this.#links.indexOf(link, this.#first);
    if (this.#isOurs(at, result)) {
      this.#states[at] = LinkState.KEPT;
      // From here on nobody else would close it, if the isolate ended.
      if (link.operation.closesFd) this.#core.shim.kio_fd_own(link.fd);
      this.#goOn();
      return true;
    }
    this.#states[at] = LinkState.DONE;
    if (at === this.#front && this.#phase !== Phase.NONE) this.#letGo();
    if (at === this.#first && this.#isCut) this.#lookAgain();
    return false;
  }

  #isOurs(at: number, result: number): boolean {
    if (this.#phase === Phase.NONE) return false;
    if (at !== this.#front) {
      return this.#phase !== Phase.CONNECTING && at > this.#front &&
        at < this.#cut && result === -ECANCELED;
    }
    this.#frontResult = result;
    if (this.#phase === Phase.CONNECTING) return result >= 0;
    return (result === -ECANCELED || result === -EINTR) &&
      !this.#links[at]!.isGivenUp;
  }

  /** Goes on when all that was taken back has come. */
  #goOn(): void {
    if (this.#phase === Phase.ASKED) return;
    const from = this.#front;
    for (let at = from; at < this.#cut; at++) {
      if (this.#states[at] !== LinkState.KEPT) return;
    }
    const isConnected = this.#phase === Phase.CONNECTING;
    this.#phase = Phase.NONE;
    this.#front = -1;
    this.#trim(from);
    if (this.#cut === from) return;
    const isConnect = this.#links[from]!.operation.opcode === CONNECT;
    if (isConnect && !isConnected) this.#poll(from);
    else this.#queue(from);
  }

  /** The completions that were kept are the links' own. */
  #letGo(): void {
    this.#phase = Phase.NONE;
    for (let at = this.#front; at < this.#cut; at++) {
      if (this.#states[at] !== LinkState.KEPT) continue;
      const result = at === this.#front ? this.#frontResult : -ECANCELED;
      complete(this.#core, this.#links[at]!, result);
    }
  }

  /** Ends what is not to be queued again, from the first that was given up. */
  #trim(from: number): void {
    const end = this.#cut;
    this.#cut = this.#givenUpFrom(from, end);
    for (let at = this.#cut; at < end; at++) {
      complete(this.#core, this.#links[at]!, -ECANCELED);
    }
  }

  /** Waits until a connect that began is over: a second one meanwhile would give
   * EALREADY. */
  #poll(at: number): void {
    const { shim, handle } = this.#core;
    const { id, fd } = this.#links[at]!;
    const poll = new Sqe(POLL_ADD);
    poll.fd = fd;
    poll.opFlags = POLLOUT;
    const status = poll.submit(shim, handle, id);
    this.#front = at;
    if (this.#isQueued(at, status)) this.#phase = Phase.CONNECTING;
    else this.#letGo();
  }

  #queue(from: number): void {
    const { shim, handle } = this.#core;
    shim.kio_chain(handle, true);
    for (let at = from; at < this.#cut; at++) {
      checkRetained(this.#core, this.#links[at]!);
      const copy = this.#copies.subarray(SQE_SIZE * at, SQE_SIZE * (at + 1));
      this.#isQueued(at, shim.kio_again(handle, copy));
    }
    shim.kio_chain(handle, false);
  }

  #isQueued(at: number, status: number): boolean {
    const isQueued = status >= 0;
    this.#states[at] = isQueued ? LinkState.PENDING : LinkState.DONE;
    const link = this.#links[at]!;
    if (isQueued) {
      this.#core.queued++;
      return true;
    }
    const { operation: { closesFd }, fd } = link;
    conclude(this.#core, link, status);
    if (closesFd) this.closeBehind(fd);
    return false;
  }

  /** Another link is the first: it can be cancelled now. */
  #lookAgain(): void {
    const { length } = this.#links;
    const cut = this.#givenUpFrom(this.#skipDone(), length);
    if (cut < length) requestCancel(this.#core, this.#links[cut]!);
  }

  #skipDone(): number {
    while (this.#states[this.#first] === LinkState.DONE) this.#first++;
    return this.#first;
  }

  #givenUpFrom(from: number, end: number): number {
    let at = from;
    while (
      at < end && (this.#states[at] === LinkState.DONE ||
        !this.#links[at]!.isGivenUp)
    ) at++;
    return at;
  }
}

/**
 * Whether an operation that was cancelled may be done again. A close never is
 * cancelled. Nobody is told what was done of an allocation, which may move what
 * is in the file.
 */
function isRepeatable(operation: Operation): boolean {
  return !operation.closesFd && operation.opcode !== FALLOCATE;
}

/** It was taken out of the queue: the chain ends there. */
function neverRuns(link: Entry): boolean {
  return (link.marks & Mark.NEVER_RAN) !== 0;
}
