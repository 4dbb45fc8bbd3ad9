/** That streams which share a pool have their turns. */
import { assert, assertEquals } from "@std/assert";
import {
  asyncClose,
  asyncPipe,
  asyncReadMultishot,
  asyncRecvExact,
  asyncRecvmsgMultishot,
  asyncRecvMultishot,
  asyncSend,
  asyncSendExact,
  asyncSendmsg,
  asyncWriteExact,
  type BufferLease,
  BufferPool,
  type IoContext,
  parseScmRights,
  type RecvMultishotOptions,
  scmRights,
  scmRightsSpace,
  type UringStream,
} from "@kio/kio";
import {
  kioTest,
  pattern,
  tcpPair,
  turn,
  unixPair,
  value,
} from "../support.ts";
import { assertWhole, next } from "./leases.ts";

const SIZE = 16;

/** Something to receive from, which has some buffers' worth of bytes. */
interface Source {
  /** Fills another buffer. */
  more(): Promise<unknown>;
  receive(
    pool: BufferPool,
    options?: RecvMultishotOptions,
  ): UringStream<BufferLease>;
  close(): unknown;
}

type MakeSource = (ctx: IoContext, buffers: number) => Promise<Source>;

const fromPair = (
  open: (ctx: IoContext) => Promise<ReturnType<typeof unixPair>>,
): MakeSource =>
async (ctx, buffers) => {
  const pair = await open(ctx);
  value(await asyncSendExact(ctx, pair.left, pattern(SIZE * buffers)));
  return {
    more: () => asyncSendExact(ctx, pair.left, pattern(SIZE)).orThrow(),
    receive: (pool, options) =>
      asyncRecvMultishot(ctx, pair.right, pool, options),
    close: () => pair[Symbol.dispose](),
  };
};

const SOURCES: Record<string, MakeSource> = {
  unix: fromPair(() => Promise.resolve(unixPair())),
  TCP: fromPair(tcpPair),
  pipe: async (ctx, buffers) => {
    const { readFd, writeFd } = value(await asyncPipe(ctx));
    value(await asyncWriteExact(ctx, writeFd, pattern(SIZE * buffers)));
    return {
      more: () => asyncWriteExact(ctx, writeFd, pattern(SIZE)).orThrow(),
      receive: (pool, options) =>
        asyncReadMultishot(ctx, readFd, pool, options),
      close: () =>
        Promise.all([asyncClose(ctx, readFd), asyncClose(ctx, writeFd)]),
    };
  },
};

/** Takes all buffers of a pool. Returns their leases. */
async function takeAll(
  ctx: IoContext,
  pool: BufferPool,
): Promise<BufferLease[]> {
  const { count, size } = pool.stats();
  using pair = unixPair();
  value(await asyncSendExact(ctx, pair.left, new Uint8Array(count * size)));
  await using stream = asyncRecvMultishot(ctx, pair.right, pool, {
    leasesMax: count,
  });
  const leases = [];
  while (leases.length < count) leases.push((await next(stream)).keep());
  return leases;
}

for (const [kind, open] of Object.entries(SOURCES)) {
  kioTest(
    `streams take turns while they want more buffers than there are: ${kind}`,
    async (ctx) => {
      using pool = new BufferPool(ctx, { count: 1, size: SIZE });
      // The first has far more than the others.
      const counts = [40, 10, 10, 10];
      const sources = await Promise.all(
        counts.map((buffers) => open(ctx, buffers)),
      );
      const order: number[] = [];
      await Promise.all(sources.map(async (source, i) => {
        for await (const _ of source.receive(pool)) {
          order.push(i);
          if (order.filter((it) => it === i).length === counts[i]) break;
        }
      }));
      const turns = order.slice(0, 40).join("").match(/..../g);
      assertEquals(turns, Array(10).fill("0123"));
      assertWhole(pool);
      for (const it of sources) await it.close();
    },
  );

  kioTest(
    `a stream that has waited takes one buffer, and no more: ${kind}`,
    async (ctx) => {
      using pool = new BufferPool(ctx, { count: 4, size: SIZE });
      const leases = await takeAll(ctx, pool);
      const sources = await Promise.all(
        [20, 1, 1, 1].map((buffers) => open(ctx, buffers)),
      );
      const streams = sources.map((it) => it.receive(pool, { leasesMax: 4 }));
      await turn(5);
      for (const it of leases) it.release();
      await turn(5);
      for (const [i, stream] of streams.entries()) {
        assert(stream.take()?.ok, `stream ${i} has no buffer`);
      }
      for (const it of streams) await it[Symbol.asyncDispose]();
      assertWhole(pool);
      for (const it of sources) await it.close();
    },
  );

  kioTest(
    `a stream that goes on is behind those that wait: ${kind}`,
    async (ctx) => {
      using pool = new BufferPool(ctx, { count: 1, size: SIZE });
      const [lease] = await takeAll(ctx, pool);
      const sources = await Promise.all([1, 1, 1].map((it) => open(ctx, it)));
      const streams = sources.map((it) => it.receive(pool));
      await turn(5);
      lease!.release();
      const first = (await next(streams[0]!)).keep();
      await turn(5);
      await sources[0]!.more();
      const order: number[] = [];
      const taking = streams.map(async (stream, i) => {
        await next(stream);
        order.push(i);
        await stream[Symbol.asyncDispose]();
      });
      await turn(5);
      first.release();
      await Promise.all(taking);
      assertEquals(order, [1, 2, 0]);
      assertWhole(pool);
      for (const it of sources) await it.close();
    },
  );
}

