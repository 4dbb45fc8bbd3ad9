import { checkBounds, checkInteger, checkOptions } from "../lib/check.ts";
import { ECANCELED, EMSGSIZE, ENODATA, ETIMEDOUT } from "../lib/errno.ts";
import { READ_BUFFERED } from "../lib/ops/table.ts";
import {
  type Failure,
  failureOf,
  type Result,
  success,
} from "../lib/result.ts";
import type { BufferLease } from "../lib/BufferLease.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import type { UringStream } from "../lib/UringStream.ts";
import { LeaseSource, sourceOf } from "./lease_source.ts";
import { ReaderMemory } from "./reader_memory.ts";
import type { ByteSource } from "./transport.ts";

const SIZE_MAX = 2 ** 16;
const SIZE_LIMIT = 2 ** 30;
const MARK_MAX = 256;

const { verb: VERB } = READ_BUFFERED;

const CARRIAGE_RETURN = 13;
const LINE_FEED = new Uint8Array([10]);

/** Options of a `BufferedReader`. */
export interface BufferedReaderOptions {
  /** Bytes that its memory holds at most, 1 to 2^30. Nothing larger can be read
   * in one piece.
   * @default {65536} */
  sizeMax?: number | undefined;
}

/** Options of `BufferedReader.until()` and `line()`. */
export interface UntilOptions extends BoundOptions {
  /** Bytes before the mark at most; as many as fit into `sizeMax` if left
   * out. */
  max?: number | undefined;
}

/**
 * Reads messages from a stream of bytes: so many bytes, or those up to a mark.
 *
 * Results are views of its memory, lent until the next call: copy what you keep.
 * Bytes that a call has received and not given stay for the next one, whatever
 * the call ended with. One call at a time.
 *
 * Everything is bounded: memory by `sizeMax`, each message by `max`, and the
 * time of the whole of it by `timeoutMs`. A peer that sends a byte now and then
 * does not extend that.
 *
 * @example A length, then as many bytes
 * ```ts
 * import {
 *   BufferedReader, IoContext, Socket, SocketTransport, unwrap,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const [a, b] = unwrap(Socket.pair());
 * await using left = new SocketTransport(ctx, a);
 * await using right = new SocketTransport(ctx, b);
 * unwrap(await left.send(new Uint8Array([2, 7, 8])));
 *
 * const reader = new BufferedReader(right);
 * const [length = 0] = unwrap(await reader.exactly(1, { timeoutMs: 1000 }));
 * const body = unwrap(await reader.exactly(length, { timeoutMs: 1000 }));
 * assertEquals([...body], [7, 8]);
 * ```
 */
export class BufferedReader {
  readonly #source: ByteSource | LeaseSource;
  readonly #sizeMax: number;
  readonly #memory: ReaderMemory;
  /** The last result of a stream of leases. */
  #ended: Failure | undefined = undefined;
  #isBusy = false;

  /**
   * Reads from a source, which stays the caller's.
   *
   * A stream of leases is `asyncRecvMultishot()`: a connection that waits has no
   * memory then. A result that came in one buffer of the pool is a view of that.
   * Others are put together. When the stream is left or disposed of, what was not
   * given yet is lost.
   *
   * @param source A `Transport`, anything that receives, or a stream of leases
   * without a callback. Who receives from it as well takes bytes of messages.
   * @param options The limit of the memory.
   * @throws {RangeError} If `sizeMax` is out of range.
   * @throws {TypeError} If an argument has the wrong type.
   */
  constructor(
    source: ByteSource | UringStream<BufferLease>,
    options: BufferedReaderOptions = {},
  ) {
    checkOptions(options, VERB);
    const { sizeMax = SIZE_MAX } = options;
    checkInteger(sizeMax, SIZE_LIMIT, "sizeMax", VERB, 1);
    this.#source = sourceOf(source);
    this.#sizeMax = sizeMax;
    this.#memory = new ReaderMemory(sizeMax);
  }

  /** Bytes that are there, and that no call has given yet. Leases that wait in a
   * stream are not counted. */
  get buffered(): number {
    return this.#memory.length + this.#memory.behind;
  }

