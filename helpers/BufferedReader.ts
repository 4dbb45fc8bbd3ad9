import { checkBounds, checkInteger, checkOptions } from "../lib/check.ts";
import { EMSGSIZE, ENODATA, ETIMEDOUT } from "../lib/errno.ts";
import { READ_BUFFERED } from "../lib/ops/table.ts";
import { pin } from "../lib/pin.ts";
import {
  type Failure,
  failureOf,
  type Result,
  success,
} from "../lib/result.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import type { ByteSource } from "./transport.ts";

const SIZE_FIRST = 4096;
const SIZE_MAX = 2 ** 16;
const SIZE_LIMIT = 2 ** 30;
const MARK_MAX = 256;

const { verb: VERB } = READ_BUFFERED;

const CARRIAGE_RETURN = 13;
const LINE_FEED = new Uint8Array([10]);

/** Options of a `BufferedReader`. */
export interface BufferedReaderOptions {
  /** Bytes that it holds at most, 1 to 2^30. Nothing larger can be read in one
   * piece.
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
 * What a call has received and not given stays for the next one, whatever the
 * call ended with. One call at a time.
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
  readonly #source: ByteSource;
  readonly #sizeMax: number;
  #memory: Uint8Array<ArrayBuffer>;
  /** The bytes that are there are from here to `#to`. */
  #from = 0;
  #to = 0;
  #isBusy = false;

  /**
   * Reads from a source, which stays the caller's.
   *
   * @param source A `Transport`, or anything that receives. Who receives from it
   * as well takes bytes of messages.
   * @param options The limit of the memory.
   * @throws {RangeError} If `sizeMax` is out of range.
   * @throws {TypeError} If an argument has the wrong type.
   */
  constructor(source: ByteSource, options: BufferedReaderOptions = {}) {
    checkOptions(options, VERB);
    const { sizeMax = SIZE_MAX } = options;
    checkInteger(sizeMax, SIZE_LIMIT, "sizeMax", VERB, 1);
    if (typeof source?.recv !== "function") {
      throw new TypeError(
        `Cannot ${VERB}: expected a source that has recv(), as a SocketTransport, got ${typeof source}`,
      );
    }
    this.#source = source;
    this.#sizeMax = sizeMax;
    this.#memory = pin(new Uint8Array(Math.min(SIZE_FIRST, sizeMax)));
  }

  /** Bytes that are there, and that no call has given yet. */
  get buffered(): number {
    return this.#to - this.#from;
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
   * over.
   */
  exactly(
    count: number,
    options: BoundOptions = {},
  ): Promise<Result<Uint8Array<ArrayBuffer>>> {
    checkInteger(count, Number.MAX_SAFE_INTEGER, "count", VERB);
    checkBounds(options, VERB);
    return this.#wait(
      () => this.buffered < count ? undefined : this.#give(count, 0),
      count,
      options,
    );
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
    this.#checkFree();
    return this.buffered < count ? undefined : this.#give(count, 0);
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
      () =>
        this.buffered < count
          ? undefined
          : this.#memory.subarray(this.#from, this.#to),
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
    const { max = this.#sizeMax - bytes.length } = options;
    checkInteger(max, SIZE_LIMIT, "max", VERB);
    // What was searched once is not searched again.
    let searched = 0;
    const take = () => {
      const at = this.#find(bytes, searched);
      searched = Math.max(0, this.buffered - bytes.length + 1);
      return at < 0 || at > max ? undefined : this.#give(at, bytes.length);
    };
    const enough = Math.min(max + bytes.length, this.#sizeMax);
    return this.#wait(take, enough, options);
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
    this.#checkFree();
    const at = this.#find(bytes, 0);
    return at < 0 ? undefined : this.#give(at, bytes.length);
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
    if (this.buffered === 0) return success(undefined);
    return success(textOf(this.#give(this.buffered, 0)));
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
    if (this.#from < bytes.length) this.#move(count, bytes.length);
    this.#from -= bytes.length;
    this.#memory.set(bytes, this.#from);
  }

  /** Gives the first bytes, and drops some behind them. */
  #give(count: number, dropped: number): Uint8Array<ArrayBuffer> {
    const { buffer } = this.#memory;
    const bytes = new Uint8Array(buffer, this.#from, count);
    this.#from += count + dropped;
    return bytes;
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
        if (this.buffered >= enough || enough > this.#sizeMax) {
          return failureOf(READ_BUFFERED, EMSGSIZE);
        }
        // A peer that is never slow would hide that the time is over.
        if (leftMs < 0) return failureOf(READ_BUFFERED, ETIMEDOUT);
        const failure = await this.#receive(leftMs, signal);
        if (failure !== undefined) return failure;
        const taken = take();
        if (taken !== undefined) return success(taken);
        if (isTimed) leftMs = endMs - performance.now();
      }
    } finally {
      this.#isBusy = false;
    }
  }

  /** Receives something more. Returns a failure if nothing came. */
  async #receive(
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Failure | undefined> {
    // Else there would be less and less room, and messages in ever more parts.
    if (this.buffered === 0) this.#from = this.#to = 0;
    if (this.#to === this.#memory.length) this.#makeRoom();
    const room = this.#memory.subarray(this.#to);
    const received = await this.#source.recv(room, {
      timeoutMs: timeoutMs === Infinity ? undefined : timeoutMs,
      signal,
    });
    if (!received.ok) return received;
    checkInteger(received.value, room.length, "bytes received", VERB);
    this.#to += received.value;
    return received.value > 0 ? undefined : failureOf(READ_BUFFERED, ENODATA);
  }

  /** Makes room behind the bytes that are there. Memory grows as bytes come, and
   * not because a peer says how many will. */
  #makeRoom(): void {
    const { length } = this.#memory;
    const isRoomy = this.#from >= length / 2 || length === this.#sizeMax;
    this.#move(isRoomy ? length : Math.min(2 * length, this.#sizeMax), 0);
  }

  /** Moves the bytes that are there to a place in memory of that size. */
  #move(size: number, at: number): void {
    const { buffered } = this;
    const bytes = this.#memory.subarray(this.#from, this.#to);
    if (size > this.#memory.length) {
      this.#memory = pin(new Uint8Array(size));
      this.#memory.set(bytes, at);
    } else this.#memory.copyWithin(at, this.#from, this.#to);
    this.#from = at;
    this.#to = at + buffered;
  }

  #find(mark: Uint8Array, from: number): number {
    const there = this.#memory.subarray(this.#from, this.#to);
    for (let at = from;; at++) {
      at = there.indexOf(mark[0]!, at);
      if (at < 0 || at + mark.length > there.length) return -1;
      if (mark.every((byte, i) => there[at + i] === byte)) return at;
    }
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
