import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncRecv,
  asyncRecvExact,
  asyncSend,
  asyncSendExact,
  asyncShutdown,
  asyncSpliceAll,
  IoContext,
  link,
  MSG_DONTWAIT,
  SHUT_WR,
  Socket,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  openFds,
  pattern,
  randomOf,
  statusOf,
  tempFile,
  turn,
  value,
} from "../support.ts";
import {
  emptyPool,
  KINDS,
  LARGE,
  openEnds,
  receivedAll,
} from "./relay_support.ts";

const DATA = pattern(LARGE, 5);

for (const [kind, open] of KINDS) {
  kioTest(`asyncSpliceAll() moves all bytes, ${kind}`, async (ctx) => {
    using ends = await openEnds(ctx, open);
    const moving = asyncSpliceAll(ctx, ends.left, ends.right);
    const receiving = receivedAll(ctx, ends.server, LARGE);
    value(await asyncSendExact(ctx, ends.client, DATA));
    value(await asyncShutdown(ctx, ends.client, SHUT_WR));
    assertEquals(value(await moving), LARGE);
    // It does not pass the end on.
    value(await asyncShutdown(ctx, ends.right, SHUT_WR));
    const got = await receiving;
    assertEquals(got.length, LARGE);
    assert(got.every((byte, i) => byte === DATA[i]));
    emptyPool(ctx);
  });

  kioTest(
    `asyncSpliceAll() moves pieces of any length, ${kind}`,
    async (ctx) => {
      using ends = await openEnds(ctx, open);
      const moving = asyncSpliceAll(ctx, ends.left, ends.right);
      const random = randomOf(23);
      let total = 0;
      for (let i = 0; i < 200; i++) {
        const data = pattern(1 + random(i % 10 === 0 ? 300_000 : 3000), i);
        const buffer = new Uint8Array(data.length);
        const [sent] = await Promise.all([
          asyncSendExact(ctx, ends.client, data),
          asyncRecvExact(ctx, ends.server, buffer).orThrow(),
        ]);
        total += value(sent);
        assertEquals(buffer, data);
      }
      value(await asyncShutdown(ctx, ends.client, SHUT_WR));
      assertEquals(value(await moving), total);
      emptyPool(ctx);
    },
  );

  kioTest(
    `asyncSpliceAll() holds no more than its pipe, ${kind}`,
    async (ctx) => {
      using ends = await openEnds(ctx, open);
      const before = openFds();
      const moving = asyncSpliceAll(ctx, ends.left, ends.right);
      let sent = 0;
      for (let quiet = 0; quiet < 20;) {
        const result = await asyncSend(ctx, ends.client, DATA, MSG_DONTWAIT);
        if (result.ok) sent += result.value;
        quiet = result.ok ? 0 : quiet + 1;
        await turn(1);
      }
      assert(sent < LARGE, `${sent} bytes are on their way to nobody`);
      // One pipe, whatever is on its way; the thread sleeps.
      assertEquals(openFds().length - before.length, 2);
      const { submissions } = ctx.stats();
      await turn(100);
      const more = ctx.stats().submissions - submissions;
      assert(more < 20, `${more} entries of the kernel while nothing moves`);
      value(await asyncShutdown(ctx, ends.client, SHUT_WR));
      const got = new Uint8Array(sent);
      value(await asyncRecvExact(ctx, ends.server, got));
      assertEquals(value(await moving), sent);
      emptyPool(ctx);
    },
  );
}

kioTest(
  "asyncSpliceAll() sleeps while a peer that only receives is slow",
  async (ctx) => {
    using ends = await openEnds(ctx);
    value(await asyncShutdown(ctx, ends.server, SHUT_WR));
    const moving = asyncSpliceAll(ctx, ends.left, ends.right);
    const sending = asyncSendExact(ctx, ends.client, DATA);
    await turn(100);
    const { submissions } = ctx.stats();
    await turn(100);
    const more = ctx.stats().submissions - submissions;
    assert(more < 40, `${more} entries of the kernel while nothing moves`);
    const receiving = asyncRecvExact(ctx, ends.server, new Uint8Array(LARGE));
    value(await sending);
    value(await receiving);
    value(await asyncShutdown(ctx, ends.client, SHUT_WR));
    assertEquals(value(await moving), LARGE);
    emptyPool(ctx);
  },
);

