/**
 * The many results of one operation: a queue with a bound between the kernel,
 * which posts when it likes, and a consumer, who takes when it likes.
 */
import type { Shim } from "../../ffi/load.ts";
import { checkDelay, checkSignal } from "../check.ts";
import { EAGAIN, ECANCELED, EINTR, EINVAL, ETIMEDOUT } from "../errno.ts";
import {
  actionOf,
  DONE,
  exceptionOf,
  type Failure,
  failureOf,
  type Result,
  success,
} from "../result.ts";
import { shownFd } from "../DirectFd.ts";
import type { UringStream } from "../UringStream.ts";
import { abandon, cancel, cancelOnAbort, requestCancel } from "./cancel.ts";
import { limit, queueNext, resume, waitUntil } from "./clock.ts";
import { isShort } from "./completion.ts";
import type { Core } from "./core.ts";
import { type Entry, Mark, type Shots, State } from "./entry.ts";
import {
  type Consumed,
  OVER,
  Results,
  type Step,
  Unwrapped,
} from "./iterators.ts";
import type { Operation } from "./operation.ts";
import { conclude, end, resultFor } from "./settle.ts";
import type { Sqe } from "./sqe.ts";

/** Milliseconds until a shot is armed again that ends at once each time. */
const PAUSE_MS = 10;

/** Ends in a row, without a value between, before it pauses. */
const VAIN_MAX = 2;

/** Reasons to have no shot in the kernel, in the state `EXTERNAL`. */
export const Lack = {
  /** The consumer has as many values as it may have. */
  ROOM: 0,
  /** The pool has no buffer. */
  BUFFER: 1,
  /** Nothing comes any more: what has come is not through yet. */
  END: 2,
} as const;

/** The values of a stream, and who owns them while they wait to be taken. */
export interface Values<T> {
  /** Makes the value of a result; `flags` are IORING_CQE_F_*. */
  of(result: number, flags: number, stream: Stream<T>): T;
  /** Errors that the operation goes on after. */
  readonly transient: ReadonlySet<number>;
  /** Each shot has one result: it is no multishot. */
  readonly isSingle?: boolean;
  /** A value waits in the queue, and is the library's. */
  keep(value: T): void;
  /** A value that waited is the consumer's from now on. */
  give(value: T): void;
  /** Lets go of a value that the queue has, or that nobody wants. */
  discard(value: T): void;
}

/** A consumer that waits: for a result, or (with `reject`) for a value. */
interface Taker {
  resolve(step: Step<never>): void;
  reject: ((error: unknown) => void) | null;
}

export class Stream<T> implements UringStream<T>, Consumed<T>, Shots {
  protected readonly core: Core;
  protected readonly entry: Entry;
  protected readonly sqe: Sqe;
  /** A shot may end with each value: that is no reason to pause. */
  protected isBrief: boolean;
  readonly #generation: number;
  readonly #operation: Operation;
  readonly #values: Values<T>;
  readonly #valuesMax: number;
  /** Results that wait. Made when needed: a connection that waits has none. */
  #queue: Result<T>[] | null = null;
  /** The consumer that waits while the queue is empty, and others behind it. */
  #taker: Taker | null = null;
  #takers: Taker[] | null = null;
  /** Made when somebody asks for the end. */
  #closed: Promise<Result<void>> | null = null;
  #settleClosed: ((outcome: Result<void>) => void) | null = null;
  /** Values and failures that count: they wait in the queue, or are lent. */
  #held = 0;
  /** The kernel was asked to stop, for want of room. */
  #pausing = false;
  #lack: typeof Lack[keyof typeof Lack] = Lack.ROOM;
  /** Shots in a row that have ended at once. */
  #vain = 0;
  /** The errno that ends it, of something else than its shots. */
  #failed = 0;
  /** The consumer has left: what comes is nobody's. */
  #left = false;
  /** How it has ended; null before. */
  #outcome: Result<void> | null = null;

  constructor(
    core: Core,
    entry: Entry,
    sqe: Sqe,
    values: Values<T>,
    valuesMax: number,
  ) {
    this.core = core;
    this.entry = entry;
    this.#generation = entry.generation;
    this.sqe = sqe;
    this.#values = values;
    this.#valuesMax = valuesMax;
    this.#operation = entry.operation;
    this.isBrief = values.isSingle === true;
    // A closure would keep its scope as well.
    entry.settle = this.#end.bind(this) as (result: Result<unknown>) => void;
  }

  // ---- the consumer ---------------------------------------------------------

  [Symbol.asyncIterator](): AsyncIterator<Result<T>, undefined> {
    return new Results(this);
  }

  orThrow(): AsyncIterable<T> {
    return { [Symbol.asyncIterator]: () => new Unwrapped(this) };
  }

