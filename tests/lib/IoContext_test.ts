import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  asyncAccept,
  asyncClose,
  asyncConnect,
  asyncFsync,
  asyncMsgRing,
  asyncOpen,
  asyncPoll,
  asyncRead,
  asyncRecv,
  asyncSend,
  asyncSleep,
  asyncWrite,
  IoContext,
  link,
  MSG_DONTWAIT,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  POLLIN,
  Socket,
  unwrap,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  assertFds,
  bytes,
  contentOf,
  isOpen,
  kioTest,
  listen,
  openFds,
  tempFile,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";

const buffer = () => new Uint8Array(8);
const NO_FD = 1_000_000;

// ---- opening -------------------------------------------------------------------------

kioTest("new IoContext() takes a number of entries or options", () => {
  const kinds = [
    undefined,
    1,
    4096,
    {},
    { entries: 2 },
    { operationsMax: 1, kernelWorkersMax: 1, submitMax: 1 },
    { entries: undefined, operationsMax: 2 ** 24, kernelWorkersMax: 65535 },
    { entries: 4, submitMax: 32768 },
  ];
  for (const options of kinds) {
    using ctx = new IoContext(options);
    assertEquals(ctx.pending, 0);
    assert(ctx.ringFd >= 0 && isOpen(ctx.ringFd));
  }
});

kioTest("new IoContext() with a single entry does everything", async () => {
  using ctx = new IoContext(1);
  using pair = unixPair();
  await using file = await tempFile(ctx, bytes("abc"));
  const ops = Array.from({ length: 50 }, () => asyncFsync(ctx, file));
  for (const op of ops) value(await op);
  const receives = Array.from(
    { length: 20 },
    () => asyncRecv(ctx, pair.left, new Uint8Array(1)),
  );
  receives[19]!.withTimeout(5);
  assertCode(await receives[19]!, "ETIMEDOUT");
  for (let i = 10; i < 19; i++) receives[i]!.cancel();
  for (let i = 10; i < 19; i++) assertCode(await receives[i]!, "ECANCELED");
  value(await asyncSend(ctx, pair.right, new Uint8Array(10)));
  for (let i = 0; i < 10; i++) assertEquals(value(await receives[i]!), 1);
  const [one, two] = link(ctx, () => [
    asyncFsync(ctx, file),
    asyncFsync(ctx, file),
  ]);
  value(await one);
  assertCode(await two, "E2BIG");
  value(await asyncSleep(ctx, 1));
});

kioTest("new IoContext() gives its fds back, 200 times", async () => {
  const before = openFds();
  for (let i = 0; i < 200; i++) {
    using ctx = new IoContext(8);
    if (i % 3 === 0) value(await asyncSleep(ctx, 0));
    if (i % 3 === 1) void asyncSleep(ctx, 1000);
  }
  await assertFds(before, "after 200 contexts");
});

kioTest("new IoContext() works forty times at once", async () => {
  // There are 16 places for registered ring fds in a thread.
  const contexts = Array.from({ length: 40 }, () => new IoContext(4));
  const pairs = contexts.map(() => unixPair());
  const receives = contexts.map((ctx, i) =>
    asyncRecv(ctx, pairs[i]!.left, buffer())
  );
  await turn();
  for (const [i, ctx] of contexts.entries()) {
    const next = contexts[(i + 1) % contexts.length]!;
    value(await asyncSend(next, pairs[i]!.right, bytes("x")));
    assertEquals(value(await receives[i]!), 1);
    assertEquals(ctx.pending, 0);
  }
  for (const pair of pairs) pair[Symbol.dispose]();
  for (const ctx of contexts) await ctx[Symbol.asyncDispose]();
});

