import { loadShim, type Shim } from "../../ffi/load.ts";
import { AbortGroup, removeIdleListeners } from "./bounds.ts";
import { Chain } from "./chain.ts";
import { checkDelay, checkSignal } from "../check.ts";
import { POLLRDHUP } from "../constants.ts";
import {
  EAGAIN,
  EBUSY,
  ECANCELED,
  EINTR,
  EMFILE,
  ENFILE,
  ENOBUFS,
  ENODATA,
  ENOMEM,
  ETIME,
  ETIMEDOUT,
} from "../errno.ts";
import {
  ACCEPT,
  ACCEPT_FROM,
  CLOSE,
  type Operation,
  Yields,
} from "../ops/table.ts";
import { offered } from "../ops/offered.ts";
import { isTaken, type Pinned, sizeOf } from "./retained.ts";
import {
  actionOf,
  DONE,
  errorOf,
  exceptionOf,
  type Failure,
  failure,
  failureOf,
  type Result,
  shortFailure,
  success,
} from "../result.ts";
import { waitingAgain } from "./start.ts";
import { grown, Timers } from "./timers.ts";
import { type ContextStats, type PendingOperation, Tally } from "./stats.ts";
import type { UringOp } from "../UringOp.ts";
import { isFirstWaker, openWaker, type Waker } from "./waker.ts";

/** Completions taken over by one call of the shim. */
const BATCH_SIZE = 1024;

/**
 * Microtasks that the continuations of a batch get for queueing what they do
 * next, before the kernel is entered without it: an operation awaited through
 * a helper or two resumes its caller a few microtasks later.
 */
const HOPS_MAX = 8;

/** How long the ring may keep the thread before Deno's own events, which wait
 * for the microtasks to end, get their turn: while the loop has something to
 * do, as long as it took the last time, else the whole of it, as the loop is
 * not asked about timers. */
const TURN_MS_MIN = 0.2;
const TURN_MS_MAX = 2;

/** The same before the first waker of the isolate, which a short program can
 * do without: opening it would take the thread for longer. */
const FIRST_TURN_MS = 10;

/** Steps between two looks at the clock, which costs 1 % of a short step; a
 * lull is not short. */
const STEPS_PER_CLOCK = 8;

/**
 * A lull: the thread waits in the kernel for a completion, that long at most
 * (1.5 times WAIT_NS of kio.c), before it goes to sleep in Deno's event loop.
 * That costs a fraction of a wake-up through the loop.
 */
const LULL_MS = 3;

/** Microtasks that others get before a lull: the continuation of an operation
 * of Deno's that completes at once is several of them away. */
const LULL_HOPS = 16;

/** Runs of the drive without a wake-up in between, after which it leaves the
 * thread once. */
const RUNS_MAX = 64;

/** Wake-ups in a row after which lulls are worth it, each so soon after the
 * thread was left to Deno. */
const LULL_AFTER = 2;
const QUICK_MS = 0.5;

/** How long a failed accept is held back where the cause is a lack of fds or
 * of memory: a loop that accepts again at once would spin until there are
 * some. */
export const ACCEPT_PAUSE_MS = 10;

/** Until a cancel is repeated that found nothing to cancel. */
const CANCEL_RETRY_MS = 5;

/** Until the next try when the kernel has no memory for a submission. */
const SUBMIT_RETRY_MS = 1;

/** Until the next look, where the kernel may not tell of a completion. */
const LOOK_MS = 10;

/** Operations that a dump lists at most. */
const DUMP_MAX = 100;

/** Parts of the high half of user_data, see kio.c. */
const MESSAGE_MASK = 0x7fffffff;
const CANCEL_FAILED = 0x40000000;
const TAKEN_BACK = 0x04000000;
const MAIL_HAS_COME = 0x40000000;
const GENERATION_MASK = 0xfffff;
const STEP_SHIFT = 21;
const STEP_MASK = 0x1f;
const SPAN = 2 ** 32;
const MAKES_FD = 2 ** 52;

/** IORING_CQE_F_MORE */
const GOES_ON = 2;

/** user_data that wakes a ring and means nothing else. */
export const WAKE_TAG: number = Number.MAX_SAFE_INTEGER;

/** Awaiting it costs one microtask. */
const HOP = Promise.resolve();

/** What is to be known of an operation besides its buffers, in bits. */
const CANCELLED = 1;
const TIMED_OUT = 2;
/** It was cancelled before the kernel saw it. */
const NEVER_RAN = 4;
/** It waits for its deadline only; bits 8 and up hold its errno, 0 for none. */
const ASLEEP = 8;
const ERRNO_SHIFT = 8;
/** A link of a chain: whatever its result, the chain depends on it. */
const LINKED = 16;
/** It waits for its next try by the clock; the kernel has nothing of it. */
const BACKING_OFF = 32;
/** An exception has taken it out of everybody's hands. */
const ABANDONED = 64;

/** An operation of several submissions. */
export interface Course {
  /** Whether what was queued last is a poll or a pause: its result is nobody's. */
  readonly isWaiting: boolean;
  /** How long to wait before `prepare()`; 0 to do it at once. */
  readonly pauseMs: number;
  /** Queues what is next; gives a status of the shim. */
  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number;
  /** Takes in a result, of that step of a pump; whether there is a next. */
  advance(result: number, step: number): boolean;
}

/** What goes on, submission by submission, until all is moved. */
export interface Transfer extends Course {
  /** Bytes so far. */
  readonly moved: number;
  readonly total: number;
  /** Called when it is over, well or not. */
  end?(): void;
}

