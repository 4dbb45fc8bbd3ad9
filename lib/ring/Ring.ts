/**
 * The ring: the machine behind a context. `take()` reserves an entry of the
 * operation table, `enter()` starts the operation, and `step()` submits,
 * harvests and settles. Each other room of this folder is a set of functions
 * that take the ring as a `Core`. The driver decides when a step comes.
 * Callbacks of the user run after a batch, never within one.
 */
import { loadShim, type Shim } from "../../ffi/load.ts";
import { EAGAIN, EBUSY, ENOMEM } from "../errno.ts";
import { errorOf, type Result } from "../result.ts";
import type { UringOp } from "../UringOp.ts";
import { cancelLater, cancelLive, sendCancels } from "./cancel.ts";
import { Chain } from "./chain.ts";
import { expire, waitUntil } from "./clock.ts";
import { complete, report } from "./completion.ts";
import type { Afterwards, Core, Places } from "./core.ts";
import { Driver } from "./driver.ts";
import { abort } from "./dump.ts";
import { drain, drainNow } from "./ending.ts";
import {
  type Entry,
  type Extra,
  GENERATION_MASK,
  SPAN,
  State,
} from "./entry.ts";
import { Features } from "./features.ts";
import type { FixedMemory } from "./fixed_memory.ts";
import { giveFds, giveMessages } from "./mail.ts";
import { Op } from "./op.ts";
import { openRing, type RingOptions } from "./opening.ts";
import type { Operation } from "./operation.ts";
import type { Retained } from "./retained.ts";
import { rings } from "./rings.ts";
import { conclude, concludeWith } from "./settle.ts";
import { Starving } from "./starving.ts";
import { type ContextStats, Tally } from "./stats.ts";
import { Table } from "./table.ts";
import { Timers } from "./timers.ts";
import { traceHere } from "./trace.ts";
import { Turns } from "./turns.ts";
import { Watch } from "./watch.ts";

/** Completions taken over by one call of the shim. */
const BATCH_SIZE = 1024;

/** Parts of the high half of user_data, see ffi/shim/kio.h. */
const MESSAGE_MASK = 0x7fffffff;
const CANCEL_FAILED = 0x40000000;
const TAKEN_BACK = 0x04000000;
const MAIL_HAS_COME = 0x40000000;
const STEP_SHIFT = 21;
const STEP_MASK = 0x1f;

/** IORING_CQE_F_MORE */
const CQE_F_MORE = 2;

/** The user_data of a message that only wakes a ring. */
export const WAKE_TAG: number = Number.MAX_SAFE_INTEGER;

/** A ring with its operation table, its timers and its driver. */
export class Ring implements Core {
  readonly shim: Shim;
  readonly handle: Deno.PointerObject;
  readonly table: Table;
  readonly timers = new Timers();
  readonly tally = new Tally();
  readonly features: Features;
  readonly watch: Watch | null;
  readonly driver: Driver;
  /** Notes where operations are started. */
  readonly tracing: boolean;
  readonly allowed: Uint8Array<ArrayBuffer> | null;
  /** Called after each batch of completions. */
  onBatch: (() => void) | null = null;
  onMessage: ((result: number, userData: number) => void) | null = null;
  /** Called when the ring is destroyed. */
  readonly onClose: (() => void)[] = [];
  onFd: ((fd: number, tag: number) => void) | null = null;
  /** Called when jobs of threads of the shim may have an answer. */
  readonly onAnswer: (() => void)[] = [];
  /** Called when the thread is left to Deno, each time. */
  onLeave: (() => void) | null = null;
  keepAlive = false;
  /** Pending operations that do not keep the process alive. */
  unrefs = 0;
  closing = false;
  closed = false;
  queued = 0;
  silent = 0;
  readonly starving = new Starving();
  readonly turns = new Turns();
  afterwards: Afterwards[] = [];
  cancels: Entry[] = [];
  /** Its registered memory; null until there is some. */
  fixedMemory: FixedMemory | null = null;
  /** Set by `reserveFiles()`. */
  places: Places | null = null;

