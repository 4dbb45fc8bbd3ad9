/** The keys and their values, in memory. Each byte is a character. */
import { Buffer } from "node:buffer";
import { textOf } from "./request.ts";

/** The memory of a key beside its text and that of its value, about. */
const ENTRY_SIZE = 100;
/** Keys with a time to live that one `sweep()` looks at. */
const SWEPT_MAX = 1000;

/** A value. */
export interface Entry {
  value: string;
  /** The memory of it and its key, about. */
  size: number;
  /** Milliseconds since 1970; undefined for one that stays. */
  readonly expiresMs: number | undefined;
}

/** Takes note of each change: as a request that repeats it, and as a function
 * that undoes it. */
export type OnChange = (request: string, undo: () => void) => void;

/** Keys and values, within some memory. */
export class Store {
  bytesMax: number;
  onChange: OnChange | undefined;
  #entries = new Map<string, Entry>();
  /** The keys that expire. */
  #expiring = new Set<string>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Keys, those included that have expired and were not looked at since. */
  get size(): number {
    return this.#entries.size;
  }

  /** The memory of all, about. */
  get bytes(): number {
    return this.#bytes;
  }

  get(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry?.expiresMs === undefined) return entry;
    if (entry.expiresMs > Date.now()) return entry;
    // No change to take note of: it has expired after a restart, too.
    this.#replace(key, undefined);
    return undefined;
  }

  /** The keys that there are. */
  *keys(): Iterable<string> {
    for (const key of this.#entries.keys()) {
      if (this.get(key) !== undefined) yield key;
    }
  }

  put(key: string, value: string, expiresMs?: number): void {
    const size = ENTRY_SIZE + key.length + value.length;
    const entry = this.#entries.get(key);
    if (
      entry !== undefined && entry.expiresMs === undefined &&
      expiresMs === undefined
    ) {
      // The most common change costs one look-up.
      if (this.onChange !== undefined) {
        const before = { ...entry };
        this.onChange(
          requestOf("SET", key, value),
          () => this.#replace(key, before),
        );
      }
      this.#bytes += size - entry.size;
      entry.size = size;
      entry.value = compact(value);
      return;
    }
    const after = { value: compact(value), size, expiresMs };
    const before = this.#replace(key, after);
    if (this.onChange === undefined) return;
    const options = expiresMs === undefined ? [] : ["PXAT", `${expiresMs}`];
    const request = requestOf("SET", key, value, ...options);
    this.onChange(request, () => this.#replace(key, before));
  }

  /** Changes the time of a key that there is. */
  expire(key: string, { value, size }: Entry, expiresMs: number): void {
    const before = this.#replace(key, { value, size, expiresMs });
    const request = requestOf("PEXPIREAT", key, `${expiresMs}`);
    this.onChange?.(request, () => this.#replace(key, before));
  }

  /** Returns true if there was one. */
  delete(key: string): boolean {
    if (this.get(key) === undefined) return false;
    const before = this.#replace(key, undefined);
    this.onChange?.(
      requestOf("DEL", key),
      () => this.#replace(key, before),
    );
    return true;
  }

  clear(): void {
    const [entries, expiring, bytes] = [
      this.#entries,
      this.#expiring,
      this.#bytes,
    ];
    this.#entries = new Map();
    this.#expiring = new Set();
    this.#bytes = 0;
    this.onChange?.(requestOf("FLUSHALL"), () => {
      this.#entries = entries;
      this.#expiring = expiring;
      this.#bytes = bytes;
    });
  }

  /** Drops some of the keys that have expired. */
  sweep(): void {
    for (const key of this.#expiring.keys().take(SWEPT_MAX)) {
      // To the end, so that each has its turn.
      this.#expiring.delete(key);
      if (this.get(key) !== undefined) this.#expiring.add(key);
    }
  }

  #replace(key: string, entry: Entry | undefined): Entry | undefined {
    const before = this.#entries.get(key);
    if (before !== undefined) this.#bytes -= before.size;
    if (before?.expiresMs !== undefined) this.#expiring.delete(key);
    if (entry === undefined) {
      this.#entries.delete(key);
      return before;
    }
    this.#bytes += entry.size;
    // The key that is there stays.
    const kept = before === undefined ? compact(key) : key;
    this.#entries.set(kept, entry);
    if (entry.expiresMs !== undefined) this.#expiring.add(compact(key));
    return before;
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
