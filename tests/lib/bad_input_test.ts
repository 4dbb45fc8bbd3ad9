import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncFallocate,
  asyncFstat,
  asyncFtruncate,
  asyncMsgRing,
  asyncOpen,
  asyncPoll,
  asyncRead,
  asyncReadFixed,
  asyncReadv,
  asyncRecv,
  asyncRecvmsg,
  asyncRename,
  asyncSend,
  asyncSendmsg,
  asyncShutdown,
  asyncSleep,
  asyncSplice,
  asyncUnlink,
  asyncWrite,
  BlockingPool,
  Connections,
  IoContext,
  link,
  type ListenOptions,
  offload,
  passFd,
  pin,
  POLLIN,
  POLLOUT,
  type Result,
  Socket,
  SocketAddress,
  TcpListener,
  unwrap,
  WorkerPool,
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
import {
  BEYOND_INT32,
  BEYOND_SAFE,
  buffer,
  complaint,
  detached,
  nameOf,
  NEGATIVE,
  NO_ADDRESSES,
  NO_CONTEXTS,
  NO_DELAYS,
  NO_FD,
  NO_FDS,
  NO_INTEGERS,
  NO_NUMBER_31,
  NO_NUMBERS,
  NO_SIGNALS,
  NO_UINT31,
} from "./ops/bad_values.ts";
import { Place } from "./ops/place.ts";
import { CASES, refusedBy } from "./ops/samples.ts";

// Arguments here have the wrong type.
// deno-lint-ignore no-explicit-any
type Anything = any;
type Attempt = (given: Anything) => unknown;

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
      [undefined, ...NO_SIGNALS],
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
    submitMax: [[...sizes, 32769], (x) => make({ submitMax: x })],
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

/** Calls that fail fast, by the rows of which samples tell what is refused. */
const hot: Record<
  string,
  [good: (ctx: IoContext) => Promise<unknown>, calls: number]
> = {
  READ: [(ctx) => asyncRead(ctx, NO_FD, memory, 5), CALLS],
  RECV: [(ctx) => asyncRecv(ctx, NO_FD, memory, 64), CALLS],
  POLL: [(ctx) => asyncPoll(ctx, NO_FD, POLLIN), CALLS],
  SLEEP: [(ctx) => asyncSleep(ctx, 0), CALLS],
  OPEN: [
    (ctx) => asyncOpen(ctx, "no", 0, { dir: NO_FD, mode: 0, resolve: 8 }),
    SLOW_CALLS,
  ],
  FSTAT: [(ctx) => asyncFstat(ctx, NO_FD), SLOW_CALLS],
  RENAME: [
    (ctx) => asyncRename(ctx, "/no/such", "/no/such", 1),
    SLOW_CALLS,
  ],
  UNLINK: [(ctx) => asyncUnlink(ctx, "/no/such", 0x200), SLOW_CALLS],
  SPLICE: [
    (ctx) => asyncSplice(ctx, NO_FD, NO_FD, 5, { fromOffset: 0, flags: 1 }),
    SLOW_CALLS,
  ],
};
const memory = new Uint8Array(8);

for (const [key, [good, calls]] of Object.entries(hot)) {
  const { title, sample } = CASES.find((it) => it.key === key)!;
  kioTest(
    `${title} refuses the same after ${calls} good calls`,
    async (ctx) => {
      await warm(() => good(ctx), calls);
      assertEquals(ctx.pending, 0);
      await using place = await Place.open(ctx);
      assertEquals(await refusedBy(sample, place, ctx), []);
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

kioTest("options that are true or false refuse what is neither", async () => {
  const wrong: unknown[] = [null, 0, 1, "false"];
  const pool = new BlockingPool();
  using ctx = new IoContext();
  using socket = unwrap(Socket.open("ipv6"));
  const job = (transferResult: boolean) =>
    offload(ctx, pool, { run: () => 0, transferResult });
  const listen = (options: ListenOptions) => () =>
    TcpListener.bind(SocketAddress.v6(0), options);
  for (const value of wrong as boolean[]) {
    const refused: Record<string, () => unknown> = {
      trace: () => new IoContext({ trace: value }),
      histograms: () => new IoContext({ histograms: value }),
      exclusive: () => new IoContext({ exclusive: value }),
      ipv6Only: listen({ ipv6Only: value }),
      reusePort: listen({ reusePort: value }),
      transferResult: () => job(value),
      on: () => socket.setNodelay(value),
      cpuAffinity: () => WorkerPool.start("", { cpuAffinity: value }),
      restart: () => WorkerPool.start("", { restart: value }),
    };
    if (value !== null) refused.cancel = () => pool.close({ cancel: value });
    for (const [name, call] of Object.entries(refused)) {
      const message = `${name} must be a boolean, got ${
        value === null ? "object" : typeof value
      }`;
      await assertRejects(async () => await call(), TypeError, message);
    }
  }
  await pool.close();
});