/** What few operations have. */
export interface Extra<T> {
  /** Completes "Cannot …: " where that has a path or an address. */
  action?: { toString(): string } | undefined;
  /** Makes the value of a result of 0 or more. */
  decode?: ((result: number) => T) | undefined;
  /** A second fd that it uses. */
  otherFd?: number;
  /** Called when what the kernel has no part in is cancelled. */
  onCancel?: () => void;
  /** Of what is more than one submission; a transfer is one too. */
  course?: Course | undefined;
  transfer?: Transfer;
  /** Of a link. */
  chain?: Chain<Op<unknown>>;
  /** While it is backing off: when its timeout ends it. */
  deadlineMs?: number;
  /** Of the signals that end it: one, or several. */
  signals?: AbortGroup | AbortGroup[];
}

/** The resolve function of the promise that was made last. */
let settleOfLast: (result: unknown) => void;
const takeSettle = (settle: (result: never) => void) => {
  settleOfLast = settle as typeof settleOfLast;
};

/** An entry of the operation table, and the promise that the user has. */
class Op<T> extends Promise<Result<T>> implements UringOp<T> {
  readonly #ring: Ring;
  readonly #slot: number;
  readonly #operation: Operation;
  readonly #settle: (result: unknown) => void;
  #pinned: Pinned;
  #flags = 0;
  #extra: Extra<T> | null;

  constructor(
    ring: Ring,
    slot: number,
    operation: Operation,
    pinned: Pinned,
    extra: Extra<T> | null,
  ) {
    super(takeSettle);
    this.#settle = settleOfLast;
    this.#ring = ring;
    this.#slot = slot;
    this.#operation = operation;
    this.#pinned = pinned;
    this.#extra = extra;
  }

