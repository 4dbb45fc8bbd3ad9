/** Finds requests of RESP2 among bytes. It trusts nothing. */
import { Buffer } from "node:buffer";

/** Bytes of a request. */
export const REQUEST_MAX = 1024 * 1024;
const ARGUMENTS_MAX = 65536;
const INLINE_MAX = 65536;
/** Bytes of a line that has a number. */
const NUMBER_MAX = 32;

const CR = 13;
const LF = 10;
const MINUS = 45;
const ASTERISK = 42;
const DOLLAR = 36;

/** The number of a line that has not ended yet. */
const UNFINISHED = Infinity;

/** Bytes that are no request. It is not known where the next one begins. */
export class ProtocolError extends Error {}

/** Each byte as a character. */
export function textOf(bytes: Uint8Array, from = 0, to = bytes.length): string {
  return Buffer.prototype.latin1Slice.call(bytes, from, to);
}

/** Finds one request after the other, and looks at no byte of it twice: it may
 * come in many parts. */
export class RequestFinder {
  /** Bytes of the request that are needed to go on. */
  needed = 1;
  /** Arguments that are left; negative before their number is known. */
  #left = -1;
  /** The byte behind what was looked at, from the start of the request. */
  #at = 0;
  /** Where arguments begin and end, by turns, from the start of the request. */
  readonly #places: number[] = [];
  #inline: string[] | undefined;

  /**
   * Looks for the end of the request.
   *
   * @param start Where the request begins: the same byte as at the last call, or
   * after an end the next one.
   * @returns The end; 0 if it has not come yet.
   * @throws {ProtocolError} With the words of Redis.
   */
  find(bytes: Uint8Array, start: number): number {
    if (this.#left < 0) {
      if (start === bytes.length) return 0;
      if (bytes[start] !== ASTERISK) return this.#findInline(bytes, start);
      const count = this.#number(bytes, start, "mbulk count", 1);
      if (count === UNFINISHED) return 0;
      if (!(count <= ARGUMENTS_MAX)) fail("invalid multibulk length");
      this.#left = Math.max(count, 0);
    }
    while (this.#left > 0) {
      const at = this.#at;
      if (start + at >= bytes.length) return this.#wait(at + 1);
      const mark = bytes[start + at]!;
      if (mark !== DOLLAR) {
        fail(`expected '$', got '${printable(String.fromCharCode(mark))}'`);
      }
      const length = this.#number(bytes, start, "bulk count", 1);
      if (length === UNFINISHED) return 0;
      if (!(length >= 0 && this.#at + length + 2 <= REQUEST_MAX)) {
        fail("invalid bulk length");
      }
      const end = this.#at + length;
      if (start + end + 2 > bytes.length) {
        // The line is looked at once more, when all of it is there.
        this.#at = at;
        return this.#wait(end + 2);
      }
      this.#places.push(this.#at, end);
      this.#at = end + 2;
      this.#left--;
    }
    return start + this.#at;
  }

  /**
   * Takes the arguments of the request whose end was found.
   *
   * @param text All bytes, as characters.
   * @param start As for `find()`.
   */
  take(text: string, start: number): string[] {
    const places = this.#places;
    const args: string[] = this.#inline ?? [];
    for (let i = 0; i < places.length; i += 2) {
      args.push(text.slice(start + places[i]!, start + places[i + 1]!));
    }
    places.length = 0;
    this.#inline = undefined;
    this.#left = -1;
    this.#at = 0;
    this.needed = 1;
    return args;
  }

  #wait(needed: number): 0 {
    this.needed = needed;
    return 0;
  }

  /** Reads the number of a line, behind some bytes; NaN if it is none. */
  #number(
    bytes: Uint8Array,
    start: number,
    name: string,
    skipped: number,
  ): number {
    const first = start + this.#at + skipped;
    const isNegative = bytes[first] === MINUS;
    let value = 0;
    for (let i = isNegative ? first + 1 : first; i < bytes.length; i++) {
      const byte = bytes[i]!;
      if (byte === CR) {
        if (i + 1 === bytes.length) break;
        const isEmpty = i === (isNegative ? first + 1 : first);
        this.#at = i + 2 - start;
        return isEmpty ? NaN : isNegative ? -value : value;
      }
      if (i - first > NUMBER_MAX) fail(`too big ${name} string`);
      value = byte >= 48 && byte <= 57 ? 10 * value + byte - 48 : NaN;
    }
    this.needed = bytes.length - start + 1;
    return UNFINISHED;
  }

  #findInline(bytes: Uint8Array, start: number): number {
    const end = bytes.indexOf(LF, start + this.#at);
    if (
      end < 0 ? bytes.length - start > INLINE_MAX : end - start > INLINE_MAX
    ) {
      fail("too big inline request");
    }
    if (end < 0) {
      this.#at = bytes.length - start;
      return this.#wait(this.#at + 1);
    }
    const stop = bytes[end - 1] === CR && end > start ? end - 1 : end;
    this.#inline = splitLine(textOf(bytes, start, stop));
    return end + 1;
  }
}

function fail(message: string): never {
  throw new ProtocolError(message);
}

/** Text for a line of an answer. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex -- A line end would begin another answer.
  return text.replace(/[\x00-\x1f\x7f]/g, " ");
}

const ESCAPES: Record<string, string> = {
  n: "\n",
  r: "\r",
  t: "\t",
  b: "\b",
  a: "\x07",
};
/** A part of an argument: in double quotes, in single ones, or in none. */
const PART =
  /"((?:[^"\\]|\\[^])*)"(?=[ \t]|$)|'((?:[^'\\]|\\[^])*)'(?=[ \t]|$)|([^ \t"']+)/y;

/** Splits a line that a person has typed, as Redis does. */
export function splitLine(line: string): string[] {
  const args: string[] = [];
  // deno-lint-ignore no-control-regex -- A NUL separates as well.
  const blanks = /[ \t\v\f\r\x00]*/y;
  for (let at = 0;;) {
    blanks.lastIndex = at;
    blanks.test(line);
    at = blanks.lastIndex;
    if (at === line.length) return args;
    let arg = "";
    do {
      PART.lastIndex = at;
      const part = PART.exec(line);
      if (part === null) fail("unbalanced quotes in request");
      at = PART.lastIndex;
      const [, double, single, plain] = part;
      arg += double?.replace(
        /\\(?:x([0-9a-fA-F]{2})|([^]))/g,
        (_, hex, char) =>
          hex === undefined
            ? ESCAPES[char] ?? char
            : String.fromCharCode(parseInt(hex, 16)),
      ) ?? single?.replaceAll("\\'", "'") ?? plain;
    } while (at < line.length && line[at] !== " " && line[at] !== "\t");
    args.push(arg);
  }
}
