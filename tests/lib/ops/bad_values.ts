/** Values that are not what they should be, for tests of what is refused. */
import { IoContext, SocketAddress } from "@kio/kio";

/** Never open here. */
export const NO_FD = 4000;
export const buffer = () => new Uint8Array(8);

/** Not a number at all, whatever they may turn into. */
export const NO_NUMBERS: unknown[] = [
  5n,
  "5",
  "",
  null,
  true,
  false,
  {},
  [],
  [5],
  { valueOf: () => 5 },
  { [Symbol.toPrimitive]: () => 5 },
  { toString: () => "5" },
  Symbol("5"),
  () => 5,
  new Number(5),
  new Date(5),
  Object.create(null),
];
export const NO_INTEGERS: unknown[] = [
  NaN,
  Infinity,
  -Infinity,
  1.5,
  0.1,
  -0.5,
];
export const NEGATIVE = [-1, -2, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 32) + 5];
export const BEYOND_INT32 = [
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 32 + 3,
  2 ** 33 + 1,
];
export const BEYOND_SAFE = [
  2 ** 53,
  2 ** 63,
  2 ** 64,
  2 ** 64 + 2 ** 20,
  1e300,
];

/** No integer from 0 to 2^31 - 1. */
export const NO_UINT31: unknown[] = [
  ...NO_NUMBERS,
  ...NO_INTEGERS,
  ...NEGATIVE,
  ...BEYOND_INT32,
  ...BEYOND_SAFE,
];
/** The same, where undefined is not the same as left out. */
export const NO_NUMBER_31 = [undefined, ...NO_UINT31];
export const NO_FDS = [
  ...NO_NUMBER_31,
  ...NO_NUMBER_31.map((fd) => ({ fd })),
];
export const NO_OFFSETS: unknown[] = [
  ...NO_NUMBERS.filter((given) => given !== 5n),
  ...NO_INTEGERS,
  ...NEGATIVE,
  ...BEYOND_SAFE,
  -1n,
  -(2n ** 63n),
  2n ** 63n,
  2n ** 64n,
  2n ** 64n + 5n,
];
export const NO_DELAYS: unknown[] = [
  undefined,
  ...NO_NUMBERS,
  NaN,
  Infinity,
  -Infinity,
  -0.5,
  -1,
  -(2 ** 53),
  ...BEYOND_SAFE,
];

export function detached(): Uint8Array<ArrayBuffer> {
  const view = new Uint8Array(8);
  view.buffer.transfer();
  return view;
}

/** A view whose part of a buffer is gone. */
function outOfBounds(): DataView {
  const memory = new ArrayBuffer(16, { maxByteLength: 16 });
  const view = new DataView(memory, 8, 8);
  memory.resize(8);
  return view;
}

/** No buffers on their own, but harmless among others. */
export const EMPTY_BUFFERS: unknown[] = [
  new Uint8Array(0),
  new ArrayBuffer(0),
  new Uint8Array(8).subarray(8),
  new Uint8Array(new SharedArrayBuffer(0)),
  new DataView(new ArrayBuffer(0)),
];
export const NO_BUFFERS: unknown[] = [
  ...EMPTY_BUFFERS,
  undefined,
  ...NO_NUMBERS,
  5,
  "some text",
  [1, 2, 3],
  { byteLength: 8 },
  { buffer: new ArrayBuffer(8), byteOffset: 0, byteLength: 8, length: 8 },
  Object.create(Uint8Array.prototype),
  new Proxy(new Uint8Array(8), {}),
  Uint8Array,
  new SharedArrayBuffer(8),
  new Blob(["x"]),
  detached(),
  detached().buffer,
  outOfBounds(),
  new Uint8Array(outOfBounds().buffer, 8),
];
export const NO_LISTS: unknown[] = [
  undefined,
  ...NO_NUMBERS.filter((given) => !Array.isArray(given)),
  5,
  new Uint8Array(8),
  new Set([new Uint8Array(8)]),
  { length: 1.5, 0: buffer(), 1: buffer() },
  { length: NaN },
  { length: -1 },
  { length: 2 ** 32 + 1, 0: buffer() },
  { length: "1", 0: buffer() },
  { length: 1, 0: buffer() },
  Array(1025).fill(buffer()),
  [buffer(), , buffer()], // deno-lint-ignore no-sparse-arrays
  ...NO_BUFFERS.filter((given) => !EMPTY_BUFFERS.includes(given))
    .map((given) => [buffer(), given]),
];
export const NO_CONTEXTS: unknown[] = [
  undefined,
  ...NO_NUMBERS,
  5,
  IoContext,
  IoContext.prototype,
  Object.create(IoContext.prototype),
  { pending: 0 },
];
export const NO_ADDRESSES: unknown[] = [
  ...NO_NUMBERS,
  80,
  "127.0.0.1:80",
  { family: "ipv4", host: "127.0.0.1", port: 80 },
  Object.create(SocketAddress.prototype),
  SocketAddress,
  new Uint8Array(16),
];

