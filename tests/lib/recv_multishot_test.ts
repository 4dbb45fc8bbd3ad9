import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  asyncClose,
  asyncReadMultishot,
  asyncRecv,
  asyncRecvExact,
  asyncRecvMultishot,
  asyncSend,
  asyncSendExact,
  asyncSendmsg,
  asyncShutdown,
  asyncSleep,
  asyncWrite,
  asyncWriteExact,
  type BufferLease,
  BufferPool,
  IoContext,
  link,
  MSG_DONTWAIT,
  SHUT_WR,
  Socket,
  unwrap,
  type UringStream,
} from "@kio/kio";
import { ringOf } from "../../lib/internal.ts";
import {
  assertCode,
  bytes,
  kioTest,
  overwriteGarbage,
  type Pair,
  pattern,
  tcpPair,
  tempFile,
  text,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";
import { assertWhole, bytesOf, next } from "./leases.ts";

const PAIRS: Record<string, (ctx: IoContext) => Pair | Promise<Pair>> = {
  unix: () => unixPair(),
  TCP: tcpPair,
};

/** Sends all, then shuts down. */
async function sendAll(ctx: IoContext, socket: Socket, data: Uint8Array) {
  value(await asyncSendExact(ctx, socket, data));
  value(await asyncShutdown(ctx, socket, SHUT_WR));
}

// ---- bytes ----------------------------------------------------------------------

for (const [kind, open] of Object.entries(PAIRS)) {
  for (
    const [count, size, leasesMax] of [[4, 64, 4], [8, 1000, 1], [3, 7, 2], [
      256,
      4096,
      128,
    ]] as const
  ) {
    kioTest(
      `asyncRecvMultishot() gives all bytes in order: ${kind}, ${leasesMax} of ${count} buffers of ${size}`,
      async (ctx) => {
        using pair = await open(ctx);
        using pool = new BufferPool(ctx, { count, size });
        const data = pattern(size * 70 + 3);
        const stream = asyncRecvMultishot(ctx, pair.right, pool, { leasesMax });
        const [{ all, code }] = await Promise.all([
          bytesOf(stream),
          sendAll(ctx, pair.left, data),
        ]);
        assertEquals([code, all.length], ["", data.length]);
        assertEquals(all, data);
        assertWhole(pool);
        assertEquals(ctx.pending, 0);
      },
    );
  }

  kioTest(
    `asyncRecvMultishot() sees an end right behind data: ${kind}`,
    async (ctx) => {
      using pool = new BufferPool(ctx, { count: 4, size: 64 });
      for (let i = 0; i < 100; i++) {
        using pair = await open(ctx);
        const stream = asyncRecvMultishot(ctx, pair.right, pool);
        if (i % 2 === 0) await turn();
        void asyncSend(ctx, pair.left, bytes("x"));
        void asyncShutdown(ctx, pair.left, SHUT_WR);
        const { all, code } = await within(2000, bytesOf(stream), "the end");
        assertEquals([text(all), code], ["x", ""]);
      }
      assertWhole(pool);
    },
  );
}

kioTest(
  "asyncRecvMultishot() needs one submission for many chunks",
  async (ctx) => {
    if (ctx.capabilities.features.recvMultishot.support !== "native") return;
    using pair = unixPair("datagram");
    using pool = new BufferPool(ctx, { count: 32, size: 64 });
    await using stream = asyncRecvMultishot(ctx, pair.right, pool);
    await turn();
    const before = ctx.stats().submissions;
    for (let i = 0; i < 40; i++) {
      // Two at a time: the queue of a datagram socket is short.
      const sent = ["a", "b"].map((it) => asyncSend(ctx, pair.left, bytes(it)));
      for (const it of await Promise.all(sent)) value(it);
      assertEquals(text((await next(stream)).bytes), "a");
      assertEquals(text((await next(stream)).bytes), "b");
    }
    const count = ctx.stats().submissions - before;
    // Single shots would make 160 of it, besides those of the driver.
    assert(count < 150, `${count} submissions`);
  },
);

kioTest("asyncRecvMultishot() gives datagrams, empty ones too", async (ctx) => {
  using pair = unixPair("datagram");
  using pool = new BufferPool(ctx, { count: 4, size: 8 });
  await using stream = asyncRecvMultishot(ctx, pair.right, pool);
  const given: string[] = [];
  for (const it of ["one", "two", "", "three", "cut to eight"]) {
    if (it === "") {
      // asyncSend() refuses an empty buffer.
      value(await asyncSendmsg(ctx, pair.left, { buffers: [] }));
    } else value(await asyncSend(ctx, pair.left, bytes(it)));
    const chunk = await next(stream);
    given.push(text(chunk.bytes));
    assertEquals(chunk.length, chunk.copy().length);
  }
  assertEquals(given, ["one", "two", "", "three", "cut to e"]);
});

// ---- leases ---------------------------------------------------------------------

kioTest("a lease is the consumer's until its next turn", async (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 4, size: 8 });
  const stream = asyncRecvMultishot(ctx, pair.right, pool);
  value(await asyncSend(ctx, pair.left, bytes("one")));
  const first = await next(stream);
  const { bytes: view } = first;
  assertEquals(first.bytes, view);
  assertEquals([text(view), pool.stats().leased], ["one", 1]);
  value(await asyncSend(ctx, pair.left, bytes("two")));
  const second = await next(stream);
  for (
    const use of [
      () => first.bytes,
      () => first.copy(),
      () => first.keep(),
      () => first.sendTo(pair.right),
      () => asyncSend(ctx, pair.right, first),
    ]
  ) {
    assertThrows(use, TypeError, "the buffer of the lease was given back");
  }
  assertEquals([text(second.bytes), pool.stats().leased], ["two", 1]);
  assertEquals([first.length, second.length], [3, 3]);
  first.release();
  assertEquals(pool.stats().leased, 1);
  await stream[Symbol.asyncDispose]();
  assertThrows(() => second.bytes, TypeError);
  assertWhole(pool);
});

