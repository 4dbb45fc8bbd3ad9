import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncAccept,
  asyncAcceptFrom,
  asyncClose,
  asyncConnect,
  asyncFadvise,
  asyncFallocate,
  asyncFdatasync,
  asyncFstat,
  asyncFsync,
  asyncFtruncate,
  asyncGetxattr,
  asyncLink,
  asyncLstat,
  asyncMkdir,
  asyncMsgRing,
  asyncOpen,
  asyncPipe,
  asyncPoll,
  asyncRead,
  asyncReadFixed,
  asyncReadlink,
  asyncReadv,
  asyncRecv,
  asyncRecvmsg,
  asyncRename,
  asyncSend,
  asyncSendmsg,
  asyncSetxattr,
  asyncShutdown,
  asyncSleep,
  asyncSplice,
  asyncStat,
  asyncSymlink,
  asyncSyncFileRange,
  asyncTee,
  asyncUnlink,
  asyncWrite,
  asyncWriteFixed,
  asyncWritev,
  Connections,
  CURRENT_POSITION,
  IoContext,
  link,
  passFd,
  pin,
  POLLIN,
  POLLOUT,
  type Result,
  Socket,
  SocketAddress,
  TcpListener,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  isOpen,
  kioTest,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

// Arguments here have the wrong type.
// deno-lint-ignore no-explicit-any
type Anything = any;
type Attempt = (given: Anything) => unknown;

/** Never open here. */
const NO_FD = 4000;
const buffer = () => new Uint8Array(8);

// ---- values that are not what they should be --------------------------------------------

/** Not a number at all, whatever they may turn into. */
const NO_NUMBERS: unknown[] = [
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
const NO_INTEGERS: unknown[] = [NaN, Infinity, -Infinity, 1.5, 0.1, -0.5];
const NEGATIVE = [-1, -2, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 32) + 5];
const BEYOND_INT32 = [2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 3, 2 ** 33 + 1];
const BEYOND_SAFE = [2 ** 53, 2 ** 63, 2 ** 64, 2 ** 64 + 2 ** 20, 1e300];

