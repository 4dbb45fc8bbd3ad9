import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncRecv,
  asyncRecvExact,
  asyncRecvMultishot,
  asyncSend,
  asyncSendExact,
  asyncSendmsg,
  asyncShutdown,
  type BufferLease,
  BufferPool,
  IoContext,
  link,
  MSG_DONTWAIT,
  SHUT_RD,
  SHUT_WR,
  Socket,
  unwrap,
  type UringStream,
} from "@kio/kio";
import { loadShim } from "../../ffi/load.ts";
import {
  assertCode,
  bytes,
  kioTest,
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
import { next } from "./leases.ts";

/** Sends back what comes, until the end. Returns the code of the error. */
async function echo(
  stream: UringStream<BufferLease>,
  fd: number,
): Promise<string> {
  for await (const result of stream) {
    if (!result.ok) return result.error.code;
    result.value.sendTo(fd);
  }
  return "";
}

async function fill(ctx: IoContext, { left }: Pair): Promise<number> {
  let count = 0;
  for (;;) {
    const sent = await asyncSend(ctx, left, new Uint8Array(4096), MSG_DONTWAIT);
    if (!sent.ok) return count;
    count += sent.value;
  }
}

for (const kind of ["unix", "TCP"]) {
  for (const isBlocking of [true, false]) {
    for (const [count, size] of [[2, 16], [8, 1000], [4, 65536]] as const) {
      kioTest(
        `sendTo() sends all in order: ${kind}, ${count} buffers of ${size}, ${
          isBlocking ? "" : "non-"
        }blocking`,
        async (ctx) => {
          using pair = kind === "unix" ? unixPair() : await tcpPair(ctx);
          using pool = new BufferPool(ctx, { count, size });
          loadShim().kio_nonblocking_set(pair.right.fd, !isBlocking);
          const data = pattern(size * 50 + 7);
          const stream = asyncRecvMultishot(ctx, pair.right, pool, {
            leasesMax: count,
          });
          const back = new Uint8Array(data.length);
          const send = async () => {
            value(await asyncSendExact(ctx, pair.left, data));
            value(await asyncShutdown(ctx, pair.left, SHUT_WR));
          };
          const [code] = await Promise.all([
            echo(stream, pair.right.fd),
            send(),
            asyncRecvExact(ctx, pair.left, back),
          ]);
          assertEquals(code, "");
          assertEquals(back, data);
          assertEquals([pool.stats().leased, ctx.pending], [0, 0]);
        },
      );
    }
  }
}

kioTest("sendTo() ends before its stream does", async (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 64, size: 16384 });
  const stream = asyncRecvMultishot(ctx, pair.right, pool, { leasesMax: 64 });
  // More than the socket takes: the last sends wait for the reader.
  const data = pattern(500_000);
  const over = echo(stream, pair.right.fd);
  value(await asyncSendExact(ctx, pair.left, data));
  value(await asyncShutdown(ctx, pair.left, SHUT_WR));
  await turn(10);
  assert(pool.stats().leased > 0, "nothing waits");
  assertEquals(ctx.pending, 2, "the stream is over");
  const back = new Uint8Array(data.length);
  value(await asyncRecvExact(ctx, pair.left, back));
  assertEquals(await over, "");
  await pair.right.close();
  assertEquals(back, data);
});

kioTest("a stream that waits for its sends can be ended", async (ctx) => {
  for (const how of ["cancel", "timeout", "close"]) {
    using pair = unixPair();
    using pool = new BufferPool(ctx, { count: 64, size: 16384 });
    const stream = asyncRecvMultishot(ctx, pair.right, pool, { leasesMax: 64 });
    const over = echo(stream, pair.right.fd);
    value(await asyncSendExact(ctx, pair.left, pattern(500_000)));
    value(await asyncShutdown(ctx, pair.left, SHUT_WR));
    await turn(10);
    if (how === "cancel") stream.cancel();
    if (how === "timeout") stream.withTimeout(1);
    if (how === "close") await pair.right.close();
    const code = await within(2000, over, how);
    assertEquals(code, how === "timeout" ? "ETIMEDOUT" : "ECANCELED");
    await pair.right.close();
    assertEquals([pool.stats().leased, ctx.pending], [0, 0]);
  }
});

