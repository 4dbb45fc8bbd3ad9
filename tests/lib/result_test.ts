import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  acceptLoop,
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
  asyncReadExact,
  asyncReadFixed,
  asyncReadlink,
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
  asyncSleep,
  asyncSplice,
  asyncStat,
  asyncSymlink,
  asyncSyncFileRange,
  asyncTee,
  asyncUnlink,
  asyncWrite,
  asyncWriteExact,
  asyncWriteFixed,
  asyncWritev,
  BlockingPool,
  type IoContext,
  IoContext as Context,
  type IoError,
  MSG_DONTWAIT,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_WRONLY,
  passFd,
  POLLIN,
  type Result,
  SHUT_WR,
  Socket,
  SocketAddress,
  TcpListener,
  TcpStream,
  unwrap,
  type UringOp,
  wake,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  tcpPair,
  tempFile,
  turn,
  unixPair,
  value,
} from "../support.ts";

const buffer = () => new Uint8Array(8);

function errorOf(result: Result<unknown>): IoError {
  if (result.ok) throw new Error(`expected an error, got ${result.value}`);
  return result.error;
}

// ---- an operation is a promise --------------------------------------------------------

kioTest("UringOp is a real promise of its result", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const op = asyncRead(ctx, file, buffer());
  assert(op instanceof Promise);
  assertStrictEquals(Promise.resolve(op), op);
  assertEquals(await op, { ok: true, value: 3 });
  assertStrictEquals(await op, await op, "settled once");
  assertEquals(await op.then((result) => result.ok), true);
  let over = false;
  assertEquals((await op.finally(() => over = true)).ok, true);
  assert(over);
});

kioTest("UringOp works with all that takes promises", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  using pair = unixPair();
  const read = () => asyncRead(ctx, file, buffer());
  const all = await Promise.all([read(), read()]);
  assertEquals(all.map(value), [3, 3]);
  const settled = await Promise.allSettled([read(), asyncFsync(ctx, 4000)]);
  assertEquals(settled.map(({ status }) => status), ["fulfilled", "fulfilled"]);
  const waiting = asyncRecv(ctx, pair.left, buffer());
  assertEquals(value(await Promise.race([waiting, read()])), 3);
  waiting.cancel();
  assertCode(await Promise.any([waiting]), "ECANCELED");
});

kioTest("UringOp starts at once, awaited or not", async (ctx) => {
  using pair = unixPair();
  void asyncSend(ctx, pair.left, bytes("abc"));
  assertEquals(value(await asyncRecv(ctx, pair.right, buffer())), 3);
});

kioTest("UringOp never rejects, whatever goes wrong", async (ctx) => {
  using pair = unixPair();
  const closing = new Context(4);
  const ops: UringOp<unknown>[] = [
    asyncRead(ctx, 4000, buffer()),
    asyncOpen(ctx, "/no/such", O_RDONLY),
    asyncRecv(ctx, pair.left, buffer()).withTimeout(1),
    asyncRecv(ctx, pair.left, buffer()).withSignal(AbortSignal.abort()),
    asyncSleep(ctx, 10_000).withTimeout(1),
    asyncRecv(closing, pair.left, buffer()),
  ];
  closing[Symbol.dispose]();
  // Nothing handles this result: the test fails for an unhandled rejection.
  void asyncFsync(ctx, 4000);
  for (const op of ops) {
    const result = await op.catch(() => "rejected");
    assert(typeof result === "object" && !result.ok);
  }
  await turn();
});

// ---- values and errors ---------------------------------------------------------------

kioTest(
  "Result of a failure is one shared frozen value for each operation and errno",
  async (ctx) => {
    using other = new Context(4);
    const one = await asyncRead(ctx, 4000, buffer());
    const two = await asyncRead(other, 4001, buffer());
    assertEquals(one as unknown, await asyncFsync(ctx, 4000));
    assertStrictEquals(one as unknown, two);
    assertStrictEquals(errorOf(one), errorOf(two));
    assert(Object.isFrozen(one) && Object.isFrozen(errorOf(one)));
    assertThrows(
      () => (errorOf(one) as { errno: number }).errno = 1,
      TypeError,
    );
  },
);

