import { assert, assertEquals } from "@std/assert";
import { asyncPoll, asyncRecv, asyncSend, asyncSleep, POLLIN } from "@kio/kio";
import {
  assertCode,
  bytes,
  immediate,
  kioTest,
  randomOf,
  turn,
  unixPair,
  value,
} from "../support.ts";

kioTest("asyncSleep() gives nothing, never early", async (ctx) => {
  for (const delayMs of [0, 0.3, 1, 1.5, 7, 30]) {
    const startMs = performance.now();
    assertEquals(await asyncSleep(ctx, delayMs), {
      ok: true,
      value: undefined,
    });
    const tookMs = performance.now() - startMs;
    assert(tookMs >= delayMs - 0.1, `${delayMs} took ${tookMs} ms`);
    assert(tookMs < delayMs + 2000, `${delayMs} took ${tookMs} ms`);
  }
});

kioTest(
  "asyncSleep(0) does not settle before what runs at once",
  async (ctx) => {
    let done = false;
    const op = asyncSleep(ctx, 0).then(() => done = true);
    await null;
    assertEquals(done, false);
    await op;
  },
);

kioTest("asyncSleep() takes -0 as 0", async (ctx) => {
  value(await asyncSleep(ctx, -0));
});

kioTest("asyncSleep() ends in the order of the deadlines", async (ctx) => {
  const random = randomOf(1);
  // The deadline is between these two, as the call takes its time.
  const ended: { fromMs: number; toMs: number }[] = [];
  await Promise.all(Array.from({ length: 200 }, async () => {
    const delayMs = random(60);
    const fromMs = performance.now() + delayMs;
    const op = asyncSleep(ctx, delayMs);
    const toMs = performance.now() + delayMs;
    value(await op);
    ended.push({ fromMs, toMs });
  }));
  for (let i = 1; i < ended.length; i++) {
    const [{ fromMs }, { toMs }] = [ended[i - 1]!, ended[i]!];
    assert(fromMs <= toMs, `${fromMs} before ${toMs}`);
  }
});

kioTest("asyncSleep() is counted by pending until it ends", async (ctx) => {
  const ops = [1, 2, 3].map((delayMs) => asyncSleep(ctx, delayMs));
  assertEquals(ctx.pending, 3);
  await Promise.all(ops);
  assertEquals(ctx.pending, 0);
});

kioTest("asyncSleep() of 100000 at a time all end", async (ctx) => {
  const random = randomOf(4);
  const ops = Array.from(
    { length: 100_000 },
    () => asyncSleep(ctx, random(50)),
  );
  assertEquals(ctx.pending, 100_000);
  assert((await Promise.all(ops)).every((result) => result.ok));
});

kioTest(
  "asyncSleep() of 200 at a time have times of their own",
  async (ctx) => {
    const ops = Array.from(
      { length: 200 },
      (_, i) => asyncSleep(ctx, 60_000).withTimeout(100 + i % 3),
    );
    const pending = ctx.inspect();
    assertEquals(pending.length, 200);
    // An age or a rest that is lost is NaN.
    assert(pending.every(({ ageMs }) => ageMs < 60_000));
    assert(pending.every(({ leftMs }) => leftMs <= 102));
    for (const op of ops) assertCode(await op, "ETIMEDOUT");
  },
);

kioTest("asyncSleep() of 10000 can be cancelled in any order", async (ctx) => {
  const random = randomOf(5);
  const ops = Array.from(
    { length: 10_000 },
    () => asyncSleep(ctx, 10_000 + random(1000)),
  );
  const order = ops.map((_, i) => i).sort(() => random(3) - 1);
  for (const [n, i] of order.entries()) {
    ops[i]!.cancel();
    assertEquals(ctx.pending, ops.length - n - 1);
  }
  for (const op of ops) assertCode(await op, "ECANCELED");
});

