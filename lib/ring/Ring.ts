import { loadShim, type Shim } from "../../ffi/load.ts";
import { EAGAIN, EBUSY, ENOMEM } from "../errno.ts";
import { errorOf, type Result } from "../result.ts";
import type { UringOp } from "../UringOp.ts";
import { cancel, sendCancels } from "./cancel.ts";
import { Chain } from "./chain.ts";
import { expire, waitUntil } from "./clock.ts";
import { complete, report } from "./completion.ts";
import type { Core } from "./core.ts";
import { Driver } from "./driver.ts";
import { abort, inspect } from "./dump.ts";
import {
  type Entry,
  type Extra,
  GENERATION_MASK,
  SPAN,
  State,
} from "./entry.ts";
import { Op } from "./op.ts";
import { offered } from "./offered.ts";
import { openingError } from "./opening.ts";
import type { Operation } from "./operation.ts";
import type { Retained } from "./retained.ts";
import { conclude, concludeWith, whenSettled } from "./settle.ts";
import { type ContextStats, type PendingOperation, Tally } from "./stats.ts";
import { Table } from "./table.ts";
import { Timers } from "./timers.ts";

/** Completions taken over by one call of the shim. */
const BATCH_SIZE = 1024;

/** Until a cancel is repeated that found nothing to cancel. */
const CANCEL_RETRY_MS = 5;

/** Parts of the high half of user_data, see kio.c. */
const MESSAGE_MASK = 0x7fffffff;
const CANCEL_FAILED = 0x40000000;
const TAKEN_BACK = 0x04000000;
const MAIL_HAS_COME = 0x40000000;
const STEP_SHIFT = 21;
const STEP_MASK = 0x1f;

/** IORING_CQE_F_MORE */
const CQE_F_MORE = 2;

/** user_data that wakes a ring and means nothing else. */
export const WAKE_TAG: number = Number.MAX_SAFE_INTEGER;

/** All open rings of this isolate. */
const rings = new Set<Ring>();

/** How a ring is made; all of it checked by the caller. */
export interface RingOptions {
  entries: number;
  kernelWorkersMax: number;
  operationsMax: number;
  trace: boolean;
}

/**
 * The machine behind a context. It puts the rooms together: it starts
 * operations in the table, has the driver call `step()`, and gives completions
 * to who they belong to.
 */
export class Ring implements Core {
  readonly shim: Shim;
  readonly handle: Deno.PointerObject;
  readonly table: Table;
  readonly timers = new Timers();
  readonly tally = new Tally();
  /** Remembers where operations are started. */
  readonly tracing: boolean;
  /** Called after each batch of completions. */
  onBatch: (() => void) | null = null;
  onMessage: ((result: number, userData: number) => void) | null = null;
  /** What is to be let go of with the ring. */
  readonly onClose: (() => void)[] = [];
  onFd: ((fd: number, tag: number) => void) | null = null;
  /** Called when look-ups of names may be answered. */
  onAnswer: (() => void) | null = null;
  /** Called when the thread is left to Deno, each time. */
  onLeave: (() => void) | null = null;
  keepAlive = false;
  closing = false;
  closed = false;
  queued = 0;
  cancels: Entry[] = [];

  readonly #driver: Driver;
  readonly #out = new Int32Array(4 * BATCH_SIZE);
  /** What the shim has counted. */
  readonly #counted = new Float64Array(4);
  #chain: Chain | null = null;
  /** All that was started since a chain is being queued. */
  #links: Op<unknown>[] = [];
  #messages: number[] = [];
  #hasMail = false;
  readonly #tag = new Float64Array(1);

  constructor(options: RingOptions) {
    this.shim = loadShim();
    this.table = new Table(options.operationsMax);
    this.tracing = options.trace;
    const status = new Int32Array(1);
    const handle = this.shim.kio_context_open(
      options.entries,
      4 * options.entries,
      options.kernelWorkersMax,
      status,
    );
    if (handle === null) throw openingError(-status[0]!);
    this.handle = handle;
    this.#driver = new Driver(this);
    rings.add(this);
  }

  /** Operations that are not complete. */
  get pending(): number {
    return this.table.size;
  }

  /** `take()` would refuse an operation now. */
  get isFull(): boolean {
    return this.table.isFull;
  }

  get chaining(): boolean {
    return this.#chain !== null;
  }

  get hasWork(): boolean {
    return this.queued > 0 || this.cancels.length > 0;
  }

  get nextDeadlineMs(): number {
    return this.timers.nextMs;
  }

  get listens(): boolean {
    return this.onMessage !== null || this.onFd !== null;
  }

  checkOpen(verb: string): void {
    if (!this.closing) return;
    throw new TypeError(
      `Cannot ${verb}: the IoContext is closed; open a new one`,
    );
  }

  schedule(): void {
    this.#driver.schedule();
  }

  // ---- starting operations ----------------------------------------------------