kioTest(
  "asyncSpliceAll() has a pipe only while bytes are on their way",
  async (ctx) => {
    const before = openFds().length;
    const all = await Promise.all(
      Array.from({ length: 50 }, () => openEnds(ctx)),
    );
    const moving = all.map(({ left, right }) =>
      asyncSpliceAll(ctx, left, right)
    );
    for (const { client, server } of all) {
      value(await asyncSend(ctx, client, bytes("hello")));
      value(await asyncRecvExact(ctx, server, new Uint8Array(5)));
    }
    // 200 sockets, and a pipe of the pool.
    assert(openFds().length - before <= 202);
    for (const { client } of all) {
      value(
        await asyncShutdown(ctx, client, SHUT_WR),
      );
    }
    for (const it of moving) assertEquals(value(await it), 5);
    for (const it of all) it[Symbol.dispose]();
    emptyPool(ctx);
  },
);

kioTest("asyncSpliceAll() uses no thread of the kernel", async (ctx) => {
  const all = await Promise.all(
    Array.from({ length: 30 }, () => openEnds(ctx)),
  );
  const moving = all.map(({ left, right }) => asyncSpliceAll(ctx, left, right));
  const before = await statusOf("Threads");
  const sending = all.map(({ client }) =>
    asyncSendExact(ctx, client, DATA.subarray(0, 8 << 20)).withTimeout(200)
  );
  await Promise.all(sending);
  // Deno may start some of its own; a thread of the kernel for each would be 30.
  assert(await statusOf("Threads") < before + 10);
  for (const it of moving) it.cancel();
  for (const it of moving) assertCode(await it, "ECANCELED");
  for (const it of all) it[Symbol.dispose]();
  emptyPool(ctx);
});

kioTest(
  "asyncSpliceAll() does not wait in its thread for bytes that another took",
  async (ctx) => {
    // Accepted sockets are blocking ones; this is one as well.
    for (const isFirst of [true, false]) {
      using ends = await openEnds(ctx);
      for (const it of [ends.left, ends.right]) {
        unwrap(it.setNonBlocking(false));
      }
      const thief = () => asyncRecv(ctx, ends.left, new Uint8Array(64));
      const before = isFirst ? thief() : undefined;
      const moving = asyncSpliceAll(ctx, ends.left, ends.right);
      const stolen = before ?? thief();
      await turn(5);
      value(await asyncSend(ctx, ends.client, bytes("hello")));
      await turn(20);
      value(await asyncShutdown(ctx, ends.client, SHUT_WR));
      const taken = value(await stolen);
      assertEquals(value(await moving) + taken, 5);
    }
    emptyPool(ctx);
  },
);

kioTest("asyncSpliceAll() gives up a pipe that holds bytes", async (ctx) => {
  using victim = await openEnds(ctx, KINDS[1]![1]);
  const secret = new Uint8Array(4 << 20).fill(7);
  const moving = asyncSpliceAll(ctx, victim.left, victim.right);
  const sending = asyncSendExact(ctx, victim.client, secret);
  await turn(50);
  moving.cancel();
  assertCode(await moving, "ECANCELED");
  sending.cancel();
  await sending;
  using next = await openEnds(ctx);
  const open = asyncSpliceAll(ctx, next.left, next.right);
  value(await asyncSend(ctx, next.client, new Uint8Array(1000)));
  value(await asyncShutdown(ctx, next.client, SHUT_WR));
  assertEquals(value(await open), 1000);
  const got = new Uint8Array(2000);
  assertEquals(value(await asyncRecv(ctx, next.server, got)), 1000);
  assert(got.every((byte) => byte === 0));
  emptyPool(ctx);
});