kioTest(
  "new IoContext() in use beside another keeps its operations to itself",
  async (ctx) => {
    using other = new IoContext(8);
    using pair = unixPair();
    const receiving = asyncRecv(ctx, pair.left, buffer());
    const polling = asyncPoll(other, pair.right, POLLIN);
    assertEquals([ctx.pending, other.pending], [1, 1]);
    await other.cancelAllPending();
    assertEquals([ctx.pending, other.pending], [1, 0]);
    assertCode(await polling, "ECANCELED");
    value(await asyncSend(other, pair.right, bytes("x")));
    assertEquals(value(await receiving), 1);
  },
);

// ---- pending and the limit ---------------------------------------------------------------

kioTest("pending counts what is not complete", async (ctx) => {
  using pair = unixPair();
  assertEquals(ctx.pending, 0);
  const receiving = asyncRecv(ctx, pair.left, buffer());
  const sleeping = asyncSleep(ctx, 10_000);
  assertEquals(ctx.pending, 2);
  sleeping.cancel();
  assertEquals(ctx.pending, 1, "a sleep is not the kernel's");
  value(await asyncSend(ctx, pair.right, bytes("x")));
  value(await receiving);
  assertEquals(ctx.pending, 0);
});

kioTest(
  "operationsMax bounds what is in flight, and frees its places again",
  async () => {
    using ctx = new IoContext({ entries: 4, operationsMax: 3 });
    using pair = unixPair();
    for (let round = 0; round < 3; round++) {
      const ops: UringOp<unknown>[] = [
        asyncRecv(ctx, pair.left, buffer()),
        asyncSleep(ctx, 10_000),
        asyncPoll(ctx, pair.left, POLLIN),
      ];
      const refused: [() => unknown, string][] = [
        [() => asyncRecv(ctx, pair.left, buffer()), "Cannot receive: "],
        [() => asyncSleep(ctx, 1), "Cannot sleep: "],
        [() => asyncClose(ctx, pair.right), "Cannot close: "],
      ];
      for (const [start, message] of refused) {
        const error = assertThrows(start, RangeError, message);
        assert(`${error}`.includes("operationsMax"), `${error}`);
      }
      assertEquals(ctx.pending, 3);
      assert(isOpen(pair.right.fd), "a refused close owns nothing");
      for (const op of ops) op.cancel();
      for (const op of ops) assertCode(await op, "ECANCELED");
    }
  },
);

kioTest("submitMax bounds what one entry hands over", async () => {
  const entriesWith = async (submitMax: number | undefined) => {
    using ctx = new IoContext({ submitMax });
    const ops = Array.from({ length: 8 }, () => asyncFsync(ctx, NO_FD));
    for (const op of ops) assertCode(await op, "EBADF");
    const { kernelEntries, submissions } = ctx.stats();
    assert(submissions >= 8, `${submissions}`);
    return kernelEntries;
  };
  assert(await entriesWith(undefined) < 8);
  assert(await entriesWith(8) < 8);
  assert(await entriesWith(1) >= 8);
});

kioTest("submitMax leaves a chain whole", async () => {
  using ctx = new IoContext({ submitMax: 1 });
  const fsync = () => asyncFsync(ctx, NO_FD);
  const ops = [fsync(), ...link(ctx, () => [fsync(), fsync()]), fsync()];
  const results = await Promise.all(ops);
  assertEquals(results.map((result) => !result.ok && result.error.code), [
    "EBADF",
    "EBADF",
    "ECANCELED",
    "EBADF",
  ]);
});

// ---- beside the event loop -------------------------------------------------------------

kioTest("await beside timers: neither holds up the other", async (ctx) => {
  using pair = unixPair();
  let ticks = 0;
  const interval = setInterval(() => ticks++, 2);
  const endMs = performance.now() + 5000;
  let rounds = 0;
  const memory = buffer();
  while (ticks < 10 && performance.now() < endMs) {
    const receiving = asyncRecv(ctx, pair.left, memory);
    value(await asyncSend(ctx, pair.right, bytes("x")));
    value(await receiving);
    rounds++;
  }
  clearInterval(interval);
  assert(ticks >= 10, `${ticks} timers in ${rounds} rounds`);
  assert(rounds >= 10, `${rounds} rounds in ${ticks} timers`);
});