kioTest("keep() makes a lease the program's until release()", async (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 4, size: 8 });
  const kept: BufferLease[] = [];
  {
    await using stream = asyncRecvMultishot(ctx, pair.right, pool, {
      leasesMax: 4,
    });
    for (const it of ["one", "two", "three"]) {
      value(await asyncSend(ctx, pair.left, bytes(it)));
      kept.push((await next(stream)).keep());
    }
  }
  assertEquals(kept.map((it) => text(it.bytes)), ["one", "two", "three"]);
  assertEquals(pool.stats().leased, 3);
  kept[0]!.release();
  kept[0]!.release();
  kept[1]!.keep()[Symbol.dispose]();
  assertEquals(pool.stats().leased, 1);
  assertThrows(() => kept[0]!.bytes, TypeError);
  assertEquals(text(kept[2]!.bytes), "three");
  kept[2]!.release();
  assertWhole(pool);
});

kioTest("release() gives a lent buffer back at once", async (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 1, size: 8 });
  await using stream = asyncRecvMultishot(ctx, pair.right, pool);
  value(await asyncSend(ctx, pair.left, bytes("one")));
  (await next(stream)).release();
  assertEquals(pool.stats().leased, 0);
});

kioTest("operations hold a lease until their completion", async (ctx) => {
  using pair = unixPair();
  using out = unixPair();
  await using file = await tempFile(ctx);
  using pool = new BufferPool(ctx, { count: 1, size: 8 });
  await using stream = asyncRecvMultishot(ctx, pair.right, pool);
  const starts = [
    (it: BufferLease) => asyncSend(ctx, out.left, it),
    (it: BufferLease) => asyncSendExact(ctx, out.left, it),
    (it: BufferLease) => asyncWrite(ctx, file, it),
    (it: BufferLease) => asyncWriteExact(ctx, file, it, 3),
  ];
  for (const start of starts) {
    value(await asyncSend(ctx, pair.left, bytes("one")));
    const chunk = await next(stream);
    const op = start(chunk);
    chunk.release();
    assertEquals(pool.stats().leased, 1);
    assertEquals(value(await op), 3);
    assertEquals(pool.stats().leased, 0);
  }
  value(await asyncSend(ctx, pair.left, bytes("one")));
  const chunk = await next(stream);
  assertThrows(() => asyncSend(ctx, -1, chunk), RangeError);
  assertCode(await asyncSend(ctx, file, chunk), "ENOTSOCK");
  const cancelled = asyncSend(ctx, out.left, chunk);
  cancelled.cancel();
  assertCode(await cancelled, "ECANCELED");
  chunk.release();
  assertEquals(pool.stats().leased, 0);
});