kioTest(
  "asyncSpliceAll() tells how many bytes it moved and why it ended",
  async (ctx) => {
    {
      using ends = await openEnds(ctx);
      const moving = asyncSpliceAll(ctx, ends.left, ends.right);
      value(await asyncSend(ctx, ends.client, bytes("hello")));
      value(await asyncRecvExact(ctx, ends.server, new Uint8Array(5)));
      await ends.client.reset();
      const moved = await moving;
      assertCode(moved, "ECONNRESET");
      assertEquals(!moved.ok && moved.error.bytesTransferred, 5);
    }
    {
      using ends = await openEnds(ctx);
      const moving = asyncSpliceAll(ctx, ends.left, ends.right);
      await ends.server.reset();
      await turn(10);
      value(await asyncSend(ctx, ends.client, bytes("hello")));
      assertCode(await moving, "ECONNRESET", "EPIPE");
    }
    {
      using ends = await openEnds(ctx);
      const moving = asyncSpliceAll(ctx, ends.left, ends.right, {
        timeoutMs: 5,
      });
      assertCode(await moving, "ETIMEDOUT");
      const signal = AbortSignal.timeout(5);
      const aborted = asyncSpliceAll(ctx, ends.left, ends.right, { signal });
      assertCode(await aborted, "ECANCELED");
    }
    emptyPool(ctx);
  },
);

kioTest("asyncSpliceAll() ends when either socket is closed", async (ctx) => {
  for (const which of ["left", "right"] as const) {
    using ends = await openEnds(ctx);
    const moving = asyncSpliceAll(ctx, ends.left, ends.right);
    await turn();
    await ends[which].close();
    const moved = await moving;
    // The shutdown of the source may be an end before it is a cancel.
    if (which === "right" || !moved.ok) assertCode(moved, "ECANCELED");
    else assertEquals(moved.value, 0);
  }
  emptyPool(ctx);
});

kioTest(
  "asyncSpliceAll() pending when its context is closed",
  async (outer) => {
    for (const close of ["now", "later"]) {
      const ctx = new IoContext();
      using ends = await openEnds(outer);
      const moving = asyncSpliceAll(ctx, ends.left, ends.right);
      const sending = asyncSendExact(outer, ends.client, DATA);
      await turn(20);
      if (close === "now") ctx[Symbol.dispose]();
      else await ctx[Symbol.asyncDispose]();
      assertCode(await moving, "ECANCELED");
      sending.cancel();
      await sending;
    }
  },
);

kioTest(
  "asyncSpliceAll() gives errors of what cannot be spliced",
  async (ctx) => {
    using ends = await openEnds(ctx);
    using datagrams = unwrap(Socket.open("ipv4", "datagram"));
    using unconnected = unwrap(Socket.open("ipv4"));
    const { left } = ends;
    await using file = await tempFile(ctx);
    assertCode(await asyncSpliceAll(ctx, file, left), "ENOTSOCK");
    assertCode(await asyncSpliceAll(ctx, left, file), "ENOTSOCK");
    assertCode(await asyncSpliceAll(ctx, 9999, left), "EBADF");
    assertCode(await asyncSpliceAll(ctx, unconnected, left), "ENOTCONN");
    assertCode(
      await asyncSpliceAll(ctx, datagrams, left).withTimeout(5),
      "ETIMEDOUT",
    );
    emptyPool(ctx);
  },
);

kioTest("asyncSpliceAll() refuses what makes no sense", async (ctx) => {
  using ends = await openEnds(ctx);
  const { left, right } = ends;
  assertThrows(() => asyncSpliceAll(ctx, -1, right), RangeError);
  assertThrows(() => asyncSpliceAll(ctx, left, 1.5), RangeError);
  assertThrows(
    () => asyncSpliceAll(ctx, left, right, { timeoutMs: -1 }),
    RangeError,
  );
  assertThrows(
    () => link(ctx, () => asyncSpliceAll(ctx, left, right)),
    TypeError,
  );
  const closed = new IoContext();
  await closed[Symbol.asyncDispose]();
  assertThrows(() => asyncSpliceAll(closed, left, right), TypeError);
});