kioTest(
  "await beside a MessageChannel: neither holds up the other",
  async (ctx) => {
    using pair = unixPair();
    const { port1, port2 } = new MessageChannel();
    let echoes = 0;
    port1.onmessage = ({ data }) => port1.postMessage(data);
    const echoed = new Promise<void>((resolve) => {
      port2.onmessage = ({ data }) => {
        if (++echoes === 100) resolve();
        else port2.postMessage(data + 1);
      };
    });
    port2.postMessage(0);
    let done = false;
    const memory = buffer();
    const busy = (async () => {
      let rounds = 0;
      for (; !done; rounds++) {
        const receiving = asyncRecv(ctx, pair.left, memory);
        value(await asyncSend(ctx, pair.right, bytes("x")));
        value(await receiving);
      }
      return rounds;
    })();
    await within(10_000, echoed, "the echo of 100 messages");
    done = true;
    assert(await busy > 0);
    port1.close();
    port2.close();
  },
);

kioTest("await of many tasks at a time serves all of them", async (ctx) => {
  await Promise.all(Array.from({ length: 100 }, async (_, i) => {
    using pair = unixPair();
    const memory = buffer();
    for (let round = 0; round < 20; round++) {
      const receiving = asyncRecv(ctx, pair.left, memory);
      if (i % 3 === 0) await turn();
      if (i % 3 === 1) value(await asyncSleep(ctx, i % 5));
      value(await asyncSend(ctx, pair.right, Uint8Array.of(i, round)));
      assertEquals(value(await receiving), 2);
      assertEquals([memory[0], memory[1]], [i, round]);
    }
  }));
});

kioTest("await deep inside helpers goes on at once", async (ctx) => {
  await using file = await tempFile(ctx, bytes("x"));
  const deep = async (depth: number): Promise<number> =>
    depth === 0
      ? value(await asyncRead(ctx, file, buffer()))
      : await deep(depth - 1);
  for (let depth = 0; depth < 60; depth++) assertEquals(await deep(depth), 1);
});

// ---- run and stop ---------------------------------------------------------------------

kioTest("run() waits until stop() is called", async (ctx) => {
  let over = false;
  const running = ctx.run().then(() => over = true);
  value(await asyncSleep(ctx, 5));
  assertEquals(over, false);
  ctx.stop();
  await running;
  assertEquals(over, true);
});

kioTest("run() again after stop()", async (ctx) => {
  for (let i = 0; i < 3; i++) {
    const running = ctx.run();
    if (i === 1) await turn();
    ctx.stop();
    assertEquals(await running, undefined);
  }
});

kioTest("run() throws a TypeError while it is running", async (ctx) => {
  const running = ctx.run();
  assertThrows(() => ctx.run(), TypeError, "Cannot run: ");
  ctx.stop();
  await running;
});

kioTest(
  "run() calls its tick after each batch, before the code that waits for it",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("x"));
    const events: string[] = [];
    const running = ctx.run(() => {
      events.push("tick");
    });
    for (let i = 0; i < 3; i++) {
      events.push("queued");
      value(await asyncRead(ctx, file, buffer()));
      events.push("done");
    }
    ctx.stop();
    await running;
    const found = events.join(" ");
    assert(/^(queued (tick )+done ?){3}$/.test(found), found);
  },
);

kioTest(
  "run() without completions calls no tick, and none after stop()",
  async (ctx) => {
    let ticks = 0;
    const running = ctx.run(() => void ticks++);
    await turn(20);
    assertEquals(ticks, 0);
    ctx.stop();
    await running;
    value(
      await asyncOpen(ctx, "/proc/version", O_RDONLY).then((opened) =>
        asyncClose(ctx, value(opened))
      ),
    );
    assertEquals(ticks, 0);
  },
);