kioTest(
  "sendTo() of leases of several streams does not mix them",
  async (ctx) => {
    using out = unixPair();
    using sockets = new DisposableStack();
    using pool = new BufferPool(ctx, { count: 32, size: 8192 });
    using other = new BufferPool(ctx, { count: 32, size: 8192 });
    const ends: Promise<string>[] = [];
    for (let i = 0; i < 8; i++) {
      const pair = sockets.use(unixPair());
      const stream = asyncRecvMultishot(ctx, pair.right, i % 2 ? pool : other);
      ends.push(echo(stream, out.left.fd));
      void (async () => {
        for (let n = 0; n < 20; n++) {
          value(
            await asyncSendExact(ctx, pair.left, new Uint8Array(8192).fill(i)),
          );
        }
        value(await asyncShutdown(ctx, pair.left, SHUT_WR));
      })();
    }
    const back = new Uint8Array(8 * 20 * 8192);
    value(await asyncRecvExact(ctx, out.right, back));
    assertEquals(await Promise.all(ends), Array(8).fill(""));
    // A chunk is what came at once, so each byte run is of whole sends.
    const counts = new Array(8).fill(0);
    for (const byte of back) counts[byte]++;
    assertEquals(counts, Array(8).fill(20 * 8192));
  },
);

kioTest(
  "sendTo() of one lease to two sockets keeps their queues apart",
  async (ctx) => {
    using pair = unixPair();
    using one = unixPair();
    using all = unixPair();
    using pool = new BufferPool(ctx, { count: 8, size: 1 });
    const stream = asyncRecvMultishot(ctx, pair.right, pool, {
      leasesMax: 8,
      onChunk(chunk) {
        // Its send is the first to end, and nothing is behind it.
        if (chunk.bytes[0] === 0) chunk.sendTo(one.left);
        chunk.sendTo(all.left);
      },
    });
    value(await asyncSend(ctx, pair.left, Uint8Array.of(0, 1, 2, 3)));
    value(await asyncShutdown(ctx, pair.left, SHUT_WR));
    for await (const result of stream) value(result);
    const back = new Uint8Array(8);
    assertEquals(value(await asyncRecv(ctx, all.right, back)), 4);
    assertEquals(back.subarray(0, 4), Uint8Array.of(0, 1, 2, 3));
    assertEquals(value(await asyncRecv(ctx, one.right, back)), 1);
  },
);

kioTest("sendTo() that fails ends the stream of the lease", async (ctx) => {
  for (const isOther of [false, true]) {
    using pair = unixPair();
    using other = unixPair();
    using pool = new BufferPool(ctx, { count: 8, size: 4 });
    const to = isOther ? other.left : pair.right;
    await (isOther
      ? other.right.close()
      : asyncShutdown(ctx, pair.left, SHUT_RD));
    const stream = asyncRecvMultishot(ctx, pair.right, pool, { leasesMax: 8 });
    value(await asyncSend(ctx, pair.left, bytes("onetwo")));
    await turn();
    const codes: string[] = [];
    for await (const result of stream) {
      if (result.ok) result.value.sendTo(to);
      else codes.push(result.error.code, result.error.message);
    }
    assertEquals(codes, ["EPIPE", "Broken pipe"]);
    assertEquals([pool.stats().leased, ctx.pending], [0, 0]);
    const again = asyncRecvMultishot(ctx, pair.right, pool);
    value(await asyncSend(ctx, pair.left, bytes("more")));
    (await next(again)).sendTo(to);
    const error = await again.orThrow()[Symbol.asyncIterator]().next()
      .catch((error) => error);
    const where = isOther ? `send to fd ${other.left.fd}` : "send";
    assertEquals(
      error.message,
      `Cannot ${where} (fd ${pair.right.fd}): Broken pipe (EPIPE)`,
    );
  }
});

kioTest(
  "sendTo() that waits is the back-pressure of its stream",
  async (ctx) => {
    using slow = unixPair();
    using quick = unixPair();
    using pool = new BufferPool(ctx, { count: 16, size: 1024 });
    const stream = asyncRecvMultishot(ctx, slow.right, pool, { leasesMax: 4 });
    const over = echo(stream, slow.right.fd);
    let isDone = false;
    // Its peer does not read.
    const sending = asyncSendExact(ctx, slow.left, new Uint8Array(2 ** 22));
    void sending.then(() => isDone = true);
    await turn(20);
    assertEquals(isDone, false);
    // The kernel takes up to 33 at a time before it stops: the whole pool here.
    const other = asyncRecvMultishot(ctx, quick.right, pool);
    const served = echo(other, quick.right.fd);
    const drain = (async () => {
      const buffer = new Uint8Array(65536);
      let left = 2 ** 22;
      while (left > 0) left -= value(await asyncRecv(ctx, slow.left, buffer));
    })();
    value(await asyncSend(ctx, quick.left, bytes("hi")));
    const buffer = new Uint8Array(8);
    assertEquals(value(await asyncRecv(ctx, quick.left, buffer)), 2);
    assertEquals(text(buffer.subarray(0, 2)), "hi");
    await drain;
    value(await sending);
    stream.cancel();
    other.cancel();
    assertEquals(await Promise.all([over, served]), ["ECANCELED", "ECANCELED"]);
    assertEquals([pool.stats().leased, ctx.pending], [0, 0]);
  },
);