  readonly #out = new Int32Array(4 * BATCH_SIZE);
  /** The figures of kio_stats(). */
  readonly #counted = new Float64Array(6);
  #chain: Chain | null = null;
  /** Operations that were started since `beginChain()`. */
  #links: Op<unknown>[] = [];
  #messages: number[] = [];
  #hasMail = false;
  /** The close that has begun: its end. */
  #ending: Promise<void> | undefined;

  constructor(options: RingOptions) {
    this.shim = loadShim();
    this.table = new Table(options.operationsMax);
    this.tracing = options.trace;
    this.watch = options.watch && new Watch(this, options.watch);
    this.allowed = options.allowed;
    this.features = new Features(options.switchedOff);
    this.handle = openRing(this.shim, this.features, options);
    this.driver = new Driver(this, options.exclusive);
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
    return this.queued > 0 || this.cancels.length > 0 || this.starving.hasWork;
  }

  get nextDeadlineMs(): number {
    return this.starving.earlierOf(this.timers.nextMs);
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
    this.driver.schedule();
  }

  // ---- starting operations ----------------------------------------------------

  /** Takes an entry of the table for an operation. The caller must start it
   * without an exception in between. */
  take(operation: Operation): Entry {
    if (this.closing) this.checkOpen(operation.verb);
    const entry = this.table.take(operation);
    if (this.watch !== null) {
      this.table.startedMs[entry.slot] = this.shim.kio_now_ms();
    }
    return entry;
  }

  /** Enters an operation that the shim has queued (a status of 0) or refused
   * (below 0: a negative errno). The entry retains its memory from now on. */
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

  /** Enters an operation that the clock ends after `delayMs`. */
  sleeping(entry: Entry, delayMs: number): UringOp<void> {
    const op = new Op<void>(this, entry);
    entry.heldErrno = 0;
    const wakeMs = this.shim.kio_now_ms() + delayMs;
    waitUntil(this, entry, State.ASLEEP, wakeMs);
    this.#started(entry, op);
    return op;
  }

  /**
   * Enters an operation that another thread does. Returns it with the function
   * that settles it. A cancel or a timeout settles it at once and calls
   * `onCancel`; a later result is dropped.
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
      // The driver lets go of the event loop if nothing is pending any more.
      this.schedule();
    };
    return { op, settle };
  }

  /** Schedules the driver; notes when and where an operation was started. */
  #started(entry: Entry, op: Op<unknown> | null): void {
    this.#countPending();
    if (this.#chain !== null && op !== null) this.#links.push(op);
    // schedule() refreshes nowMs, so it comes first.
    this.driver.schedule();
    if (this.watch === null) {
      this.table.startedMs[entry.slot] = this.driver.nowMs;
    }
    if (this.tracing) entry.trace = traceHere();
  }