kioTest(
  "run() calls its tick for sleeps and timeouts that end",
  async (ctx) => {
    using pair = unixPair();
    let ticks = 0;
    const running = ctx.run(() => void ticks++);
    value(
      await asyncRecv(ctx, pair.left, buffer()).withTimeout(2).then(
        (result) => result.ok ? result : { ok: true as const, value: 0 },
      ),
    );
    assert(ticks > 0);
    ctx.stop();
    await running;
  },
);

kioTest(
  "run() ends with what its tick throws, and the context goes on",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("x"));
    const running = ctx.run(() => {
      throw new SyntaxError("of the tick");
    });
    const reading = asyncRead(ctx, file, buffer());
    await assertRejects(() => running, SyntaxError, "of the tick");
    assertEquals(value(await reading), 1);
    let ticks = 0;
    const again = ctx.run(() => void ticks++);
    value(await asyncRead(ctx, file, buffer()));
    ctx.stop();
    await again;
    assert(ticks > 0);
  },
);

kioTest("run() ended by its own tick", async (ctx) => {
  await using file = await tempFile(ctx, bytes("x"));
  let ticks = 0;
  const running = ctx.run(() => {
    if (++ticks === 3) ctx.stop();
  });
  while (ticks < 3) value(await asyncRead(ctx, file, buffer()));
  await running;
  value(await asyncRead(ctx, file, buffer()));
  assertEquals(ticks, 3);
});

kioTest(
  "stop() does nothing when it is not running, and leaves operations alone",
  async (ctx) => {
    using pair = unixPair();
    ctx.stop();
    const receiving = asyncRecv(ctx, pair.left, buffer());
    const running = ctx.run();
    ctx.stop();
    ctx.stop();
    await running;
    assertEquals(ctx.pending, 1);
    value(await asyncSend(ctx, pair.right, bytes("x")));
    assertEquals(value(await receiving), 1);
  },
);

kioTest("run() ends when the context is closed", async () => {
  const one = new IoContext(4);
  const running = one.run();
  one[Symbol.dispose]();
  await running;
  const two = new IoContext(4);
  const runningToo = two.run();
  await two[Symbol.asyncDispose]();
  await runningToo;
});

// ---- runUntilDone --------------------------------------------------------------------

kioTest(
  "runUntilDone() gives the value of a task or of a function that starts one",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const task = async () => value(await asyncRead(ctx, file, buffer()));
    assertEquals(await ctx.runUntilDone(task), 3);
    assertEquals(await ctx.runUntilDone(task()), 3);
    const result = await ctx.runUntilDone(asyncRead(ctx, file, buffer()));
    assertEquals(value(result), 3);
  },
);

kioTest("runUntilDone() throws what the task threw", async (ctx) => {
  const error = new SyntaxError("of the task");
  const failing = async () => {
    value(await asyncSleep(ctx, 1));
    throw error;
  };
  for (const task of [() => failing, failing]) {
    // Make a promise here only: one without a handler must not fail.
    const running = () => ctx.runUntilDone(task());
    const got = await assertRejects(running, SyntaxError);
    assertStrictEquals(got, error);
  }
  const atOnce = () => {
    throw error;
  };
  await assertRejects(() => ctx.runUntilDone(atOnce), SyntaxError);
});

kioTest(
  "runUntilDone() waits for a task that waits for anything else",
  async (ctx) => {
    const ended: string[] = [];
    await ctx.runUntilDone(async () => {
      await turn(10);
      ended.push("timer");
      await new Promise<void>((resolve) => queueMicrotask(resolve));
      value(await asyncSleep(ctx, 2));
      ended.push("sleep");
      await crypto.subtle.digest("SHA-256", new Uint8Array(1000));
      ended.push("digest");
    });
    assertEquals(ended, ["timer", "sleep", "digest"]);
  },
);

kioTest("runUntilDone() leaves operations of the task pending", async (ctx) => {
  using pair = unixPair();
  const receiving = await ctx.runUntilDone(() =>
    Promise.resolve({ op: asyncRecv(ctx, pair.left, buffer()) })
  );
  assertEquals(ctx.pending, 1);
  value(await asyncSend(ctx, pair.right, bytes("x")));
  assertEquals(value(await receiving.op), 1);
});

