/**
 * The many results of one operation: a queue with a bound between the kernel,
 * which posts when it likes, and a consumer, who takes when it likes.
 */
import type { Shim } from "../../ffi/load.ts";
import { checkDelay, checkSignal } from "../check.ts";
import { EAGAIN, ECANCELED, EINTR, EINVAL, ETIMEDOUT } from "../errno.ts";
import {
  actionOf,
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
import { type Entry, type Shots, State } from "./entry.ts";
import type { Operation } from "./operation.ts";
import type { Sqe } from "./sqe.ts";

/** Milliseconds until a shot is armed again that ends at once each time. */
const PAUSE_MS = 10;

/** Ends in a row, without a value between, before it pauses. */
const VAIN_MAX = 2;

/** The values of a stream, and who owns them while they wait to be taken. */
export interface Values<T> {
  /** Makes the value of a result. */
  of(result: number): T;
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

type Step<T> = IteratorResult<Result<T>, undefined>;

const OVER: IteratorReturnResult<undefined> = { done: true, value: undefined };

export class Stream<T> implements UringStream<T>, Shots {
  readonly #core: Core;
  readonly #entry: Entry;
  readonly #generation: number;
  readonly #operation: Operation;
  readonly #fd: number;
  readonly #sqe: Sqe;
  readonly #values: Values<T>;
  readonly #queueMax: number;
  readonly #queue: Result<T>[] = [];
  /** Consumers that wait: only while the queue is empty. */
  readonly #takers: ((step: Step<T>) => void)[] = [];
  readonly #ended = Promise.withResolvers<void>();
  /** The kernel was asked to stop, for want of room. */
  #pausing = false;
  /** Shots in a row that have ended at once. */
  #vain = 0;
  /** Each shot has one result, or the kernel knows no others. */
  #isSingle: boolean;
  /** The consumer has left: what comes is nobody's. */
  #left = false;
  #over = false;

  constructor(
    core: Core,
    entry: Entry,
    sqe: Sqe,
    values: Values<T>,
    queueMax: number,
  ) {
    this.#core = core;
    this.#entry = entry;
    this.#generation = entry.generation;
    this.#operation = entry.operation;
    this.#fd = sqe.fd;
    this.#sqe = sqe;
    this.#values = values;
    this.#isSingle = values.isSingle === true;
    this.#queueMax = queueMax;
    entry.settle = (result) => this.#end(result as Result<T>);
  }

  // ---- the consumer ---------------------------------------------------------

  [Symbol.asyncIterator](): AsyncIterator<Result<T>, undefined> {
    return {
      next: () => this.#next(),
      return: () => this.#leave(),
    };
  }

  orThrow(): AsyncIterable<T> {
    return {
      [Symbol.asyncIterator]: () => ({
        next: () => this.#next().then((step) => this.#valueOf(step)),
        return: () => this.#leave(),
      }),
    };
  }

  take(): Result<T> | undefined {
    const result = this.#queue.shift();
    if (result === undefined) return undefined;
    if (result.ok) this.#values.give(result.value);
    if (this.#queue.length <= this.#queueMax >> 1) this.#resume();
    return result;
  }

  cancel(): void {
    if (this.#isPending) cancel(this.#core, this.#entry);
  }

  withSignal(signal: AbortSignal): this {
    this.#check(() => checkSignal(signal, "attach a signal"));
    if (this.#isPending) cancelOnAbort(this.#entry, this, signal);
    return this;
  }

  withTimeout(timeoutMs: number): this {
    this.#check(() => checkDelay(timeoutMs, "timeoutMs", "set a timeout"));
    if (this.#isPending) limit(this.#core, this.#entry, timeoutMs);
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#leave();
  }

  /** The kernel, or the clock, still has it. */
  get #isPending(): boolean {
    return this.#entry.generation === this.#generation;
  }

  /** A limit that is wrong takes its operation with it: after the exception
   * nobody has it in hand. */
  #check(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (this.#isPending) abandon(this.#core, this.#entry);
      throw error;
    }
  }

  #next(): Promise<Step<T>> {
    const result = this.take();
    if (result !== undefined) {
      return Promise.resolve({ done: false, value: result });
    }
    if (this.#over || this.#left) return Promise.resolve(OVER);
    return new Promise((resolve) => this.#takers.push(resolve));
  }

  async #valueOf(step: Step<T>): Promise<IteratorResult<T, undefined>> {
    if (step.done === true) return OVER;
    const result = step.value;
    if (result.ok) return { done: false, value: result.value };
    await this.#leave();
    const { error } = result;
    const { verb, name } = this.#operation;
    const action = `${actionOf(error) ?? verb} (${shownFd(this.#fd)})`;
    throw exceptionOf(error, action, name);
  }

  /** Ends the stream for a consumer that takes no more. */
  async #leave(): Promise<IteratorReturnResult<undefined>> {
    this.#left = true;
    this.#discard();
    this.cancel();
    await this.#ended.promise;
    return OVER;
  }

  // ---- the kernel -----------------------------------------------------------

  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number {
    return this.#sqe.submit(shim, handle, id);
  }

  more(result: number): void {
    this.#vain = 0;
    this.#push(success(this.#values.of(result)));
    if (this.#pausing || this.#queue.length < this.#queueMax) return;
    this.#pausing = true;
    requestCancel(this.#core, this.#entry);
  }

  goesOn(result: number): boolean {
    const core = this.#core;
    const entry = this.#entry;
    const vain = this.#vain;
    if (result >= 0) this.more(result);
    if (entry.marks !== 0 || core.closing) return false;
    // A cancel for want of room has no shot to end any more.
    entry.awaitsCancel = false;
    if (result === -EINVAL && this.#sqe.ioprio !== 0 && vain === 0) {
      // This kernel, or this file, has single shots only.
      this.#sqe.ioprio = 0;
      this.#isSingle = true;
    } else if (result < 0 && !(result === -ECANCELED && this.#pausing)) {
      if (!this.#values.transient.has(-result)) return false;
      if (result !== -EAGAIN && result !== -EINTR) {
        this.#push(failureOf(this.#operation, -result));
      }
      this.#vain = vain + 1;
    } else if (result >= 0 && !this.#isSingle) this.#vain = vain + 1;
    this.#pausing = false;
    if (this.#queue.length >= this.#queueMax) {
      // The consumer brings it back.
      waitUntil(core, entry, State.EXTERNAL, Infinity);
    } else if (this.#vain > VAIN_MAX || isShort(-result)) {
      const wakeMs = core.shim.kio_now_ms() + PAUSE_MS;
      waitUntil(core, entry, State.BACKING_OFF, wakeMs);
    } else queueNext(core, entry, this);
    return true;
  }

  /** Arms it again, if it waits for room. */
  #resume(): void {
    const entry = this.#entry;
    if (!this.#isPending || entry.state !== State.EXTERNAL) return;
    if (this.#core.chaining) {
      // It is no link of the chain that is being queued.
      return queueMicrotask(() => this.#resume());
    }
    resume(this.#core, entry);
    queueNext(this.#core, entry, this);
    this.#core.schedule();
  }

  #push(result: Result<T>): void {
    const taker = this.#takers.shift();
    if (taker !== undefined) return taker({ done: false, value: result });
    if (result.ok) this.#values.keep(result.value);
    this.#queue.push(result);
  }

  /** Its last result has come. */
  #end(result: Result<T>): void {
    this.#over = true;
    const { errno } = (result as Failure).error;
    const isGivenUp = errno === ECANCELED || errno === ETIMEDOUT;
    if (isGivenUp || this.#left) this.#discard();
    if (!this.#left) this.#push(result);
    for (const taker of this.#takers.splice(0)) taker(OVER);
    this.#ended.resolve();
  }

  #discard(): void {
    for (const result of this.#queue.splice(0)) {
      if (result.ok) this.#values.discard(result.value);
    }
  }
}