kioTest(
  "asyncSleep() that is shorter than one under way ends first",
  async (ctx) => {
    const long = asyncSleep(ctx, 60_000);
    await turn(5);
    const startMs = performance.now();
    value(await asyncSleep(ctx, 5));
    assert(performance.now() - startMs < 5000);
    assertEquals(ctx.pending, 1);
    long.cancel();
    assertCode(await long, "ECANCELED");
  },
);

kioTest(
  "asyncSleep() goes on after a shorter one was cancelled",
  async (ctx) => {
    const startMs = performance.now();
    const long = asyncSleep(ctx, 40);
    const short = asyncSleep(ctx, 15);
    await turn(5);
    short.cancel();
    assertCode(await short, "ECANCELED");
    value(await long);
    assert(performance.now() - startMs >= 39.9);
  },
);

kioTest(
  "asyncSleep() for longer than anyone waits neither ends nor wraps around",
  async (ctx) => {
    const delays = [2 ** 31, 2 ** 32 + 5, 2 ** 43, Number.MAX_SAFE_INTEGER];
    const ops = delays.map((delayMs) => asyncSleep(ctx, delayMs));
    await turn(20);
    assertEquals(ctx.pending, ops.length);
    for (const op of ops) op.cancel();
    for (const op of ops) assertCode(await op, "ECANCELED");
  },
);

kioTest(
  "asyncSleep() with the shorter withTimeout() gives ETIMEDOUT, with a longer one nothing",
  async (ctx) => {
    assertCode(await asyncSleep(ctx, 10_000).withTimeout(5), "ETIMEDOUT");
    value(await asyncSleep(ctx, 5).withTimeout(10_000));
    assertCode(
      await asyncSleep(ctx, 10_000).withTimeout(20_000).withTimeout(3),
      "ETIMEDOUT",
    );
    assertCode(await asyncSleep(ctx, 10_000).withTimeout(0), "ETIMEDOUT");
  },
);

kioTest("asyncSleep() and setTimeout wait for themselves only", async (ctx) => {
  const long = asyncSleep(ctx, 20_000);
  await turn(10);
  assertEquals(ctx.pending, 1);
  let isOver = false;
  const timer = setTimeout(() => isOver = true, 20_000);
  value(await asyncSleep(ctx, 10));
  assert(!isOver);
  clearTimeout(timer);
  long.cancel();
  assertCode(await long, "ECANCELED");
});

kioTest("asyncSleep() ends while the ring is busy", async (ctx) => {
  using pair = unixPair();
  let done = false;
  const sleeping = asyncSleep(ctx, 20).then(() => done = true);
  const buffer = new Uint8Array(8);
  const endMs = performance.now() + 5000;
  let rounds = 0;
  while (!done && performance.now() < endMs) {
    const receiving = asyncRecv(ctx, pair.left, buffer);
    value(await asyncSend(ctx, pair.right, bytes("x")));
    value(await receiving);
    rounds++;
  }
  assert(done, `not after ${rounds} rounds and 5 s`);
  await sleeping;
});

kioTest(
  "asyncSleep() ends while operations of the context wait",
  async (ctx) => {
    using pair = unixPair();
    const waiting = asyncPoll(ctx, pair.left, POLLIN);
    for (let i = 0; i < 20; i++) value(await asyncSleep(ctx, 1));
    assertEquals(ctx.pending, 1);
    waiting.cancel();
    assertCode(await waiting, "ECANCELED");
  },
);

kioTest(
  "asyncSleep() started by the end of another is not early either",
  async (ctx) => {
    const startMs = performance.now();
    for (let i = 0; i < 10; i++) value(await asyncSleep(ctx, 2));
    assert(performance.now() - startMs >= 19.9);
  },
);

kioTest(
  "asyncSleep() of a thread that was busy ends at once afterwards",
  async (ctx) => {
    const op = asyncSleep(ctx, 5);
    await immediate();
    const endMs = performance.now() + 50;
    while (performance.now() < endMs);
    const startMs = performance.now();
    value(await op);
    assert(performance.now() - startMs < 2000);
  },
);