  take(): Result<T> | undefined {
    this.turn();
    const result = this.#queue?.shift();
    if (result === undefined) return undefined;
    if (result.ok) {
      this.#values.give(result.value);
      this.handed(result.value);
    } else this.back();
    return result;
  }

  get closed(): Promise<Result<void>> {
    return this.#closed ??= this.#outcome === null
      ? new Promise((resolve) => this.#settleClosed = resolve)
      : Promise.resolve(this.#outcome);
  }

  cancel(): void {
    if (this.isPending) cancel(this.core, this.entry);
  }

  withSignal(signal: AbortSignal): this {
    this.#check(() => checkSignal(signal, "attach a signal"));
    if (this.isPending) cancelOnAbort(this.entry, this, signal);
    return this;
  }

  withTimeout(timeoutMs: number): this {
    this.#check(() => checkDelay(timeoutMs, "timeoutMs", "set a timeout"));
    if (this.isPending) limit(this.core, this.entry, timeoutMs);
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
  }

  /** The kernel, or the clock, still has it. */
  protected get isPending(): boolean {
    return this.entry.generation === this.#generation;
  }

  /** A limit that is wrong takes its operation with it: after the exception
   * nobody has it in hand. */
  #check(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (this.isPending) abandon(this.core, this.entry);
      throw error;
    }
  }