  withTimeout(timeoutMs: number): this {
    try {
      checkDelay(timeoutMs, "timeoutMs", "set a timeout");
    } catch (error) {
      throw this.#givenUp(error);
    }
    const ring = this.#ring;
    if (!ring.holds(this.#slot, this)) return this;
    const deadlineMs = ring.shim.kio_now_ms() + timeoutMs;
    if (this.#flags & BACKING_OFF) {
      const extra = this.#extra!;
      extra.deadlineMs = Math.min(extra.deadlineMs!, deadlineMs);
    }
    if (ring.timers.isBefore(this.#slot, deadlineMs)) return this;
    if (this.#flags & ASLEEP) this.#flags |= TIMED_OUT;
    ring.timers.set(this.#slot, deadlineMs);
    ring.schedule();
    return this;
  }

  withSignal(signal: AbortSignal): this {
    try {
      checkSignal(signal, "attach a signal");
    } catch (error) {
      throw this.#givenUp(error);
    }
    if (!this.#ring.holds(this.#slot, this)) return this;
    if (signal.aborted) {
      this.cancel();
      return this;
    }
    const group = AbortGroup.of(signal);
    group.add(this);
    const extra = this.#extra ??= {};
    extra.signals = extra.signals === undefined
      ? group
      : [extra.signals, group].flat();
    return this;
  }

  /** Cancels the operation because of a wrong argument: after the exception
   * nobody has it in hand, and it would take what is meant for the next one. */
  #givenUp(error: unknown): unknown {
    Op.abandon(this);
    return error;
  }

  cancel(): void {
    const ring = this.#ring;
    if (!ring.holds(this.#slot, this) || this.#flags & CANCELLED) return;
    // It takes no time, and who called it has given up the fd.
    if (this.#operation === CLOSE) return;
    this.#flags |= CANCELLED;
    ring.tally.cancels++;
    if (this.#flags & (ASLEEP | BACKING_OFF)) {
      this.#end(-ECANCELED);
      // Nothing may be left that keeps the process alive.
      ring.schedule();
    } else ring.requestCancel(this);
  }

  orThrow(): Promise<T> {
    const fd = this.#ring.fdOf(this.#slot, this);
    const give = (result: Result<T>): T => {
      if (result.ok) return result.value;
      const { error } = result;
      const { verb, name } = this.#operation;
      const isBare = fd < 0 || this.#extra?.action !== undefined;
      const on = isBare ? "" : ` (fd ${fd})`;
      const action = (actionOf(error) ?? verb) + on;
      const exception = exceptionOf(error, action, name);
      Error.captureStackTrace(exception, give);
      throw exception;
    };
    return this.then(give);
  }

  /** Gives the slot back. */
  #release(): void {
    this.#ring.release(this.#slot);
    this.#pinned = null;
    const signals = this.#extra?.signals;
    if (signals === undefined) return;
    if (signals instanceof AbortGroup) signals.delete(this);
    else for (const group of signals) group.delete(this);
  }

  /** Ends what the kernel has no part in (any more). */
  #end(result: number): void {
    const onCancel = this.#extra?.onCancel;
    this.#conclude(result);
    onCancel?.();
  }

  /** Gives the slot back and the result out. */
  #conclude(result: number): void {
    this.#release();
    const extra = this.#extra;
    const transfer = extra?.transfer;
    if (transfer !== undefined) {
      transfer.end?.();
      this.#settle(this.#outcomeOf(transfer, result));
      return;
    }
    if (result < 0) {
      this.#ring.tally.addError(-result);
      this.#settle(this.#failure(-result));
      return;
    }
    switch (this.#operation.yields) {
      case Yields.NOTHING:
        this.#settle(DONE);
        return;
      case Yields.DECODED:
        this.#settle(success(extra!.decode!(result)));
        return;
      default:
        this.#settle(success(result));
    }
  }

  #failure(errno: number): Failure {
    const action = this.#extra?.action;
    return action === undefined
      ? failureOf(this.#operation, errno)
      : failure(errno, `${action}`);
  }

  /** Queues what is next, if nobody is against it. */
  #goOn(course: Course, result: number, step: number): boolean {
    if (!course.advance(result, step) || this.#flags !== 0) return false;
    const { pauseMs } = course;
    if (pauseMs > 0) this.#backOff(pauseMs);
    else this.#queueNext(course);
    return true;
  }

  #queueNext(course: Course): void {
    const ring = this.#ring;
    const status = course.prepare(ring.shim, ring.handle, Op.idOf(this));
    if (status < 0) this.#conclude(status);
    else ring.requeued();
  }

  /** Waits by the clock before it goes on; its timeout ends that too. */
  #backOff(pauseMs: number): void {
    const { timers, shim } = this.#ring;
    const deadlineMs = timers.of(this.#slot);
    this.#extra!.deadlineMs = deadlineMs;
    this.#flags |= BACKING_OFF;
    timers.set(
      this.#slot,
      Math.min(deadlineMs, shim.kio_now_ms() + pauseMs),
    );
  }

  #goOnAfterPause(): void {
    const { timers, shim } = this.#ring;
    const extra = this.#extra!;
    const deadlineMs = extra.deadlineMs!;
    this.#flags &= ~BACKING_OFF;
    if (deadlineMs <= shim.kio_now_ms()) {
      this.#ring.tally.timeouts++;
      this.#flags |= TIMED_OUT;
      this.#end(-ETIMEDOUT);
      return;
    }
    if (deadlineMs !== Infinity) timers.set(this.#slot, deadlineMs);
    this.#queueNext((extra.transfer ?? extra.course)!);
  }

  #outcomeOf({ moved, total }: Transfer, result: number): Result<number> {
    if (moved === total) return success(moved);
    const errno = -Math.min(result, 0) || this.#reasonFor(result) || ENODATA;
    this.#ring.tally.addError(errno);
    return shortFailure(this.#operation, errno, moved);
  }

  /** Why a transfer ended that had moved some; 0 if nobody ended it. */
  #reasonFor(result: number): number {
    if (result === 0) return 0;
    if (this.#flags & CANCELLED) return ECANCELED;
    return this.#flags & TIMED_OUT ? ETIMEDOUT : 0;
  }

  /** What the kernel's result means to the user. */
  #outcome(result: number): number {
    const flags = this.#flags;
    if (result >= 0) return result;
    // EAGAIN is what a last try gives when the wait was ended from here.
    if (result !== -ECANCELED && result !== -EINTR && result !== -EAGAIN) {
      return result;
    }
    if (flags & CANCELLED) return -ECANCELED;
    return flags & TIMED_OUT ? -ETIMEDOUT : result;
  }

  // What the ring does to an operation, and nobody else may.

  static conclude(op: Op<unknown>, result: number): void {
    op.#conclude(result);
  }

  static settleWith<T>(op: Op<T>, result: Result<T>): void {
    op.#release();
    if (result.ok) return op.#settle(result);
    const { error } = result;
    op.#ring.tally.addError(error.errno);
    const isNamed = actionOf(error) !== undefined;
    op.#settle(isNamed ? result : op.#failure(error.errno));
  }

  /** Its completion has come. */
  static complete(op: Op<unknown>, result: number, step = 0): void {
    const ring = op.#ring;
    if (op.#flags & NEVER_RAN) {
      op.#conclude(op.#outcome(-ECANCELED));
      return;
    }
    // The kernel's own codes for "interrupted, restart" are not errnos. A signal
    // to the process brings them about in the kernel's threads.
    if (result <= -512 && result >= -516) result = -EINTR;
    Op.checkPinned(op);
    if (op.#flags & LINKED && op.#extra!.chain!.keeps(op, result)) return;
    const isNobodys = ring.closing || (op.#flags & ABANDONED) !== 0;
    if (result >= 0 && isNobodys && op.#operation.makesFd) {
      // Nobody is going to use this context again, nor what it made.
      ring.shim.kio_fd_close(result);
      result = -ECANCELED;
    }
    if (op.#operation === CLOSE && result === -ECANCELED) {
      // Its chain has ended, but who called it has given up the fd.
      ring.closeFdOf(op.#slot);
    }
    if (result === -EAGAIN && op.#flags === 0 && op.#waitAgain()) return;
    const extra = op.#extra;
    const course = extra?.transfer ?? extra?.course;
    if (course !== undefined) {
      const { isWaiting } = course;
      if (op.#goOn(course, result, step)) return;
      if (isWaiting && (result > 0 || result === -ETIME)) result = -ECANCELED;
    }
    if ((op.#flags & ~LINKED) === 0 && isShortOf(op.#operation, -result)) {
      op.#flags |= ASLEEP | -result << ERRNO_SHIFT;
      ring.timers.set(op.#slot, ring.shim.kio_now_ms() + ACCEPT_PAUSE_MS);
      return;
    }
    op.#conclude(op.#outcome(result));
  }

  /** Has a plain operation that got `EAGAIN` wait until it can be done. */
  #waitAgain(): boolean {
    if (this.#extra?.course !== undefined || this.#extra?.transfer) {
      return false;
    }
    const ring = this.#ring;
    const fd = ring.fdOf(this.#slot, this);
    const course = waitingAgain(ring, this.#operation, fd, this.#pinned);
    if (course === undefined) return false;
    (this.#extra ??= {}).course = course;
    this.#queueNext(course);
    return true;
  }

  /** A completion has come that is not the last: of a poll that goes on. */
  static report(op: Op<unknown>, events: number): void {
    if ((events & ~POLLRDHUP) !== 0) op.#ring.requestCancel(op);
  }

  /** Whether it was given up, and not only its poll is to end. */
  get #isGivenUp(): boolean {
    return (this.#flags & (CANCELLED | TIMED_OUT)) !== 0;
  }

  /** Ends the process if the buffer was taken away meanwhile. */
  static checkPinned(op: Op<unknown>): void {
    const pinned = op.#pinned;
    if (pinned === null || pinned.byteLength > 0 || !isTaken(pinned)) return;
    op.#ring.abort(
      `${op.#operation.name}: a buffer was transferred or detached while the kernel was using it; its memory may be corrupt. pin() prevents this; in place of resizable buffers and WebAssembly memory use IoContext.allocate()`,
    );
  }

  /** Cancels it for good: an fd that it makes all the same is closed. */
  static abandon(op: Op<unknown>): void {
    op.#flags |= ABANDONED;
    op.cancel();
  }

  /** Its deadline has come. */
  static expire(op: Op<unknown>): void {
    const flags = op.#flags;
    if (flags & BACKING_OFF) return op.#goOnAfterPause();
    if (flags & ASLEEP) {
      if (flags & TIMED_OUT) op.#ring.tally.timeouts++;
      op.#end(flags & TIMED_OUT ? -ETIMEDOUT : -(flags >> ERRNO_SHIFT));
      return;
    }
    if (op.#operation === CLOSE) return;
    if (!(flags & (CANCELLED | TIMED_OUT))) {
      op.#flags |= TIMED_OUT;
      op.#ring.tally.timeouts++;
    }
    op.#ring.requestCancel(op);
  }

  /** Keeps it from being submitted, if it was not yet. */
  static retract(op: Op<unknown>): boolean {
    const ring = op.#ring;
    if (!ring.holds(op.#slot, op)) return true;
    if (!op.#isGivenUp) return false;
    const retracted = ring.shim.kio_retract(ring.handle, Op.idOf(op));
    if (retracted) op.#flags |= NEVER_RAN;
    return retracted;
  }

  /** Asks the kernel to cancel it, or the poll that it waits by; false if that
   * has to be tried again. */
  static sendCancel(op: Op<unknown>): boolean {
    if (op.#flags & LINKED) return op.#extra!.chain!.cancel();
    const { shim, handle } = op.#ring;
    const id = Op.idOf(op);
    const status = op.#isGivenUp
      ? shim.kio_cancel(handle, id)
      : shim.kio_poll_end(handle, id);
    return status >= 0;
  }

  static putToSleep(op: Op<unknown>): void {
    op.#flags |= ASLEEP;
  }

  static link(op: Op<unknown>, chain: Chain<Op<unknown>>): void {
    op.#flags |= LINKED;
    (op.#extra ??= {}).chain = chain;
    chain.add(op);
  }

  /** The kernel has answered its chain, which wanted it back. */
  static answer(op: Op<unknown>, result: number): void {
    op.#extra!.chain!.answer(op, result);
  }

  static idOf(op: Op<unknown>): number {
    return op.#ring.idOf(op.#slot, op.#operation);
  }

  static fdOf(op: Op<unknown>): number {
    return op.#ring.fdOf(op.#slot, op);
  }

  static operationOf(op: Op<unknown>): Operation {
    return op.#operation;
  }

  static isGivenUp(op: Op<unknown>): boolean {
    return op.#isGivenUp;
  }

  static neverRuns(op: Op<unknown>): boolean {
    return (op.#flags & NEVER_RAN) !== 0;
  }

  /** Whether that is its second fd. */
  static uses(op: Op<unknown>, fd: number): boolean {
    return op.#extra?.otherFd === fd;
  }

  /** Whether it is one of these. */
  static isOneOf(
    op: Op<unknown>,
    operations: readonly Operation[],
  ): boolean {
    return operations.includes(op.#operation);
  }

  /** What it is, as far as it knows itself. */
  static describe(op: Op<unknown>): {
    operation: string;
    bytes: number;
    isCancelled: boolean;
  } {
    return {
      operation: op.#operation.name,
      bytes: sizeOf(op.#pinned),
      isCancelled: (op.#flags & CANCELLED) !== 0,
    };
  }

  /** What has been done to it besides starting it. */
  static stateOf(op: Op<unknown>): string {
    const states = [
      ", cancelled",
      ", timed out",
      ", never ran",
      ", asleep",
      ", linked",
      ", backing off",
      ", abandoned",
    ];
    return states.filter((_, bit) => op.#flags & 1 << bit).join("");
  }
}

// A subclass loses the engine's fast paths for await only because of this
// property: 130 ns an operation instead of 480.
Object.defineProperty(Op.prototype, "constructor", { value: Promise });

/** Whether an accept failed because fds or memory are used up. */
function isShortOf(operation: Operation, errno: number): boolean {
  return (operation === ACCEPT || operation === ACCEPT_FROM) && isShort(errno);
}

/** Whether that is a lack of fds or of memory. */
export function isShort(errno: number): boolean {
  return errno === EMFILE || errno === ENFILE || errno === ENOBUFS ||
    errno === ENOMEM;
}

/** What a ring is doing. */
const Drive = {
  /** Nothing is queued; a completion wakes it. */
  IDLE: 0,
  /** On its way back by itself, through Deno's event loop. */
  PARKED: 1,
  RUNNING: 2,
} as const;
type DriveState = typeof Drive[keyof typeof Drive];

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
 * The machine behind a context: the operation table, which is the root of all
 * that the kernel may touch, and the one drive that submits, harvests, settles
 * and sleeps.
 */
export class Ring {
  readonly shim: Shim;
  readonly handle: Deno.PointerObject;
  readonly timers = new Timers();
  readonly tally = new Tally();
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
  /** Keeps the process alive though nothing is pending. */
  keepAlive = false;
  closing = false;
  #closed = false;
  #pending = 0;

  readonly #operationsMax: number;
  #ops: (Op<unknown> | undefined)[] = [];
  #generations = new Int32Array(64);
  #fds = new Int32Array(64);
  #startedMs = new Float64Array(64);
  /** Where operations were started, by slot, with the option `trace`. */
  readonly #traces: Error[] | null;
  /** Free slots, as a stack. */
  #free = new Int32Array(64);
  #freeCount = 0;

  /** Made when there is something to wait for, which not all programs have:
   * the best one loads much of Deno. */
  #waker: Waker | null = null;
  readonly #out = new Int32Array(4 * BATCH_SIZE);
  /** What the shim has counted. */
  readonly #counted = new Float64Array(4);
  /** Operations queued since the last step. */
  #queued = 0;
  /** Operations that the last step settled: as many may follow. */
  #expected = 1;
  #drive: DriveState = Drive.IDLE;
  /** When the clock was looked at last; some milliseconds old at most while
   * the drive runs. */
  #nowMs = 0;
  /** When the thread was left to Deno. */
  #leftMs = 0;
  /** How long Deno's events may have to wait, at least. */
  #turnMs = TURN_MS_MIN;
  #quickWakes = 0;
  /** Runs of the drive since the eventfd woke it, and when that was. */
  #runs = 0;
  #wokenMs = 0;
  #chain: Chain<Op<unknown>> | null = null;
  /** All that was started since a chain is being queued. */
  #links: Op<unknown>[] | null = null;
  #cancels: Op<unknown>[] = [];
  #messages: number[] = [];
  #hasMail = false;
  readonly #tag = new Float64Array(1);

  constructor(options: RingOptions) {
    this.shim = loadShim();
    this.#operationsMax = options.operationsMax;
    this.#traces = options.trace ? [] : null;
    const status = new Int32Array(1);
    const handle = this.shim.kio_context_open(
      options.entries,
      4 * options.entries,
      options.kernelWorkersMax,
      status,
    );
    if (handle === null) throw openingError(-status[0]!);
    this.handle = handle;
    rings.add(this);
  }

  /** Operations that are not complete. */
  get pending(): number {
    return this.#pending;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether it remembers where operations were started. */
  get tracing(): boolean {
    return this.#traces !== null;
  }

  /** Whether what is queued now is a link of a chain. */
  get chaining(): boolean {
    return this.#chain !== null;
  }

  checkOpen(verb: string): void {
    if (!this.closing) return;
    throw new TypeError(
      `Cannot ${verb}: the IoContext is closed; open a new one`,
    );
  }

  // ---- the operation table ------------------------------------------------

  /** Takes a slot out of the table for an operation. */
  take(operation: Operation): number {
    if (this.closing) this.checkOpen(operation.verb);
    if (this.#freeCount > 0) return this.#free[--this.#freeCount]!;
    const slot = this.#ops.length;
    if (slot >= this.#operationsMax) {
      throw new RangeError(
        `Cannot ${operation.verb}: ${slot} operations are in flight, the limit of this IoContext; await some first or raise operationsMax`,
      );
    }
    if (slot >= this.#generations.length) {
      this.#generations = grown(this.#generations, slot + 1);
      this.#fds = grown(this.#fds, slot + 1);
      this.#free = grown(this.#free, slot + 1);
      const startedMs = new Float64Array(this.#fds.length);
      startedMs.set(this.#startedMs);
      this.#startedMs = startedMs;
    }
    this.#ops.push(undefined);
    return slot;
  }

  /** user_data of the operation that takes a slot. */
  idOf(slot: number, operation: Operation): number {
    const id = this.#generations[slot]! * SPAN + slot;
    return operation.makesFd ? id + MAKES_FD : id;
  }

  /** Enters an operation that the shim has taken (status 0) or refused. */
  queued<T>(
    slot: number,
    operation: Operation,
    fd: number,
    pinned: Pinned,
    status: number,
    extra: Extra<T> | null = null,
  ): UringOp<T> {
    const op = new Op<T>(this, slot, operation, pinned, extra);
    this.#enter(slot, op, fd);
    if (status < 0) {
      Op.conclude(op, status);
    } else {
      if (this.#chain !== null) {
        Op.link(op, this.#chain);
        this.#links!.push(op);
      }
      this.#queued++;
      this.#started(slot);
    }
    return op;
  }

  /** An operation was queued again. */
  requeued(): void {
    this.#queued++;
  }

  /** Enters an operation that only waits for its time. */
  sleeping(slot: number, operation: Operation, delayMs: number): UringOp<void> {
    const op = new Op<void>(this, slot, operation, null, null);
    this.timers.set(slot, this.shim.kio_now_ms() + delayMs);
    this.#enterAsleep(slot, op);
    return op;
  }

  /**
   * Enters what the kernel has no part in, and gives what settles it. A cancel
   * or a timeout settles it at once, and calls `onCancel`; what comes later is
   * nobody's.
   */
  external<T>(
    slot: number,
    operation: Operation,
    onCancel: () => void,
    action?: string,
  ): { op: UringOp<T>; settle: (result: Result<T>) => void } {
    const extra = { onCancel, action };
    const op = new Op<T>(this, slot, operation, null, extra);
    this.#enterAsleep(slot, op);
    const settle = (result: Result<T>) => {
      if (!this.holds(slot, op)) return;
      Op.settleWith(op, result);
      // Nothing may be left that keeps the process alive.
      this.schedule();
    };
    return { op, settle };
  }

  #enterAsleep(slot: number, op: Op<unknown>): void {
    this.#enter(slot, op, -1);
    this.#links?.push(op);
    Op.putToSleep(op);
    this.#started(slot);
  }

  #enter(slot: number, op: Op<unknown>, fd: number): void {
    this.#ops[slot] = op;
    this.#fds[slot] = fd;
    if (++this.#pending > this.tally.pendingMax) {
      this.tally.pendingMax = this.#pending;
    }
  }

  /** Sees to it that an operation is looked after, and notes when and where it
   * was started. */
  #started(slot: number): void {
    // First, as it looks at the clock where that is needed.
    this.schedule();
    this.#startedMs[slot] = this.#nowMs;
    if (this.#traces !== null) this.#traces[slot] = new Error("started");
  }

  /** Closes the fd of an operation. */
  closeFdOf(slot: number): void {
    this.shim.kio_fd_close(this.#fds[slot]!);
  }

  /** How many slots are taken: as many as operations are pending. */
  get slotsTaken(): number {
    return this.#ops.length - this.#freeCount;
  }

  /** Tells that `take()` would refuse an operation now. */
  get isFull(): boolean {
    return this.slotsTaken >= this.#operationsMax;
  }

  /** Whether the operation is still in the table. */
  holds(slot: number, op: Op<unknown>): boolean {
    return this.#ops[slot] === op;
  }

  /** The fd of an operation; -1 if it has none, or is complete. */
  fdOf(slot: number, op: Op<unknown>): number {
    return this.holds(slot, op) ? this.#fds[slot]! : -1;
  }

  /** Frees a slot: only its own completion, or its deadline, does that. */
  release(slot: number): void {
    this.#ops[slot] = undefined;
    this.#generations[slot] = this.#generations[slot]! + 1 & GENERATION_MASK;
    this.#fds[slot] = -1;
    this.#free[this.#freeCount++] = slot;
    this.#pending--;
    this.tally.completed++;
    if (this.timers.size > 0) this.timers.delete(slot);
  }

  /** The operations that are not complete, or those of one fd. */
  live(fd?: number): Op<unknown>[] {
    const ops: Op<unknown>[] = [];
    for (let slot = 0; slot < this.#ops.length; slot++) {
      const op = this.#ops[slot];
      if (op === undefined) continue;
      if (fd === undefined || this.#fds[slot] === fd || Op.uses(op, fd)) {
        ops.push(op);
      }
    }
    return ops;
  }

  /** Whether one of these operations is not complete. */
  hasPending(...operations: readonly Operation[]): boolean {
    return this.live().some((op) => Op.isOneOf(op, operations));
  }

  /** What is pending, the oldest first. */
  inspect(): PendingOperation[] {
    const nowMs = this.shim.kio_now_ms();
    const pending: PendingOperation[] = [];
    for (let slot = 0; slot < this.#ops.length; slot++) {
      const op = this.#ops[slot];
      if (op === undefined) continue;
      const fd = this.#fds[slot]!;
      pending.push({
        ...Op.describe(op),
        fd,
        target: fd < 0 ? "" : this.#targetOf(fd),
        ageMs: Math.max(0, nowMs - this.#startedMs[slot]!),
        leftMs: Math.max(0, this.timers.of(slot) - nowMs),
        stack: stackOf(this.#traces?.[slot]),
      });
    }
    return pending.sort((a, b) => b.ageMs - a.ageMs);
  }

  #targetOf(fd: number): string {
    const path = new Uint8Array(512);
    const length = this.shim.kio_fd_target(fd, path, path.length);
    return length < 0 ? "" : new TextDecoder().decode(path.subarray(0, length));
  }

  stats(): ContextStats {
    if (!this.#closed) this.shim.kio_stats(this.handle, this.#counted);
    return this.tally.stats(this.#pending, this.#counted);
  }

  /** Ends the process over a broken invariant, with what was going on. */
  abort(message: string): never {
    const lines = this.live().slice(0, DUMP_MAX).map((op) =>
      `\n  ${this.#describe(op)}`
    );
    const rest = this.#pending - lines.length;
    if (rest > 0) lines.push(`\n  and ${rest} more`);
    const text = `${message}\n${this.#pending} operations pending:${
      lines.join("")
    }\0`;
    this.shim.kio_abort(this.handle, new TextEncoder().encode(text));
    throw new Error("unreachable");
  }

  /** An entry of the operation table, for the dump. */
  #describe(op: Op<unknown>): string {
    const slot = this.#ops.indexOf(op);
    const fd = this.#fds[slot]! < 0 ? "" : `, fd ${this.#fds[slot]}`;
    return `slot ${slot}, generation ${this.#generations[slot]}: ${
      Op.describe(op).operation
    }${fd}${Op.stateOf(op)}`;
  }

  // ---- chains ---------------------------------------------------------------

  /** What is queued from now on is linked. */
  beginChain(): void {
    this.checkOpen("link");
    if (this.#chain !== null) {
      throw new TypeError(
        "Cannot link: a chain is being queued already; link() cannot be nested",
      );
    }
    this.#chain = new Chain(this, Op);
    this.#links = [];
    this.shim.kio_chain(this.handle, true);
  }

  /** Cancels all that was started since `beginChain()`: nobody has it in hand. */
  abandonChain(): void {
    for (const op of this.#links ?? []) Op.abandon(op);
  }

  /** What is queued from now on is on its own again. */
  endChain(): void {
    const chain = this.#chain;
    this.#chain = null;
    this.#links = null;
    // Closing has ended it.
    if (this.#closed) return;
    chain?.end();
    this.shim.kio_chain(this.handle, false);
  }

  // ---- cancelling -----------------------------------------------------------

  /** Has the next step ask the kernel; a chain is not interrupted by it. */
  requestCancel(op: Op<unknown>): void {
    this.#cancels.push(op);
    this.schedule();
  }

  /** Sends what requestCancel() has collected. */
  sendCancels(): void {
    if (this.#cancels.length === 0 || this.#chain !== null) return;
    // All of them first: a cancel may fill the queue, which submits it.
    const submitted = this.#cancels.filter((op) => !Op.retract(op));
    this.#cancels = submitted.filter((op) => !Op.sendCancel(op));
  }

  // ---- the drive ------------------------------------------------------------

  /** Makes sure that what is queued is submitted soon. */
  schedule(): void {
    if (this.#drive !== Drive.IDLE) return;
    this.#nowMs = this.shim.kio_now_ms();
    this.#expected = 1;
    this.#runs++;
    void this.#run(true);
  }

  /** Whether code that takes many microtasks between two operations has had the
   * thread for long: each of them starts the drive anew, and nothing tells
   * whether Deno had its turn in between. */
  get #isOverdue(): boolean {
    return this.#runs > RUNS_MAX && this.#nowMs - this.#wokenMs > TURN_MS_MAX;
  }

  /** The eventfd is readable, which may be old news. */
  #onWake(): void {
    if (this.#drive === Drive.RUNNING || this.#closed) return;
    const nowMs = this.#nowMs = this.shim.kio_now_ms();
    this.tally.wakeUps++;
    this.#runs = 0;
    this.#wokenMs = nowMs;
    const awayMs = nowMs - this.#leftMs;
    if (this.#drive === Drive.IDLE) {
      this.#quickWakes = awayMs < QUICK_MS ? this.#quickWakes + 1 : 0;
      this.#turnMs = TURN_MS_MIN;
    } else {
      this.#turnMs = Math.min(Math.max(awayMs, TURN_MS_MIN), TURN_MS_MAX);
    }
    void this.#run(false);
  }

  /** With a hop, as the first waker is opened in microtasks only: it loads
   * modules, and elsewhere those that wait would run within that. */
  #retry(): void {
    if (this.#drive === Drive.PARKED && !this.#closed) void this.#run(true);
  }

  /** Runs until there is nothing to do at once. */
  async #run(hop: boolean): Promise<void> {
    this.#drive = Drive.RUNNING;
    let steps = 0;
    // Over from the start, if it is overdue.
    let endMs = this.#isOverdue ? this.#nowMs : 0;
    let lookMs = endMs;
    for (;;) {
      if (hop) {
        let hops = HOPS_MAX;
        do await HOP; while (this.#queued < this.#expected && --hops > 0);
        if (this.#closed) return;
      }
      hop = true;
      let isLull = this.#isLull();
      if (isLull) {
        // What completed in Deno meanwhile continues in microtasks: not after
        // a wait in the kernel.
        for (let left = LULL_HOPS; left > 0; left--) await HOP;
        if (this.#closed) return;
        isLull = this.#isLull();
      }
      const settled = this.step(isLull);
      if (this.#closed) return;
      if (settled < 0) {
        // Out of memory or the like: what is queued stays queued.
        this.#drive = Drive.PARKED;
        setTimeout(() => this.#retry(), SUBMIT_RETRY_MS);
        return;
      }
      this.#expected = settled;
      if (settled === 0) {
        this.#quickWakes = Math.min(this.#quickWakes, LULL_AFTER - 1);
        const isShort = isLull && this.#isFirst &&
          (endMs === 0 || this.#nowMs < endMs);
        if (!isShort && this.#sleep()) return;
      }
      if (isLull || steps++ % STEPS_PER_CLOCK === 0) {
        const nowMs = this.#nowMs = this.shim.kio_now_ms();
        if (endMs === 0) {
          endMs = nowMs + (this.#isFirst ? FIRST_TURN_MS : TURN_MS_MAX);
          lookMs = nowMs + this.#turnMs;
        } else if (nowMs > lookMs) {
          lookMs = nowMs + TURN_MS_MIN;
          const isOver = nowMs > endMs ||
            this.shim.kio_loop_is_ready(this.handle);
          if (!isOver) continue;
          // Deno polls its own events only when nothing is left to run: go
          // to sleep as if idle, with the wake-up already on its way.
          this.#leave(Drive.PARKED, true);
          this.shim.kio_wake_self(this.handle);
          return;
        }
      }
    }
  }

  /** Whether the next step may wait in the kernel. */
  #isLull(): boolean {
    const isWorthIt = this.#quickWakes >= LULL_AFTER || this.#isFirst;
    if (!isWorthIt || this.#pending === 0) return false;
    const nowMs = this.#nowMs = this.shim.kio_now_ms();
    const { nextMs } = this.timers;
    return nextMs === 0 || nextMs >= nowMs + LULL_MS;
  }

  /** Whether sleep would have to open the first waker. */
  get #isFirst(): boolean {
    return this.#waker === null && isFirstWaker;
  }

  /** Leaves the thread to Deno until the ring has something to say. */
  #sleep(): boolean {
    if (this.#queued > 0 || this.#cancels.length > 0) return false;
    // Whole milliseconds: deadlines that are close share one wake-up.
    const armed = this.shim.kio_arm(
      this.handle,
      Math.ceil(this.timers.nextMs),
    );
    if (armed === 0) return false;
    // A write to an eventfd may go unnoticed.
    if (armed === 2) setTimeout(() => this.#onWake(), LOOK_MS);
    this.#leave(Drive.IDLE, this.#pending > 0 || this.keepAlive);
    return true;
  }

  #leave(drive: DriveState, keepAlive: boolean): void {
    this.#drive = drive;
    removeIdleListeners();
    this.onLeave?.();
    this.#leftMs = this.shim.kio_now_ms();
    // Not if nobody would be told of what comes.
    const isDeaf = !keepAlive && this.onMessage === null && this.onFd === null;
    if (isDeaf && this.#waker === null) return;
    this.#waker ??= openWaker(this.handle, () => this.#onWake());
    this.#waker.watch(keepAlive);
  }

  /**
   * One step: cancels and deadlines, then submit and harvest, then settle.
   * The whole batch is taken over before any of it is settled, and no code of
   * the user runs until all is.
   */
  step(wait: boolean): number {
    // In this order: what times out at once has been submitted once.
    this.sendCancels();
    if (this.timers.size > 0) this.#expire();
    this.#queued = 0;
    const count = this.shim.kio_step(
      this.handle,
      this.#out,
      BATCH_SIZE,
      wait,
    );
    if (count < 0) {
      if (count === -EAGAIN || count === -EBUSY || count === -ENOMEM) {
        return -1;
      }
      this.abort(`io_uring_enter: ${errorOf(-count).message}`);
    }
    const out = this.#out;
    for (let at = 0; at < 4 * count; at += 4) {
      this.#complete(out[at]!, out[at + 1]!, out[at + 2]!, out[at + 3]!);
    }
    if (count > 0) this.#afterBatch();
    return count;
  }

  #complete(low: number, high: number, result: number, flags: number): void {
    if (high < 0) {
      if (high & MAIL_HAS_COME) {
        this.#hasMail = true;
        return;
      }
      const userData = (high & MESSAGE_MASK) * SPAN + (low >>> 0);
      if (userData !== WAKE_TAG) this.#messages.push(result, userData);
      return;
    }
    const op = this.#ops[low];
    const same = op !== undefined &&
      this.#generations[low] === (high & GENERATION_MASK);
    if (high & CANCEL_FAILED) {
      if (!same) return;
      if (high & TAKEN_BACK) Op.answer(op, result);
      else this.timers.set(low, this.shim.kio_now_ms() + CANCEL_RETRY_MS);
      return;
    }
    if (!same) {
      this.abort(
        `a completion matches no operation: slot ${low}, generation ${
          high & GENERATION_MASK
        }, result ${result}`,
      );
    }
    if (flags & GOES_ON) Op.report(op, result);
    else Op.complete(op, result, high >>> STEP_SHIFT & STEP_MASK);
  }

  #expire(): void {
    const nowMs = this.shim.kio_now_ms();
    for (;;) {
      const slot = this.timers.takeDue(nowMs);
      if (slot < 0) return;
      Op.expire(this.#ops[slot]!);
    }
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

  /** Cancels what is pending now and waits until all of it is complete. */
  async cancelAll(): Promise<void> {
    const ops = this.live();
    for (const op of ops) op.cancel();
    await Promise.all(ops);
  }

  /** Cancels and drains without giving the thread back, then closes. */
  closeNow(): void {
    if (this.#closed) return;
    if (this.#chain !== null) this.endChain();
    this.closing = true;
    this.shim.kio_loop_forget(this.handle);
    for (const op of this.live()) op.cancel();
    while (this.#pending > 0) {
      const count = this.step(true);
      // A link of a chain may have started. Asked only when nothing came, as
      // the kernel then looks at all that is pending.
      if (count <= 0 && this.#pending > 0) {
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
    if (!this.#closed) this.#destroy();
  }

  #destroy(): void {
    this.shim.kio_stats(this.handle, this.#counted);
    this.#closed = true;
    removeIdleListeners();
    rings.delete(this);
    this.shim.kio_lookups_end(this.handle);
    if (this.#waker !== null) this.#waker.close();
    else this.shim.kio_fd_close(this.shim.kio_event_fd(this.handle));
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
  const ops: Op<unknown>[] = [];
  for (const ring of rings) {
    for (const op of ring.live(fd)) {
      op.cancel();
      ops.push(op);
    }
    // Now, because the number may soon mean another file.
    ring.sendCancels();
  }
  return ops.length === 0 ? undefined : Promise.all(ops);
}

/** Where an operation was started, without the frames of the library. */
function stackOf(trace: Error | undefined): string {
  const lines = trace?.stack?.split("\n").slice(1) ?? [];
  const folders = ["../", "../../net/", "../../helpers/"]
    .map((name) => new URL(name, import.meta.url).href);
  const isOurs = (line: string) => folders.some((it) => line.includes(it));
  return lines.filter((line) => !isOurs(line)).join("\n");
}

const OPENING_HINTS: Record<string, string> = {
  EPERM:
    ": io_uring is forbidden here, by a seccomp filter (containers) or by the sysctl kernel.io_uring_disabled",
  ENOSYS:
    ": this system has no io_uring; it needs Linux 6.1 or later without a filter for it",
  ENOMEM:
    ": the limit of locked memory (ulimit -l) or of address space (ulimit -v) is used up; raise it or use fewer entries",
  EMFILE: ": the limit of open files is reached (ulimit -n)",
  EOPNOTSUPP:
    ": this Deno has nothing that would make the end of a program safe (Node-API)",
};

/** Why there is no ring, and what to do about it. */
export function openingError(errno: number): Error {
  const error = errorOf(errno);
  return exceptionOf(
    error,
    "open an io_uring",
    "IoContext",
    OPENING_HINTS[error.code],
  );
}
