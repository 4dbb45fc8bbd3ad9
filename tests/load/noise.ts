/** Bytes that tell where they belong. */

/** The noise repeats after that many bytes. It is no multiple of any size of a
 * buffer or pipe, so that a check notices bytes moved by one of these. */
export const PERIOD = 1_000_003;

const noise = new Uint8Array(2 * PERIOD);
// xorshift32.
for (let i = 0, state = 1; i < PERIOD; i++) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  noise[i] = noise[i + PERIOD] = state;
}

/** `length` bytes, up to a period, that are found nowhere else nearby. */
export function noiseAt(at: number, length: number): Uint8Array<ArrayBuffer> {
  const start = at % PERIOD;
  return noise.subarray(start, start + length);
}

/** Makes the message of a connection: no other sends the same. */
export function messageOf(
  connection: number,
  number: number,
  size: number,
): Uint8Array<ArrayBuffer> {
  return noiseAt(connection * 7919 + number * 104_729, size);
}