kioTest("pool.inspect() tells of leases that are out", async (outer) => {
  using traced = new IoContext({ trace: true });
  using pair = unixPair();
  using pool = new BufferPool(traced, { count: 2, size: 8 });
  const stream = asyncRecvMultishot(traced, pair.right, pool);
  value(await asyncSend(outer, pair.left, bytes("one")));
  const chunk = await next(stream);
  assertEquals(pool.inspect().map(({ length, isKept }) => [length, isKept]), [
    [3, false],
  ]);
  assertMatch(pool.inspect()[0]!.stack, /recv_multishot_test/);
  chunk.keep();
  const { bytes: stale } = chunk;
  const { isKept, stack } = pool.inspect()[0]!;
  assertEquals(isKept, true);
  assertMatch(stack, /recv_multishot_test/);
  assertMatch(
    Deno.inspect(pool),
    /1 of 2 leased, 8 bytes each[^]*3 bytes, kept/,
  );
  chunk.release();
  assertEquals([...stale], [0xfd, 0xfd, 0xfd]);
  assertEquals(pool.inspect(), []);
  await stream[Symbol.asyncDispose]();
});

// ---- a want of buffers -------------------------------------------------------------

kioTest(
  "asyncRecvMultishot() stops when its share of buffers is out",
  async (ctx) => {
    using pair = unixPair();
    using pool = new BufferPool(ctx, { count: 64, size: 16 });
    const stream = asyncRecvMultishot(ctx, pair.right, pool, { leasesMax: 2 });
    const data = pattern(16 * 40);
    value(await asyncSend(ctx, pair.left, data.subarray(0, 32)));
    await turn(5);
    value(await asyncSend(ctx, pair.left, data.subarray(32)));
    await turn(5);
    assert(pool.stats().leased < 4, `${pool.stats().leased} leases`);
    value(await asyncShutdown(ctx, pair.left, SHUT_WR));
    const { all } = await bytesOf(stream);
    assertEquals(all, data);
    assertWhole(pool);
  },
);

kioTest(
  "asyncRecvMultishot() waits without a buffer, and does not spin",
  async (ctx) => {
    using pair = unixPair();
    using pool = new BufferPool(ctx, { count: 2, size: 4 });
    const stream = asyncRecvMultishot(ctx, pair.right, pool, { leasesMax: 2 });
    using other = unixPair();
    const late = asyncRecvMultishot(ctx, other.right, pool, { leasesMax: 2 });
    await turn(5);
    value(await asyncSend(ctx, pair.left, bytes("12345678")));
    const kept = [(await next(stream)).keep(), (await next(stream)).keep()];
    value(await asyncSend(ctx, other.left, bytes("late")));
    await turn(5);
    assertEquals([pool.stats().free, pool.stats().starved], [0, 1]);
    assertEquals(late.take(), undefined);
    const before = ctx.stats().submissions;
    await turn(30);
    assert(ctx.stats().submissions - before < 5, "it spins");
    kept[0]!.release();
    const chunk = await within(2000, next(late), "the next buffer");
    assertEquals(text(chunk.bytes), "late");
    assert(pool.stats().starvations > 0);
    kept[1]!.release();
    await stream[Symbol.asyncDispose]();
    await late[Symbol.asyncDispose]();
    assertWhole(pool);
  },
);