kioTest("IoError is a plain value: errno, code and message", async (ctx) => {
  using pair = unixPair();
  const cases: [Result<unknown>, IoError][] = [
    [await asyncRead(ctx, 4000, buffer()), {
      errno: 9,
      code: "EBADF",
      message: "Bad file descriptor",
    }],
    [await asyncOpen(ctx, "/no/such", O_RDONLY), {
      errno: 2,
      code: "ENOENT",
      message: "No such file or directory",
    }],
    [await asyncRecv(ctx, pair.left, buffer()).withTimeout(1), {
      errno: 110,
      code: "ETIMEDOUT",
      message: "Connection timed out",
    }],
    [await asyncSleep(ctx, 1000).withSignal(AbortSignal.abort()), {
      errno: 125,
      code: "ECANCELED",
      message: "Operation canceled",
    }],
  ];
  for (const [result, expected] of cases) {
    assertEquals({ ...errorOf(result) }, expected);
    assert(!(errorOf(result) instanceof Error));
    assertEquals(Object.keys(result), ["ok", "error"]);
  }
});

kioTest("Result of a success has only its value", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const one = await asyncRead(ctx, file, buffer());
  const two = await asyncRead(ctx, file, buffer());
  assertEquals(Object.keys(one), ["ok", "value"]);
  assert(one !== two, "every value is its own");
  const done = await asyncFsync(ctx, file);
  assertEquals(done, { ok: true, value: undefined });
  assert(Object.isFrozen(done), "the shared one cannot be spoilt");
});

// ---- orThrow and unwrap ------------------------------------------------------------------

/** Starts an operation that fails; a promise of it would be one of its result. */
type Failing = (ctx: IoContext) => Started | Promise<Started>;
type Started = { op: UringOp<unknown> };
const { errors } = Deno;
const missing = SocketAddress.unix("/no/such/socket");
/** A port without a listener. */
const closed = SocketAddress.v4(1, "127.0.0.1");
const failing: [string, string, new (message: string) => Error, Failing][] = [
  [
    "EBADF",
    "read",
    errors.BadResource,
    (ctx) => ({ op: asyncRead(ctx, 4000, buffer()) }),
  ],
  [
    "ENOENT",
    "open /no/such",
    errors.NotFound,
    (ctx) => ({ op: asyncOpen(ctx, "/no/such", O_RDONLY) }),
  ],
  [
    "EEXIST",
    "open /tmp",
    errors.AlreadyExists,
    (ctx) => ({ op: asyncOpen(ctx, "/tmp", O_CREAT | O_EXCL | O_WRONLY) }),
  ],
  [
    "EISDIR",
    "open /tmp",
    errors.IsADirectory,
    (ctx) => ({ op: asyncOpen(ctx, "/tmp", O_WRONLY) }),
  ],
  [
    "ENOTDIR",
    "open /proc/version",
    errors.NotADirectory,
    (ctx) => ({ op: asyncOpen(ctx, "/proc/version", O_RDONLY | O_DIRECTORY) }),
  ],
  [
    "ELOOP",
    "open /proc/self",
    errors.FilesystemLoop,
    (ctx) => ({ op: asyncOpen(ctx, "/proc/self", O_RDONLY | O_NOFOLLOW) }),
  ],
  ["ENOENT", `connect to ${missing}`, errors.NotFound, async (ctx) => {
    using socket = unwrap(Socket.open("unix"));
    const op = asyncConnect(ctx, socket, missing);
    await op;
    return { op };
  }],
  ["ECONNREFUSED", `connect to ${closed}`, errors.ConnectionRefused, async (
    ctx,
  ) => {
    using socket = unwrap(Socket.open("ipv4"));
    const op = asyncConnect(ctx, socket, closed);
    await op;
    return { op };
  }],
  ["EPIPE", "send", errors.BrokenPipe, async (ctx) => {
    using pair = unixPair();
    await pair.right.close();
    const op = asyncSend(ctx, pair.left, buffer());
    await op;
    return { op };
  }],
  ["ECONNRESET", "receive", errors.ConnectionReset, async (ctx) => {
    using pair = await tcpPair(ctx);
    value(await asyncSend(ctx, pair.left, buffer()));
    await turn(2);
    value(await asyncClose(ctx, pair.right));
    const op = asyncRecv(ctx, pair.left, buffer());
    await op;
    return { op };
  }],
  ["ENOTCONN", "shut down", errors.NotConnected, async (ctx) => {
    using socket = unwrap(Socket.open("ipv4"));
    const op = asyncShutdown(ctx, socket, SHUT_WR);
    await op;
    return { op };
  }],
  ["EAGAIN", "receive", errors.WouldBlock, async (ctx) => {
    using pair = unixPair();
    const op = asyncRecv(ctx, pair.left, buffer(), MSG_DONTWAIT);
    await op;
    return { op };
  }],
  ["ETIMEDOUT", "poll", errors.TimedOut, async (ctx) => {
    using pair = unixPair();
    const op = asyncPoll(ctx, pair.left, POLLIN).withTimeout(1);
    await op;
    return { op };
  }],
  ["ECANCELED", "sleep", errors.Interrupted, (ctx) => {
    const op = asyncSleep(ctx, 10_000);
    op.cancel();
    return { op };
  }],
  ["EINVAL", "accept", Error, async (ctx) => {
    using socket = unwrap(Socket.open("ipv4"));
    const op = asyncAccept(ctx, socket);
    await op;
    return { op };
  }],
  ["ENOTSOCK", "receive", Error, async (ctx) => {
    await using file = await tempFile(ctx);
    const op = asyncRecv(ctx, file, buffer());
    await op;
    return { op };
  }],
];