/** No integer from 0 to 2^31 - 1. */
const NO_UINT31: unknown[] = [
  ...NO_NUMBERS,
  ...NO_INTEGERS,
  ...NEGATIVE,
  ...BEYOND_INT32,
  ...BEYOND_SAFE,
];
/** The same, where undefined is not the same as left out. */
const NO_NUMBER_31 = [undefined, ...NO_UINT31];
const NO_FDS = [
  ...NO_NUMBER_31,
  ...NO_NUMBER_31.map((fd) => ({ fd })),
];
const NO_OFFSETS: unknown[] = [
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
const NO_DELAYS: unknown[] = [
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

function detached(): Uint8Array<ArrayBuffer> {
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
const EMPTY_BUFFERS: unknown[] = [
  new Uint8Array(0),
  new ArrayBuffer(0),
  new Uint8Array(8).subarray(8),
  new Uint8Array(new SharedArrayBuffer(0)),
  new DataView(new ArrayBuffer(0)),
];
const NO_BUFFERS: unknown[] = [
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
const NO_LISTS: unknown[] = [
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
const NO_CONTEXTS: unknown[] = [
  undefined,
  ...NO_NUMBERS,
  5,
  IoContext,
  IoContext.prototype,
  Object.create(IoContext.prototype),
  { pending: 0 },
];
const NO_ADDRESSES: unknown[] = [
  ...NO_NUMBERS,
  80,
  "127.0.0.1:80",
  { family: "ipv4", host: "127.0.0.1", port: 80 },
  Object.create(SocketAddress.prototype),
  SocketAddress,
  new Uint8Array(16),
];

// ---- how it is found out ----------------------------------------------------------------

function nameOf(given: unknown): string {
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
async function complaint(call: () => unknown): Promise<string | undefined> {
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

/** Arguments for the parameters of a function, one after the other. */
type Attempts = (
  ctx: IoContext,
  right: { fd: number },
) => Record<string, [values: unknown[], attempt: Attempt]>;

/** Gives a function each value of a list. Returns the values that it does not
 * refuse. */
async function refusals(
  attempts: ReturnType<Attempts>,
): Promise<string[]> {
  const complaints: string[] = [];
  for (const [name, [values, attempt]] of Object.entries(attempts)) {
    for (const given of values) {
      const found = await complaint(() => attempt(given));
      if (found !== undefined) {
        complaints.push(`${name} ${nameOf(given)}: ${found}`);
      }
    }
  }
  return complaints;
}

/**
 * Registers a test of one function. Its context has a place for one operation
 * only: a place that is lost to a refused call is missed by the next good one.
 */
function refuses(
  title: string,
  attempts: Attempts,
): void {
  kioTest(
    `${title} refuses what makes no sense, and loses nothing by it`,
    async (outer) => {
      await using file = await tempFile(outer, bytes("abc"));
      using ctx = new IoContext({ entries: 1, operationsMax: 1 });
      const complaints = await refusals(attempts(ctx, file));
      assertEquals(ctx.pending, 0);
      const good = await asyncRead(ctx, file, buffer());
      assertEquals(value(good), 3, "the context is of no use any more");
      assertEquals(complaints, []);
    },
  );
}

const NO_PATHS: unknown[] = [
  undefined,
  ...NO_NUMBERS.filter((given) => typeof given !== "string"),
  5,
  "a\0b",
  "\0",
  "/tmp\0",
  new String("/"),
];
const NO_MODES = [...NO_UINT31, 0o10000, 0o100644];
const NO_OPTIONS = [null, 5, 5n, "x", true, Symbol("x")];
/** Not options, and no flags that stand for them. */
const NO_FLAGS = NO_UINT31.filter((x) => typeof x !== "object" || x === null);
const NO_DIRS = NO_FDS.filter((x) => x !== undefined);
const NO_BOOLEANS: unknown[] = [null, 0, 1, "", "true", {}, []];

refuses("asyncOpen()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncOpen(x, "/no/such", 0)],
  path: [NO_PATHS, (x) => asyncOpen(ctx, x, 0)],
  flags: [NO_NUMBER_31, (x) => asyncOpen(ctx, "/no/such", x)],
  mode: [
    NO_MODES.filter((x) => typeof x !== "object"),
    (x) => asyncOpen(ctx, "/no/such", 0, x),
  ],
}));

// ---- lib/ops/path.ts ---------------------------------------------------------------------

const openInAttempts: Attempts = (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncOpen(x, "no", 0, { dir: NO_FD })],
  directory: [
    NO_FDS.filter((x) => x !== undefined),
    (x) => asyncOpen(ctx, "no", 0, { dir: x }),
  ],
  path: [NO_PATHS, (x) => asyncOpen(ctx, x, 0, { dir: NO_FD })],
  flags: [NO_NUMBER_31, (x) => asyncOpen(ctx, "no", x, { dir: NO_FD })],
  mode: [NO_MODES, (x) => asyncOpen(ctx, "no", 0, { dir: NO_FD, mode: x })],
  resolve: [
    [...NO_UINT31, 256],
    (x) => asyncOpen(ctx, "no", 0, { dir: NO_FD, resolve: x }),
  ],
});
const fstatAttempts: Attempts = (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncFstat(x, NO_FD)],
  fd: [NO_FDS, (x) => asyncFstat(ctx, x)],
  options: [NO_OPTIONS, (x) => asyncFstat(ctx, NO_FD, x)],
  nanoseconds: [
    NO_BOOLEANS,
    (x) => asyncFstat(ctx, NO_FD, { nanoseconds: x }),
  ],
});
const renameAttempts: Attempts = (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncRename(x, "/no/such", "/no/such")],
  from: [NO_PATHS, (x) => asyncRename(ctx, x, "/no/such")],
  to: [NO_PATHS, (x) => asyncRename(ctx, "/no/such", x)],
  options: [NO_FLAGS, (x) => asyncRename(ctx, "/no/such", "/no/such", x)],
  dir: [NO_DIRS, (x) => asyncRename(ctx, "no", "no", { dir: x })],
  toDir: [NO_DIRS, (x) => asyncRename(ctx, "no", "no", { toDir: x })],
  flags: [NO_UINT31, (x) => asyncRename(ctx, "no", "no", { flags: x })],
});
const unlinkAttempts: Attempts = (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncUnlink(x, "/no/such")],
  path: [NO_PATHS, (x) => asyncUnlink(ctx, x)],
  options: [NO_FLAGS, (x) => asyncUnlink(ctx, "/no/such", x)],
  dir: [NO_DIRS, (x) => asyncUnlink(ctx, "no", { dir: x })],
  flags: [NO_UINT31, (x) => asyncUnlink(ctx, "no", { flags: x })],
});

refuses("asyncOpen() in a directory", openInAttempts);
refuses("asyncFstat()", fstatAttempts);
refuses("asyncRename()", renameAttempts);
refuses("asyncUnlink()", unlinkAttempts);

for (const [name, look] of Object.entries({ asyncStat, asyncLstat })) {
  refuses(`${name}()`, (ctx) => ({
    ctx: [NO_CONTEXTS, (x) => look(x, "/no/such")],
    path: [NO_PATHS, (x) => look(ctx, x)],
    options: [NO_OPTIONS, (x) => look(ctx, "/no/such", x)],
    dir: [NO_DIRS, (x) => look(ctx, "no", { dir: x })],
    nanoseconds: [NO_BOOLEANS, (x) => look(ctx, "no", { nanoseconds: x })],
  }));
}
refuses("asyncMkdir()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncMkdir(x, "/no/such")],
  path: [NO_PATHS, (x) => asyncMkdir(ctx, x)],
  options: [NO_OPTIONS, (x) => asyncMkdir(ctx, "/no/such", x)],
  dir: [NO_DIRS, (x) => asyncMkdir(ctx, "no", { dir: x })],
  mode: [NO_MODES, (x) => asyncMkdir(ctx, "/no/such", { mode: x })],
  recursive: [NO_BOOLEANS, (x) => asyncMkdir(ctx, "/tmp", { recursive: x })],
}));
refuses("asyncLink()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncLink(x, "/no/such", "/no/such")],
  from: [NO_PATHS, (x) => asyncLink(ctx, x, "/no/such")],
  to: [NO_PATHS, (x) => asyncLink(ctx, "/no/such", x)],
  options: [NO_OPTIONS, (x) => asyncLink(ctx, "/no/such", "/no/such", x)],
  dir: [NO_DIRS, (x) => asyncLink(ctx, "no", "no", { dir: x })],
  toDir: [NO_DIRS, (x) => asyncLink(ctx, "no", "no", { toDir: x })],
  flags: [NO_UINT31, (x) => asyncLink(ctx, "no", "no", { flags: x })],
}));
refuses("asyncSymlink()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncSymlink(x, "no", "/no/such")],
  target: [NO_PATHS, (x) => asyncSymlink(ctx, x, "/no/such")],
  path: [NO_PATHS, (x) => asyncSymlink(ctx, "no", x)],
  options: [NO_OPTIONS, (x) => asyncSymlink(ctx, "no", "/no/such", x)],
  dir: [NO_DIRS, (x) => asyncSymlink(ctx, "no", "no", { dir: x })],
}));
refuses("asyncReadlink()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncReadlink(x, "/no/such")],
  path: [NO_PATHS, (x) => asyncReadlink(ctx, x)],
  options: [NO_OPTIONS, (x) => asyncReadlink(ctx, "/no/such", x)],
  dir: [NO_DIRS, (x) => asyncReadlink(ctx, "no", { dir: x })],
}));

