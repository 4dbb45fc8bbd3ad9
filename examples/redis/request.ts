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

/** Stands for a number that is none, or too large for anything. */
const NO_NUMBER = 2 ** 30;
/** Places that a finder keeps room for. */
const PLACES_KEPT = 64;

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
  #places: number[] = [];
  /** How many of the places are those of this request. */
  #count = 0;
  #inline: string[] | undefined;
  /** The number of the last line that was read. */
  #number = 0;

  /**
   * Looks for the end of the request.
   *
   * @param start Where the request begins: the same byte as at the last call, or
   * after an end the next one.
   * @returns The end; 0 if it has not come yet.
   * @throws {ProtocolError} With the words of Redis.
   */
  find(bytes: Uint8Array, start: number): number {
    const { length } = bytes;
    const places = this.#places;
    // In variables of its own this takes half the time.
    let at = start + this.#at;
    let left = this.#left;
    let count = this.#count;
    if (left < 0) {
      if (start === length) return 0;
      if (bytes[start] !== ASTERISK) return this.#findInline(bytes, start);
      at = this.#readNumber(bytes, start + 1, "mbulk count");
      if (at === 0) return this.#wait(length - start + 1);
      left = this.#number;
      if (left > ARGUMENTS_MAX) fail("invalid multibulk length");
    }
    let needed = 0;
    while (left > 0) {
      if (at >= length) {
        needed = at + 1;
        break;
      }
      if (bytes[at] !== DOLLAR) {
        const mark = String.fromCharCode(bytes[at]!);
        fail(`expected '$', got '${printable(mark)}'`);
      }
      const from = this.#readNumber(bytes, at + 1, "bulk count");
      if (from === 0) {
        needed = length + 1;
        break;
      }
      const size = this.#number;
      const end = from + size;
      if (size < 0 || end + 2 - start > REQUEST_MAX) {
        fail("invalid bulk length");
      }
      if (end + 2 > length) {
        // The line is looked at once more, when all of it is there.
        needed = end + 2;
        break;
      }
      places[count++] = from - start;
      places[count++] = end - start;
      at = end + 2;
      left--;
    }
    this.#count = count;
    if (needed === 0) return at;
    this.#left = left;
    this.#at = at - start;
    return this.#wait(needed - start);
  }

  /**
   * Takes the arguments of the request whose end was found.
   *
   * @param text All bytes, as characters.
   * @param start As for `find()`.
   */
  take(text: string, start: number): string[] {
    const places = this.#places;
    const args = this.#inline ?? new Array<string>(this.#count / 2);
    for (let i = 0; i < this.#count; i += 2) {
      args[i / 2] = text.slice(start + places[i]!, start + places[i + 1]!);
    }
    if (this.#count > PLACES_KEPT) this.#places = [];
    this.#inline = undefined;
    this.#count = 0;
    this.#left = -1;
    this.#at = 0;
    this.needed = 1;
    return args;
  }

  #wait(needed: number): 0 {
    this.needed = needed;
    return 0;
  }

  /** Reads the number of a line. Returns the end of the line; 0 if that has not
   * come yet. */
  #readNumber(bytes: Uint8Array, start: number, name: string): number {
    const isNegative = bytes[start] === MINUS;
    const first = isNegative ? start + 1 : start;
    let value = 0;
    for (let i = first; i < bytes.length; i++) {
      const byte = bytes[i]!;
      if (byte === CR) {
        if (i + 1 === bytes.length) return 0;
        if (i === first) value = NO_NUMBER;
        this.#number = isNegative && value < NO_NUMBER ? -1 : value;
        return i + 2;
      }
      if (i - start > NUMBER_MAX) fail(`too big ${name} string`);
      const isDigit = byte >= 48 && byte <= 57 && value < NO_NUMBER / 10;
      value = isDigit ? 10 * value + byte - 48 : NO_NUMBER;
    }
    return 0;
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