kioTest(
  "runUntilDone() works several at a time and within run()",
  async (ctx) => {
    const running = ctx.run();
    const values = await Promise.all(
      [3, 1, 2].map((delayMs) =>
        ctx.runUntilDone(async () => {
          value(await asyncSleep(ctx, delayMs));
          return delayMs;
        })
      ),
    );
    assertEquals(values, [3, 1, 2]);
    ctx.stop();
    await running;
  },
);

// ---- cancelAllPending ------------------------------------------------------------------

kioTest("cancelAllPending() ends all that is pending", async (ctx) => {
  using pair = unixPair();
  await using file = await tempFile(ctx);
  const { listener } = listen();
  using _ = listener;
  for (const turns of [0, 1]) {
    const ops: UringOp<unknown>[] = [
      asyncRecv(ctx, pair.left, buffer()),
      asyncAccept(ctx, listener),
      asyncSleep(ctx, 10_000),
      asyncPoll(ctx, pair.right, POLLIN),
      asyncRecv(ctx, pair.left, buffer()).withTimeout(10_000),
      ...link(ctx, () => [
        asyncRecv(ctx, pair.left, buffer()),
        asyncWrite(ctx, file, bytes("x")),
        asyncRecv(ctx, pair.left, buffer()),
      ]),
    ];
    for (let i = 0; i < turns; i++) await turn();
    assertEquals(await ctx.cancelAllPending(), undefined);
    assertEquals(ctx.pending, 0);
    for (const op of ops) assertCode(await op, "ECANCELED");
  }
  assertEquals((await contentOf(ctx, file)).length, 0);
});

kioTest(
  "cancelAllPending() with nothing pending is over at once",
  async (ctx) => {
    await ctx.cancelAllPending();
    value(await asyncSleep(ctx, 0));
    await ctx.cancelAllPending();
  },
);

kioTest("cancelAllPending() leaves later operations alone", async (ctx) => {
  using pair = unixPair();
  const old = asyncRecv(ctx, pair.left, buffer());
  await turn();
  const cancelling = ctx.cancelAllPending();
  const late = asyncRecv(ctx, pair.left, buffer());
  await cancelling;
  assertCode(await old, "ECANCELED");
  assertEquals(ctx.pending, 1);
  value(await asyncSend(ctx, pair.right, bytes("x")));
  assertEquals(value(await late), 1);
});

kioTest(
  "cancelAllPending() is not held up by what is queued for ever",
  async (ctx) => {
    using pair = unixPair();
    let stop = false;
    const busy = (async () => {
      while (!stop) await asyncRecv(ctx, pair.left, buffer()).withTimeout(1000);
    })();
    await turn();
    for (let i = 0; i < 10; i++) await ctx.cancelAllPending();
    stop = true;
    await ctx.cancelAllPending();
    await busy;
  },
);

kioTest("cancelAllPending() keeps the results of what made it", async (ctx) => {
  await using file = await tempFile(ctx);
  const ops = Array.from(
    { length: 20 },
    (_, i) => asyncWrite(ctx, file, new Uint8Array(4096).fill(1), 4096 * i),
  );
  await turn();
  await ctx.cancelAllPending();
  const content = await contentOf(ctx, file, 2 ** 20);
  for (const [i, op] of ops.entries()) {
    const result = await op;
    if (result.ok) assertEquals(content[4096 * i], 1);
    else assertEquals(content[4096 * i] ?? 0, 0);
  }
});

// ---- closing ---------------------------------------------------------------------------

