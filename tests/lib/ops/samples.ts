/**
 * A sample of each operation: its arguments in a good call, in one that waits,
 * and what is refused in their place. The tests of this folder try each row of
 * lib/ops/table.ts with it.
 */
import * as kio from "@kio/kio";
import type { IoContext, UringOp, UringStream } from "@kio/kio";
import { ROWS } from "../../../lib/ops/rows.ts";
import * as table from "../../../lib/ops/table.ts";
import * as bad from "./bad_values.ts";
import { LONG_SIZE, type Place } from "./place.ts";

/** An argument: its name, a good value, and values that are refused. */
export interface Argument {
  readonly name: string;
  readonly good: unknown;
  readonly bad: readonly unknown[];
}

type Arguments = (place: Place, ctx: IoContext) => Argument[];

/** How an operation is tried. */
export interface Sample {
  /** The function that starts it. */
  // deno-lint-ignore no-explicit-any
  readonly start: (ctx: IoContext, ...args: any[]) => UringOp<unknown>;
  /** A call that succeeds at once. */
  readonly works: Arguments;
  /** A call that nothing ends; left out where there is none. */
  readonly waits?: Arguments;
  /** It needs a context that has places for direct descriptors. */
  readonly hasPlaces?: true;
  /** False for what `link()` refuses. */
  readonly isLink?: false;
  /** It is a stream, of which the first result counts. */
  readonly isStream?: true;
}

/** The first result of a stream, which it ends, as an operation. */
function first(
  // deno-lint-ignore no-explicit-any
  start: (ctx: IoContext, ...args: any[]) => UringStream<unknown>,
) {
  // deno-lint-ignore no-explicit-any
  return (ctx: IoContext, ...args: any[]): UringOp<unknown> => {
    const stream = start(ctx, ...args);
    const take = async () => {
      for await (const result of stream) return result;
      throw new Error("A stream ended without a result");
    };
    const op: UringOp<unknown> = Object.assign(take(), {
      cancel: () => stream.cancel(),
      withTimeout: (timeoutMs: number) => (stream.withTimeout(timeoutMs), op),
      withSignal: (signal: AbortSignal) => (stream.withSignal(signal), op),
      orThrow: async () => kio.unwrap(await op),
    });
    return op;
  };
}

// ---- arguments ----------------------------------------------------------------

const NOT_LEFT_OUT = (given: unknown) => given !== undefined;

function argument(
  name: string,
  good: unknown,
  bad: readonly unknown[],
): Argument {
  return { name, good, bad };
}

const fd = (good: unknown, name = "fd") => argument(name, good, bad.NO_FDS);
const flags = (good: number, name = "flags") =>
  argument(name, good, bad.NO_NUMBER_31);
const noFlags = argument("flags", 0, bad.NO_UINT31);
const path = (good: string, name = "path") =>
  argument(name, good, bad.NO_PATHS);
const offset = argument("offset", 0, bad.NO_OFFSETS);
const buffer = () => argument("buffer", bad.buffer(), bad.NO_BUFFERS);
const queueMax = argument(
  "options",
  { queueMax: 8 },
  bad.NO_OPTIONS ?? [],
);

/** A pool of a context, and values that are none of it. */
function pool(ctx: IoContext, size = 64): Argument {
  const good = new kio.BufferPool(ctx, { count: 4, size });
  const closed = new kio.BufferPool(ctx, { count: 1, size: 1 });
  closed[Symbol.dispose]();
  return argument("pool", good, [undefined, ...bad.NO_NUMBERS, 5, closed]);
}

const leasesMax = argument("options", { leasesMax: 2 }, [
  ...bad.NO_OPTIONS,
  ...[0, -1, 1.5, 5, "1"].map((leasesMax) => ({ leasesMax })),
  ...[null, 5, "f", {}].map((onChunk) => ({ onChunk })),
]);
const messages = argument("options", { leasesMax: 2, controlSize: 24 }, [
  ...bad.NO_OPTIONS,
  ...[0, -1, 1.5, 5, "1"].map((leasesMax) => ({ leasesMax })),
  ...[-1, 1.5, "1", 256, 65537].map((controlSize) => ({ controlSize })),
  ...[null, 5, "f", {}].map((onMessage) => ({ onMessage })),
]);
const index = (good: number) =>
  argument("index", good, [...bad.NO_NUMBER_31, 65536, { fd: 5 }]);