// ---- lib/ops/xattr.ts, advise.ts, tee.ts --------------------------------------------------

/** Neither paths nor fds. */
const NO_TARGETS = NO_FDS.filter((x) => typeof x !== "string");
const NO_NAMES = [...NO_PATHS, bytes("user.kio")];
/** A value may be empty. */
const NO_VALUES = NO_BUFFERS.filter((x) =>
  !(ArrayBuffer.isView(x) || x instanceof ArrayBuffer) || isGone(x)
);

function isGone(buffer: ArrayBuffer | ArrayBufferView): boolean {
  const memory = ArrayBuffer.isView(buffer) ? buffer.buffer : buffer;
  return memory instanceof ArrayBuffer && memory.detached;
}

refuses("asyncGetxattr()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncGetxattr(x, "/no/such", "user.no")],
  target: [NO_TARGETS, (x) => asyncGetxattr(ctx, x, "user.no")],
  name: [NO_NAMES, (x) => asyncGetxattr(ctx, "/no/such", x)],
  "name of an fd's": [NO_NAMES, (x) => asyncGetxattr(ctx, NO_FD, x)],
}));
refuses("asyncSetxattr()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncSetxattr(x, NO_FD, "user.no", buffer())],
  target: [NO_TARGETS, (x) => asyncSetxattr(ctx, x, "user.no", buffer())],
  name: [NO_NAMES, (x) => asyncSetxattr(ctx, "/no/such", x, buffer())],
  value: [NO_VALUES, (x) => asyncSetxattr(ctx, NO_FD, "user.no", x)],
  options: [
    NO_OPTIONS,
    (x) => asyncSetxattr(ctx, NO_FD, "user.no", buffer(), x),
  ],
  flags: [
    NO_UINT31,
    (x) => asyncSetxattr(ctx, NO_FD, "user.no", buffer(), { flags: x }),
  ],
}));
/** No numbers of bytes that sqe->len has. */
const NO_UINT32 = [
  undefined,
  ...NO_NUMBERS,
  ...NO_INTEGERS,
  ...NEGATIVE,
  2 ** 32,
  ...BEYOND_SAFE,
];
refuses("asyncFadvise()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncFadvise(x, NO_FD, 0, 0, 0)],
  fd: [NO_FDS, (x) => asyncFadvise(ctx, x, 0, 0, 0)],
  offset: [
    [undefined, CURRENT_POSITION, ...NO_OFFSETS],
    (x) => asyncFadvise(ctx, NO_FD, x, 0, 0),
  ],
  length: [NO_UINT32, (x) => asyncFadvise(ctx, NO_FD, 0, x, 0)],
  advice: [NO_NUMBER_31, (x) => asyncFadvise(ctx, NO_FD, 0, 0, x)],
}));
refuses("asyncSyncFileRange()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncSyncFileRange(x, NO_FD, 0, 0)],
  fd: [NO_FDS, (x) => asyncSyncFileRange(ctx, x, 0, 0)],
  offset: [
    [undefined, CURRENT_POSITION, ...NO_OFFSETS],
    (x) => asyncSyncFileRange(ctx, NO_FD, x, 0),
  ],
  length: [NO_UINT32, (x) => asyncSyncFileRange(ctx, NO_FD, 0, x)],
  options: [NO_OPTIONS, (x) => asyncSyncFileRange(ctx, NO_FD, 0, 0, x)],
  flags: [
    NO_UINT31,
    (x) => asyncSyncFileRange(ctx, NO_FD, 0, 0, { flags: x }),
  ],
}));
refuses("asyncTee()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncTee(x, NO_FD, NO_FD, 5)],
  from: [NO_FDS, (x) => asyncTee(ctx, x, NO_FD, 5)],
  to: [NO_FDS, (x) => asyncTee(ctx, NO_FD, x, 5)],
  length: [
    [...NO_NUMBER_31, 0, -0, 2 ** 31 - 1],
    (x) => asyncTee(ctx, NO_FD, NO_FD, x),
  ],
  options: [NO_OPTIONS, (x) => asyncTee(ctx, NO_FD, NO_FD, 5, x)],
  flags: [NO_UINT31, (x) => asyncTee(ctx, NO_FD, NO_FD, 5, { flags: x })],
}));

