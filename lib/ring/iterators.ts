/** The iterators of a stream: classes, as a closure for each method of each
 * iterator takes more memory. */
import type { Result } from "../result.ts";

export type Step<T> = IteratorResult<T, undefined>;

export const OVER: IteratorReturnResult<undefined> = {
  done: true,
  value: undefined,
};

/** A stream, for its iterators. */
export interface Consumed<T> {
  nextResult(): Promise<Step<Result<T>>>;
  /** The next value; rejects instead of a failure. */
  nextValue(): Promise<Step<T>>;
  /** Ends the stream for a consumer that takes no more. */
  leave(): Promise<IteratorReturnResult<undefined>>;
}

/** Iterates over results. */
export class Results<T> implements AsyncIterator<Result<T>, undefined> {
  readonly #stream: Consumed<T>;

  constructor(stream: Consumed<T>) {
    this.#stream = stream;
  }

  next(): Promise<Step<Result<T>>> {
    return this.#stream.nextResult();
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    return this.#stream.leave();
  }
}

/** Iterates over values. */
export class Unwrapped<T> implements AsyncIterator<T, undefined> {
  readonly #stream: Consumed<T>;

  constructor(stream: Consumed<T>) {
    this.#stream = stream;
  }

  next(): Promise<Step<T>> {
    return this.#stream.nextValue();
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    return this.#stream.leave();
  }
}