  /**
   * Reads as many bytes.
   *
   * @param count Bytes, 0 to 2^53 - 1. It may come from the peer.
   * @param options `timeoutMs` and `signal` for the whole.
   * @returns The bytes, lent until the next call. `EMSGSIZE` for more than
   * `sizeMax`. `ENODATA` if the source ends before; `buffered` tells if there
   * was a part. `ETIMEDOUT`, `ECANCELED`, and the errors of the source.
   * @throws {RangeError} If `count` or `timeoutMs` is out of range.
   * @throws {TypeError} If an option has the wrong type, or another call is not
   * over. Its promise rejects so if the stream of leases was left.
   */
  exactly(
    count: number,
    options: BoundOptions = {},
  ): Promise<Result<Uint8Array<ArrayBuffer>>> {
    checkInteger(count, Number.MAX_SAFE_INTEGER, "count", VERB);
    checkBounds(options, VERB);
    return this.#wait(() => this.#giveExactly(count), count, options);
  }

  /**
   * Takes as many bytes, if they are there already.
   *
   * @param count As for `exactly()`.
   * @returns The bytes, lent until the next call; undefined if there are fewer.
   * @throws {RangeError} If `count` is out of range.
   * @throws {TypeError} If another call is not over.
   */
  takeExactly(count: number): Uint8Array<ArrayBuffer> | undefined {
    checkInteger(count, Number.MAX_SAFE_INTEGER, "count", VERB);
    return this.#now(() => this.#giveExactly(count));
  }