// ---- lib/io.ts ------------------------------------------------------------------------

const NO_POSITIONS = [
  ...NO_NUMBERS,
  ...NO_INTEGERS,
  ...NEGATIVE,
  ...BEYOND_SAFE,
];
const spliceAttempts: Attempts = (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncSplice(x, NO_FD, NO_FD, 5)],
  from: [NO_FDS, (x) => asyncSplice(ctx, x, NO_FD, 5)],
  to: [NO_FDS, (x) => asyncSplice(ctx, NO_FD, x, 5)],
  length: [
    [...NO_NUMBER_31, 0, -0, 2 ** 31 - 1],
    (x) => asyncSplice(ctx, NO_FD, NO_FD, x),
  ],
  options: [NO_OPTIONS, (x) => asyncSplice(ctx, NO_FD, NO_FD, 5, x)],
  fromOffset: [
    NO_POSITIONS,
    (x) => asyncSplice(ctx, NO_FD, NO_FD, 5, { fromOffset: x }),
  ],
  toOffset: [
    NO_POSITIONS,
    (x) => asyncSplice(ctx, NO_FD, NO_FD, 5, { toOffset: x }),
  ],
  flags: [
    NO_UINT31,
    (x) => asyncSplice(ctx, NO_FD, NO_FD, 5, { flags: x }),
  ],
});
refuses("asyncSplice()", spliceAttempts);
refuses("asyncPipe()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncPipe(x)],
  options: [NO_OPTIONS, (x) => asyncPipe(ctx, x)],
  size: [[...NO_UINT31, 0, -0], (x) => asyncPipe(ctx, { size: x })],
}));

for (const [name, operation] of Object.entries({ asyncRead, asyncWrite })) {
  refuses(`${name}()`, (ctx, right) => ({
    ctx: [NO_CONTEXTS, (x) => operation(x, NO_FD, buffer())],
    fd: [NO_FDS, (x) => operation(ctx, x, buffer())],
    buffer: [NO_BUFFERS, (x) => operation(ctx, right, x)],
    offset: [NO_OFFSETS, (x) => operation(ctx, NO_FD, buffer(), x)],
  }));
}

for (
  const [name, operation] of Object.entries({ asyncReadFixed, asyncWriteFixed })
) {
  refuses(`${name}()`, (ctx) => ({
    ctx: [NO_CONTEXTS, (x) => operation(x, 0, buffer())],
    index: [
      [...NO_NUMBER_31, 65536, { fd: 5 }],
      (x) => operation(ctx, x, buffer()),
    ],
    buffer: [NO_BUFFERS, (x) => operation(ctx, 0, x)],
    offset: [NO_OFFSETS, (x) => operation(ctx, 0, buffer(), x)],
  }));
}

for (const [name, operation] of Object.entries({ asyncReadv, asyncWritev })) {
  refuses(`${name}()`, (ctx, right) => ({
    ctx: [NO_CONTEXTS, (x) => operation(x, NO_FD, [buffer()])],
    fd: [NO_FDS, (x) => operation(ctx, x, [buffer()])],
    buffers: [
      [...NO_LISTS, [], EMPTY_BUFFERS],
      (x) => operation(ctx, right, x),
    ],
    offset: [NO_OFFSETS, (x) => operation(ctx, NO_FD, [buffer()], x)],
  }));
}

for (
  const [name, operation] of Object.entries({
    asyncClose,
    asyncFsync,
    asyncFdatasync,
    asyncAccept,
    asyncAcceptFrom,
  })
) {
  refuses(`${name}()`, (ctx) => ({
    ctx: [NO_CONTEXTS, (x) => operation(x, NO_FD)],
    fd: [NO_FDS, (x) => operation(ctx, x)],
  }));
}

refuses("asyncFallocate()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncFallocate(x, NO_FD, 0, 0, 1)],
  fd: [NO_FDS, (x) => asyncFallocate(ctx, x, 0, 0, 1)],
  mode: [NO_NUMBER_31, (x) => asyncFallocate(ctx, NO_FD, x, 0, 1)],
  offset: [
    [undefined, ...NO_OFFSETS, CURRENT_POSITION],
    (x) => asyncFallocate(ctx, NO_FD, 0, x, 1),
  ],
  length: [
    [undefined, ...NO_NUMBERS, ...NO_INTEGERS, ...NEGATIVE, ...BEYOND_SAFE, 0],
    (x) => asyncFallocate(ctx, NO_FD, 0, 0, x),
  ],
}));

refuses("asyncFtruncate()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncFtruncate(x, NO_FD, 0)],
  fd: [NO_FDS, (x) => asyncFtruncate(ctx, x, 0)],
  length: [
    [undefined, ...NO_OFFSETS, CURRENT_POSITION],
    (x) => asyncFtruncate(ctx, NO_FD, x),
  ],
}));

refuses("asyncConnect()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncConnect(x, NO_FD, SocketAddress.v4(1))],
  fd: [NO_FDS, (x) => asyncConnect(ctx, x, SocketAddress.v4(1))],
  address: [
    [undefined, ...NO_ADDRESSES],
    (x) => asyncConnect(ctx, NO_FD, x),
  ],
}));