const buffers = () =>
  argument("buffers", [bad.buffer(), bad.buffer()], [
    ...bad.NO_LISTS,
    [],
    bad.EMPTY_BUFFERS,
  ]);

/** Several buffers where one may be: anything but a list is tried there. */
const parts = () =>
  argument("data", [bad.buffer(), bad.buffer()], [
    ...bad.NO_LISTS.filter(Array.isArray),
    [],
    bad.EMPTY_BUFFERS,
  ]);
type Members = Record<string, [good: unknown, bad: readonly unknown[]]>;

/** An options object: its members may be left out, and it as well. */
function options(
  members: Members,
): Argument {
  return objectOf("options", bad.NO_OPTIONS, members);
}

function objectOf(
  name: string,
  others: readonly unknown[],
  members: Members,
): Argument {
  const entries = Object.entries(members);
  const good = Object.fromEntries(entries.map(([key, [it]]) => [key, it]));
  return argument(name, good, [
    ...others,
    ...entries.flatMap(([key, [, values]]) =>
      values.filter(NOT_LEFT_OUT).map((it) => ({ ...good, [key]: it }))
    ),
  ]);
}

const dir: [unknown, readonly unknown[]] = [undefined, bad.NO_FDS];
const nanoseconds: [unknown, readonly unknown[]] = [false, bad.NO_BOOLEANS];

const boundMembers: Members = {
  timeoutMs: [undefined, bad.NO_DELAYS],
  signal: [undefined, bad.NO_SIGNALS],
};
const bounds = options(boundMembers);
const rwMembers: Members = { rwFlags: [0, bad.NO_UINT31] };
/** Left out, as in most programs: reads and writes have a short way then. */
const rw = argument("options", undefined, options(rwMembers).bad);
const writeBounds = options({
  ...boundMembers,
  ...rwMembers,
  durable: [false, bad.NO_BOOLEANS],
});

const message = (address?: kio.SocketAddress) =>
  objectOf("message", [undefined, ...bad.NO_NUMBERS, 5, [bad.buffer()]], {
    buffers: [[bad.buffer(), bad.buffer()], bad.NO_LISTS],
    control: [undefined, [
      ...bad.NO_BUFFERS,
      // Ancillary data is a Uint8Array: its filled part is given back as one.
      new ArrayBuffer(64),
      new DataView(new ArrayBuffer(64)),
      new Uint32Array(16),
    ]],
    ...address && { address: [address, bad.NO_ADDRESSES] },
  });

/** Arguments of a range of a file that must be numbers. */
const range = [
  argument("offset", 0, [
    undefined,
    ...bad.NO_OFFSETS,
    kio.CURRENT_POSITION,
  ]),
  argument("length", 64, [undefined, ...bad.NO_POSITIONS, 0]),
];

// ---- samples ------------------------------------------------------------------