  /**
   * Waits until there are as many bytes, and shows all that are there without
   * taking any. A parser of its own takes what it has used by `takeExactly()`.
   *
   * @param count As for `exactly()`; one more than `buffered` waits for news.
   * @param options As for `exactly()`.
   * @returns The bytes, `count` or more, lent until the next call. The errors of
   * `exactly()`.
   * @throws As `exactly()`.
   */
  peek(
    count: number,
    options: BoundOptions = {},
  ): Promise<Result<Uint8Array<ArrayBuffer>>> {
    checkInteger(count, Number.MAX_SAFE_INTEGER, "count", VERB);
    checkBounds(options, VERB);
    return this.#wait(
      () => {
        if (this.#memory.length < count || count > this.#sizeMax) return;
        while (this.#memory.join());
        return this.#memory.show();
      },
      count,
      options,
    );
  }

  /**
   * Reads up to a mark, and takes the mark away.
   *
   * @param mark The bytes of the mark, 1 to 256; text as UTF-8.
   * @param options The limit of the bytes before it; `timeoutMs` and `signal` for
   * the whole.
   * @returns The bytes before the mark, lent until the next call. `EMSGSIZE` if
   * there are more than `max`; they stay, and the connection is of no use any
   * more. `ENODATA` if the source ends before; `buffered` tells if there was a
   * part. `ETIMEDOUT`, `ECANCELED`, and the errors of the source.
   * @throws {RangeError} If the mark has no bytes or too many, or an option is out
   * of range.
   * @throws {TypeError} If an argument has the wrong type, or another call is not
   * over.
   */
  until(
    mark: string | Uint8Array,
    options: UntilOptions = {},
  ): Promise<Result<Uint8Array<ArrayBuffer>>> {
    const bytes = markOf(mark);
    checkBounds(options, VERB);
    const roomMax = this.#sizeMax - bytes.length;
    const { max = roomMax } = options;
    checkInteger(max, SIZE_LIMIT, "max", VERB);
    const most = Math.min(max, roomMax);
    return this.#wait(
      this.#upTo(bytes, most),
      Math.min(max + bytes.length, this.#sizeMax),
      options,
    );
  }

  /**
   * Takes the bytes up to a mark, if they are there already.
   *
   * @param mark As for `until()`.
   * @returns The bytes before the mark, lent until the next call; undefined if
   * there is no mark.
   * @throws {RangeError} If the mark has no bytes or too many.
   * @throws {TypeError} If it is no mark, or another call is not over.
   */
  takeUntil(mark: string | Uint8Array): Uint8Array<ArrayBuffer> | undefined {
    const bytes = markOf(mark);
    return this.#now(this.#upTo(bytes, this.#sizeMax - bytes.length));
  }

  /**
   * Reads a line: up to a line feed, without that and without a carriage return
   * before it. At the end of the source the rest is a line as well.
   *
   * @param options As for `until()`.
   * @returns The line, decoded as UTF-8; undefined at the end. The errors of
   * `until()`, but for `ENODATA`.
   * @throws As `until()`, always as a rejection.
   */
  async line(
    options: UntilOptions = {},
  ): Promise<Result<string | undefined>> {
    const read = await this.until(LINE_FEED, options);
    if (read.ok) return success(textOf(read.value));
    if (read.error.errno !== ENODATA) return read;
    const { length } = this.#memory;
    return success(
      length === 0 ? undefined : textOf(this.#memory.give(length, 0)),
    );
  }

  /**
   * Takes a line, if it is there already.
   *
   * @returns The line, as `line()` gives it; undefined if there is none that
   * ends.
   * @throws {TypeError} If another call is not over.
   */
  takeLine(): string | undefined {
    const bytes = this.takeUntil(LINE_FEED);
    return bytes === undefined ? undefined : textOf(bytes);
  }

  /**
   * Reads lines up to the end.
   *
   * @param options As for `line()`; `timeoutMs` is for each line.
   * @returns The lines. A failure is the last result.
   * @throws As `line()`, as a rejection of the iteration.
   */
  lines(options: UntilOptions = {}): AsyncIterable<Result<string>> {
    let isOver = false;
    const next = async (): Promise<
      IteratorResult<Result<string>, undefined>
    > => {
      if (isOver) return { done: true, value: undefined };
      const line = await this.line(options);
      isOver = !line.ok || line.value === undefined;
      if (line.ok && line.value === undefined) return next();
      return { done: false, value: line as Result<string> };
    };
    // By hand: an async generator takes longer for each line.
    return { [Symbol.asyncIterator]: () => ({ next }) };
  }

  /**
   * Puts bytes back: the next call reads them first.
   *
   * @param bytes The bytes, which are copied. Together with what is there they
   * must fit into `sizeMax`.
   * @throws {RangeError} If there is no room.
   * @throws {TypeError} If it is no Uint8Array, or another call is not over.
   */
  unread(bytes: Uint8Array): void {
    this.#checkFree();
    if (!(bytes instanceof Uint8Array)) {
      throw new TypeError(
        `Cannot unread: expected a Uint8Array, got ${typeof bytes}`,
      );
    }
    const count = bytes.length + this.buffered;
    if (count > this.#sizeMax) {
      throw new RangeError(
        `Cannot unread: ${count} bytes would be more than sizeMax, ${this.#sizeMax}; raise it`,
      );
    }
    this.#memory.unread(bytes);
  }

  #giveExactly(count: number): Uint8Array<ArrayBuffer> | undefined {
    const isThere = this.#memory.length >= count && count <= this.#sizeMax;
    return isThere ? this.#memory.give(count, 0) : undefined;
  }

  /** Gives the bytes before a mark, when it comes after `most` bytes at most. */
  #upTo(mark: Uint8Array, most: number) {
    // What was searched once is not searched again.
    let searched = 0;
    return () => {
      const at = this.#memory.find(mark, searched);
      searched = Math.max(0, this.#memory.length - mark.length + 1);
      const isThere = at >= 0 && at <= most;
      return isThere ? this.#memory.give(at, mark.length) : undefined;
    };
  }

  /** Gives what `take` has without waiting. */
  #now<T>(take: () => T | undefined): T | undefined {
    this.#checkFree();
    for (;;) {
      const taken = take();
      if (taken !== undefined || !this.#more()) return taken;
    }
  }

  /** Adds bytes that are there already. Returns false if there are none. */
  #more(): boolean {
    if (this.#memory.join()) return true;
    const source = this.#source;
    const isFull = this.#memory.length >= this.#sizeMax;
    if (isFull || !(source instanceof LeaseSource)) return false;
    // The turn of the stream takes the lease away.
    if (source.isFree) this.#memory.detach();
    const result = source.take();
    return result !== undefined && this.#accept(result) === undefined;
  }

  /** Takes the result of a stream. Returns its failure. */
  #accept(result: Result<BufferLease>): Failure | undefined {
    if (!result.ok) return this.#ended = result;
    this.#memory.detach();
    this.#memory.lend(result.value);
    return undefined;
  }