for (const [name, operation] of Object.entries({ asyncRecv, asyncSend })) {
  refuses(`${name}()`, (ctx) => ({
    ctx: [NO_CONTEXTS, (x) => operation(x, NO_FD, buffer())],
    fd: [NO_FDS, (x) => operation(ctx, x, buffer())],
    buffer: [NO_BUFFERS, (x) => operation(ctx, NO_FD, x)],
    flags: [NO_UINT31, (x) => operation(ctx, NO_FD, buffer(), x)],
  }));
}

for (
  const [name, operation] of Object.entries({ asyncSendmsg, asyncRecvmsg })
) {
  refuses(`${name}()`, (ctx) => ({
    ctx: [NO_CONTEXTS, (x) => operation(x, NO_FD, { buffers: [buffer()] })],
    fd: [NO_FDS, (x) => operation(ctx, x, { buffers: [buffer()] })],
    message: [
      [undefined, ...NO_NUMBERS, 5, [buffer()], buffer()],
      (x) => operation(ctx, NO_FD, x),
    ],
    buffers: [NO_LISTS, (x) => operation(ctx, NO_FD, { buffers: x })],
    control: [
      [
        ...NO_BUFFERS.filter((given) => given !== undefined),
        // Ancillary data is a Uint8Array: its filled part is given back as one.
        new ArrayBuffer(64),
        new DataView(new ArrayBuffer(64)),
        new Uint32Array(16),
      ],
      (x) => operation(ctx, NO_FD, { buffers: [buffer()], control: x }),
    ],
    flags: [
      NO_UINT31,
      (x) => operation(ctx, NO_FD, { buffers: [buffer()] }, x),
    ],
  }));
}

refuses("asyncSendmsg() to an address", (ctx) => ({
  address: [
    NO_ADDRESSES,
    (x) => asyncSendmsg(ctx, NO_FD, { buffers: [buffer()], address: x }),
  ],
}));

refuses("asyncShutdown()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncShutdown(x, NO_FD, 2)],
  fd: [NO_FDS, (x) => asyncShutdown(ctx, x, 2)],
  how: [[...NO_NUMBER_31, 3], (x) => asyncShutdown(ctx, NO_FD, x)],
}));

refuses("asyncPoll()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncPoll(x, NO_FD, POLLIN)],
  fd: [NO_FDS, (x) => asyncPoll(ctx, x, POLLIN)],
  events: [[...NO_NUMBER_31, 65536], (x) => asyncPoll(ctx, NO_FD, x)],
}));

refuses("asyncSleep()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncSleep(x, 0)],
  delayMs: [NO_DELAYS, (x) => asyncSleep(ctx, x)],
}));

refuses("asyncMsgRing()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => asyncMsgRing(x, NO_FD, 0, 0)],
  targetRingFd: [NO_NUMBER_31, (x) => asyncMsgRing(ctx, x, 0, 0)],
  result: [
    [
      undefined,
      ...NO_NUMBERS,
      ...NO_INTEGERS,
      -(2 ** 31) - 1,
      ...BEYOND_INT32,
      ...BEYOND_SAFE,
    ],
    (x) => asyncMsgRing(ctx, NO_FD, x, 0),
  ],
  userData: [
    [undefined, ...NO_NUMBERS, ...NO_INTEGERS, ...NEGATIVE, ...BEYOND_SAFE],
    (x) => asyncMsgRing(ctx, NO_FD, 0, x),
  ],
}));

refuses("link()", (ctx) => ({
  ctx: [NO_CONTEXTS, (x) => link(x, () => 0)],
  queue: [
    [
      undefined,
      ...NO_NUMBERS.filter((given) => typeof given !== "function"),
      5,
    ],
    (x) => link(ctx, x),
  ],
}));

refuses("withTimeout() and withSignal()", (ctx) => {
  const on = (use: (op: ReturnType<typeof asyncSleep>) => unknown) => {
    const op = asyncSleep(ctx, 100_000);
    try {
      return use(op);
    } finally {
      op.cancel();
    }
  };
  return {
    timeoutMs: [NO_DELAYS, (x) => on((op) => op.withTimeout(x))],
    signal: [
      [
        undefined,
        ...NO_NUMBERS,
        new AbortController(),
        new EventTarget(),
        { aborted: true, addEventListener() {}, removeEventListener() {} },
      ],
      (x) => on((op) => op.withSignal(x)),
    ],
  };
});

// ---- IoContext, pin, sockets ---------------------------------------------------------------

refuses("new IoContext()", () => {
  const sizes = [...NO_UINT31, 0, -0];
  const make = (options: Anything) => new IoContext(options)[Symbol.dispose]();
  return {
    entries: [[...sizes, 3, 255, 65536], (x) => make({ entries: x })],
    "entries alone": [[...NO_INTEGERS, ...NEGATIVE, 0, 3, 65536], make],
    operationsMax: [[...sizes, 2 ** 24 + 1], (x) => make({ operationsMax: x })],
    kernelWorkersMax: [
      [...sizes, 65536],
      (x) => make({ kernelWorkersMax: x }),
    ],
    options: [[5n, "256", "", null, true, false, Symbol("256")], make],
  };
});