for (const [code, action, Class, start] of failing) {
  kioTest(
    `orThrow() and unwrap() throw ${Class.name} for ${code} of ${action}`,
    async (ctx) => {
      const { op } = await start(ctx);
      const { errno, message } = errorOf(await op);
      const thrown = await assertRejects(() => op.orThrow()) as Error & IoError;
      assertStrictEquals(thrown.constructor, Class);
      assert(thrown instanceof Error && typeof thrown.stack === "string");
      assertEquals(thrown.message, `Cannot ${action}: ${message} (${code})`);
      assertEquals([thrown.code, thrown.errno], [code, errno]);
      assert(
        /^async[A-Z]/.test(
          (thrown as unknown as { operation: string }).operation,
        ),
      );
      const result = await op;
      const unwrapped = assertThrows(() => unwrap(result)) as Error & IoError;
      assertStrictEquals(unwrapped.constructor, Class);
      assertEquals([unwrapped.code, unwrapped.errno], [code, errno]);
      assert(!("operation" in unwrapped));
      assertEquals(unwrapped.message, thrown.message);
    },
  );
}

kioTest("orThrow() gives the value of a success", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  assertEquals(await asyncRead(ctx, file, buffer()).orThrow(), 3);
  assertEquals(await asyncFsync(ctx, file).orThrow(), undefined);
  const op = asyncRead(ctx, file, buffer());
  assertEquals(await op.orThrow(), await op.orThrow());
});

kioTest(
  "orThrow() names the function that started the operation",
  async (ctx) => {
    const ops: [string, UringOp<unknown>][] = [
      ["asyncRead", asyncRead(ctx, 4000, buffer())],
      ["asyncWrite", asyncWrite(ctx, 4000, buffer())],
      ["asyncRecv", asyncRecv(ctx, 4000, buffer())],
      ["asyncSend", asyncSend(ctx, 4000, buffer())],
      ["asyncFsync", asyncFsync(ctx, 4000)],
      ["asyncPoll", asyncPoll(ctx, 4000, POLLIN)],
      ["asyncClose", asyncClose(ctx, 4000)],
      ["asyncAccept", asyncAccept(ctx, 4000)],
      ["asyncOpen", asyncOpen(ctx, "/no/such", O_RDONLY)],
    ];
    for (const [name, op] of ops) {
      const error = await assertRejects(() => op.orThrow());
      assertEquals((error as unknown as { operation: string }).operation, name);
    }
  },
);