for (const kind of ["dispose", "asyncDispose"] as const) {
  const close = async (ctx: IoContext) => {
    if (kind === "dispose") ctx[Symbol.dispose]();
    else await ctx[Symbol.asyncDispose]();
  };

  kioTest(
    `[Symbol.${kind}]() settles all that is pending with ECANCELED`,
    async () => {
      using pair = unixPair();
      const { listener } = listen();
      using _ = listener;
      for (const turns of [0, 1]) {
        const ctx = new IoContext(8);
        const ops: UringOp<unknown>[] = [
          asyncRecv(ctx, pair.left, buffer()),
          asyncAccept(ctx, listener),
          asyncSleep(ctx, 100_000),
          asyncRecv(ctx, pair.left, buffer()).withTimeout(100_000),
          asyncPoll(ctx, pair.right, POLLIN),
        ];
        for (let i = 0; i < 50; i++) {
          ops.push(asyncRecv(ctx, pair.right, buffer()));
        }
        for (let i = 0; i < turns; i++) await turn();
        await close(ctx);
        assertEquals(ctx.pending, 0);
        for (const op of ops) assertCode(await op, "ECANCELED");
      }
    },
  );

  kioTest(`[Symbol.${kind}]() the second time does nothing`, async () => {
    const ctx = new IoContext(4);
    await close(ctx);
    await close(ctx);
    ctx[Symbol.dispose]();
    await ctx[Symbol.asyncDispose]();
    ctx.stop();
    assertEquals(ctx.pending, 0);
  });

  kioTest(`[Symbol.${kind}]() of a context that has done nothing`, async () => {
    await close(new IoContext(4));
  });

  kioTest(
    `[Symbol.${kind}]() makes everything else throw a TypeError`,
    async () => {
      const ctx = new IoContext(4);
      using other = new IoContext(4);
      using pair = unixPair();
      await close(ctx);
      const uses: (() => unknown)[] = [
        () => ctx.ringFd,
        () => ctx.run(),
        () => ctx.onMessage = () => {},
        () => ctx.registerFiles([0]),
        () => ctx.updateFiles(0, [0]),
        () => ctx.unregisterFiles(),
        () => ctx.allocate(1),
        () => link(ctx, () => 0),
        () => asyncRead(ctx, 0, buffer()),
        () => asyncOpen(ctx, "/", 0),
        () => asyncClose(ctx, pair.left),
        () => asyncRecv(ctx, pair.left, buffer()),
        () => asyncSleep(ctx, 0),
        () => asyncMsgRing(ctx, other.ringFd, 0, 0),
      ];
      for (const use of uses) {
        const error = assertThrows(use, TypeError);
        const { message } = error as Error;
        assert(/^Cannot [^:]+: the IoContext is closed/.test(message), message);
      }
      await assertRejects(
        () => ctx.runUntilDone(Promise.resolve(1)),
        TypeError,
        "the IoContext is closed",
      );
      assert(pair.left.fd >= 0, "a refused close owns nothing");
      await ctx.cancelAllPending();
    },
  );

  kioTest(
    `[Symbol.${kind}]() closes an fd that comes too late`,
    async (other) => {
      const { listener, at } = listen();
      using _ = listener;
      const before = openFds();
      let late = 0;
      for (let i = 0; i < 20; i++) {
        const ctx = new IoContext(4);
        using client = unwrap(Socket.open("ipv4"));
        const accepting = asyncAccept(ctx, listener);
        await turn();
        // The completion is under way when the context is closed.
        value(await asyncConnect(other, client, at));
        await close(ctx);
        const result = await accepting;
        if (result.ok) value(await asyncClose(other, result.value));
        else assertCode(result, "ECANCELED");
        // Either the connection is gone, or it waits for the next accept.
        const next = await asyncAccept(other, listener).withTimeout(0);
        if (next.ok) value(await asyncClose(other, next.value));
        else late++;
      }
      await assertFds(before, `${late} connections were accepted too late`);
    },
  );

  kioTest(
    `[Symbol.${kind}]() closes a file that was being opened`,
    async (other) => {
      const before = openFds();
      for (const hops of [0, 1, 1, 1, 1]) {
        const ctx = new IoContext(4);
        const ops = Array.from(
          { length: 30 },
          () => asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600),
        );
        // Most are in the kernel's hands, on its workers.
        for (let i = 0; i < hops; i++) await null;
        await close(ctx);
        for (const op of ops) {
          const result = await op;
          if (result.ok) value(await asyncClose(other, result.value));
          else assertCode(result, "ECANCELED");
        }
      }
      await assertFds(before, "files that nobody waits for");
    },
  );

  kioTest(
    `[Symbol.${kind}]() waits for what cannot be cancelled`,
    async (other) => {
      await using file = await tempFile(other);
      const data = new Uint8Array(2 ** 24).fill(1);
      for (const turns of [0, 1]) {
        const ctx = new IoContext(4);
        const writing = asyncWrite(ctx, file, data);
        const syncing = asyncFsync(ctx, file);
        for (let i = 0; i < turns; i++) await turn();
        await close(ctx);
        for (const result of [await writing, await syncing]) {
          if (!result.ok) assertCode(result, "ECANCELED", "EINTR");
        }
      }
    },
  );

  kioTest(
    `[Symbol.${kind}]() leaves fds and other contexts alone`,
    async (other) => {
      const ctx = new IoContext(4);
      using pair = unixPair();
      const receiving = asyncRecv(other, pair.left, buffer());
      const doomed = asyncRecv(ctx, pair.left, buffer());
      await turn();
      await close(ctx);
      assertCode(await doomed, "ECANCELED");
      assertEquals(other.pending, 1);
      value(await asyncSend(other, pair.right, bytes("x")));
      assertEquals(value(await receiving), 1);
    },
  );
}