  nextResult(): Promise<Step<Result<T>>> {
    const result = this.take();
    if (result !== undefined) {
      return Promise.resolve({ done: false, value: result });
    }
    if (this.#outcome !== null || this.#left) return Promise.resolve(OVER);
    return new Promise((resolve) => this.#wait({ resolve, reject: null }));
  }

  protected get isAwaited(): boolean {
    return this.#taker !== null;
  }

  #wait(taker: Taker): void {
    if (this.#taker === null) this.#taker = taker;
    else (this.#takers ??= []).push(taker);
  }

  /** Takes the consumer that has waited longest. */
  #waiting(): Taker | null {
    const taker = this.#taker;
    if (taker !== null) this.#taker = this.#takers?.shift() ?? null;
    return taker;
  }

  nextValue(): Promise<Step<T>> {
    const result = this.take();
    if (result?.ok) {
      return Promise.resolve({ done: false, value: result.value });
    }
    if (result !== undefined) return this.#thrown(result);
    if (this.#outcome !== null || this.#left) return Promise.resolve(OVER);
    return new Promise((resolve, reject) => this.#wait({ resolve, reject }));
  }

  /** Ends the stream, and throws the error that a consumer of values meets. */
  async #thrown({ error }: Failure): Promise<never> {
    await this.leave();
    const { verb, name } = this.#operation;
    const action = `${actionOf(error) ?? verb} (${shownFd(this.sqe.fd)})`;
    throw exceptionOf(error, action, name);
  }

  /** Ends the stream for a consumer that takes no more. */
  async leave(): Promise<IteratorReturnResult<undefined>> {
    this.#left = true;
    this.turn();
    this.#discard();
    this.cancel();
    await this.closed;
    return OVER;
  }

  // ---- what streams of leases do otherwise ------------------------------------

  /** The consumer comes back: its last value is not on loan any more. */
  protected turn(): void {}

  /** The consumer has a value from now on. */
  protected handed(_value: T): void {
    this.back();
  }

  /** Nobody wants a value. */
  protected drop(value: T): void {
    this.#values.discard(value);
    this.back();
  }

  /** The most values that count. */
  protected get valuesMax(): number {
    return this.#valuesMax;
  }

  /** All that came before the end is through. */
  protected get isThrough(): boolean {
    return true;
  }

  /** Queues the next shot. */
  protected arm(): void {
    queueNext(this.core, this.entry, this);
  }

  /** It is over: nothing comes any more. */
  protected ending(): void {}

  // ---- the kernel -----------------------------------------------------------

  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number {
    return this.sqe.submit(shim, handle, id);
  }

  more(result: number, flags: number): void {
    const value = this.#values.of(result, flags, this);
    this.#vain = 0;
    this.#held++;
    const { core, entry } = this;
    if (core.closing || entry.marks & Mark.ABANDONED) {
      return this.drop(value);
    }
    this.push(value);
    if (this.#pausing || this.#held < this.valuesMax) return;
    this.#pausing = true;
    requestCancel(core, entry);
  }

  last(result: number, flags: number): void {
    const vain = this.#vain;
    if (result >= 0) this.more(result, flags);
    if (this.isGivenUp) return this.conclude(result);
    if (result === -EINVAL && this.sqe.ioprio !== 0 && vain === 0) {
      // This kernel, or this file, has single shots only.
      this.sqe.ioprio = 0;
      this.isBrief = true;
    } else if (result < 0 && !(result === -ECANCELED && this.#pausing)) {
      if (!this.#values.transient.has(-result)) return this.conclude(result);
      if (result !== -EAGAIN && result !== -EINTR) {
        this.core.tally.addError(-result);
        this.#held++;
        this.#fail(failureOf(this.#operation, -result));
      }
      this.#vain = vain + 1;
    } else if (result >= 0 && !this.isBrief) this.#vain = vain + 1;
    this.goOn(this.#vain > VAIN_MAX || isShort(-result));
  }

  /** It must end with the shot that has ended. */
  protected get isGivenUp(): boolean {
    return this.entry.marks !== 0 || this.core.closing || this.#failed !== 0;
  }

  /** Ends it with its last result: never a value, which it has taken in. */
  protected conclude(result: number): void {
    const last = this.#failed === 0 ? result : -this.#failed;
    const reason = resultFor(this.entry, last < 0 ? last : -ECANCELED);
    conclude(this.core, this.entry, reason);
  }

  /** Ends it because of something else than its shots. */
  protected fail(errno: number, action: string): void {
    if (!this.isPending || this.isGivenUp) return;
    const { core, entry } = this;
    this.#failed = errno;
    entry.extra!.action = action;
    if (entry.state === State.SUBMITTED) requestCancel(core, entry);
    else end(core, entry, -errno);
  }

  /** Arms the next shot when there is room for its values. */
  protected goOn(pauses: boolean): void {
    const { core, entry } = this;
    // A cancel for want of room has no shot to end any more.
    entry.awaitsCancel = false;
    this.#pausing = false;
    if (this.#held >= this.valuesMax) this.wait(Lack.ROOM);
    else if (pauses) {
      const wakeMs = core.shim.kio_now_ms() + PAUSE_MS;
      waitUntil(core, entry, State.BACKING_OFF, wakeMs);
    } else this.arm();
  }

  /** Nothing comes any more. Ends it when all that has come is through. */
  protected stop(): void {
    this.entry.awaitsCancel = false;
    this.wait(Lack.END);
  }

  /** Waits without a shot: for the consumer, or for others. */
  protected wait(lack: typeof Lack[keyof typeof Lack]): void {
    this.#lack = lack;
    waitUntil(this.core, this.entry, State.EXTERNAL, Infinity);
    if (lack === Lack.END) this.look();
  }

  protected waitsFor(lack: typeof Lack[keyof typeof Lack]): boolean {
    return this.isPending && this.entry.state === State.EXTERNAL &&
      this.#lack === lack;
  }

  /** A value does not count any more. */
  protected back(): void {
    this.#held--;
    this.look();
  }

  /** Goes on, or ends, if it has waited for that. */
  protected look(): void {
    if (this.waitsFor(Lack.ROOM)) {
      if (this.#held <= this.valuesMax >> 1) this.#resume();
    } else if (this.waitsFor(Lack.END)) {
      if (this.#queue?.length || !this.isThrough) return;
      conclude(this.core, this.entry, 0);
      // The driver lets go of the event loop if nothing is pending any more.
      this.core.schedule();
    }
  }

  /** Arms it again, if it waits for room. */
  #resume(): void {
    if (!this.waitsFor(Lack.ROOM)) return;
    if (this.core.chaining) {
      // It is no link of the chain that is being queued.
      return queueMicrotask(() => this.#resume());
    }
    this.rearm();
  }

  /** Arms it after a wait. */
  protected rearm(): void {
    resume(this.core, this.entry);
    this.arm();
    this.core.schedule();
  }

  /** Gives a value to the consumer that waits, or to the queue. */
  protected push(value: T): void {
    const taker = this.#waiting();
    if (taker === null) {
      this.#values.keep(value);
      (this.#queue ??= []).push(success(value));
      return;
    }
    const given = taker.reject === null ? success(value) : value;
    taker.resolve({ done: false, value: given as never });
    this.handed(value);
  }

  #fail(result: Failure): void {
    const taker = this.#waiting();
    if (taker === null) {
      (this.#queue ??= []).push(result);
      return;
    }
    if (taker.reject === null) {
      taker.resolve({ done: false, value: result as never });
    } else this.#thrown(result).catch(taker.reject);
    this.back();
  }

  /** Its last result has come. */
  #end(result: Result<T>): void {
    this.#outcome = result.ok ? DONE : result;
    const errno = result.ok ? 0 : result.error.errno;
    const isGivenUp = errno === ECANCELED || errno === ETIMEDOUT;
    if (isGivenUp || this.#left) this.#discard();
    if (!result.ok && !this.#left) {
      this.#held++;
      this.#fail(result);
    }
    for (let it = this.#waiting(); it !== null; it = this.#waiting()) {
      it.resolve(OVER);
    }
    this.#settleClosed?.(this.#outcome);
    this.ending();
  }

  #discard(): void {
    for (const result of this.#queue?.splice(0) ?? []) {
      if (result.ok) this.drop(result.value);
      else this.back();
    }
  }
}