  #countPending(): void {
    const { size } = this.table;
    if (size > this.tally.pendingMax) this.tally.pendingMax = size;
  }

  // ---- chains ---------------------------------------------------------------

  /** Begins a chain: operations that are queued from now on are its links. */
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

  /** Abandons all operations since `beginChain()`: an exception took their
   * promises from the caller. */
  abandonChain(): void {
    for (const op of this.#links) op.abandon();
  }

  /** Ends the chain. */
  endChain(): void {
    const chain = this.#chain;
    this.#chain = null;
    this.#links = [];
    // closeNow() has ended it.
    if (this.closed) return;
    chain?.end();
    this.shim.kio_chain(this.handle, false);
  }

  // ---- looking at it ----------------------------------------------------------

  stats(): ContextStats {
    if (!this.closed) this.shim.kio_stats(this.handle, this.#counted);
    const latencies = this.watch?.latencies() ?? {};
    return this.tally.stats(this.pending, this.#counted, latencies);
  }

  /** Tells whether an operation of one of these kinds is pending. */
  hasPending(...operations: readonly Operation[]): boolean {
    return this.table.live().some((it) => operations.includes(it.operation));
  }

  // ---- steps ------------------------------------------------------------------

  /**
   * Makes one step: cancels and deadlines, submit and harvest by
   * io_uring_enter(2), then settle. The shim copies the whole batch out before
   * the first settles. Code of the user runs when all are settled. `time`: an
   * exclusive wait until then; it gets the time after.
   */
  step(wait: boolean, time?: Float64Array<ArrayBuffer>): number {
    // Who waits for a turn has it in this step, so nothing else is waited for.
    wait &&= this.turns.size === 0;
    if (this.turns.size > 0) time?.fill(0);
    // In this order: a timeout of 0 lets its operation be submitted once.
    sendCancels(this);
    if (this.timers.size > 0) expire(this);
    this.starving.feed();
    this.queued = 0;
    this.silent = 0;
    const out = this.#out;
    const count = time === undefined
      ? this.shim.kio_step(this.handle, out, BATCH_SIZE, wait)
      : this.shim.kio_wait(this.handle, out, BATCH_SIZE, time[0]!, time);
    if (count < 0) {
      if (count === -EAGAIN || count === -EBUSY || count === -ENOMEM) {
        return -1;
      }
      abort(this, `io_uring_enter: ${errorOf(-count).message}`);
    }
    if (this.watch !== null) this.watch.batchMs = this.shim.kio_now_ms();
    for (let at = 0; at < 4 * count; at += 4) {
      this.#take(out[at]!, out[at + 1]!, out[at + 2]!, out[at + 3]!);
    }
    const turns = this.turns.size > 0 ? this.turns.give(this) : 0;
    if (this.watch !== null) this.watch.batchMs = 0;
    if (count > 0) this.#afterBatch();
    return count + turns;
  }

  /** Gives one completion to its operation. */
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
      if (!same || entry.state === State.NOTIFYING) return;
      if (high & TAKEN_BACK) entry.extra?.chain?.answer(entry, result);
      else cancelLater(this, entry);
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
    if (flags & CQE_F_MORE) report(this, entry, result, flags);
    else complete(this, entry, result, high >>> STEP_SHIFT & STEP_MASK, flags);
  }

  /** Calls the user's callbacks; any of them may close the context. */
  #afterBatch(): void {
    if (this.closing) return;
    if (this.#hasMail) {
      this.#hasMail = false;
      for (const take of this.onAnswer) take();
      this.takeFds();
    }
    const messages = this.#messages;
    if (messages.length > 0) {
      this.#messages = [];
      giveMessages(this, messages);
    }
    const { afterwards } = this;
    if (afterwards.length > 0) {
      this.afterwards = [];
      for (const it of afterwards) it.callBack();
    }
    this.onBatch?.();
  }

  /** Gives `onFd` the fds that other threads have passed. Without a handler
   * they stay in the mailbox, and the end of the context closes them. */
  takeFds(): void {
    giveFds(this);
  }

  // ---- the end --------------------------------------------------------------

  /** Cancels the operations on an fd at once. Promises the end of each. */
  cancelOn(fd: number): Promise<unknown>[] {
    const ends = cancelLive(this, fd);
    // At once, because the number may soon mean another file.
    sendCancels(this);
    if (ends.length > 0) this.shim.kio_cancels_submit(this.handle);
    return ends;
  }

  /** Cancels all pending operations, and waits until they are complete. */
  async cancelAll(): Promise<void> {
    await Promise.all(cancelLive(this));
  }

  /** Cancels, drains and closes without leaving the thread. */
  closeNow(): void {
    if (this.closed) return;
    if (this.#chain !== null) this.endChain();
    this.closing = true;
    this.shim.kio_loop_forget(this.handle);
    drainNow(this);
    this.#destroy();
  }

  /** Cancels, drains and closes while the event loop goes on. */
  close(): Promise<void> {
    return this.#ending ??= this.#end();
  }

  async #end(): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    await drain(this);
    if (!this.closed) this.#destroy();
  }

  #destroy(): void {
    this.shim.kio_stats(this.handle, this.#counted);
    this.closed = true;
    rings.delete(this);
    this.shim.kio_jobs_end(this.handle);
    this.driver.close();
    this.shim.kio_context_close(this.handle);
    for (const close of this.onClose) close();
  }
}