kioTest("sendTo() a number that no file has takes no memory", async (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 4, size: 16 });
  const stream = asyncRecvMultishot(ctx, pair.right, pool);
  value(await asyncSend(ctx, pair.left, bytes("x")));
  const over = echo(stream, 2 ** 31 - 1);
  assertEquals(await over, "EBADF");
  assertEquals([pool.stats().leased, ctx.pending], [0, 0]);
});

kioTest("sendTo() serves one socket after the other", async (ctx) => {
  using pool = new BufferPool(ctx, { count: 4, size: 16 });
  for (let i = 0; i < 10; i++) {
    using pair = unixPair();
    const over = echo(asyncRecvMultishot(ctx, pair.right, pool), pair.right.fd);
    // Every other socket fails.
    if (i % 2) value(await asyncShutdown(ctx, pair.right, SHUT_WR));
    const back = new Uint8Array(8);
    for (let n = 0; n < 3 && i % 2 === 0; n++) {
      value(await asyncSend(ctx, pair.left, pattern(8)));
      value(await asyncRecvExact(ctx, pair.left, back));
      assertEquals(back, pattern(8));
    }
    if (i % 2) value(await asyncSend(ctx, pair.left, pattern(8)));
    value(await asyncShutdown(ctx, pair.left, SHUT_WR));
    assertEquals(await within(2000, over, "the stream"), i % 2 ? "EPIPE" : "");
  }
  assertEquals([pool.stats().leased, ctx.pending], [0, 0]);
});

kioTest("close() of the socket gives queued leases back", async (ctx) => {
  using pair = unixPair();
  using other = unixPair();
  using pool = new BufferPool(ctx, { count: 16, size: 1024 });
  await fill(ctx, other);
  const stream = asyncRecvMultishot(ctx, pair.right, pool, { leasesMax: 16 });
  const over = echo(stream, other.left.fd);
  value(await asyncSend(ctx, pair.left, pattern(1024 * 6)));
  await turn(5);
  assert(pool.stats().leased > 1);
  await other.left.close();
  // By the shutdown, or by the cancel.
  assert(["EPIPE", "ECANCELED"].includes(await over));
  assertEquals([pool.stats().leased, ctx.pending], [0, 0]);
});

kioTest("a stream that is left lets its sends go on", async (ctx) => {
  using pair = unixPair();
  using other = unixPair();
  using pool = new BufferPool(ctx, { count: 16, size: 1024 });
  const count = await fill(ctx, other);
  const stream = asyncRecvMultishot(ctx, pair.right, pool, { leasesMax: 16 });
  value(await asyncSend(ctx, pair.left, bytes("hello")));
  for await (const result of stream) {
    value(result).sendTo(other.left);
    break;
  }
  assertEquals([pool.stats().leased, ctx.pending], [1, 1]);
  const buffer = new Uint8Array(count + 5);
  value(await asyncRecvExact(ctx, other.right, buffer));
  assertEquals(text(buffer.subarray(count)), "hello");
  await turn(5);
  assertEquals([pool.stats().leased, ctx.pending], [0, 0]);
});

for (const how of ["dispose", "asyncDispose"] as const) {
  kioTest(`the end of the context ends sendTo(), by ${how}`, async (outer) => {
    const ctx = new IoContext(16);
    using pair = unixPair();
    using other = unixPair();
    const pool = new BufferPool(ctx, { count: 16, size: 1024 });
    await fill(outer, other);
    const stream = asyncRecvMultishot(ctx, pair.right, pool, { leasesMax: 16 });
    const kept: BufferLease[] = [];
    const over = (async () => {
      for await (const result of stream) {
        if (!result.ok) return result.error.code;
        kept.push(result.value.keep());
        result.value.sendTo(other.left);
      }
      return "";
    })();
    value(await asyncSend(outer, pair.left, pattern(1024 * 3)));
    await turn(10);
    if (how === "dispose") ctx[Symbol.dispose]();
    else await ctx[Symbol.asyncDispose]();
    assertEquals(await over, "ECANCELED");
    assertEquals(kept[0]!.bytes, pattern(1024 * 3).subarray(0, 1024));
    assertThrows(
      () => kept[0]!.sendTo(other.left),
      TypeError,
      "Cannot send a lease: the IoContext is closed",
    );
    for (const it of kept) it.release();
    assertEquals(pool.stats().leased, 0);
  });
}

kioTest(
  "sendTo() refuses what makes no sense, and keeps the lease",
  async (ctx) => {
    using pair = unixPair();
    using pool = new BufferPool(ctx, { count: 2, size: 8 });
    await using stream = asyncRecvMultishot(ctx, pair.right, pool);
    value(await asyncSend(ctx, pair.left, bytes("one")));
    const chunk = await next(stream);
    for (const fd of [-1, 1.5, NaN, 2 ** 31]) {
      assertThrows(
        () => chunk.sendTo(fd),
        RangeError,
        "Cannot send a lease: fd",
      );
    }
    assertThrows(() => chunk.sendTo("1" as unknown as number), TypeError);
    assertEquals(text(chunk.bytes), "one");
  },
);

