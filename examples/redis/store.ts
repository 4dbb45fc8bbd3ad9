/** The keys and their values, in memory. Each byte is a character. */
import { Buffer } from "node:buffer";
import { textOf } from "./request.ts";

/** The memory of a key beside its text and that of its value, about. */
const ENTRY_SIZE = 100;
/** Keys with a time to live that one `sweep()` looks at. */
const SWEPT_MAX = 1000;

/** Takes note of each change: as a request that repeats it, and as a function
 * that undoes it. */
export type OnChange = (request: string, undo: () => void) => void;

/** The keys and what they have. Time goes into memory that is not in the cache,
 * so there is little of it: numbers in arrays, and no object for each key. */
class Content {
  /** The place of each key in the arrays. */
  readonly places = new Map<string, number>();
  readonly values: string[] = [];
  /** The memory of each value and its key, about; 0 for a place that is free. */
  readonly sizes: number[] = [];
  readonly free: number[] = [];
  /** The keys that expire, and when: milliseconds since 1970. */
  readonly expiries = new Map<string, number>();
  /** The memory of all, about. */
  bytes = 0;

  /** Gives a key that is not there a place. */
  add(key: string): number {
    const place = this.free.pop() ?? this.values.push("") - 1;
    this.sizes[place] = 0;
    this.places.set(compact(key), place);
    return place;
  }

  delete(key: string, place: number): void {
    this.places.delete(key);
    this.bytes -= this.sizes[place]!;
    this.sizes[place] = 0;
    this.values[place] = "";
    this.free.push(place);
  }
}

/** Keys and values, within some memory. */
export class Store {
  bytesMax: number;
  onChange: OnChange | undefined;
  #content = new Content();

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Keys, those included that have expired and were not looked at since. */
  get size(): number {
    return this.#content.places.size;
  }

  /** The memory of all, about. */
  get bytes(): number {
    return this.#content.bytes;
  }

  get(key: string): string | undefined {
    const expiresMs = this.expiresMs(key);
    // No change to take note of: it has expired after a restart, too.
    if (expiresMs !== undefined && expiresMs <= Date.now()) this.#write(key);
    return this.#valueOf(key);
  }

  /** Milliseconds since 1970; undefined for a key that stays, or is not there. */
  expiresMs(key: string): number | undefined {
    const { expiries } = this.#content;
    return expiries.size === 0 ? undefined : expiries.get(key);
  }

  /** The keys that there are. */
  *keys(): Iterable<string> {
    for (const key of this.#content.places.keys()) {
      if (this.get(key) !== undefined) yield key;
    }
  }

  /**
   * Puts a value, in place of that which was there.
   *
   * @param expiresMs Milliseconds since 1970; the key stays if left out.
   * @param request A request that repeats it, if there is one.
   */
  put(key: string, value: string, expiresMs?: number, request?: string): void {
    const beforeMs = this.expiresMs(key);
    const before = this.#write(key, value, expiresMs);
    if (this.onChange === undefined) return;
    if (request === undefined) {
      const options = expiresMs === undefined ? [] : ["PXAT", `${expiresMs}`];
      request = requestOf("SET", key, value, ...options);
    }
    this.#note(request, key, before, beforeMs);
  }

  /** Changes the time of a key that there is. */
  expire(key: string, expiresMs: number): void {
    const beforeMs = this.expiresMs(key);
    const value = this.#write(key, this.#valueOf(key), expiresMs);
    const request = requestOf("PEXPIREAT", key, `${expiresMs}`);
    this.#note(request, key, value, beforeMs);
  }

  /** Returns true if there was one. */
  delete(key: string): boolean {
    if (this.get(key) === undefined) return false;
    const beforeMs = this.expiresMs(key);
    const before = this.#write(key);
    this.#note(requestOf("DEL", key), key, before, beforeMs);
    return true;
  }

  clear(): void {
    const before = this.#content;
    this.#content = new Content();
    this.onChange?.(requestOf("FLUSHALL"), () => this.#content = before);
  }

  /** Drops some of the keys that have expired. */
  sweep(): void {
    const { expiries } = this.#content;
    for (const [key, expiresMs] of expiries.entries().take(SWEPT_MAX)) {
      if (this.get(key) === undefined) continue;
      // To the end, so that each has its turn.
      expiries.delete(key);
      expiries.set(key, expiresMs);
    }
  }

  #valueOf(key: string): string | undefined {
    const { places, values } = this.#content;
    const place = places.get(key);
    return place === undefined ? undefined : values[place];
  }

  /** Writes a value, or drops it, and returns the one before. */
  #write(
    key: string,
    value?: string,
    expiresMs?: number,
  ): string | undefined {
    const content = this.#content;
    const { values, sizes, expiries } = content;
    let place = content.places.get(key);
    const before = place === undefined ? undefined : values[place];
    if (value !== undefined) {
      place ??= content.add(key);
      const size = ENTRY_SIZE + key.length + value.length;
      // The length of the value before would have to be fetched.
      content.bytes += size - sizes[place]!;
      sizes[place] = size;
      values[place] = compact(value);
    } else if (place !== undefined) content.delete(key, place);
    if (expiresMs !== undefined) expiries.set(compact(key), expiresMs);
    else if (expiries.size > 0) expiries.delete(key);
    return before;
  }

  #note(
    request: string,
    key: string,
    before: string | undefined,
    beforeMs: number | undefined,
  ): void {
    this.onChange?.(request, () => this.#write(key, before, beforeMs));
  }
}

/** A request of RESP. */
export function requestOf(...args: string[]): string {
  let text = `*${args.length}\r\n`;
  for (const arg of args) text += `$${arg.length}\r\n${arg}\r\n`;
  return text;
}

const encoder = new TextEncoder();

/** Writes characters as bytes. The quickest way for what is mostly ASCII. */
export function encode(text: string, into: Buffer): void {
  if (text.length <= 64) {
    for (let i = 0; i < text.length; i++) into[i] = text.charCodeAt(i);
    return;
  }
  const { read, written } = encoder.encodeInto(text, into);
  if (read !== text.length || written !== read) into.write(text, "latin1");
}

const scratch = Buffer.alloc(4096);
/** Shorter parts of a text are copies. */
const PART_MIN = 13;

/** A text of its own. V8 makes a part of another, which would keep all of the
 * message that it came with. */
function compact(text: string): string {
  if (text.length < PART_MIN) return text;
  const into = text.length <= scratch.length
    ? scratch
    : Buffer.allocUnsafeSlow(text.length);
  encode(text, into);
  return textOf(into, 0, text.length);
}
