/** The records of `programs/append_log.ts`. */
import { noiseAt } from "./noise.ts";

const HEAD_SIZE = 8;

/** A record: its size and its number, four bytes each, and what only this one
 * has, so that it shows whether it is whole. */
export function recordOf(number: number): Uint8Array<ArrayBuffer> {
  const content = noiseAt(number * 7919, 10 + number * 37 % 500);
  const record = new Uint8Array(HEAD_SIZE + content.length);
  const head = new DataView(record.buffer);
  head.setUint32(0, content.length);
  head.setUint32(4, number);
  record.set(content, HEAD_SIZE);
  return record;
}

/** Counts the whole records at the start of a log, and their bytes. */
export function wholeRecords(
  log: Uint8Array<ArrayBuffer>,
): { count: number; size: number } {
  for (let count = 0, size = 0;; count++) {
    const record = recordOf(count);
    const found = log.subarray(size, size + record.length);
    if (!isEqual(found, record)) return { count, size };
    size += record.length;
  }
}

function isEqual(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((it, i) => it === right[i]);
}
