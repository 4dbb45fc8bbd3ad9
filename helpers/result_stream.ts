import { ECANCELED, ETIMEDOUT } from "../lib/errno.ts";
import {
  actionOf,
  exceptionOf,
  type Failure,
  type Result,
} from "../lib/result.ts";
import {
  type Consumed,
  OVER,
  Results,
  type Step,
  Unwrapped,
} from "../lib/ring/iterators.ts";
import type { Operation } from "../lib/ring/operation.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import type { UringOp } from "../lib/UringOp.ts";
import type { UringStream } from "../lib/UringStream.ts";

/** Results that wait to be taken, beyond which a stream asks for no more. */
const QUEUE_MAX = 4096;

/** Results that came together. */
interface Lot<T> {
  readonly count: number;
  readonly make: (index: number) => Result<T>;
  taken: number;
}

/**
 * The results of work that threads of the shim do, as one operation from its
 * start to its last result. Its subclass has the work, and stops to ask for
 * more when the queue is full.
 */
export abstract class ResultStream<T> implements UringStream<T>, Consumed<T> {
  readonly #op: UringOp<void>;
  readonly #settle: (result: Result<void>) => void;
  readonly #operation: Operation;
  readonly #queue: Lot<T>[] = [];
  /** How many results its lots have. */
  #waiting = 0;
  /** Consumers that wait: only while the queue is empty. */
  readonly #takers: ((step: Step<Result<T>>) => void)[] = [];
  readonly #ended = Promise.withResolvers<Result<void>>();
  /** The work waits for room. */
  #isPausing = false;
  /** The consumer has left: what comes is nobody's. */
  #left = false;
  #over = false;

  constructor(ring: Ring, operation: Operation, action: string) {
    const entry = ring.take(operation);
    const { op, settle } = ring.external<void>(
      entry,
      () => this.stop(),
      action,
    );
    this.#op = op;
    this.#settle = settle;
    this.#operation = operation;
    void op.then((result) => this.#end(result));
  }

  /** Goes on with the work: there is room again. */
  protected abstract goOn(): void;

  /** Gives up all work. */
  protected abstract stop(): void;

  /** Tells whether the queue is full. If so `goOn()` is called when half of it
   * was taken. */
  protected get isFull(): boolean {
    return this.#isPausing = this.#waiting >= QUEUE_MAX;
  }

  /** Adds results: `make` gives each of them when it is taken. So a result that
   * nobody has taken yet is no object, and one that was taken dies young. */
  protected push(count: number, make: (index: number) => Result<T>): void {
    if (count === 0) return;
    this.#queue.push({ count, make, taken: 0 });
    this.#waiting += count;
    while (this.#takers.length > 0) {
      const result = this.take();
      if (result === undefined) return;
      this.#takers.shift()!({ done: false, value: result });
    }
  }

  /** Ends the operation: an error is its last result. */
  protected finish(result: Result<void>): void {
    this.#settle(result);
  }

  [Symbol.asyncIterator](): AsyncIterator<Result<T>, undefined> {
    return new Results(this);
  }

  orThrow(): AsyncIterable<T> {
    return { [Symbol.asyncIterator]: () => new Unwrapped(this) };
  }

  take(): Result<T> | undefined {
    const lot = this.#queue[0];
    if (lot === undefined) return undefined;
    const result = lot.make(lot.taken++);
    if (lot.taken === lot.count) this.#queue.shift();
    this.#waiting--;
    if (this.#isPausing && this.#waiting <= QUEUE_MAX / 2) {
      this.#isPausing = false;
      this.goOn();
    }
    return result;
  }

  get closed(): Promise<Result<void>> {
    return this.#ended.promise;
  }

  cancel(): void {
    this.#op.cancel();
  }

  withSignal(signal: AbortSignal): this {
    this.#op.withSignal(signal);
    return this;
  }

  withTimeout(timeoutMs: number): this {
    this.#op.withTimeout(timeoutMs);
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
  }

  nextResult(): Promise<Step<Result<T>>> {
    const result = this.take();
    if (result !== undefined) {
      return Promise.resolve({ done: false, value: result });
    }
    if (this.#over || this.#left) return Promise.resolve(OVER);
    return new Promise((resolve) => this.#takers.push(resolve));
  }

  /** It is no async function for a value that is there, as a tree has many. */
  nextValue(): Promise<Step<T>> {
    const result = this.take();
    if (result?.ok) {
      return Promise.resolve({ done: false, value: result.value });
    }
    if (result !== undefined) return this.#fail(result);
    return this.nextResult().then((step) => {
      if (step.done) return OVER;
      const { value } = step;
      return value.ok ? { done: false, value: value.value } : this.#fail(value);
    });
  }

  async #fail({ error }: Failure): Promise<never> {
    await this.leave();
    const { verb, name } = this.#operation;
    throw exceptionOf(error, actionOf(error) ?? verb, name);
  }

  /** Ends the stream for a consumer that takes no more. */
  async leave(): Promise<IteratorReturnResult<undefined>> {
    this.#left = true;
    this.#drop();
    this.cancel();
    await this.closed;
    return OVER;
  }

  #drop(): void {
    this.#queue.length = 0;
    this.#waiting = 0;
  }

  /** Its last result has come. */
  #end(result: Result<void>): void {
    this.#over = true;
    if (!result.ok) {
      const { errno } = result.error;
      if (errno === ECANCELED || errno === ETIMEDOUT) this.#drop();
      if (!this.#left) this.push(1, () => result);
    }
    for (const taker of this.#takers.splice(0)) taker(OVER);
    this.#ended.resolve(result);
  }
}