kioTest(
  "streams that wait for a buffer go on in the order in which they began",
  async (ctx) => {
    using pool = new BufferPool(ctx, { count: 1, size: 4 });
    using sockets = new DisposableStack();
    const pairs = Array.from({ length: 8 }, () => sockets.use(unixPair()));
    const streams = [];
    const order: string[] = [];
    for (const [i, { left, right }] of pairs.entries()) {
      value(await asyncSend(ctx, left, bytes(`${i}`)));
      const stream = asyncRecvMultishot(ctx, right, pool);
      streams.push(stream);
      await turn(2);
    }
    await Promise.all(streams.map(async (stream) => {
      const chunk = await next(stream);
      order.push(text(chunk.bytes));
      await turn(1);
      chunk.release();
    }));
    assertEquals(order, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    for (const stream of streams) await stream[Symbol.asyncDispose]();
    assertWhole(pool);
  },
);

kioTest(
  "an idle stream leaves the buffer that it waited for to the next",
  async (ctx) => {
    using pool = new BufferPool(ctx, { count: 1, size: 4 });
    using sockets = new DisposableStack();
    const first = sockets.use(unixPair());
    const holder = asyncRecvMultishot(ctx, first.right, pool);
    value(await asyncSend(ctx, first.left, bytes("x")));
    const kept = (await next(holder)).keep();
    // A read finds no buffer when it is armed, though there is nothing to read.
    const idle = Array.from({ length: 20 }, () => sockets.use(unixPair()));
    const streams = idle.map(({ right }) =>
      asyncReadMultishot(ctx, right, pool)
    );
    const busy = sockets.use(unixPair());
    value(await asyncSend(ctx, busy.left, bytes("busy")));
    const stream = asyncRecvMultishot(ctx, busy.right, pool);
    await turn(5);
    kept.release();
    const chunk = await within(2000, next(stream), "the busy one");
    assertEquals(text(chunk.bytes), "busy");
    for (const it of [holder, stream, ...streams]) {
      await it[Symbol.asyncDispose]();
    }
    assertWhole(pool);
  },
);

kioTest(
  "one socket does not take all buffers while others wait",
  async (ctx) => {
    using pool = new BufferPool(ctx, { count: 16, size: 16 });
    using sockets = new DisposableStack();
    const greedy = sockets.use(unixPair());
    // Its consumer keeps what it gets, and never comes back for long.
    const taking = asyncRecvMultishot(ctx, greedy.right, pool, {
      leasesMax: 16,
    });
    while (
      (await asyncSend(ctx, greedy.left, new Uint8Array(4096), MSG_DONTWAIT)).ok
    );
    const kept: BufferLease[] = [];
    const hoard = (async () => {
      for await (const result of taking) {
        if (!result.ok) return;
        kept.push(result.value.keep());
      }
    })();
    await turn(5);
    const others = Array.from({ length: 3 }, () => sockets.use(unixPair()));
    const streams = others.map(({ right }) =>
      asyncRecvMultishot(ctx, right, pool)
    );
    for (const { left } of others) {
      value(await asyncSend(ctx, left, bytes("hi")));
    }
    await turn(5);
    assertEquals([pool.stats().free, pool.stats().starved > 2], [0, true]);
    // It has room for half of the pool, but has had more than its share.
    for (const it of kept.splice(0, 8)) it.release();
    await turn(5);
    assertEquals(kept.length, 8, "it has taken of what others wait for");
    for (const stream of streams.splice(0)) {
      const result = stream.take();
      assert(result !== undefined, "it never got a buffer");
      assertEquals(text(value(result!).bytes), "hi");
      await stream[Symbol.asyncDispose]();
    }
    taking.cancel();
    await hoard;
    for (const it of kept) it.release();
    await pool.close();
    assertEquals(pool.stats().leased, 0);
  },
);

kioTest(
  "a consumer that never comes back holds a bounded number",
  async (ctx) => {
    using pair = unixPair();
    using pool = new BufferPool(ctx, { count: 128, size: 16 });
    const stream = asyncRecvMultishot(ctx, pair.right, pool, { leasesMax: 4 });
    while (
      (await asyncSend(ctx, pair.left, new Uint8Array(4096), MSG_DONTWAIT)).ok
    );
    await turn(20);
    // A recent kernel takes up to 33 at a time, an old one all that are free; so
    // does one that need not wait for the thread.
    const { SYNC_MSG_RING, DEFER_TASKRUN } = ctx.capabilities.flags;
    const isRecent = SYNC_MSG_RING && DEFER_TASKRUN;
    const { leased } = pool.stats();
    assert(leased < (isRecent ? 40 : 129), `${leased} leases`);
    stream.cancel();
    await turn(5);
    assertEquals(ctx.pending, 0);
    assertWhole(pool);
  },
);

// ---- ends -----------------------------------------------------------------------

const LEAVING: Record<string, (stream: UringStream<BufferLease>) => unknown> = {
  "break": async (stream) => {
    for await (const result of stream) {
      value(result);
      break;
    }
  },
  "break from values": async (stream) => {
    for await (const _ of stream.orThrow()) break;
  },
  "an exception": async (stream) => {
    await assertRejects(async () => {
      for await (const result of stream) {
        value(result);
        throw new Error("on purpose");
      }
    }, "on purpose");
  },
  "await using": (stream) => stream[Symbol.asyncDispose](),
  "cancel()": async (stream) => {
    stream.cancel();
    assertEquals((await bytesOf(stream)).code, "ECANCELED");
  },
  "a signal": async (stream) => {
    stream.withSignal(AbortSignal.timeout(1));
    assertEquals((await bytesOf(stream)).code, "ECANCELED");
  },
  "a timeout": async (stream) => {
    stream.withTimeout(0);
    assertEquals((await bytesOf(stream)).code, "ETIMEDOUT");
  },
};

for (const [how, leave] of Object.entries(LEAVING)) {
  for (const turns of [0, 1, 3]) {
    kioTest(
      `asyncRecvMultishot() that is left by ${how} after ${turns} turns gives every buffer back`,
      async (ctx) => {
        using pair = unixPair();
        using pool = new BufferPool(ctx, { count: 8, size: 16 });
        const stream = asyncRecvMultishot(ctx, pair.right, pool, {
          leasesMax: 8,
        });
        value(await asyncSend(ctx, pair.left, pattern(16 * 6)));
        for (let i = 0; i < turns; i++) await turn();
        // Not taken over by the ring yet.
        const late = asyncSend(ctx, pair.left, pattern(16 * 6));
        await within(2000, leave(stream), "the end");
        await late;
        assertEquals(ctx.pending, 0);
        assertEquals(stream.take(), undefined);
        assertWhole(pool);
      },
    );
  }
}

kioTest("asyncRecvMultishot() ends when its socket closes", async (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 8, size: 16 });
  const stream = asyncRecvMultishot(ctx, pair.right, pool);
  value(await asyncSend(ctx, pair.left, pattern(64)));
  await turn();
  await pair.right.close();
  assertEquals((await bytesOf(stream)).code, "ECANCELED");
  assertWhole(pool);
});