kioTest("orThrow() goes with withTimeout() and withSignal()", async (ctx) => {
  using pair = unixPair();
  await assertRejects(
    () => asyncRecv(ctx, pair.left, buffer()).withTimeout(1).orThrow(),
    Deno.errors.TimedOut,
    `Cannot receive (fd ${pair.left.fd}): Connection timed out (ETIMEDOUT)`,
  );
  const signal = AbortSignal.abort();
  await assertRejects(
    () => asyncRecv(ctx, pair.left, buffer()).withSignal(signal).orThrow(),
    Deno.errors.Interrupted,
  );
});

kioTest("orThrow() makes an exception of its own each time", async (ctx) => {
  const op = asyncFsync(ctx, 4000);
  const one = await assertRejects(() => op.orThrow());
  const two = await assertRejects(() => op.orThrow());
  assert(one !== two);
});

// ---- what exceptions say -----------------------------------------------------------------

/** Something that fails: a result, or an operation that gives one. */
type Fails = (ctx: IoContext) => Result<unknown> | PromiseLike<Result<unknown>>;
const nowhere = SocketAddress.v4(7100, "192.0.2.1");
const noSocket = () => new Socket(4000);

function cancelled<T>(op: UringOp<T>): UringOp<T> {
  op.cancel();
  return op;
}