kioTest("a stream waits for a buffer only when it has data", async (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 1, size: SIZE });
  const [lease] = await takeAll(ctx, pool);
  await using stream = asyncRecvMultishot(ctx, pair.right, pool);
  await turn(5);
  assertEquals(pool.stats().starved, 0);
  value(await asyncSend(ctx, pair.left, pattern(3)));
  await turn(5);
  assertEquals(pool.stats().starved, 1);
  lease!.release();
  assertEquals((await next(stream)).bytes, pattern(3));
});

kioTest(
  "a stream that gets one chunk at a time is not cancelled while others wait",
  async (ctx) => {
    using pool = new BufferPool(ctx, { count: 4, size: SIZE });
    const pairs = Array.from({ length: 16 }, () => unixPair());
    const streams = pairs.map(({ right }) =>
      asyncRecvMultishot(ctx, right, pool, {
        onChunk: (chunk) => chunk.sendTo(right),
      })
    );
    const ROUNDS = 50;
    const before = ctx.stats().submissions;
    await Promise.all(pairs.map(async ({ left }) => {
      const buffer = pattern(3);
      for (let i = 0; i < ROUNDS; i++) {
        value(await asyncSendExact(ctx, left, buffer));
        value(await asyncRecvExact(ctx, left, buffer));
      }
    }));
    const submissions = (ctx.stats().submissions - before) / ROUNDS / 16;
    assert(pool.stats().starvations > 8 * ROUNDS, "few have waited");
    // Those of the client and of the echo, and two receives: one that finds no
    // buffer, and one that does. A cancel would be one more.
    assert(submissions < 5.5, `${submissions} submissions a message`);
    for (const it of streams) await it[Symbol.asyncDispose]();
    for (const it of pairs) it[Symbol.dispose]();
    assertWhole(pool);
  },
);

kioTest("messages come whole while their streams wait in turn", async (ctx) => {
  using pool = new BufferPool(ctx, { count: 2, size: 256 });
  const pairs = Array.from({ length: 6 }, () => unixPair("datagram"));
  const { length: controlSize } = scmRightsSpace(1);
  const receive = async ({ right }: typeof pairs[0]) => {
    const stream = asyncRecvmsgMultishot(ctx, right, pool, { controlSize });
    let count = 0;
    for await (const { bytes, control, missingBytes } of stream.orThrow()) {
      assertEquals([bytes, missingBytes], [pattern(++count), 0]);
      const fds = parseScmRights(control);
      assertEquals(fds.length, count % 3 === 0 ? 1 : 0);
      for (const fd of fds) value(await asyncClose(ctx, fd));
      if (count === 40) break;
    }
  };
  const send = async ({ left }: typeof pairs[0]) => {
    for (let i = 1; i <= 40; i++) {
      const buffers = [pattern(i)];
      const control = i % 3 === 0 ? scmRights([left]) : undefined;
      value(await asyncSendmsg(ctx, left, { buffers, control }));
    }
  };
  await Promise.all([...pairs.map(receive), ...pairs.map(send)]);
  assert(pool.stats().starvations > 20, "none has waited");
  assertWhole(pool);
  for (const it of pairs) it[Symbol.dispose]();
});