kioTest(
  "[Symbol.dispose]() closes a socket whose asyncClose() was queued",
  async () => {
    // "The fd is gone whatever the result", and its socket was released.
    const pair = unixPair();
    const fds = [pair.left.fd, pair.right.fd];
    const ctx = new IoContext(4);
    const ops = [asyncClose(ctx, pair.left), asyncClose(ctx, pair.right)];
    ctx[Symbol.dispose]();
    for (const op of ops) await op;
    const left = fds.filter(isOpen);
    for (const fd of left) new Socket(fd)[Symbol.dispose]();
    assertEquals(left, []);
  },
);

kioTest(
  "[Symbol.dispose]() closes a socket whose asyncClose() waits in a chain",
  async () => {
    using pair = unixPair();
    for (const turns of [0, 1]) {
      const doomed = unixPair();
      const { fd } = doomed.left;
      const ctx = new IoContext(4);
      const ops = link(ctx, () => [
        asyncRecv(ctx, pair.left, buffer()),
        asyncClose(ctx, doomed.left),
      ]);
      for (let i = 0; i < turns; i++) await turn();
      ctx[Symbol.dispose]();
      for (const op of ops) await op;
      const wasLeft = isOpen(fd);
      if (wasLeft) new Socket(fd)[Symbol.dispose]();
      doomed.right[Symbol.dispose]();
      assert(!wasLeft);
    }
  },
);

kioTest(
  "[Symbol.dispose]() while [Symbol.asyncDispose]() is under way",
  async () => {
    using pair = unixPair();
    const ctx = new IoContext(4);
    const op = asyncRecv(ctx, pair.left, buffer());
    await turn();
    const closing = ctx[Symbol.asyncDispose]();
    ctx[Symbol.dispose]();
    await closing;
    assertCode(await op, "ECANCELED");
  },
);

kioTest("[Symbol.asyncDispose]() twice at a time", async () => {
  using pair = unixPair();
  const ctx = new IoContext(4);
  const op = asyncRecv(ctx, pair.left, buffer());
  await turn();
  let hasEnded = false;
  void op.then(() => hasEnded = true);
  const closing = ctx[Symbol.asyncDispose]();
  await ctx[Symbol.asyncDispose]();
  assert(hasEnded, "the second waits, too");
  await closing;
  assertCode(await op, "ECANCELED");
});