refuses("IoContext", (ctx) => {
  const fds = [
    undefined,
    ...NO_NUMBERS.filter((given) => !Array.isArray(given)),
    5,
    new Set([0]),
    { length: 1.5, 0: 0, 1: 0 },
    [],
    [0, , 0], // deno-lint-ignore no-sparse-arrays
    ...NO_FDS.filter((fd) => fd !== -1).map((fd) => [0, fd]),
  ];
  return {
    "registerFiles() fds": [fds, (x) => ctx.registerFiles(x)],
    "updateFiles() fds": [fds, (x) => ctx.updateFiles(0, x)],
    "updateFiles() offset": [
      [...NO_NUMBER_31, 65536],
      (x) => ctx.updateFiles(x, [0]),
    ],
    "allocate() size": [
      [
        undefined,
        ...NO_NUMBERS,
        ...NO_INTEGERS,
        ...NEGATIVE,
        ...BEYOND_SAFE,
        0,
        2 ** 32 + 1,
      ],
      (x) => ctx.allocate(x),
    ],
    onMessage: [
      NO_NUMBERS.filter((x) => x !== null && typeof x !== "function"),
      (x) => ctx.onMessage = x,
    ],
    "run() tick": [
      NO_NUMBERS.filter((x) => typeof x !== "function"),
      (x) => {
        const running = ctx.run(x);
        ctx.stop();
        return running;
      },
    ],
  };
});

refuses("pin()", () => ({
  buffer: [
    [
      undefined,
      ...NO_NUMBERS,
      5,
      { buffer: new ArrayBuffer(8) },
      Object.create(Uint8Array.prototype),
      detached(),
      detached().buffer,
    ],
    (x) => pin(x),
  ],
}));

refuses("Socket", () => {
  const names = [
    ...NO_NUMBERS,
    5,
    "tcp",
    "IPv4",
    "ipv4 ",
    "toString",
    "constructor",
    "__proto__",
    "hasOwnProperty",
  ];
  const on = (use: (socket: Socket) => unknown) => {
    using socket = unwrap(Socket.open("ipv4"));
    return use(socket);
  };
  // No one may be closed by mistake here.
  const own = (fd: Anything) => void new Socket(fd).release();
  return {
    fd: [[...NO_FDS, { fd: 5 }], own],
    "open() family": [[undefined, ...names], (x) => Socket.open(x)],
    "open() type": [names, (x) => Socket.open("ipv4", x)],
    "pair() type": [names, (x) => Socket.pair(x)],
    "bind() address": [
      [undefined, ...NO_ADDRESSES],
      (x) => on((socket) => socket.bind(x)),
    ],
    "listen() backlog": [
      [...NO_UINT31, 0],
      (x) => on((socket) => socket.listen(x)),
    ],
    "setSendBuffer() size": [
      [...NO_NUMBER_31, 0],
      (x) => on((socket) => socket.setSendBuffer(x)),
    ],
    "setRecvBuffer() size": [
      [...NO_NUMBER_31, 0],
      (x) => on((socket) => socket.setRecvBuffer(x)),
    ],
    "setIncomingCpu() CPU": [
      [...NO_NUMBER_31, 8192],
      (x) => on((socket) => socket.setIncomingCpu(x)),
    ],
  };
});

refuses("TcpListener.bind()", () => {
  const bind = (address: Anything, options?: Anything) =>
    unwrap(TcpListener.bind(address, options))[Symbol.dispose]();
  return {
    address: [
      [
        undefined,
        ...NO_ADDRESSES.filter((given) => given !== 80),
        ...NO_INTEGERS,
        ...NEGATIVE,
        65536,
        ...BEYOND_INT32,
      ],
      (x) => bind(x),
    ],
    backlog: [[...NO_UINT31, 0], (x) => bind(0, { backlog: x })],
    incomingCpu: [[...NO_UINT31, 8192], (x) => bind(0, { incomingCpu: x })],
    options: [[null, 5, "x", true], (x) => bind(0, x)],
  };
});

// ---- after many good calls --------------------------------------------------------------

/** Deno's own checks of integers are gone when a call is optimised. */
const CALLS = 1_000_000;
/** Enough calls for that, of operations that take a kernel worker. */
const SLOW_CALLS = 100_000;

async function warm(
  start: () => Promise<unknown>,
  calls: number,
): Promise<void> {
  const batch = 4000;
  const ops: Promise<unknown>[] = Array(batch);
  for (let done = 0; done < calls; done += batch) {
    for (let i = 0; i < batch; i++) ops[i] = start();
    // They complete in order; the last one is enough for the most part.
    await ops[batch - 1];
  }
  await Promise.all(ops);
}

const hot: Record<
  string,
  [
    good: (ctx: IoContext) => Promise<unknown>,
    attempts: Attempts,
    calls?: number,
  ]