kioTest("asyncRecvMultishot() tells of errors that end it", async (ctx) => {
  using pool = new BufferPool(ctx, { count: 8, size: 16 });
  await using file = await tempFile(ctx);
  using fresh = unwrap(Socket.open("ipv4"));
  for (
    const [fd, code] of [[4000, "EBADF"], [file.fd, "ENOTSOCK"], [
      fresh.fd,
      "ENOTCONN",
    ]] as const
  ) {
    // A poll of a socket that is not connected tells of its end.
    assertEquals(
      (await bytesOf(asyncRecvMultishot(ctx, fd, pool))).code,
      code,
    );
  }
  const error = await assertRejects(
    async () => {
      for await (const _ of asyncRecvMultishot(ctx, 4000, pool).orThrow());
    },
    Deno.errors.BadResource,
    "Cannot receive (fd 4000): Bad file descriptor (EBADF)",
  );
  assertEquals(
    (error as unknown as { operation: string }).operation,
    "asyncRecvMultishot",
  );
  assertWhole(pool);
});

kioTest("asyncRecvMultishot() gives what came before a reset", async (ctx) => {
  using pair = await tcpPair(ctx);
  using pool = new BufferPool(ctx, { count: 8, size: 16 });
  const stream = asyncRecvMultishot(ctx, pair.right, pool);
  value(await asyncSend(ctx, pair.left, bytes("last words")));
  await turn(5);
  // Its peer has not read this: it resets the connection.
  value(await asyncSend(ctx, pair.right, bytes("unread")));
  await turn(5);
  value(await asyncClose(ctx, pair.left.release()));
  const { all, code } = await within(2000, bytesOf(stream), "the reset");
  assertEquals([text(all), code], ["last words", "ECONNRESET"]);
  assertWhole(pool);
});