/** All exports that give a `Result`, and what `unwrap()` says of a failure. */
const named: [string, string, Fails][] = [
  ["asyncOpen", "open /no/such", (ctx) => asyncOpen(ctx, "/no/such", O_RDONLY)],
  [
    "asyncOpen",
    "open no/such",
    (ctx) => asyncOpen(ctx, "no/such", O_RDONLY, { dir: 4000 }),
  ],
  [
    "asyncRename",
    "rename /no/a to /no/b",
    (ctx) => asyncRename(ctx, "/no/a", "/no/b"),
  ],
  ["asyncStat", "stat /no/a", (ctx) => asyncStat(ctx, "/no/a")],
  ["asyncLstat", "stat /no/a", (ctx) => asyncLstat(ctx, "/no/a")],
  [
    "asyncMkdir",
    "make the directory /no/a",
    (ctx) => asyncMkdir(ctx, "/no/a"),
  ],
  [
    "asyncMkdir",
    "make the directory /proc/a/b",
    (ctx) => asyncMkdir(ctx, "/proc/a/b", { recursive: true }),
  ],
  [
    "asyncLink",
    "link /no/a to /no/b",
    (ctx) => asyncLink(ctx, "/no/a", "/no/b"),
  ],
  [
    "asyncSymlink",
    "make the symbolic link /no/b to a",
    (ctx) => asyncSymlink(ctx, "a", "/no/b"),
  ],
  [
    "asyncReadlink",
    "read the symbolic link /no/a",
    (ctx) => asyncReadlink(ctx, "/no/a"),
  ],
  [
    "asyncGetxattr",
    "get the attribute user.a of /no/a",
    (ctx) => asyncGetxattr(ctx, "/no/a", "user.a"),
  ],
  [
    "asyncSetxattr",
    "set the attribute user.a of fd 4000",
    (ctx) => asyncSetxattr(ctx, 4000, "user.a", buffer()),
  ],
  [
    "asyncFadvise",
    "advise the kernel",
    (ctx) => asyncFadvise(ctx, 4000, 0, 0, 0),
  ],
  [
    "asyncSyncFileRange",
    "sync a file range",
    (ctx) => asyncSyncFileRange(ctx, 4000, 0, 0),
  ],
  ["asyncTee", "tee", (ctx) => asyncTee(ctx, 4000, 4001, 1)],
  ["asyncUnlink", "unlink /no/a", (ctx) => asyncUnlink(ctx, "/no/a")],
  ["asyncFstat", "stat", (ctx) => asyncFstat(ctx, 4000)],
  ["asyncRead", "read", (ctx) => asyncRead(ctx, 4000, buffer())],
  ["asyncWrite", "write", (ctx) => asyncWrite(ctx, 4000, buffer())],
  ["asyncReadv", "read", (ctx) => asyncReadv(ctx, 4000, [buffer()])],
  ["asyncWritev", "write", (ctx) => asyncWritev(ctx, 4000, [buffer()])],
  ["asyncReadFixed", "read", (ctx) => asyncReadFixed(ctx, 0, buffer())],
  ["asyncWriteFixed", "write", (ctx) => asyncWriteFixed(ctx, 0, buffer())],
  ["asyncReadExact", "read", (ctx) => asyncReadExact(ctx, 4000, buffer())],
  ["asyncWriteExact", "write", (ctx) => asyncWriteExact(ctx, 4000, buffer())],
  ["asyncClose", "close", (ctx) => asyncClose(ctx, 4000)],
  ["asyncFsync", "fsync", (ctx) => asyncFsync(ctx, 4000)],
  ["asyncFdatasync", "fdatasync", (ctx) => asyncFdatasync(ctx, 4000)],
  [
    "asyncFallocate",
    "allocate file space",
    (ctx) => asyncFallocate(ctx, 4000, 0, 0, 1),
  ],
  ["asyncFtruncate", "truncate", (ctx) => asyncFtruncate(ctx, 4000, 1)],
  ["asyncPipe", "make a pipe", (ctx) => cancelled(asyncPipe(ctx))],
  ["asyncSplice", "splice", (ctx) => asyncSplice(ctx, 4000, 4001, 1)],
  [
    "asyncSendfile",
    "send a file",
    (ctx) => asyncSendfile(ctx, 4000, 4001, 0, 1),
  ],
  ["asyncAccept", "accept", (ctx) => asyncAccept(ctx, 4000)],
  ["asyncAcceptFrom", "accept", (ctx) => asyncAcceptFrom(ctx, 4000)],
  [
    "asyncConnect",
    `connect to ${closed}`,
    (ctx) => asyncConnect(ctx, 4000, closed),
  ],
  ["asyncRecv", "receive", (ctx) => asyncRecv(ctx, 4000, buffer())],
  ["asyncSend", "send", (ctx) => asyncSend(ctx, 4000, buffer())],
  ["asyncRecvExact", "receive", (ctx) => asyncRecvExact(ctx, 4000, buffer())],
  ["asyncSendExact", "send", (ctx) => asyncSendExact(ctx, 4000, buffer())],
  [
    "asyncRecvmsg",
    "receive a message",
    (ctx) => asyncRecvmsg(ctx, 4000, { buffers: [buffer()] }),
  ],
  [
    "asyncSendmsg",
    "send a message",
    (ctx) => asyncSendmsg(ctx, 4000, { buffers: [buffer()] }),
  ],
  ["asyncShutdown", "shut down", (ctx) => asyncShutdown(ctx, 4000, SHUT_WR)],
  ["asyncPoll", "poll", (ctx) => asyncPoll(ctx, 4000, POLLIN)],
  ["asyncSleep", "sleep", (ctx) => asyncSleep(ctx, 1000).withTimeout(1)],
  ["asyncMsgRing", "message a ring", (ctx) => asyncMsgRing(ctx, 4000, 0, 0)],
  ["wake", "wake ring 4000", () => wake(4000)],
  ["passFd", "pass fd 4001", () => passFd(4000, 4001)],
  [
    "IoContext.registerFiles",
    "register files",
    (ctx) => ctx.registerFiles([4000]),
  ],
  ["IoContext.updateFiles", "update files", (ctx) => ctx.updateFiles(0, [1])],
  [
    "IoContext.unregisterFiles",
    "unregister files",
    (ctx) => ctx.unregisterFiles(),
  ],
  [
    "SocketAddress.resolve",
    "resolve no.such.invalid",
    () => SocketAddress.resolve("no.such.invalid", 80),
  ],
  [
    "SocketAddress.resolveAll",
    "resolve no.such.invalid",
    () => SocketAddress.resolveAll("no.such.invalid", 80),
  ],
  ["SocketAddress.resolveAsync", "resolve no.such.invalid", async (ctx) => {
    await using pool = new BlockingPool(1);
    const op = SocketAddress.resolveAsync(ctx, pool, "no.such.invalid", 80);
    return await op.withSignal(AbortSignal.abort());
  }],
  ["SocketAddress.resolveAllAsync", "resolve no.such.invalid", async (ctx) => {
    await using pool = new BlockingPool(1);
    const op = SocketAddress.resolveAllAsync(ctx, pool, "no.such.invalid", 80);
    op.cancel();
    return await op;
  }],
  [
    "TcpStream.connect",
    `connect to ${closed}`,
    (ctx) => TcpStream.connect(ctx, "127.0.0.1", 1),
  ],
  [
    "TcpListener.bind",
    `listen on ${nowhere}`,
    () => TcpListener.bind(nowhere),
  ],
  [
    "TcpListener.bind, alone",
    `listen on ${nowhere}`,
    () => TcpListener.bind(nowhere, { reusePort: false }),
  ],
  [
    "acceptLoop",
    "accept (fd 4000)",
    (ctx) => acceptLoop(ctx, 4000, () => {}, new AbortController().signal),
  ],
  ["Socket.bind", `bind to ${nowhere}`, () => {
    using socket = unwrap(Socket.open("ipv4"));
    return socket.bind(nowhere);
  }],
  ["Socket.listen", "listen (fd 4000)", () => noSocket().listen()],
  [
    "Socket.stopListening",
    "stop listening (fd 4000)",
    () => noSocket().stopListening(),
  ],
  [
    "Socket.setNonBlocking",
    "set O_NONBLOCK (fd 4000)",
    () => noSocket().setNonBlocking(),
  ],
  [
    "Socket.setNodelay",
    "set TCP_NODELAY (fd 4000)",
    () => noSocket().setNodelay(),
  ],
];