> = {
  asyncRead: [
    (ctx) => asyncRead(ctx, NO_FD, memory, 5),
    (ctx) => ({
      fd: [NO_FDS, (x) => asyncRead(ctx, x, memory, 5)],
      buffer: [NO_BUFFERS, (x) => asyncRead(ctx, NO_FD, x, 5)],
      offset: [NO_OFFSETS, (x) => asyncRead(ctx, NO_FD, memory, x)],
    }),
  ],
  asyncRecv: [
    (ctx) => asyncRecv(ctx, NO_FD, memory, 64),
    (ctx) => ({
      fd: [NO_FDS, (x) => asyncRecv(ctx, x, memory, 64)],
      buffer: [NO_BUFFERS, (x) => asyncRecv(ctx, NO_FD, x, 64)],
      flags: [NO_UINT31, (x) => asyncRecv(ctx, NO_FD, memory, x)],
    }),
  ],
  asyncPoll: [
    (ctx) => asyncPoll(ctx, NO_FD, POLLIN),
    (ctx) => ({
      fd: [NO_FDS, (x) => asyncPoll(ctx, x, POLLIN)],
      events: [[...NO_NUMBER_31, 65536], (x) => asyncPoll(ctx, NO_FD, x)],
    }),
  ],
  asyncSleep: [
    (ctx) => asyncSleep(ctx, 0),
    (ctx) => ({ delayMs: [NO_DELAYS, (x) => asyncSleep(ctx, x)] }),
  ],
  "asyncOpen() in a directory": [
    (ctx) => asyncOpen(ctx, "no", 0, { dir: NO_FD, mode: 0, resolve: 8 }),
    openInAttempts,
    SLOW_CALLS,
  ],
  asyncFstat: [(ctx) => asyncFstat(ctx, NO_FD), fstatAttempts, SLOW_CALLS],
  asyncRename: [
    (ctx) => asyncRename(ctx, "/no/such", "/no/such", 1),
    renameAttempts,
    SLOW_CALLS,
  ],
  asyncUnlink: [
    (ctx) => asyncUnlink(ctx, "/no/such", 0x200),
    unlinkAttempts,
    SLOW_CALLS,
  ],
  asyncSplice: [
    (ctx) => asyncSplice(ctx, NO_FD, NO_FD, 5, { fromOffset: 0, flags: 1 }),
    spliceAttempts,
    SLOW_CALLS,
  ],
};
const memory = new Uint8Array(8);

for (const [name, [good, attempts, calls = CALLS]] of Object.entries(hot)) {
  kioTest(
    `${name}() refuses the same after ${calls} good calls`,
    async (ctx) => {
      await warm(() => good(ctx), calls);
      assertEquals(ctx.pending, 0);
      await using file = await tempFile(ctx);
      assertEquals(await refusals(attempts(ctx, file)), []);
      assertEquals(ctx.pending, 0);
      await good(ctx);
    },
    { entries: 256 },
  );
}

// ---- what is no mistake ---------------------------------------------------------------------

kioTest("-0 is taken for 0", async (outer) => {
  await using file = await tempFile(outer, bytes("abc"));
  using pair = unixPair();
  const zero = -0;
  const attempts: Record<
    string,
    (ctx: IoContext) => Promise<Result<unknown>>
  > = {
    "asyncRead() offset": (ctx) => asyncRead(ctx, file, buffer(), zero),
    "asyncReadFixed() index": (ctx) => asyncReadFixed(ctx, zero, buffer()),
    "asyncReadFixed() offset": (ctx) => asyncReadFixed(ctx, 0, buffer(), zero),
    "asyncReadv() offset": (ctx) => asyncReadv(ctx, file, [buffer()], zero),
    "asyncFallocate() mode": (ctx) => asyncFallocate(ctx, file, zero, 0, 1),
    "asyncFallocate() offset": (ctx) => asyncFallocate(ctx, file, 0, zero, 1),
    "asyncSend() flags": (ctx) => asyncSend(ctx, pair.left, buffer(), zero),
    "asyncRecv() flags": (ctx) => asyncRecv(ctx, pair.right, buffer(), zero),
    "asyncSendmsg() flags": (ctx) =>
      asyncSendmsg(ctx, pair.left, { buffers: [buffer()] }, zero),
    "asyncRecvmsg() flags": (ctx) =>
      asyncRecvmsg(ctx, pair.right, { buffers: [buffer()] }, zero),
    "asyncMsgRing() result": (ctx) => asyncMsgRing(ctx, ctx.ringFd, zero, 0),
    "asyncMsgRing() userData": (ctx) => asyncMsgRing(ctx, ctx.ringFd, 0, zero),
    "asyncFtruncate() length": (ctx) => asyncFtruncate(ctx, file, zero),
    "asyncSleep() delayMs": (ctx) => asyncSleep(ctx, zero),
    "withTimeout() timeoutMs": (ctx) =>
      asyncPoll(ctx, pair.left, POLLOUT).withTimeout(zero),
    "updateFiles() offset": (ctx) =>
      Promise.resolve(ctx.updateFiles(zero, [file])),
    "updateFiles() fd": (ctx) => Promise.resolve(ctx.updateFiles(0, [zero])),
    "asyncPoll() events": async (ctx) => {
      const op = asyncPoll(ctx, pair.left, zero);
      op.cancel();
      const result = await op;
      return result.ok ? result : { ok: true, value: "cancelled" };
    },
    "asyncPoll() fd": async (ctx) => {
      const result = await asyncPoll(ctx, zero, POLLIN).withTimeout(0);
      return result.ok ? result : { ok: true, value: result.error.code };
    },
    "asyncOpen() flags": async (ctx) => {
      const opened = await asyncOpen(ctx, "/proc/version", zero);
      return opened.ok ? await asyncClose(ctx, opened.value) : opened;
    },
    "asyncOpen() mode": async (ctx) => {
      const opened = await asyncOpen(ctx, "/proc/version", 0, zero);
      return opened.ok ? await asyncClose(ctx, opened.value) : opened;
    },
    "asyncShutdown() how": (ctx) => asyncShutdown(ctx, pair.left, zero),
  };
  const complaints: string[] = [];
  for (const [name, attempt] of Object.entries(attempts)) {
    using ctx = new IoContext({ entries: 1, operationsMax: 1 });
    value(ctx.registerFiles([file]));
    try {
      const result = await attempt(ctx);
      if (!result.ok) complaints.push(`${name}: ${result.error.code}`);
    } catch (error) {
      complaints.push(`${name}: ${error}`);
    }
    try {
      value(await asyncSleep(ctx, 0));
    } catch {
      complaints.push(`${name}: a place for an operation is lost`);
    }
  }
  assertEquals(complaints, []);
});