for (const way of ["iterator", "onChunk"]) {
  kioTest(
    `sendTo() a socket that was closed ends the stream, by ${way}`,
    async (ctx) => {
      using pair = unixPair();
      using target = unwrap(Socket.open("unix"));
      await target.close();
      using pool = new BufferPool(ctx, { count: 2, size: 8 });
      let chunks = 0;
      const forward = (chunk: BufferLease) => {
        chunks++;
        chunk.sendTo(target);
      };
      const stream = way === "onChunk"
        ? asyncRecvMultishot(ctx, pair.right, pool, { onChunk: forward })
        : asyncRecvMultishot(ctx, pair.right, pool);
      value(await asyncSend(ctx, pair.left, bytes("lost")));
      if (way === "iterator") forward(await next(stream));
      assertCode(await stream.closed, "ECANCELED");
      await stream[Symbol.asyncDispose]();
      assertEquals([chunks, pool.stats().leased], [1, 0]);
    },
  );
}

kioTest(
  "sendTo() meets the limit of operations before it queues",
  async (outer) => {
    using ctx = new IoContext({ operationsMax: 2 });
    using pair = unixPair();
    const pool = new BufferPool(ctx, { count: 2, size: 8 });
    const stream = asyncRecvMultishot(ctx, pair.right, pool);
    value(await asyncSend(outer, pair.left, bytes("one")));
    const chunk = await next(stream);
    const other = asyncRecv(ctx, pair.left, new Uint8Array(8));
    assertThrows(
      () => chunk.sendTo(pair.right),
      RangeError,
      "operations are in flight",
    );
    assertEquals([text(chunk.bytes), pool.stats().leased], ["one", 1]);
    other.cancel();
    await other;
    chunk.sendTo(pair.right);
    await stream[Symbol.asyncDispose]();
    const buffer = new Uint8Array(8);
    assertEquals(value(await asyncRecv(outer, pair.left, buffer)), 3);
  },
);

kioTest("sendTo() within link() is no link of the chain", async (ctx) => {
  using pair = unixPair();
  using other = unixPair();
  using pool = new BufferPool(ctx, { count: 2, size: 8 });
  await using stream = asyncRecvMultishot(ctx, pair.right, pool);
  await fill(ctx, other);
  value(await asyncSend(ctx, pair.left, bytes("one")));
  const chunk = await next(stream);
  const ops = link(ctx, () => {
    const first = asyncSend(ctx, pair.right, bytes("1"));
    // It waits for its reader: as a link it would hold up what follows.
    chunk.sendTo(other.left);
    return [first, asyncSend(ctx, pair.right, bytes("2"))];
  });
  for (const op of ops) value(await within(2000, op, "the chain"));
  await other.left.close();
  const { value: last } = await stream[Symbol.asyncIterator]().next();
  assertCode(last!, "ECANCELED", "EPIPE");
});

kioTest("sendTo() sends datagrams, and an empty one", async (ctx) => {
  using pair = unixPair("datagram");
  using pool = new BufferPool(ctx, { count: 4, size: 8 });
  await using stream = asyncRecvMultishot(ctx, pair.right, pool);
  const buffer = new Uint8Array(8);
  for (const it of ["one", "two", ""]) {
    const sent = it === ""
      ? await asyncSendmsg(ctx, pair.left, {
        buffers: [],
      })
      : await asyncSend(ctx, pair.left, bytes(it));
    value(sent);
    (await next(stream)).sendTo(pair.right);
    assertEquals(value(await asyncRecv(ctx, pair.left, buffer)), it.length);
  }
});

kioTest("sendTo() after one that failed sends nothing more", async (ctx) => {
  using pair = unixPair();
  using other = unixPair();
  using pool = new BufferPool(ctx, { count: 4, size: 8 });
  const stream = asyncRecvMultishot(ctx, pair.right, pool);
  value(await asyncSend(ctx, pair.left, bytes("one")));
  const chunk = await next(stream);
  chunk.keep();
  // No socket: the bytes are missing wherever they were to go.
  await using file = await tempFile(ctx);
  chunk.sendTo(file);
  await turn(5);
  chunk.sendTo(other.left);
  chunk.release();
  assertCode((await stream[Symbol.asyncIterator]().next()).value!, "ENOTSOCK");
  const buffer = new Uint8Array(8);
  assertCode(
    await asyncRecv(ctx, other.right, buffer, MSG_DONTWAIT),
    "EAGAIN",
  );
  assertEquals([pool.stats().leased, ctx.pending], [0, 0]);
});