  /** Gives what `take` has, at once or when something was received. */
  #wait<T>(
    take: () => T | undefined,
    enough: number,
    options: BoundOptions,
  ): Promise<Result<T>> {
    this.#checkFree();
    const taken = take();
    return taken === undefined
      ? this.#receiveFor(take, enough, options)
      : Promise.resolve(success(taken));
  }

  /** Receives until `take` has something, which it has when there are `enough`
   * bytes, or never. */
  async #receiveFor<T>(
    take: () => T | undefined,
    enough: number,
    { timeoutMs = Infinity, signal }: BoundOptions,
  ): Promise<Result<T>> {
    // The clock costs as much as the rest of a call.
    const isTimed = timeoutMs !== Infinity;
    const endMs = isTimed ? performance.now() + timeoutMs : Infinity;
    let leftMs = timeoutMs;
    this.#isBusy = true;
    try {
      for (;;) {
        if (this.#memory.length >= enough || enough > this.#sizeMax) {
          return failureOf(READ_BUFFERED, EMSGSIZE);
        }
        // A peer that is never slow would hide that the time is over.
        if (leftMs < 0) return failureOf(READ_BUFFERED, ETIMEDOUT);
        if (!this.#more()) {
          const source = this.#source;
          let failure: Failure | undefined;
          if (source instanceof LeaseSource) {
            failure = await this.#nextLease(source, leftMs, signal);
          } else {
            // Not in a function of its own: one promise less for each receive.
            const room = this.#memory.room();
            const timeoutMs = isTimed ? leftMs : undefined;
            const received = await source.recv(room, { timeoutMs, signal });
            failure = this.#filled(received, room.length);
          }
          if (failure !== undefined) return failure;
        }
        const taken = take();
        if (taken !== undefined) return success(taken);
        if (isTimed) leftMs = endMs - performance.now();
      }
    } finally {
      this.#isBusy = false;
    }
  }

  /** Waits for a lease. Returns a failure if none comes any more. */
  async #nextLease(
    source: LeaseSource,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Failure | undefined> {
    if (this.#ended !== undefined) return this.#ended;
    const step = await source.next(timeoutMs, signal);
    if (step === null) {
      return signal?.aborted ? failureOf(READ_BUFFERED, ECANCELED) : undefined;
    }
    return step.done
      ? failureOf(READ_BUFFERED, ENODATA)
      : this.#accept(step.value);
  }

  /** Adds what was received. Returns a failure if nothing comes any more. */
  #filled(received: Result<number>, room: number): Failure | undefined {
    if (!received.ok) return received;
    checkInteger(received.value, room, "bytes received", VERB);
    this.#memory.filled(received.value);
    return received.value > 0 ? undefined : failureOf(READ_BUFFERED, ENODATA);
  }

  #checkFree(): void {
    if (!this.#isBusy) return;
    throw new TypeError(
      `Cannot ${VERB}: another call of this reader is not over; await it first`,
    );
  }
}

function markOf(mark: string | Uint8Array): Uint8Array {
  const bytes = typeof mark === "string"
    ? new TextEncoder().encode(mark)
    : mark;
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot ${VERB}: mark must be a string or a Uint8Array, got ${typeof mark}`,
    );
  }
  checkInteger(bytes.length, MARK_MAX, "bytes of the mark", VERB, 1);
  return bytes.slice();
}

/** Keeps a byte order mark: it is a part of the line. */
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Gives a line as text. */
function textOf(line: Uint8Array): string {
  const end = line.at(-1) === CARRIAGE_RETURN ? line.length - 1 : line.length;
  return utf8.decode(line.subarray(0, end));
}