kioTest("an fd of 0 is one like any other", async (ctx) => {
  assert(isOpen(0));
  const results = [
    await asyncPoll(ctx, 0, POLLIN).withTimeout(0),
    await asyncPoll(ctx, { fd: 0 }, POLLIN).withTimeout(0),
  ];
  for (const result of results) if (!result.ok) assertCode(result, "ETIMEDOUT");
});

kioTest("the ring of a context cannot be closed as an fd", async (ctx) => {
  using other = new IoContext(4);
  using pair = unixPair();
  for (const { ringFd } of [ctx, other]) {
    const attempts = [
      () => asyncClose(ctx, ringFd),
      () => asyncClose(ctx, { fd: ringFd }),
      () => new Socket(ringFd),
      () => passFd(other.ringFd, ringFd),
      () => new Connections(ctx, async () => {}).add(ringFd),
    ];
    for (const attempt of attempts) {
      assertThrows(attempt, TypeError, "is the ring of an IoContext");
    }
  }
  // Both go on, and a number that was a ring once is one like any other.
  const ringFd = other.ringFd;
  value(await asyncSleep(other, 1));
  other[Symbol.dispose]();
  assertCode(await asyncClose(ctx, ringFd), "EBADF");
  value(await asyncSend(ctx, pair.left, buffer()));
});

// ---- buffers that change while the kernel has them --------------------------------------------

kioTest(
  "a resizable buffer that is shrunk to nothing in flight harms nobody",
  async (ctx) => {
    using pair = unixPair();
    for (const size of [16, 65536]) {
      const memory = new ArrayBuffer(size, { maxByteLength: 2 * size });
      const views = [memory, new Uint8Array(memory), new DataView(memory)];
      for (const view of views) {
        memory.resize(size);
        const receiving = asyncRecv(ctx, pair.left, view);
        await turn();
        memory.resize(0);
        value(await asyncSend(ctx, pair.right, bytes("abc")));
        const result = await receiving;
        if (!result.ok) assertCode(result, "EFAULT");
        // The bytes are there or still to be had, once.
        const rest = new Uint8Array(8);
        const again = await asyncRecv(ctx, pair.left, rest, 64);
        assertEquals(again.ok, !result.ok);
      }
    }
  },
);

kioTest(
  "a resizable buffer that grows in flight is filled as asked for",
  async (ctx) => {
    using pair = unixPair();
    const memory = new ArrayBuffer(4, { maxByteLength: 65536 });
    const receiving = asyncRecv(ctx, pair.left, memory);
    await turn();
    memory.resize(65536);
    value(await asyncSend(ctx, pair.right, bytes("abcdefgh")));
    assertEquals(value(await receiving), 4);
    assertEquals(text(new Uint8Array(memory, 0, 8)), "abcd\0\0\0\0");
  },
);

kioTest(
  "a shared buffer that grows in flight is filled as asked for",
  async (ctx) => {
    using pair = unixPair();
    const memory = new SharedArrayBuffer(4, { maxByteLength: 65536 });
    const receiving = asyncRecv(ctx, pair.left, new Uint8Array(memory, 0, 4));
    await turn();
    memory.grow(65536);
    value(await asyncSend(ctx, pair.right, bytes("abcdefgh")));
    assertEquals(value(await receiving), 4);
    assertEquals(text(new Uint8Array(memory, 0, 8).slice()), "abcd\0\0\0\0");
  },
);

kioTest(
  "a file's data is not changed by a buffer that is shrunk while it is written",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const memory = new ArrayBuffer(16, { maxByteLength: 16 });
    new Uint8Array(memory).fill(0x78);
    const writing = asyncWrite(ctx, file, memory);
    memory.resize(8);
    const result = await writing;
    const content = buffer();
    const count = value(await asyncRead(ctx, file, content));
    assertEquals(count > 0, result.ok);
    assert(content.subarray(0, count).every((byte) => byte === 0x78));
  },
);

kioTest("what is wrong is said with what to do instead", (ctx) => {
  const loose = (given: unknown) => given as never;
  const file = Object.create(Deno.FsFile.prototype);
  const cases: [() => unknown, string][] = [
    [() => asyncRead(ctx, loose(file), buffer()), "asyncOpen() gives one"],
    [() => asyncWrite(ctx, NO_FD, loose("text")), "encode it as bytes"],
    [() => SocketAddress.v4(80, "localhost"), "resolve() looks names up"],
    [() => SocketAddress.v6(80, "localhost"), "resolve() looks names up"],
    [() => TcpListener.bind(loose("127.0.0.1:0")), "SocketAddress.parse()"],
  ];
  for (const [wrong, hint] of cases) assertThrows(wrong, TypeError, hint);
});
