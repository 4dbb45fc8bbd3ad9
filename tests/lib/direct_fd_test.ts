import {
  assert,
  assertEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  acceptLoop,
  asyncAccept,
  asyncAcceptFrom,
  asyncAcceptMultishot,
  asyncClose,
  asyncConnect,
  asyncFadvise,
  asyncFallocate,
  asyncFdatasync,
  asyncFstat,
  asyncFsync,
  asyncFtruncate,
  asyncGetxattr,
  asyncInstallFd,
  asyncMkdir,
  asyncOpen,
  asyncPipe,
  asyncPoll,
  asyncPollMultishot,
  asyncRead,
  asyncReadExact,
  asyncReadFixed,
  asyncReadv,
  asyncRecv,
  asyncRecvExact,
  asyncRecvmsg,
  asyncRename,
  asyncSend,
  asyncSendExact,
  asyncSendfile,
  asyncSendmsg,
  asyncSetxattr,
  asyncShutdown,
  asyncSplice,
  asyncStat,
  asyncSyncFileRange,
  asyncTee,
  asyncUnlink,
  asyncWrite,
  asyncWriteExact,
  asyncWriteFixed,
  asyncWritev,
  type DirectFd,
  type Fd,
  IoContext,
  link,
  MSG_DONTWAIT,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_WRONLY,
  passFd,
  POLLIN,
  POLLOUT,
  POSIX_FADV_WILLNEED,
  RESOLVE_NO_MAGICLINKS,
  type Result,
  scmRights,
  SHUT_WR,
  Socket,
  type SocketAddress,
  TcpListener,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  listen,
  openFds,
  procText,
  text,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";

const DIRECT = { direct: true } as const;
const O_CLOEXEC = 0o2000000;

function reserve(ctx: IoContext, count = 8): void {
  value(ctx.reserveFiles(count));
}

/** A new file in /tmp without a name. */
async function file(ctx: IoContext): Promise<DirectFd> {
  const flags = O_TMPFILE | O_RDWR;
  return value(await asyncOpen(ctx, "/tmp", flags, { ...DIRECT, mode: 0o600 }));
}

/** An end of a TCP connection as a direct descriptor, and the other end. */
async function connection(
  ctx: IoContext,
): Promise<{ direct: DirectFd; peer: Socket } & AsyncDisposable> {
  const { listener, at } = listen();
  using _ = listener;
  const peer = await client(ctx, at);
  const direct = value(await asyncAccept(ctx, listener, DIRECT));
  return {
    direct,
    peer,
    async [Symbol.asyncDispose]() {
      await direct.close();
      await peer.close();
    },
  };
}

async function client(ctx: IoContext, at: SocketAddress): Promise<Socket> {
  const socket = unwrap(Socket.open("ipv4"));
  value(await asyncConnect(ctx, socket, at));
  return socket;
}

/** Checks that all places are free: the table can be given back, and is. */
function assertAllFree(ctx: IoContext): void {
  value(ctx.unregisterFiles());
}

// ---- operations ------------------------------------------------------------------

kioTest("operations on files take a direct descriptor", async (ctx) => {
  reserve(ctx);
  await using direct = await file(ctx);
  assertEquals(value(await asyncWrite(ctx, direct, bytes("hello"))), 5);
  assertEquals(value(await asyncWritev(ctx, direct, [bytes("J")])), 1);
  const buffer = new Uint8Array(5);
  assertEquals(value(await asyncRead(ctx, direct, buffer)), 5);
  assertEquals(text(buffer), "Jello");
  assertEquals(value(await asyncReadv(ctx, direct, [buffer], 4)), 1);
  assertEquals(text(buffer), "oello");
  assertEquals(value(await asyncRead(ctx, direct, buffer, 2n ** 62n)), 0);
  assertCode(await asyncWrite(ctx, direct, buffer, 2n ** 62n), "EFBIG");
  value(await asyncWriteExact(ctx, direct, bytes("HE")));
  value(await asyncReadExact(ctx, direct, buffer));
  assertEquals(text(buffer), "HEllo");
  value(await asyncFsync(ctx, direct));
  value(await asyncFdatasync(ctx, direct));
  value(await asyncFallocate(ctx, direct, 0, 0, 100));
  value(await asyncSyncFileRange(ctx, direct, 0, 0));
  value(await asyncFadvise(ctx, direct, 0, 0, POSIX_FADV_WILLNEED));
  assertEquals(
    value(await asyncReadv(ctx, direct, [new Uint8Array(200)])),
    100,
  );
  const truncated = await asyncFtruncate(ctx, direct, 3);
  if (ctx.capabilities.operations.asyncFtruncate === "ring") {
    value(truncated);
    assertEquals(value(await asyncRead(ctx, direct, new Uint8Array(9))), 3);
  } else assertCode(truncated, "EOPNOTSUPP");
});

kioTest("operations on sockets take a direct descriptor", async (ctx) => {
  reserve(ctx);
  await using pair = await connection(ctx);
  const { direct, peer } = pair;
  const buffer = new Uint8Array(8);
  const polls = asyncPollMultishot(ctx, direct, POLLIN).orThrow();
  const changes = polls[Symbol.asyncIterator]();
  assertEquals(value(await asyncSend(ctx, direct, bytes("abc"))), 3);
  assertEquals(value(await asyncRecv(ctx, peer, buffer)), 3);
  value(await asyncSend(ctx, peer, bytes("xyz")));
  assertEquals((await changes.next()).value! & POLLIN, POLLIN);
  await changes.return!();
  assertEquals(value(await asyncPoll(ctx, direct, POLLIN)), POLLIN);
  assertEquals(value(await asyncRecv(ctx, direct, buffer)), 3);
  assertEquals(text(buffer.subarray(0, 3)), "xyz");
  assertCode(await asyncRecv(ctx, direct, buffer, MSG_DONTWAIT), "EAGAIN");
  const buffers = [bytes("m")];
  assertEquals(value(await asyncSendmsg(ctx, direct, { buffers })), 1);
  value(await asyncSendExact(ctx, direct, bytes("sg")));
  value(await asyncRecvExact(ctx, peer, buffer.subarray(0, 3)));
  assertEquals(text(buffer.subarray(0, 3)), "msg");
  value(await asyncSendExact(ctx, peer, bytes("12345678")));
  const received = value(await asyncRecvmsg(ctx, direct, { buffers }));
  assertEquals(received.bytes, 1);
  value(await asyncRecvExact(ctx, direct, buffer.subarray(0, 7)));
  assertEquals(text(buffer.subarray(0, 7)), "2345678");
  value(await asyncShutdown(ctx, direct, SHUT_WR));
  assertEquals(value(await asyncRecv(ctx, peer, buffer)), 0);
});

kioTest("splices take direct descriptors, from and to", async (ctx) => {
  reserve(ctx);
  const fds = value(await asyncPipe(ctx));
  const others = value(await asyncPipe(ctx));
  await using ends = new AsyncDisposableStack();
  const open = async (fd: number, flags: number) =>
    ends.use(
      value(
        await asyncOpen(ctx, `/proc/self/fd/${fd}`, flags | O_NONBLOCK, DIRECT),
      ),
    );
  // The place of each is an fd, too, and another file.
  const from = await open(fds.readFd, O_RDONLY);
  const to = await open(others.writeFd, O_WRONLY);
  const out = ends.use(await file(ctx));
  value(await asyncWrite(ctx, fds.writeFd, bytes("hello")));
  assertEquals(value(await asyncTee(ctx, from, to, 5)), 5);
  assertEquals(value(await asyncSplice(ctx, from, to, 5)), 5);
  assertEquals(value(await asyncSplice(ctx, others.readFd, out, 10)), 10);
  const buffer = new Uint8Array(10);
  assertEquals(value(await asyncRead(ctx, out, buffer)), 10);
  assertEquals(text(buffer), "hellohello");
  for (const { readFd, writeFd } of [fds, others]) {
    value(await asyncClose(ctx, readFd));
    value(await asyncClose(ctx, writeFd));
  }
});

for (const isVector of [false, true]) {
  const name = isVector ? "asyncReadv()" : "asyncRead()";
  kioTest(`${name} of a direct pipe that does not block waits`, async (ctx) => {
    reserve(ctx);
    const { readFd, writeFd } = value(await asyncPipe(ctx));
    const path = `/proc/self/fd/${readFd}`;
    const flags = O_RDONLY | O_NONBLOCK;
    await using direct = value(await asyncOpen(ctx, path, flags, DIRECT));
    const buffer = new Uint8Array(8);
    const reading = isVector
      ? asyncReadv(ctx, direct, [buffer])
      : asyncRead(ctx, direct, buffer);
    await turn(5);
    assertEquals(ctx.pending, 1);
    value(await asyncWrite(ctx, writeFd, bytes("abc")));
    assertEquals(value(await within(5000, reading, "reading")), 3);
    for (const fd of [readFd, writeFd]) value(await asyncClose(ctx, fd));
  });
}

kioTest(
  "asyncAcceptMultishot() gives direct descriptors that work",
  async (ctx) => {
    reserve(ctx, 16);
    const { listener, at } = listen();
    using _ = listener;
    const clients = [];
    for (let i = 0; i < 12; i++) clients.push(await client(ctx, at));
    const directs: DirectFd[] = [];
    for await (
      const it of asyncAcceptMultishot(ctx, listener, DIRECT).orThrow()
    ) {
      directs.push(it);
      if (directs.length === 12) break;
    }
    const names = new Set(directs.map(String));
    assertEquals(names.size, 12);
    for (const [i, direct] of directs.entries()) {
      value(await asyncSend(ctx, direct, new Uint8Array([i])));
    }
    for (const direct of directs) value(await asyncClose(ctx, direct));
    const got = [];
    for (const it of clients) {
      const buffer = new Uint8Array(2);
      assertEquals(value(await asyncRecv(ctx, it, buffer)), 1);
      got.push(buffer[0]);
      assertEquals(value(await asyncRecv(ctx, it, buffer)), 0);
      await it.close();
    }
    assertEquals(got.sort((a, b) => a! - b!), [...Array(12).keys()]);
    assertAllFree(ctx);
  },
);

kioTest("a direct descriptor takes no fd", async (ctx) => {
  reserve(ctx);
  const before = openFds();
  const open = [await file(ctx), await file(ctx)];
  const how = { ...DIRECT, resolve: RESOLVE_NO_MAGICLINKS };
  open.push(value(await asyncOpen(ctx, "/proc/version", O_RDONLY, how)));
  assertEquals(openFds(), before);
  assertEquals(open.map(String), ["direct 0", "direct 1", "direct 2"]);
  for (const it of open) value(await it.close());
});

// ---- what is refused -------------------------------------------------------------

kioTest("what takes no direct descriptor refuses it at once", async (ctx) => {
  reserve(ctx);
  await using dir = await file(ctx);
  using pair = unixPair();
  const fd: Fd = dir;
  const calls: Record<string, () => unknown> = {
    asyncFstat: () => asyncFstat(ctx, fd),
    asyncStat: () => asyncStat(ctx, "x", { dir }),
    asyncOpen: () => asyncOpen(ctx, "x", O_RDONLY, { dir }),
    asyncMkdir: () => asyncMkdir(ctx, "x", { dir }),
    asyncRename: () => asyncRename(ctx, "x", "y", { dir }),
    toDir: () => asyncRename(ctx, "x", "y", { toDir: dir }),
    asyncUnlink: () => asyncUnlink(ctx, "x", { dir }),
    asyncGetxattr: () => asyncGetxattr(ctx, fd, "user.x"),
    asyncSetxattr: () => asyncSetxattr(ctx, fd, "user.x", new Uint8Array(1)),
    asyncSendfile: () => asyncSendfile(ctx, pair.left, fd, 0, 1),
    registerFiles: () => ctx.registerFiles([fd]),
    updateFiles: () => ctx.updateFiles(0, [fd]),
    scmRights: () => scmRights([fd]),
  };
  for (const [name, call] of Object.entries(calls)) {
    assertThrows(call, TypeError, "direct 0 is a direct descriptor", name);
  }
  assertThrows(() => passFd(ctx.ringFd, fd as never), RangeError);
  assertThrows(() => new Socket(fd as never), RangeError);
  const { signal } = new AbortController();
  await assertRejects(
    () => acceptLoop(ctx, fd as never, () => {}, signal),
    TypeError,
    "is a direct descriptor",
  );
  assertEquals(ctx.pending, 0);
});

const uses: Record<string, (ctx: IoContext, fd: Fd) => unknown> = {
  asyncRead: (ctx, fd) => asyncRead(ctx, fd, new Uint8Array(1)),
  asyncWrite: (ctx, fd) => asyncWrite(ctx, fd, new Uint8Array(1)),
  asyncRecv: (ctx, fd) => asyncRecv(ctx, fd, new Uint8Array(1)),
  asyncSend: (ctx, fd) => asyncSend(ctx, fd, new Uint8Array(1)),
  asyncReadv: (ctx, fd) => asyncReadv(ctx, fd, [new Uint8Array(1)]),
  asyncReadExact: (ctx, fd) => asyncReadExact(ctx, fd, new Uint8Array(1)),
  asyncRecvmsg: (ctx, fd) => asyncRecvmsg(ctx, fd, { buffers: [] }),
  asyncFsync: (ctx, fd) => asyncFsync(ctx, fd),
  asyncFtruncate: (ctx, fd) => asyncFtruncate(ctx, fd, 0),
  asyncPoll: (ctx, fd) => asyncPoll(ctx, fd, POLLIN),
  asyncPollMultishot: (ctx, fd) => asyncPollMultishot(ctx, fd, POLLOUT),
  asyncAccept: (ctx, fd) => asyncAccept(ctx, fd),
  asyncAcceptFrom: (ctx, fd) => asyncAcceptFrom(ctx, fd),
  asyncAcceptMultishot: (ctx, fd) => asyncAcceptMultishot(ctx, fd),
  "asyncSplice from": (ctx, fd) => asyncSplice(ctx, fd, 0, 1),
  "asyncSplice to": (ctx, fd) => asyncSplice(ctx, 0, fd, 1),
  asyncClose: (ctx, fd) => asyncClose(ctx, fd),
  asyncInstallFd: (ctx, fd) => asyncInstallFd(ctx, fd as DirectFd),
};

kioTest(
  "a direct descriptor that is closed, or another's, is refused",
  async (ctx) => {
    reserve(ctx);
    using other = new IoContext(4);
    reserve(other);
    const direct = await file(ctx);
    // The same place of the other context has a file, too.
    const theirs = await file(other);
    assertEquals(String(direct), String(theirs));
    for (const [name, use] of Object.entries(uses)) {
      const refused = "direct 0 belongs to another IoContext";
      assertThrows(() => use(ctx, theirs), TypeError, refused, name);
    }
    assert(direct.isOpen);
    const closing = direct.close();
    assert(!direct.isOpen);
    for (const [name, use] of Object.entries(uses)) {
      const refused = "direct 0 is closed";
      assertThrows(() => use(ctx, direct), TypeError, refused, name);
    }
    value(await closing);
    // Its place is another file by now.
    await using again = await file(ctx);
    assertEquals(String(again), String(direct));
    assertNotStrictEquals(again, direct);
    for (const [name, use] of Object.entries(uses)) {
      assertThrows(() => use(ctx, direct), TypeError, "is closed", name);
    }
    assertEquals(ctx.pending, 0);
    await theirs.close();
  },
);

kioTest("a direct descriptor needs places, and no chain", async (ctx) => {
  const { listener } = listen();
  using _ = listener;
  const makers: Record<string, () => unknown> = {
    asyncOpen: () => asyncOpen(ctx, "/proc/version", O_RDONLY, DIRECT),
    asyncAccept: () => asyncAccept(ctx, listener, DIRECT),
    asyncAcceptMultishot: () => asyncAcceptMultishot(ctx, listener, DIRECT),
  };
  for (const [name, make] of Object.entries(makers)) {
    assertThrows(make, TypeError, "call reserveFiles() before", name);
  }
  reserve(ctx);
  for (const [name, make] of Object.entries(makers)) {
    assertThrows(() => link(ctx, make), TypeError, "in link()", name);
  }
  await using direct = await file(ctx);
  for (const head of [() => {}, () => asyncFsync(ctx, direct)]) {
    assertThrows(
      () => link(ctx, () => [head(), asyncClose(ctx, direct)]),
      TypeError,
      "close it after the chain",
    );
  }
  const [written, synced] = link(ctx, () => [
    asyncWrite(ctx, direct, bytes("x")),
    asyncFsync(ctx, direct),
  ]);
  assertEquals(value(await written), 1);
  value(await synced);
});

// ---- closing ---------------------------------------------------------------------

kioTest("asyncClose() closes a direct descriptor, once", async (ctx) => {
  reserve(ctx);
  await using pair = await connection(ctx);
  const { direct, peer } = pair;
  const closing = asyncClose(ctx, direct);
  assert(!direct.isOpen);
  closing.cancel();
  value(await closing);
  assertEquals(value(await asyncRecv(ctx, peer, new Uint8Array(1))), 0);
  assertThrows(() => asyncClose(ctx, direct), TypeError, "is closed");
  value(await direct.close());
  assertAllFree(ctx);
});

kioTest("asyncClose() refuses a direct descriptor in use", async (ctx) => {
  reserve(ctx);
  await using pair = await connection(ctx);
  const { direct, peer } = pair;
  const buffer = new Uint8Array(8);
  const receiving = asyncRecv(ctx, direct, buffer);
  for (let i = 0; i < 2; i++) {
    assertThrows(
      () => asyncClose(ctx, direct),
      TypeError,
      "Cannot close direct 0: operations on it are pending",
    );
    await turn();
  }
  assert(direct.isOpen);
  value(await asyncSend(ctx, peer, bytes("abc")));
  assertEquals(value(await receiving), 3);
  value(await asyncClose(ctx, direct));
});

kioTest("asyncClose() in a full context leaves it open", async () => {
  using ctx = new IoContext({ entries: 4, operationsMax: 1 });
  reserve(ctx);
  const direct = await file(ctx);
  using pair = unixPair();
  const receiving = asyncRecv(ctx, pair.left, new Uint8Array(1));
  assertThrows(() => asyncClose(ctx, direct), RangeError, "operationsMax");
  assert(direct.isOpen);
  // This needs no operation.
  value(await direct.close());
  receiving.cancel();
  await receiving;
  assertAllFree(ctx);
});

kioTest(
  "close() of a direct descriptor cancels what is pending",
  async (ctx) => {
    reserve(ctx);
    await using pair = await connection(ctx);
    const { direct, peer } = pair;
    const pending: Promise<Result<unknown>>[] = [
      asyncRecv(ctx, direct, new Uint8Array(8)),
      asyncPoll(ctx, direct, POLLIN),
      asyncRecvExact(ctx, direct, new Uint8Array(8)),
    ];
    const { readFd, writeFd } = value(await asyncPipe(ctx));
    const stream = asyncPollMultishot(ctx, direct, POLLIN);
    const last = stream[Symbol.asyncIterator]().next();
    const { promise: closed } = {
      promise: Promise.all([direct.close(), direct.close()]),
    };
    assertThrows(() => asyncPoll(ctx, direct, POLLIN), TypeError, "is closed");
    for (const result of await closed) value(result);
    for (const op of pending) assertCode(await op, "ECANCELED");
    assertCode((await last).value!, "ECANCELED");
    assertEquals(value(await asyncRecv(ctx, peer, new Uint8Array(1))), 0);
    for (const fd of [readFd, writeFd]) value(await asyncClose(ctx, fd));
    assertAllFree(ctx);
  },
);

kioTest("the end of a context closes its direct descriptors", async (ctx) => {
  const other = new IoContext(8);
  reserve(other);
  const { listener, at } = listen();
  using _ = listener;
  const peer = await client(ctx, at);
  const direct = value(await asyncAccept(other, listener, DIRECT));
  const receiving = asyncRecv(other, direct, new Uint8Array(1));
  await turn();
  await other[Symbol.asyncDispose]();
  assertCode(await receiving, "ECANCELED");
  const end = asyncRecv(ctx, peer, new Uint8Array(1)).withTimeout(5000);
  assertEquals(value(await end), 0);
  value(await direct.close());
  assertThrows(
    () => asyncRecv(other, direct, new Uint8Array(1)),
    TypeError,
    "the IoContext is closed",
  );
  assertThrows(() => asyncClose(other, direct), TypeError, "is closed");
  await peer.close();
});

// ---- a table that is full ----------------------------------------------------------

kioTest("a full table is an error that says so", async (ctx) => {
  reserve(ctx, 2);
  const open = [await file(ctx), await file(ctx)];
  const opening = asyncOpen(ctx, "/proc/version", O_RDONLY, DIRECT);
  const error = await assertRejects(() => opening.orThrow(), Error);
  assertStringIncludes(
    error.message,
    "Cannot open /proc/version: all 2 places of reserveFiles() are taken; close a DirectFd, or reserve more: Too many open files in system (ENFILE)",
  );
  value(await asyncClose(ctx, open[0]!));
  await using _ = value(
    await asyncOpen(ctx, "/proc/version", O_RDONLY, DIRECT),
  );
  value(await open[1]!.close());
});

kioTest("operations under way take their places beforehand", async (ctx) => {
  reserve(ctx, 3);
  const openings = Array.from(
    { length: 5 },
    () => asyncOpen(ctx, "/proc/version", O_RDONLY, DIRECT),
  );
  const results = await Promise.all(openings);
  assertEquals(results.filter(({ ok }) => ok).length, 3);
  for (const it of results) {
    if (it.ok) value(await it.value.close());
    else assertEquals(it.error.code, "ENFILE");
  }
  // Those that fail give them back.
  for (let i = 0; i < 5; i++) {
    assertCode(await asyncOpen(ctx, "/no/such", O_RDONLY, DIRECT), "ENOENT");
  }
  assertAllFree(ctx);
});

kioTest(
  "asyncAccept() to a full table leaves the client waiting",
  async (ctx) => {
    reserve(ctx, 1);
    const { listener, at } = listen();
    using _ = listener;
    const taken = await file(ctx);
    const peer = await client(ctx, at);
    const before = performance.now();
    const accepting = asyncAccept(ctx, listener, DIRECT);
    assertEquals(ctx.pending, 1);
    assertCode(await accepting, "ENFILE");
    const heldMs = performance.now() - before;
    assert(heldMs >= 9, `a loop would spin: ${heldMs} ms`);
    value(await taken.close());
    const direct = value(await asyncAccept(ctx, listener, DIRECT));
    value(await asyncSend(ctx, direct, bytes("hi")));
    assertEquals(value(await asyncRecv(ctx, peer, new Uint8Array(9))), 2);
    await direct.close();
    await peer.close();
  },
);

kioTest("asyncAcceptMultishot() goes on after a full table", async (ctx) => {
  reserve(ctx, 2);
  const { listener, at } = listen();
  using _ = listener;
  const clients = [];
  for (let i = 0; i < 3; i++) clients.push(await client(ctx, at));
  const stream = asyncAcceptMultishot(ctx, listener, DIRECT);
  const results = stream[Symbol.asyncIterator]();
  const next = async (): Promise<Result<DirectFd>> =>
    (await results.next()).value!;
  const two = [value(await next()), value(await next())];
  assertCode(await next(), "ENFILE");
  for (const it of two) value(await it.close());
  clients.push(await client(ctx, at));
  let last = await next();
  // It may have tried once more in between.
  while (!last.ok) last = await next();
  value(await last.value.close());
  await stream[Symbol.asyncDispose]();
  for (const it of clients) await it.close();
  assertAllFree(ctx);
});

// ---- nothing is lost ---------------------------------------------------------------

kioTest("a direct descriptor that nobody gets is closed", async (ctx) => {
  reserve(ctx, 1);
  const { listener, at } = listen();
  using _ = listener;
  const peer = await client(ctx, at);
  const makers = [
    () => asyncOpen(ctx, "/proc/version", O_RDONLY, DIRECT),
    () => asyncAccept(ctx, listener, DIRECT),
  ];
  for (const make of makers) {
    const op = make();
    assertThrows(() => op.withTimeout(NaN), RangeError);
    assertCode(await op, "ECANCELED");
  }
  await using direct = await file(ctx);
  assertEquals(String(direct), "direct 0");
  await peer.close();
});

kioTest(
  "a stream of direct descriptors that is given up loses none",
  async (ctx) => {
    reserve(ctx, 64);
    for (let turns = 0; turns < 4; turns++) {
      const { listener, at } = listen();
      using _ = listener;
      const clients = await Promise.all(
        Array.from({ length: 10 }, () => client(ctx, at)),
      );
      const lost = asyncAcceptMultishot(ctx, listener, DIRECT);
      for (let i = 0; i < turns; i++) await turn();
      assertThrows(() => lost.withTimeout(-1), RangeError);
      await lost[Symbol.asyncDispose]();
      const left = asyncAcceptMultishot(ctx, listener, {
        ...DIRECT,
        queueMax: 2,
      });
      for await (const result of left.withTimeout(20)) {
        if (!result.ok) break;
        value(await result.value.close());
        break;
      }
      for (const it of clients) await it.close();
    }
    assertAllFree(ctx);
  },
);

kioTest(
  "a direct descriptor that comes after it was given up is closed",
  async (outer) => {
    // One step takes no more than 1024 completions: others come first.
    await using ctx = new IoContext(4096);
    reserve(ctx, 3);
    const { listener, at } = listen();
    using _ = listener;
    using pair = unixPair();
    // A multishot accepts both, after it was given up too.
    const { support } = ctx.capabilities.features.acceptMultishot;
    const clients = [await client(outer, at)];
    if (support === "native") clients.push(await client(outer, at));
    const first = asyncPoll(ctx, pair.left, POLLOUT);
    for (let i = 0; i < 1100; i++) void asyncPoll(ctx, pair.left, POLLOUT);
    const opening = asyncOpen(ctx, "/proc/version", O_RDONLY, DIRECT);
    const lost = asyncAcceptMultishot(ctx, listener, DIRECT);
    await first;
    assertThrows(() => opening.withTimeout(-1), RangeError);
    assertThrows(() => lost.withTimeout(-1), RangeError);
    assertCode(await opening, "ECANCELED");
    await lost[Symbol.asyncDispose]();
    for (const it of clients) {
      const end = asyncRecv(outer, it, new Uint8Array(1)).withTimeout(5000);
      assertEquals(value(await end), 0);
      await it.close();
    }
    // All places are free.
    const files = [await file(ctx), await file(ctx), await file(ctx)];
    for (const it of files) value(await it.close());
    assertAllFree(ctx);
  },
);

kioTest("cancels at any time lose no place", async (ctx) => {
  reserve(ctx, 2);
  const { listener, at } = listen();
  using _ = listener;
  const clients: Socket[] = [];
  for (let i = 0; i < 40; i++) {
    if (i % 2 === 0) clients.push(await client(ctx, at));
    const ops = [
      asyncAccept(ctx, listener, DIRECT),
      asyncOpen(ctx, "/proc/version", O_RDONLY, DIRECT),
    ];
    for (let turns = 0; turns < i % 3; turns++) await turn();
    for (const op of ops) op.cancel();
    for (const op of ops) {
      const result = await op;
      if (result.ok) value(await asyncClose(ctx, result.value));
      else assertCode(result, "ECANCELED");
    }
  }
  for (const it of clients) await it.close();
  assertAllFree(ctx);
});

// ---- the table -------------------------------------------------------------------

kioTest(
  "reserveFiles() and registerFiles() exclude each other",
  async (ctx) => {
    const { listener } = listen();
    using _ = listener;
    value(ctx.registerFiles([listener]));
    assertCode(ctx.reserveFiles(4), "EBUSY");
    assertThrows(
      () => asyncOpen(ctx, "/proc/version", O_RDONLY, DIRECT),
      TypeError,
      "call reserveFiles() before",
    );
    value(ctx.unregisterFiles());
    reserve(ctx, 4);
    assertCode(ctx.reserveFiles(4), "EBUSY");
    assertCode(ctx.registerFiles([listener]), "EBUSY");
    const direct = await file(ctx);
    assertCode(ctx.updateFiles(0, [-1]), "EBUSY");
    assertCode(ctx.unregisterFiles(), "EBUSY");
    const buffer = new Uint8Array(1);
    for (const start of [asyncReadFixed, asyncWriteFixed]) {
      assertThrows(
        () => start(ctx, 0, buffer),
        TypeError,
        "those of reserveFiles()",
      );
    }
    const closing = asyncClose(ctx, direct);
    assertCode(ctx.unregisterFiles(), "EBUSY");
    value(await closing);
    const stream = asyncAcceptMultishot(ctx, listener, DIRECT);
    assertCode(ctx.unregisterFiles(), "EBUSY");
    await stream[Symbol.asyncDispose]();
    value(ctx.unregisterFiles());
    assertCode(ctx.unregisterFiles(), "ENXIO");
    value(ctx.registerFiles([listener]));
  },
);

kioTest("reserveFiles() refuses what makes no sense", (ctx) => {
  for (const count of [0, -1, 1.5, NaN, 2 ** 20 + 1, "4", undefined]) {
    assertThrows(
      () => ctx.reserveFiles(count as number),
      RangeError,
      "Cannot reserve files: count must be an integer from 1 to 1048576",
    );
  }
  assertCode(ctx.reserveFiles(2 ** 20), "EMFILE");
});

// ---- looking at it -----------------------------------------------------------------

kioTest(
  "inspect(), errors and console.log() name a direct descriptor",
  async (ctx) => {
    reserve(ctx);
    await using pair = await connection(ctx);
    const { direct } = pair;
    assertEquals(Deno.inspect(direct), "DirectFd { direct 0 }");
    const receiving = asyncRecv(ctx, direct, new Uint8Array(8));
    const [pending] = ctx.inspect();
    assertEquals([pending!.fd, pending!.target], [-1, "direct 0"]);
    assertStringIncludes(Deno.inspect(ctx), "asyncRecv (direct 0) 8 bytes");
    receiving.cancel();
    const error = await assertRejects(() => receiving.orThrow(), Error);
    assertStringIncludes(error.message, "Cannot receive (direct 0): ");
    value(await direct.close());
    assertEquals(Deno.inspect(direct), "DirectFd { direct 0, closed }");
  },
);

// ---- asyncInstallFd ------------------------------------------------------------------

kioTest("asyncInstallFd() makes an fd of the same file", async (ctx) => {
  reserve(ctx);
  const direct = await file(ctx);
  value(await asyncWrite(ctx, direct, bytes("shared")));
  const installed = await asyncInstallFd(ctx, direct);
  if (ctx.capabilities.operations.asyncInstallFd === "none") {
    assertCode(installed, "EINVAL");
    const error = await assertRejects(() =>
      asyncInstallFd(ctx, direct).orThrow()
    );
    assertStringIncludes((error as Error).message, "it needs Linux 6.8");
  } else {
    const fd = value(installed);
    const info = await procText(`/proc/self/fdinfo/${fd}`);
    const flags = parseInt(/^flags:\s*([0-7]+)$/m.exec(info ?? "")![1]!, 8);
    assertEquals(flags & O_CLOEXEC, O_CLOEXEC);
    value(await direct.close());
    const buffer = new Uint8Array(6);
    assertEquals(value(await asyncRead(ctx, fd, buffer)), 6);
    assertEquals(text(buffer), "shared");
    value(await asyncClose(ctx, fd));
  }
  await direct.close();
  assertThrows(
    () => asyncInstallFd(ctx, 0 as never),
    TypeError,
    "expected a DirectFd, got an fd",
  );
});

kioTest(
  "incoming() and acceptLoop() give fds though there are places",
  async (ctx) => {
    reserve(ctx, 1);
    using listener = unwrap(TcpListener.bind(listen0()));
    const peer = await client(ctx, listener.localAddress!);
    for await (const stream of listener.incoming(ctx).orThrow()) {
      assert(stream.fd >= 0);
      await stream.close();
      break;
    }
    await peer.close();
    assertAllFree(ctx);
  },
);

function listen0(): SocketAddress {
  const { listener, at } = listen();
  listener[Symbol.dispose]();
  return at;
}

kioTest(
  "DirectFd.close() waits for the end of a close() before it",
  async (ctx) => {
    reserve(ctx);
    await using both = await connection(ctx);
    let hasEnded = false;
    const receiving = asyncRecv(ctx, both.direct, new Uint8Array(8))
      .then(() => hasEnded = true);
    await turn();
    void both.direct.close();
    value(await both.direct.close());
    assert(hasEnded, "the kernel still had it");
    await receiving;
  },
);