/** By the names of the rows. */
export const SAMPLES: Readonly<Record<string, Sample>> = {
  READ: {
    start: kio.asyncRead,
    works: ({ file }) => [fd(file), buffer(), offset, rw],
    waits: ({ quiet }) => [fd(quiet), buffer(), offset, rw],
  },
  WRITE: {
    start: kio.asyncWrite,
    works: ({ file }) => [fd(file), buffer(), offset, rw],
    waits: ({ full }) => [fd(full), buffer(), offset, rw],
  },
  READV: {
    start: kio.asyncReadv,
    works: ({ file }) => [fd(file), buffers(), offset, rw],
    waits: ({ quiet }) => [fd(quiet), buffers(), offset, rw],
  },
  WRITEV: {
    start: kio.asyncWritev,
    works: ({ file }) => [fd(file), buffers(), offset, rw],
    waits: ({ full }) => [fd(full), buffers(), offset, rw],
  },
  READ_FIXED: {
    start: kio.asyncReadFixed,
    works: () => [index(0), buffer(), offset, rw],
    waits: () => [index(1), buffer(), offset, rw],
  },
  WRITE_FIXED: {
    start: kio.asyncWriteFixed,
    works: () => [index(0), buffer(), offset, rw],
    waits: () => [index(2), buffer(), offset, rw],
  },
  READ_EXACT: {
    start: kio.asyncReadExact,
    works: ({ file }) => [fd(file), buffer(), offset, bounds],
    waits: ({ quiet }) => [fd(quiet), buffer(), offset, bounds],
    isLink: false,
  },
  WRITE_EXACT: {
    start: kio.asyncWriteExact,
    works: ({ file }) => [fd(file), buffer(), offset, writeBounds],
    waits: ({ full }) => [fd(full), buffer(), offset, writeBounds],
    isLink: false,
  },
  OPEN: {
    start: kio.asyncOpen,
    works: ({ path: it }) => [
      path(it),
      flags(kio.O_RDONLY),
      openOptions(0),
    ],
  },
  OPEN_HOW: {
    start: kio.asyncOpen,
    works: ({ path: it }) => [
      path(it),
      flags(kio.O_RDONLY),
      openOptions(kio.RESOLVE_NO_SYMLINKS),
    ],
  },
  OPEN_DIRECT: {
    start: kio.asyncOpen,
    works: ({ path: it }) => [
      path(it),
      flags(kio.O_RDONLY),
      openOptions(0, true),
    ],
    hasPlaces: true,
    isLink: false,
  },
  FSTAT: {
    start: kio.asyncFstat,
    works: ({ file }) => [fd(file), options({ nanoseconds })],
  },
  STAT: {
    start: kio.asyncStat,
    works: ({ path: it }) => [path(it), options({ dir, nanoseconds })],
  },
  LSTAT: {
    start: kio.asyncLstat,
    works: ({ symlink }) => [path(symlink), options({ dir, nanoseconds })],
  },
  RENAME: {
    start: kio.asyncRename,
    works: ({ path: it }) => [
      path(it, "from"),
      path(it, "to"),
      flagsOrOptions({ dir, toDir: dir, flags: [0, bad.NO_UINT31] }),
    ],
  },
  UNLINK: {
    start: kio.asyncUnlink,
    works: ({ path: it }) => [
      path(it),
      flagsOrOptions({ dir, flags: [0, bad.NO_UINT31] }),
    ],
  },
  MKDIR: {
    start: kio.asyncMkdir,
    works: ({ newPath }) => [
      path(newPath),
      options({
        dir,
        mode: [0o700, bad.NO_MODES],
        recursive: [false, bad.NO_BOOLEANS],
      }),
    ],
  },
  HARD_LINK: {
    start: kio.asyncLink,
    works: ({ path: it, newPath }) => [
      path(it, "from"),
      path(newPath, "to"),
      options({ dir, toDir: dir, flags: [0, bad.NO_UINT31] }),
    ],
  },
  SYMLINK: {
    start: kio.asyncSymlink,
    works: ({ newPath }) => [
      path("no/such", "target"),
      path(newPath),
      options({ dir }),
    ],
  },
  READLINK: {
    start: kio.asyncReadlink,
    works: ({ symlink }) => [path(symlink), options({ dir })],
    isLink: false,
  },
  GETXATTR: {
    start: kio.asyncGetxattr,
    works: ({ file, attribute }) => [
      argument("target", `/proc/self/fd/${file}`, bad.NO_TARGETS),
      path(attribute, "name"),
    ],
  },
  FGETXATTR: {
    start: kio.asyncGetxattr,
    works: ({ file, attribute }) => [
      argument("target", file, bad.NO_TARGETS),
      path(attribute, "name"),
    ],
  },
  SETXATTR: {
    start: kio.asyncSetxattr,
    works: ({ file, attribute }) => [
      argument("target", `/proc/self/fd/${file}`, bad.NO_TARGETS),
      path(attribute, "name"),
      argument("value", bad.buffer(), bad.NO_VALUES),
      options({ flags: [0, bad.NO_UINT31] }),
    ],
  },
  FSETXATTR: {
    start: kio.asyncSetxattr,
    works: ({ file, attribute }) => [
      argument("target", file, bad.NO_TARGETS),
      path(attribute, "name"),
      argument("value", bad.buffer(), bad.NO_VALUES),
      options({ flags: [0, bad.NO_UINT31] }),
    ],
  },
  FADVISE: {
    start: kio.asyncFadvise,
    works: ({ file }) => [
      fd(file),
      range[0]!,
      argument("length", 64, bad.NO_UINT32),
      flags(kio.POSIX_FADV_WILLNEED, "advice"),
    ],
  },
  SYNC_FILE_RANGE: {
    start: kio.asyncSyncFileRange,
    works: ({ file }) => [
      fd(file),
      range[0]!,
      argument("length", 64, bad.NO_UINT32),
      options({ flags: [kio.SYNC_FILE_RANGE_WRITE, bad.NO_UINT31] }),
    ],
  },
  TEE: {
    start: kio.asyncTee,
    works: ({ pipes: [from, to] }) => [
      fd(from!.readFd, "from"),
      fd(to!.writeFd, "to"),
      argument("length", 1, [...bad.NO_NUMBER_31, 0, -0, 2 ** 31 - 1]),
      options({ flags: [0, bad.NO_UINT31] }),
    ],
  },
  CLOSE: { start: kio.asyncClose, works: ({ client }) => [fd(client)] },
  FSYNC: { start: kio.asyncFsync, works: ({ file }) => [fd(file)] },
  FDATASYNC: { start: kio.asyncFdatasync, works: ({ file }) => [fd(file)] },
  FALLOCATE: {
    start: kio.asyncFallocate,
    works: ({ file }) => [fd(file), flags(0, "mode"), ...range],
  },
  FTRUNCATE: {
    start: kio.asyncFtruncate,
    works: ({ file }) => [
      fd(file),
      argument("length", 64, range[0]!.bad),
    ],
  },
  SPLICE: {
    start: kio.asyncSplice,
    works: ({ pipes: [from, to] }) => [
      fd(from!.readFd, "from"),
      fd(to!.writeFd, "to"),
      argument("length", 1, [...bad.NO_NUMBER_31, 0, -0, 2 ** 31 - 1]),
      options({
        fromOffset: [undefined, bad.NO_POSITIONS],
        toOffset: [undefined, bad.NO_POSITIONS],
        flags: [0, bad.NO_UINT31],
      }),
    ],
  },
  SENDFILE: {
    start: kio.asyncSendfile,
    works: ({ roomy, file }) => sendfile(roomy, file),
    waits: ({ full, long }) => sendfile(full, long, LONG_SIZE),
    isLink: false,
  },
  SPLICE_ALL: {
    start: kio.asyncSpliceAll,
    works: ({ ended, roomy }) => [fd(ended, "from"), fd(roomy, "to"), bounds],
    waits: ({ quiet, full }) => [fd(quiet, "from"), fd(full, "to"), bounds],
    isLink: false,
  },
  ACCEPT: {
    start: kio.asyncAccept,
    works: ({ visited }) => [fd(visited), accept(false)],
    waits: ({ lonely }) => [fd(lonely), accept(false)],
  },
  ACCEPT_DIRECT: {
    start: kio.asyncAccept,
    works: ({ visited }) => [fd(visited), accept(true)],
    waits: ({ lonely }) => [fd(lonely), accept(true)],
    hasPlaces: true,
    isLink: false,
  },
  ACCEPT_FROM: {
    start: kio.asyncAcceptFrom,
    works: ({ visited }) => [fd(visited)],
    waits: ({ lonely }) => [fd(lonely)],
  },
  SOCKET: {
    start: kio.asyncSocket,
    works: () => [...socket(), accept(false)],
  },
  SOCKET_DIRECT: {
    start: kio.asyncSocket,
    works: () => [...socket(), accept(true)],
    hasPlaces: true,
    isLink: false,
  },
  BIND: {
    start: kio.asyncBind,
    works: ({ client }) => connect(client, kio.SocketAddress.v4(0)),
  },
  LISTEN: {
    start: kio.asyncListen,
    works: ({ lonely }) => [
      fd(lonely),
      argument("backlog", 8, [...bad.NO_UINT31, 0, -0]),
    ],
  },
  SETSOCKOPT: {
    start: kio.asyncSetsockopt,
    works: ({ roomy }) => [
      ...option(roomy),
      argument("value", 0, bad.NO_OPTION_VALUES),
    ],
  },
  GETSOCKOPT: {
    start: kio.asyncGetsockopt,
    works: ({ roomy }) => [
      ...option(roomy),
      argument("length", 4, [...bad.NO_UINT31, 0, -0, 4097]),
    ],
  },
  CONNECT: {
    start: kio.asyncConnect,
    works: ({ datagrams, anywhere }) => connect(datagrams, anywhere),
    waits: ({ client, fullListener }) => connect(client, fullListener!.at),
  },
  RECV: {
    start: kio.asyncRecv,
    works: ({ ready }) => [fd(ready), buffer(), noFlags],
    waits: ({ quiet }) => [fd(quiet), buffer(), noFlags],
  },
  SEND: {
    start: kio.asyncSend,
    works: ({ roomy }) => [fd(roomy), buffer(), noFlags],
    waits: ({ full }) => [fd(full), buffer(), noFlags],
  },
  RECV_EXACT: {
    start: kio.asyncRecvExact,
    works: ({ ready }) => [fd(ready), buffer(), bounds],
    waits: ({ quiet }) => [fd(quiet), buffer(), bounds],
    isLink: false,
  },
  SEND_EXACT: {
    start: kio.asyncSendExact,
    works: ({ roomy }) => [fd(roomy), buffer(), bounds],
    waits: ({ full }) => [fd(full), buffer(), bounds],
    isLink: false,
  },
  SEND_ALL: {
    start: kio.asyncSendExact,
    works: ({ roomy }) => [fd(roomy), parts(), bounds],
    waits: ({ full }) => [fd(full), parts(), bounds],
    isLink: false,
  },
  RECVMSG: {
    start: kio.asyncRecvmsg,
    works: ({ ready }) => [fd(ready), message(), noFlags],
    waits: ({ quiet }) => [fd(quiet), message(), noFlags],
  },
  SENDMSG: {
    start: kio.asyncSendmsg,
    works: ({ datagrams, anywhere }) => [
      fd(datagrams),
      message(anywhere),
      noFlags,
    ],
    waits: ({ full }) => [fd(full), message(), noFlags],
  },
  SEND_ZC: {
    start: kio.asyncSendZc,
    works: ({ roomy }) => [fd(roomy), buffer(), noFlags],
    waits: ({ full }) => [fd(full), buffer(), noFlags],
  },
  SENDMSG_ZC: {
    start: kio.asyncSendmsgZc,
    works: ({ datagrams, anywhere }) => [
      fd(datagrams),
      message(anywhere),
      noFlags,
    ],
    waits: ({ full }) => [fd(full), message(), noFlags],
  },
  SHUTDOWN: {
    start: kio.asyncShutdown,
    works: ({ roomy }) => [
      fd(roomy),
      argument("how", kio.SHUT_RD, [...bad.NO_NUMBER_31, 3]),
    ],
  },
  POLL: {
    start: kio.asyncPoll,
    works: ({ roomy }) => poll(roomy, kio.POLLOUT),
    waits: ({ quiet }) => poll(quiet, kio.POLLIN),
  },
  ACCEPT_MULTISHOT: {
    start: first(kio.asyncAcceptMultishot),
    works: ({ visited }) => [fd(visited), queueMax],
    waits: ({ lonely }) => [fd(lonely), queueMax],
    isLink: false,
    isStream: true,
  },
  ACCEPT_MULTISHOT_DIRECT: {
    start: first(kio.asyncAcceptMultishot),
    works: ({ visited }) => [fd(visited), accept(true)],
    waits: ({ lonely }) => [fd(lonely), accept(true)],
    hasPlaces: true,
    isLink: false,
    isStream: true,
  },
  INSTALL_FD: {
    start: kio.asyncInstallFd,
    works: (place, ctx) => [
      argument("direct", place.directOf(ctx), [...bad.NO_FDS, 5, { fd: 5 }]),
    ],
    hasPlaces: true,
  },
  RECV_MULTISHOT: {
    start: first(kio.asyncRecvMultishot),
    works: ({ ready }, ctx) => [fd(ready), pool(ctx), leasesMax],
    waits: ({ quiet }, ctx) => [fd(quiet), pool(ctx), leasesMax],
    isLink: false,
    isStream: true,
  },
  RECVMSG_MULTISHOT: {
    start: first(kio.asyncRecvmsgMultishot),
    works: ({ ready }, ctx) => [fd(ready), pool(ctx, 256), messages],
    waits: ({ quiet }, ctx) => [fd(quiet), pool(ctx, 256), messages],
    isLink: false,
    isStream: true,
  },
  READ_MULTISHOT: {
    start: first(kio.asyncReadMultishot),
    works: ({ pipes }, ctx) => [fd(pipes[0]!.readFd), pool(ctx), leasesMax],
    waits: ({ pipes }, ctx) => [fd(pipes[1]!.readFd), pool(ctx), leasesMax],
    isLink: false,
    isStream: true,
  },
  POLL_MULTISHOT: {
    start: first(kio.asyncPollMultishot),
    works: ({ roomy }) => [...poll(roomy, kio.POLLOUT), queueMax],
    waits: ({ quiet }) => [...poll(quiet, kio.POLLIN), queueMax],
    isLink: false,
    isStream: true,
  },
  SLEEP: {
    start: kio.asyncSleep,
    works: () => [argument("delayMs", 0, bad.NO_DELAYS)],
    waits: () => [argument("delayMs", 1e6, bad.NO_DELAYS)],
  },
  MSG_RING: {
    start: kio.asyncMsgRing,
    works: (_, { ringFd }) => [
      argument("targetRingFd", ringFd, bad.NO_NUMBER_31),
      argument("result", 5, [
        undefined,
        ...bad.NO_NUMBERS,
        ...bad.NO_INTEGERS,
        -(2 ** 31) - 1,
        ...bad.BEYOND_INT32,
        ...bad.BEYOND_SAFE,
      ]),
      argument("userData", 5, [undefined, ...bad.NO_POSITIONS]),
    ],
  },
  PIPE: {
    start: kio.asyncPipe,
    works: () => [options({ size: [4096, [...bad.NO_UINT31, 0, -0]] })],
    isLink: false,
  },
};