kioTest(
  "[Symbol.asyncDispose]() refuses new operations from its start",
  async () => {
    using pair = unixPair();
    const ctx = new IoContext(4);
    void asyncRecv(ctx, pair.left, buffer());
    await turn();
    const closing = ctx[Symbol.asyncDispose]();
    assertThrows(() => asyncSleep(ctx, 0), TypeError, "Cannot sleep: ");
    await closing;
  },
);

kioTest("await using closes a context at the end of its block", async () => {
  let kept: IoContext;
  {
    await using ctx = new IoContext(4);
    kept = ctx;
    void asyncSleep(ctx, 100_000);
  }
  assertEquals(kept.pending, 0);
  assertThrows(() => kept.ringFd, TypeError);
});

kioTest(
  "[Symbol.dispose]() by the code that waits for an operation",
  async () => {
    using pair = unixPair();
    const ctx = new IoContext(4);
    const waiting = asyncRecv(ctx, pair.left, buffer());
    const results: string[] = [];
    await Promise.all([1, 2].map(async () => {
      results.push((await asyncFsync(ctx, 4000)).ok ? "ok" : "failed");
      ctx[Symbol.dispose]();
    }));
    assertEquals(results, ["failed", "failed"]);
    assertCode(await waiting, "ECANCELED");
  },
);

kioTest(
  "[Symbol.dispose]() by the tick, by onMessage and by an abort",
  async (other) => {
    using pair = unixPair();
    const ticking = new IoContext(4);
    const ticked = ticking.run(() => ticking[Symbol.dispose]());
    const one = asyncRecv(ticking, pair.left, buffer());
    const two = asyncFsync(ticking, 4000);
    await ticked;
    assertCode(await one, "ECANCELED");
    assertCode(await two, "EBADF");

    const listening = new IoContext(4);
    const three = asyncRecv(listening, pair.left, buffer());
    listening.onMessage = () => listening[Symbol.dispose]();
    value(await asyncMsgRing(other, listening.ringFd, 0, 0));
    assertCode(await three, "ECANCELED");

    const aborting = new IoContext(4);
    const controller = new AbortController();
    const four = asyncRecv(aborting, pair.left, buffer())
      .withSignal(controller.signal);
    controller.signal.onabort = () => aborting[Symbol.dispose]();
    controller.abort();
    assertCode(await four, "ECANCELED");
  },
);

kioTest("[Symbol.dispose]() takes nothing from who reads on", async (other) => {
  using pair = unixPair();
  for (let i = 0; i < 50; i++) {
    const ctx = new IoContext(4);
    const op = asyncRecv(ctx, pair.left, buffer());
    if (i % 2 === 0) await turn();
    value(await asyncSend(other, pair.right, bytes("x")));
    ctx[Symbol.dispose]();
    const result = await op;
    const rest = await asyncRecv(other, pair.left, buffer(), MSG_DONTWAIT);
    const got = [result, rest].map((r) => r.ok ? r.value : 0);
    assertEquals(got[0]! + got[1]!, 1, `${got}`);
  }
});

for (
  const [name, close] of [
    ["[Symbol.dispose]", (ctx: IoContext) => ctx[Symbol.dispose]()],
    ["[Symbol.asyncDispose]", (ctx: IoContext) => ctx[Symbol.asyncDispose]()],
  ] as const
) {
  kioTest(
    `${name}() of thousands that wait asks the kernel once for each at most`,
    async () => {
      const COUNT = 12_000;
      using pair = unixPair();
      const ctx = new IoContext(64);
      const ops = Array.from(
        { length: COUNT },
        () => asyncPoll(ctx, pair.left, POLLIN),
      );
      await turn();
      const before = ctx.stats().submissions;
      await close(ctx);
      for (const op of ops) assertCode(await op, "ECANCELED");
      // All that are asked for again walk the whole list.
      const asked = ctx.stats().submissions - before;
      assert(asked <= COUNT + 4, `${asked} cancels of ${COUNT} operations`);
    },
  );
}