kioTest("asyncRecvMultishot() cannot be a link", (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 8, size: 16 });
  assertThrows(
    () => link(ctx, () => asyncRecvMultishot(ctx, pair.left, pool) as never),
    TypeError,
    "Cannot receive many times in link()",
  );
});

kioTest(
  "asyncRecvMultishot() loses nothing when the completion queue overflows",
  async () => {
    using small = new IoContext(1);
    using pool = new BufferPool(small, { count: 64, size: 16 });
    using sockets = new DisposableStack();
    const pairs = Array.from({ length: 1000 }, () => sockets.use(unixPair()));
    const sums = pairs.map(async ({ left, right }, i) => {
      const data = pattern(300, i);
      const stream = asyncRecvMultishot(small, right, pool);
      const [{ all }] = await Promise.all([
        bytesOf(stream),
        sendAll(small, left, data),
      ]);
      assertEquals(all, data);
    });
    await within(20_000, Promise.all(sums), "all of them");
    assertWhole(pool);
    await pool.close();
  },
);

// ---- the callback ----------------------------------------------------------------

kioTest("onChunk gets each chunk, and the stream its end", async (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 4, size: 16 });
  const parts: Uint8Array[] = [];
  const leases: BufferLease[] = [];
  const stream = asyncRecvMultishot(ctx, pair.right, pool, {
    onChunk: (chunk) => {
      parts.push(chunk.copy());
      leases.push(chunk);
    },
  });
  const data = pattern(16 * 30 + 5);
  const [rest] = await Promise.all([
    bytesOf(stream),
    sendAll(ctx, pair.left, data),
  ]);
  assertEquals([rest.all.length, rest.code], [0, ""]);
  assertEquals(
    new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer()),
    data,
  );
  assertThrows(() => leases[0]!.bytes, TypeError);
  assertWhole(pool);
});

kioTest(
  "onChunk that throws is reported, and the stream goes on",
  async (ctx) => {
    using pair = unixPair();
    using pool = new BufferPool(ctx, { count: 4, size: 16 });
    const errors: string[] = [];
    const onError = (event: ErrorEvent) => {
      event.preventDefault();
      errors.push(event.message);
    };
    addEventListener("error", onError);
    let count = 0;
    const stream = asyncRecvMultishot(ctx, pair.right, pool, {
      onChunk: () => {
        count++;
        throw new Error("on purpose");
      },
    });
    for (let i = 0; i < 6; i++) {
      value(await asyncSend(ctx, pair.left, pattern(16)));
      await turn(1);
    }
    removeEventListener("error", onError);
    assertEquals([count, errors.length], [6, 6]);
    assertWhole(pool);
    await stream[Symbol.asyncDispose]();
  },
);