/** A number in place of the options is the flags. */
function flagsOrOptions(
  members: Members,
): Argument {
  const others = bad.NO_UINT31.filter((given) =>
    typeof given !== "object" || given === null
  );
  return objectOf("options", others, members);
}

/** A number in place of the options is the mode. */
function openOptions(resolve: number, direct = false): Argument {
  const others = [null, 5n, "x", true, Symbol("x"), -1, 0o10000, NaN];
  return objectOf("options", others, {
    dir: [undefined, bad.NO_FDS],
    mode: [0o600, bad.NO_MODES],
    resolve: [resolve, [...bad.NO_UINT31, 256]],
    direct: [direct, bad.NO_BOOLEANS],
  });
}

function accept(direct: boolean): Argument {
  return options({ direct: [direct, bad.NO_BOOLEANS] });
}

function socket(): Argument[] {
  return [
    argument("domain", kio.AF_INET, [...bad.NO_NUMBER_31, 65536]),
    argument("type", kio.SOCK_STREAM, [...bad.NO_NUMBER_31, 256]),
    argument("protocol", kio.IPPROTO_TCP, [...bad.NO_UINT31, 65536]),
  ];
}

function sendfile(to: kio.Socket, file: number, count = 8): Argument[] {
  return [
    fd(to, "to"),
    fd(file, "file"),
    argument("offset", 0, [undefined, ...bad.NO_POSITIONS]),
    argument("count", count, [undefined, ...bad.NO_POSITIONS]),
    options({
      ...boundMembers,
      head: [undefined, bad.NO_BUFFERS.filter((it) => it !== undefined)],
    }),
  ];
}