for (const [name, action, fails] of named) {
  kioTest(`unwrap() says what failed: ${name}`, async (ctx) => {
    const result = await fails(ctx);
    const { message, code } = errorOf(result);
    assertThrows(
      () => unwrap(result),
      Error,
      `Cannot ${action}: ${message} (${code})`,
    );
    // None of it shows in the error itself.
    const { errno, ...rest } = errorOf(result);
    assert(errno > 0);
    const [{ bytesTransferred: _, filesUpdated: __, ...known }] = [rest] as [
      IoError,
    ];
    const attempts = name === "TcpStream.connect" ? ["attempts"] : [];
    assertEquals(Object.keys(known), ["code", "message", ...attempts]);
  });
}

kioTest("orThrow() names the fd, or else the path or address", async (ctx) => {
  const cases: [string, () => UringOp<unknown>][] = [
    ["read (fd 4000)", () => asyncRead(ctx, 4000, buffer())],
    ["receive (fd 4000)", () => asyncRecvExact(ctx, 4000, buffer())],
    ["open no/such", () => asyncOpen(ctx, "no/such", O_RDONLY, { dir: 4000 })],
    [`connect to ${closed}`, () => asyncConnect(ctx, 4000, closed)],
    ["sleep", () => asyncSleep(ctx, 1000).withTimeout(1)],
  ];
  for (const [action, start] of cases) {
    await assertRejects(() => start().orThrow(), Error, `Cannot ${action}: `);
  }
});

/** Finds the place that an exception names as its origin. */
function originOf(error: Error): string {
  return error.stack!.split("\n").find((line) => /^ +at /.test(line)) ?? "";
}

kioTest(
  "unwrap() and orThrow() have a stack that begins with the caller",
  async (ctx) => {
    const missing = await asyncOpen(ctx, "/no/such", O_RDONLY);
    function unwrapsHere(): unknown {
      return unwrap(missing);
    }
    async function throwsHere(): Promise<unknown> {
      return await asyncOpen(ctx, "/no/such", O_RDONLY).orThrow();
    }
    const unwrapped = assertThrows(unwrapsHere) as Error;
    assertMatch(originOf(unwrapped), /unwrapsHere .*result_test/);
    assertMatch(unwrapped.stack!, /^NotFound: Cannot open \/no\/such: /);
    const thrown = await assertRejects(throwsHere) as Error;
    assertMatch(originOf(thrown), /throwsHere .*result_test/);
  },
);

kioTest("unwrap() of a result that the program made says what it knows", () => {
  const error = { errno: 2, code: "ENOENT", message: "No such file" };
  assertThrows(
    () => unwrap({ ok: false, error }),
    Deno.errors.NotFound,
    "Cannot unwrap the result: No such file (ENOENT)",
  );
});

Deno.test("unwrap() gives the value of a success, also a false one", () => {
  for (const given of [0, "", undefined, null, false, NaN]) {
    assertEquals(unwrap({ ok: true, value: given }), given);
  }
});