  /** Takes an entry of the table for an operation. Every path from here must
   * start it. */
  take(operation: Operation): Entry {
    if (this.closing) this.checkOpen(operation.verb);
    return this.table.take(operation);
  }

  /** Enters an operation that the shim has queued (status 0) or refused. */
  enter<T>(
    entry: Entry,
    fd: number,
    retained: Retained,
    status: number,
    extra: Extra | null = null,
  ): UringOp<T> {
    const op = new Op<T>(this, entry);
    this.enterSubmitted(entry, op, fd, retained, status, extra);
    return op;
  }

  /** The same, where the result goes to something else than a promise (null). */
  enterSubmitted(
    entry: Entry,
    op: Op<unknown> | null,
    fd: number,
    retained: Retained,
    status: number,
    extra: Extra | null,
  ): void {
    entry.state = State.SUBMITTED;
    entry.fd = fd;
    entry.retained = retained;
    entry.extra = extra;
    if (status < 0) {
      this.#countPending();
      conclude(this, entry, status);
      if (entry.operation.closesFd) this.#chain?.closeBehind(fd);
      return;
    }
    if (this.#chain !== null) this.#chain.add(entry);
    this.queued++;
    this.#started(entry, op);
  }

  /** Enters an operation that only waits for its time. */
  sleeping(entry: Entry, delayMs: number): UringOp<void> {
    const op = new Op<void>(this, entry);
    entry.heldErrno = 0;
    const wakeMs = this.shim.kio_now_ms() + delayMs;
    waitUntil(this, entry, State.ASLEEP, wakeMs);
    this.#started(entry, op);
    return op;
  }

  /**
   * Enters an operation that another thread does, and gives the function that
   * settles it. A cancel or a timeout settles it at once, and calls `onCancel`;
   * a result that comes later is dropped.
   */
  external<T>(
    entry: Entry,
    onCancel: () => void,
    action?: string,
  ): { op: UringOp<T>; settle: (result: Result<T>) => void } {
    const op = new Op<T>(this, entry);
    entry.extra = { onCancel, action };
    waitUntil(this, entry, State.EXTERNAL, Infinity);
    this.#started(entry, op);
    const settle = (result: Result<T>) => {
      if (!op.isPending) return;
      concludeWith(this, entry, result);
      // Nothing may be left that keeps the process alive.
      this.schedule();
    };
    return { op, settle };
  }

  /** Sees to it that an operation is looked after, and notes when and where it
   * was started. */
  #started(entry: Entry, op: Op<unknown> | null): void {
    this.#countPending();
    if (this.#chain !== null && op !== null) this.#links.push(op);
    // First, as it looks at the clock where that is needed.
    this.#driver.schedule();
    entry.startedMs = this.#driver.nowMs;
    if (this.tracing) entry.trace = new Error("started");
  }

  #countPending(): void {
    const { size } = this.table;
    if (size > this.tally.pendingMax) this.tally.pendingMax = size;
  }

  // ---- chains ---------------------------------------------------------------

  /** Links what is queued from now on. */
  beginChain(): void {
    this.checkOpen("link");
    if (this.#chain !== null) {
      throw new TypeError(
        "Cannot link: a chain is being queued already; link() cannot be nested",
      );
    }
    this.#chain = new Chain(this);
    this.#links = [];
    this.shim.kio_chain(this.handle, true);
  }