for (const sends of [false, true]) {
  kioTest(
    `the driver expects ${sends ? "one" : "no"} operation behind an onChunk ${
      sends ? "that sends" : "that queues nothing"
    }`,
    async (ctx) => {
      using sender = new IoContext(16);
      using pair = unixPair();
      using pool = new BufferPool(ctx, { count: 4, size: 16 });
      const ring = ringOf(ctx, { verb: "test" });
      let [chunks, expected] = [0, 0];
      const step = ring.step.bind(ring);
      ring.step = (wait) => {
        const count = step(wait);
        expected += count - ring.silent;
        return count;
      };
      const stream = asyncRecvMultishot(ctx, pair.right, pool, {
        onChunk: (chunk) => {
          chunks++;
          if (sends) chunk.sendTo(pair.right.fd);
        },
      });
      for (let i = 1; i <= 3; i++) {
        value(await asyncSend(sender, pair.left, pattern(8)));
        while (chunks < i || pool.stats().leased > 0) await turn(1);
      }
      const { isNative } = pool.stats();
      if (isNative) assertEquals(expected, sends ? 3 : 0);
      await stream[Symbol.asyncDispose]();
    },
  );
}

for (const end of ["the peer", "cancel", "dispose", "error"] as const) {
  kioTest(`closed tells of the end without a loop: ${end}`, async (ctx) => {
    using pair = unixPair();
    using pool = new BufferPool(ctx, { count: 4, size: 16 });
    const stream = asyncRecvMultishot(ctx, pair.right, pool, {
      onChunk: (chunk) => chunk.sendTo(end === "error" ? 0x7fffff : pair.right),
    });
    const { closed } = stream;
    value(await asyncSend(ctx, pair.left, pattern(8)));
    if (end !== "error") {
      value(await asyncRecvExact(ctx, pair.left, new Uint8Array(8)));
    }
    if (end === "the peer") value(await asyncShutdown(ctx, pair.left, SHUT_WR));
    if (end === "cancel") stream.cancel();
    if (end === "dispose") void stream[Symbol.asyncDispose]();
    const outcome = await within(2000, closed, "closed");
    if (end === "the peer") {
      assertEquals(outcome, { ok: true, value: undefined });
    } else assertCode(outcome, end === "error" ? "EBADF" : "ECANCELED");
    assertStrictEquals(stream.closed, closed);
    // It took nothing: the last result is still there.
    const last = stream.take();
    if (end === "cancel" || end === "error") assertEquals(last, outcome);
    else assertEquals(last, undefined);
    assertWhole(pool);
  });
}

for (const how of ["cancel", "dispose"] as const) {
  kioTest(`onChunk may end everything: ${how}`, async () => {
    const ctx = new IoContext(16);
    using pair = unixPair();
    using pool = new BufferPool(ctx, { count: 8, size: 16 });
    let count = 0;
    const stream: UringStream<BufferLease> = asyncRecvMultishot(
      ctx,
      pair.right,
      pool,
      {
        onChunk: () => {
          count++;
          if (how === "cancel") stream.cancel();
          else ctx[Symbol.dispose]();
        },
      },
    );
    void asyncSend(ctx, pair.left, pattern(16 * 8));
    assertEquals((await bytesOf(stream)).code, "ECANCELED");
    // The end of the context drops those that came with the first.
    if (how === "dispose") assertEquals(count, 1);
    assertWhole(pool);
    ctx[Symbol.dispose]();
  });
}

kioTest(
  "a pool that nobody refers to stays while its context is open",
  async () => {
    using ctx = new IoContext(16);
    (() => new BufferPool(ctx, { count: 4, size: 65536 }))();
    for (let i = 0; i < 5; i++) {
      await turn();
      overwriteGarbage();
    }
    // Its memory is looked at in each step.
    for (let i = 0; i < 5; i++) value(await asyncSleep(ctx, 0));
  },
);