function connect(socket: kio.Socket, to: kio.SocketAddress): Argument[] {
  const addresses = [undefined, ...bad.NO_ADDRESSES];
  return [fd(socket), argument("address", to, addresses)];
}

function option(socket: kio.Socket): Argument[] {
  return [
    fd(socket),
    argument("level", kio.SOL_SOCKET, [...bad.NO_NUMBER_31, 65536]),
    argument("name", kio.SO_PRIORITY, [...bad.NO_NUMBER_31, 65536]),
  ];
}

function poll(socket: kio.Socket, events: number): Argument[] {
  return [
    fd(socket),
    argument("events", events, [...bad.NO_NUMBER_31, 65536]),
  ];
}

// ---- how the tests use them ---------------------------------------------------

/** A row with its sample. */
export interface Case {
  readonly key: string;
  /** The function, and the row where a function has several. */
  readonly title: string;
  readonly row: table.Row;
  readonly sample: Sample;
}

/** The keys of the rows that a context starts. `wake()` needs none. */
export const KEYS: readonly string[] = Object.entries<table.Row>(table)
  .filter(([, row]) => ROWS.includes(row) && row.name.startsWith("async"))
  .map(([key]) => key);

/** All rows that have a sample. */
export const CASES: readonly Case[] = KEYS.flatMap((key) => {
  const row = (table as Record<string, table.Row>)[key]!;
  const sample = SAMPLES[key];
  const isOnly = ROWS.filter(({ name }) => name === row.name).length === 1;
  const title = isOnly ? `${row.name}()` : `${row.name}() as ${key}`;
  return sample === undefined ? [] : [{ key, title, row, sample }];
});