export const NO_PATHS: unknown[] = [
  undefined,
  ...NO_NUMBERS.filter((given) => typeof given !== "string"),
  5,
  "a\0b",
  "\0",
  "/tmp\0",
  new String("/"),
];
/** Neither paths nor fds. */
export const NO_TARGETS: unknown[] = NO_FDS.filter((given) =>
  typeof given !== "string"
);
export const NO_BOOLEANS: unknown[] = [null, 0, 1, "", "true", {}, []];
/** No values of an attribute, which may be empty. */
export const NO_VALUES: unknown[] = NO_BUFFERS.filter((given) =>
  !EMPTY_BUFFERS.includes(given)
);
/** Neither ints nor bytes of an option. */
export const NO_OPTION_VALUES: unknown[] = [
  undefined,
  ...NO_NUMBERS,
  ...NO_INTEGERS,
  ...BEYOND_INT32,
  ...BEYOND_SAFE,
  -(2 ** 31) - 1,
  detached(),
  new ArrayBuffer(4),
  new Int32Array(1),
  new Uint8Array(4097),
];
/** No lengths of 32 bits; 0 is one. */
export const NO_UINT32: unknown[] = [
  undefined,
  ...NO_NUMBERS,
  ...NO_INTEGERS,
  ...NEGATIVE,
  2 ** 32,
  ...BEYOND_SAFE,
];
export const NO_MODES = [...NO_UINT31, 0o10000, 0o100644];
export const NO_OPTIONS = [null, 5, 5n, "x", true, Symbol("x")];

export const NO_POSITIONS: unknown[] = [
  ...NO_NUMBERS,
  ...NO_INTEGERS,
  ...NEGATIVE,
  ...BEYOND_SAFE,
];
export const NO_SIGNALS: unknown[] = [
  ...NO_NUMBERS,
  new AbortController(),
  new EventTarget(),
  { aborted: true, addEventListener() {}, removeEventListener() {} },
];

// ---- how it is found out ------------------------------------------------------

export function nameOf(given: unknown): string {
  if (typeof given === "bigint") return `${given}n`;
  if (typeof given === "symbol") return "a symbol";
  try {
    return Deno.inspect(given, { compact: true, breakLength: Infinity })
      .replaceAll(/\s+/g, " ").slice(0, 80);
  } catch {
    return `a hostile ${typeof given}`;
  }
}

/** Explains how a call fails to refuse a bad value; undefined if it refuses. */
export async function complaint(
  call: () => unknown,
): Promise<string | undefined> {
  let returned: unknown;
  try {
    returned = call();
  } catch (error) {
    const { constructor: Class, message } = error as Error;
    if (Class !== TypeError && Class !== RangeError) {
      return `throws ${Class.name}: ${message}`;
    }
    return message.startsWith("Cannot ") ? undefined : `says "${message}"`;
  }
  if (!(returned instanceof Promise)) return "is accepted";
  const op = returned as Promise<unknown> & { cancel?(): void };
  op.cancel?.();
  const result = await op.catch((error) => error);
  return `is accepted, then gives ${nameOf(result)}`;
}