kioTest(
  "close() of a pool ends its streams, and leaves its leases",
  async (ctx) => {
    using pair = unixPair();
    const pool = new BufferPool(ctx, { count: 4, size: 16 });
    const stream = asyncRecvMultishot(ctx, pair.right, pool);
    value(await asyncSend(ctx, pair.left, bytes("one")));
    const chunk = (await next(stream)).keep();
    const over = bytesOf(stream);
    await pool.close();
    assertEquals((await over).code, "ECANCELED");
    // The kernel has not taken what comes now.
    value(await asyncSend(ctx, pair.left, bytes("two")));
    const buffer = new Uint8Array(8);
    assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 3);
    assertEquals([text(chunk.bytes), pool.stats().leased], ["one", 1]);
    chunk.sendTo(pair.right);
    chunk.release();
    assertEquals(value(await asyncRecv(ctx, pair.left, buffer)), 3);
    assertEquals([text(buffer.subarray(0, 3)), pool.stats().leased], [
      "one",
      0,
    ]);
    await pool.close();
    pool[Symbol.dispose]();
    assertThrows(
      () => asyncRecvMultishot(ctx, pair.right, pool),
      TypeError,
      "Cannot receive: the BufferPool is closed",
    );
  },
);

kioTest("a context has several pools, one after the other too", async (ctx) => {
  using pair = unixPair();
  for (let i = 0; i < 20; i++) {
    await using first = new BufferPool(ctx, { count: 1 + i, size: 16 });
    await using second = new BufferPool(ctx, { count: 2, size: 100 });
    for (const pool of [first, second]) {
      await using stream = asyncRecvMultishot(ctx, pair.right, pool);
      value(await asyncSend(ctx, pair.left, pattern(100)));
      let count = 0;
      while (count < 100) count += (await next(stream)).length;
    }
  }
});

kioTest("BufferPool refuses what makes no sense", (ctx) => {
  for (
    const options of [
      { count: 0 },
      { count: 32769 },
      { count: 1.5 },
      { size: 0 },
      { size: 2 ** 30 + 1 },
      { count: 32768, size: 2 ** 20 },
    ]
  ) {
    assertThrows(
      () => new BufferPool(ctx, options),
      RangeError,
      "Cannot open a BufferPool",
    );
  }
  assertThrows(() => new BufferPool({} as IoContext), TypeError);
  assertThrows(() => new BufferPool(ctx, 5 as never), TypeError);
  using other = new IoContext(16);
  using pair = unixPair();
  const pool = new BufferPool(other);
  assertThrows(
    () => asyncRecvMultishot(ctx, pair.right, pool),
    TypeError,
    "Cannot receive: expected a BufferPool of the same IoContext",
  );
  other[Symbol.dispose]();
  assertThrows(
    () => new BufferPool(other),
    TypeError,
    "the IoContext is closed",
  );
});

for (const isThrowing of [false, true]) {
  kioTest(
    `asyncRecvMultishot() refuses a second consumer that waits${
      isThrowing ? ", by orThrow() too" : ""
    }`,
    async (ctx) => {
      using pair = unixPair();
      using pool = new BufferPool(ctx, { count: 2, size: 10 });
      const stream = asyncRecvMultishot(ctx, pair.right, pool);
      const all = isThrowing ? stream.orThrow() : stream;
      const [first, second] = [0, 1].map(() => all[Symbol.asyncIterator]());
      const waiting = first!.next();
      await assertRejects(
        () => second!.next(),
        TypeError,
        "Cannot take a lease: another consumer waits for one",
      );
      // Nothing is lost by that.
      let count = 0;
      const sent = asyncSendExact(ctx, pair.left, pattern(200));
      for (let step = await waiting; !step.done && count < 200;) {
        const lease = step.value as BufferLease | { value: BufferLease };
        count += "value" in lease ? lease.value.length : lease.length;
        if (count < 200) step = await first!.next();
      }
      value(await sent);
      assertEquals(count, 200);
      await first!.return!();
    },
  );
}