/** Tells whether this kernel has an operation, in whatever way. */
export function isThere(ctx: IoContext, { name }: table.Row): boolean {
  return ctx.capabilities.operations[name] !== "none";
}

/** Starts the call that succeeds. */
export function startGood(
  { start, works }: Sample,
  place: Place,
  ctx: IoContext,
): UringOp<unknown> {
  return start(ctx, ...works(place, ctx).map(({ good }) => good));
}

/** Starts the call that waits, or else the good one. */
export function startWaiting(
  { start, works, waits = works }: Sample,
  place: Place,
  ctx: IoContext,
): UringOp<unknown> {
  return start(ctx, ...waits(place, ctx).map(({ good }) => good));
}

/** Gives an operation each wrong context and each wrong argument. Returns those
 * that it does not refuse. */
export async function refusedBy(
  { start, works }: Sample,
  place: Place,
  ctx: IoContext,
): Promise<string[]> {
  const args = works(place, ctx);
  const goods = args.map(({ good }) => good);
  const complaints: string[] = [];
  const attempt = async (name: string, given: unknown, call: () => unknown) => {
    const found = await bad.complaint(call);
    if (found !== undefined) {
      complaints.push(`${name} ${bad.nameOf(given)}: ${found}`);
    }
  };
  for (const given of bad.NO_CONTEXTS) {
    await attempt("ctx", given, () => start(given as IoContext, ...goods));
  }
  for (const [at, argument] of args.entries()) {
    for (const given of argument.bad) {
      const call = () => start(ctx, ...goods.with(at, given));
      await attempt(argument.name, given, call);
    }
  }
  return complaints;
}
