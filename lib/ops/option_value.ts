/** Options of sockets: their ranges. */
import { checkInteger, isDetached } from "../check.ts";

/** Levels and names are small; an SQE has 21 bits for a name. */
const NAME_MAX = 65535;
/** A page, which is more than any option has. */
const VALUE_MAX = 4096;
const INT_MAX = 2 ** 31 - 1;
/** sizeof(int). */
export const INT_SIZE = 4;

/** Checks a level and a name. */
export function checkOption(level: number, name: number, verb: string): void {
  checkInteger(level, NAME_MAX, "level", verb);
  checkInteger(name, NAME_MAX, "name", verb);
}

/** Checks the value of an option: an int, or bytes. */
export function checkOptionValue(
  value: number | Uint8Array,
  verb: string,
): number | Uint8Array {
  if (typeof value === "number") {
    return checkInteger(value, INT_MAX, "value", verb, -INT_MAX - 1);
  }
  if (!(value instanceof Uint8Array) || isDetached(value)) {
    const given = value instanceof Uint8Array ? "a detached one" : typeof value;
    throw new TypeError(
      `Cannot ${verb}: value must be a number or a Uint8Array, got ${given}`,
    );
  }
  checkInteger(value.length, VALUE_MAX, "length of value", verb);
  return value;
}

/** Checks the room for an option, and gives its bytes; undefined is an int. */
export function checkOptionLength(
  length: number | undefined,
  verb: string,
): number {
  return length === undefined
    ? INT_SIZE
    : checkInteger(length, VALUE_MAX, "length", verb, 1);
}
