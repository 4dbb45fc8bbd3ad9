/**
 * Cancelling a link of a chain. The kernel finds a link only once it has
 * started, and a link that completes at once is then too late for a cancel.
 *
 * So the chain is ended at its front: the kernel cancels the operation under
 * way, and with it end all links behind. That operation was not given up. So it
 * and the links up to the one that was given up are queued again, as a chain of
 * their own.
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
  /** Its completion has not come. */
  PENDING: 0,
  /** Its completion has come and is held: the library's own cancel may be its
   * cause. */
  KEPT: 1,
  DONE: 2,
} as const;

const Phase = {
  NONE: 0,
  /** A cancel of the front was queued. */
  ASKED: 1,
  /** The kernel has found the front: it ends, and so do all links behind. */
  FOUND: 2,
  /** The front is a connect that began before; a poll waits for it. */
  CONNECTING: 3,
} as const;

/** The operations of one `link()`, in their order. */
export class Chain implements Links {
  readonly #core: Core;
  readonly #links: Entry[] = [];
  readonly #states: number[] = [];
  #copies = new Uint8Array(0);
  /** The first link that is not done. */
  #first = 0;
  #phase: typeof Phase[keyof typeof Phase] = Phase.NONE;
  /** The link that the last cancel was for; -1 for none. */
  #front = -1;
  #frontResult = 0;
  /** Links from the front to this one, exclusive, are queued again. */
  #cut = 0;
  #isCut = false;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Adds the link that was queued last. */
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

  /** Copies the SQEs of the links, to queue them again. */
  end(): void {
    const count = this.#links.length;
    if (count < 2) return;
    const { shim, handle } = this.#core;
    this.#copies = new Uint8Array(SQE_SIZE * count);
    shim.kio_chain_copy(handle, this.#copies, count);
  }

  /** Keeps the first link that was given up from running. Returns false if the
   * next step must try again. */
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

  /** Takes the kernel's answer to the cancel of the front. */
  answer(link: Entry, result: number): void {
    if (this.#phase !== Phase.ASKED || this.#links[this.#front] !== link) {
      return;
    }
    if (result === -ENOENT) return this.#letGo();
    this.#phase = Phase.FOUND;
    this.#goOn();
  }

  /** Takes a completion of a link. Returns true if it is held: the library's
   * own cancel may be its cause. */
  keeps(link: Entry, result: number): boolean {
    const at = this.#links.indexOf(link, this.#first);
    if (this.#isOurs(at, result)) {
      this.#states[at] = LinkState.KEPT;
      // If the isolate ends now, only this closes the fd.
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

  /** Goes on when all links that were taken back are complete. */
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

  /** Gives out the completions that were held: they are the links' own. */
  #letGo(): void {
    this.#phase = Phase.NONE;
    for (let at = this.#front; at < this.#cut; at++) {
      if (this.#states[at] !== LinkState.KEPT) continue;
      const result = at === this.#front ? this.#frontResult : -ECANCELED;
      complete(this.#core, this.#links[at]!, result);
    }
  }

  /** Ends the links from the first that was given up: they are not queued
   * again. */
  #trim(from: number): void {
    const end = this.#cut;
    this.#cut = this.#givenUpFrom(from, end);
    for (let at = this.#cut; at < end; at++) {
      complete(this.#core, this.#links[at]!, -ECANCELED);
    }
  }

  /** Polls until a connect that began is over. A second one meanwhile would
   * give EALREADY. */
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

  /** Cancels the new first link if it was given up. */
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
 * Tells whether an operation that was cancelled may run again. A close is never
 * cancelled. The kernel does not say which part of an allocation was done, and
 * that may move data of the file.
 */
function isRepeatable(operation: Operation): boolean {
  return !operation.closesFd && operation.opcode !== FALLOCATE;
}

/** Tells whether a link was taken out of the queue: the chain ends there. */
function neverRuns(link: Entry): boolean {
  return (link.marks & Mark.NEVER_RAN) !== 0;
}