  /** Cancels all that was started since `beginChain()`, for good: nobody has it
   * in hand. */
  abandonChain(): void {
    for (const op of this.#links) op.abandon();
  }

  /** Ends the chain: what is queued from now on is on its own again. */
  endChain(): void {
    const chain = this.#chain;
    this.#chain = null;
    this.#links = [];
    // Closing has ended it.
    if (this.closed) return;
    chain?.end();
    this.shim.kio_chain(this.handle, false);
  }

  // ---- looking at it ----------------------------------------------------------

  /** Lists what is pending, the oldest first. */
  inspect(): PendingOperation[] {
    return inspect(this);
  }

  stats(): ContextStats {
    if (!this.closed) this.shim.kio_stats(this.handle, this.#counted);
    return this.tally.stats(this.pending, this.#counted);
  }

  /** Tells whether one of these operations is not complete. */
  hasPending(...operations: readonly Operation[]): boolean {
    return this.table.live().some((it) => operations.includes(it.operation));
  }

  // ---- steps ------------------------------------------------------------------

  /**
   * One step: cancels and deadlines, then submit and harvest, then settle.
   * The whole batch is taken over before any of it is settled, and no code of
   * the user runs until all is.
   */
  step(wait: boolean): number {
    // In this order: what times out at once has been submitted once.
    sendCancels(this);
    if (this.timers.size > 0) expire(this);
    this.queued = 0;
    const out = this.#out;
    const count = this.shim.kio_step(this.handle, out, BATCH_SIZE, wait);
    if (count < 0) {
      if (count === -EAGAIN || count === -EBUSY || count === -ENOMEM) {
        return -1;
      }
      abort(this, `io_uring_enter: ${errorOf(-count).message}`);
    }
    for (let at = 0; at < 4 * count; at += 4) {
      this.#take(out[at]!, out[at + 1]!, out[at + 2]!, out[at + 3]!);
    }
    if (count > 0) this.#afterBatch();
    return count;
  }

  /** Takes in one completion. */
  #take(low: number, high: number, result: number, flags: number): void {
    if (high < 0) {
      if (high & MAIL_HAS_COME) {
        this.#hasMail = true;
        return;
      }
      const userData = (high & MESSAGE_MASK) * SPAN + (low >>> 0);
      if (userData !== WAKE_TAG) this.#messages.push(result, userData);
      return;
    }
    const entry = this.table.at(low);
    const same = entry !== undefined && entry.state !== State.FREE &&
      (entry.generation & GENERATION_MASK) === (high & GENERATION_MASK);
    if (high & CANCEL_FAILED) {
      if (!same) return;
      if (high & TAKEN_BACK) entry.extra?.chain?.answer(entry, result);
      else if (entry.isGivenUp || entry.extra?.shots === undefined) {
        this.timers.set(low, this.shim.kio_now_ms() + CANCEL_RETRY_MS);
      }
      return;
    }
    if (!same) {
      abort(
        this,
        `a completion matches no operation: slot ${low}, generation ${
          high & GENERATION_MASK
        }, result ${result}`,
      );
    }
    if (flags & CQE_F_MORE) report(this, entry, result);
    else complete(this, entry, result, high >>> STEP_SHIFT & STEP_MASK);
  }

  /** The user's callbacks; any of them may close the context. */
  #afterBatch(): void {
    if (this.closing) return;
    if (this.#hasMail) {
      this.#hasMail = false;
      this.onAnswer?.();
      this.takeFds();
    }
    const messages = this.#messages;
    if (messages.length > 0) {
      this.#messages = [];
      for (let at = 0; at < messages.length; at += 2) {
        try {
          this.onMessage?.(messages[at]!, messages[at + 1]!);
        } catch (error) {
          reportError(error);
        }
      }
    }
    this.onBatch?.();
  }

  /** Gives out the fds that other threads have handed over. Without a handler
   * they stay where they are, and are closed with the context. */
  takeFds(): void {
    while (this.onFd !== null && !this.closing) {
      const fd = this.shim.kio_fd_take(this.handle, this.#tag);
      if (fd < 0) return;
      const offer = Symbol();
      offered.set(fd, offer);
      try {
        this.onFd(fd, this.#tag[0]!);
      } catch (error) {
        if (offered.get(fd) === offer) this.shim.kio_fd_close(fd);
        reportError(error);
      } finally {
        if (offered.get(fd) === offer) offered.delete(fd);
      }
    }
  }

  // ---- the end --------------------------------------------------------------

  /** Cancels what is pending on an fd, at once. Returns what to wait for. */
  cancelOn(fd: number): Promise<unknown>[] {
    const ends = this.#cancelLive(fd);
    // Now, because the number may soon mean another file.
    sendCancels(this);
    return ends;
  }

  /** Cancels what is pending now and waits until all of it is complete. */
  async cancelAll(): Promise<void> {
    await Promise.all(this.#cancelLive());
  }

  #cancelLive(fd?: number): Promise<unknown>[] {
    const entries = this.table.live(fd);
    const ends = entries.map(whenSettled);
    for (const entry of entries) cancel(this, entry);
    return ends;
  }

  /** Cancels and drains without giving the thread back, then closes. */
  closeNow(): void {
    if (this.closed) return;
    if (this.#chain !== null) this.endChain();
    this.closing = true;
    this.shim.kio_loop_forget(this.handle);
    for (const entry of this.table.live()) cancel(this, entry);
    while (this.pending > 0) {
      const count = this.step(true);
      // A link of a chain may have started. Asked only when nothing came, as
      // the kernel then looks at all that is pending.
      if (count <= 0 && this.pending > 0) {
        this.shim.kio_cancel_all(this.handle);
      }
    }
    this.#destroy();
  }

  /** The same, while the event loop goes on. */
  async close(): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    await this.cancelAll();
    if (!this.closed) this.#destroy();
  }

  #destroy(): void {
    this.shim.kio_stats(this.handle, this.#counted);
    this.closed = true;
    rings.delete(this);
    this.shim.kio_lookups_end(this.handle);
    this.#driver.close();
    this.shim.kio_context_close(this.handle);
    for (const close of this.onClose) close();
  }
}

/**
 * Cancels all that is pending on an fd in this isolate, at once. Returns what
 * to wait for before the fd is closed: also a link of a chain that has not
 * started looks its fd up only then, and would find another file. Undefined if
 * nothing is pending.
 */
export function cancelOn(fd: number): Promise<unknown> | undefined {
  const ends = [...rings].flatMap((ring) => ring.cancelOn(fd));
  return ends.length === 0 ? undefined : Promise.all(ends);
}
