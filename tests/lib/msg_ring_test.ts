import { assert, assertEquals } from "@std/assert";
import {
  asyncClose,
  asyncFsync,
  asyncMsgRing,
  asyncOpen,
  asyncRecv,
  asyncSleep,
  IoContext,
  link,
  O_RDONLY,
  WAKE_TAG,
} from "@kio/kio";
import {
  assertCode,
  kioTest,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";

type Message = [result: number, userData: number];

/** Waits until a list has so many entries. */
async function filled(list: readonly unknown[], count: number): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (list.length < count && performance.now() < endMs) await turn(1);
  // Give messages that should not come their chance as well.
  await turn(5);
}

kioTest("asyncMsgRing() calls onMessage of the other context", async (ctx) => {
  using target = new IoContext(4);
  const messages: Message[] = [];
  target.onMessage = (...message) => messages.push(message);
  const result = await asyncMsgRing(ctx, target.ringFd, 7, 42);
  assertEquals(result, { ok: true, value: undefined });
  await filled(messages, 1);
  assertEquals(messages, [[7, 42]]);
});

kioTest(
  "asyncMsgRing() passes every int32 and every integer to 2^53 - 2",
  async (ctx) => {
    using target = new IoContext(64);
    const messages: Message[] = [];
    target.onMessage = (...message) => messages.push(message);
    const results = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 0x12345678];
    const userDatas = [
      0,
      1,
      2 ** 31 - 1,
      2 ** 31,
      2 ** 32 - 1,
      2 ** 32,
      2 ** 32 + 3,
      2 ** 52,
      2 ** 52 + 2 ** 32,
      Number.MAX_SAFE_INTEGER - 1,
    ];
    const sent: Message[] = results.flatMap((result) =>
      userDatas.map((userData): Message => [result, userData])
    );
    for (const [result, userData] of sent) {
      value(await asyncMsgRing(ctx, target.ringFd, result, userData));
    }
    await filled(messages, sent.length);
    assertEquals(messages, sent);
  },
);

kioTest("asyncMsgRing() with WAKE_TAG wakes without a message", async (ctx) => {
  using target = new IoContext(4);
  const messages: Message[] = [];
  target.onMessage = (...message) => messages.push(message);
  let ticks = 0;
  const running = target.run(() => void ticks++);
  value(await asyncMsgRing(ctx, target.ringFd, 1, WAKE_TAG));
  value(await asyncMsgRing(ctx, target.ringFd, 2, 2));
  await filled(messages, 1);
  assertEquals(messages, [[2, 2]]);
  assert(ticks > 0);
  target.stop();
  await running;
});

kioTest("asyncMsgRing() to the own ring", async (ctx) => {
  const messages: Message[] = [];
  ctx.onMessage = (...message) => messages.push(message);
  value(await asyncMsgRing(ctx, ctx.ringFd, -5, 2 ** 40));
  await filled(messages, 1);
  assertEquals(messages, [[-5, 2 ** 40]]);
});

kioTest(
  "asyncMsgRing() is taken for no completion of the target's operations",
  async (ctx) => {
    using target = new IoContext(4);
    using pair = unixPair();
    const messages: Message[] = [];
    target.onMessage = (...message) => messages.push(message);
    const pending = asyncRecv(target, pair.left, new Uint8Array(8));
    // Slots and generations of operations are small numbers, too.
    for (let userData = 0; userData < 100; userData++) {
      value(await asyncMsgRing(ctx, target.ringFd, 5, userData));
      value(await asyncMsgRing(ctx, target.ringFd, 5, userData * 2 ** 32));
    }
    await filled(messages, 200);
    assertEquals(messages.length, 200);
    assertEquals(target.pending, 1);
    pending.cancel();
    assertCode(await pending, "ECANCELED");
  },
);

kioTest(
  "asyncMsgRing() of 10000 messages to a ring of one entry loses none",
  async (ctx) => {
    using target = new IoContext(1);
    const messages: number[] = [];
    target.onMessage = (result) => messages.push(result);
    const ops = Array.from(
      { length: 10_000 },
      (_, i) => asyncMsgRing(ctx, target.ringFd, i, i),
    );
    for (const op of ops) value(await op);
    await filled(messages, 10_000);
    assertEquals(messages.length, 10_000);
    assert(messages.every((message, i) => message === i), "in their order");
  },
);

kioTest(
  "asyncMsgRing() gives EBADF for no fd, EBADFD for no ring",
  async (ctx) => {
    assertCode(await asyncMsgRing(ctx, 4000, 0, 0), "EBADF");
    const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
    assertCode(await asyncMsgRing(ctx, fd, 0, 0), "EBADFD");
    value(await asyncClose(ctx, fd));
  },
);

kioTest("asyncMsgRing() to a context that was closed fails", async (ctx) => {
  const target = new IoContext(4);
  const { ringFd } = target;
  target[Symbol.dispose]();
  const op = asyncMsgRing(ctx, ringFd, 0, 0);
  assertCode(await op, "EBADF", "EBADFD");
});

kioTest(
  "asyncMsgRing() to a context that is closed meanwhile harms nobody",
  async (ctx) => {
    for (let i = 0; i < 50; i++) {
      const target = new IoContext(4);
      let calls = 0;
      target.onMessage = () => calls++;
      const ops = Array.from(
        { length: 20 },
        () => asyncMsgRing(ctx, target.ringFd, 1, 1),
      );
      if (i % 2 === 0) await null;
      target[Symbol.dispose]();
      const called = calls;
      for (const op of ops) {
        const result = await op;
        if (!result.ok) assertCode(result, "EBADF", "EBADFD", "EOWNERDEAD");
      }
      assertEquals(calls, called, "a closed context calls nobody");
    }
  },
);

kioTest("asyncMsgRing() within link()", async (ctx) => {
  using target = new IoContext(4);
  const messages: Message[] = [];
  target.onMessage = (...message) => messages.push(message);
  const ops = link(ctx, () => [
    asyncMsgRing(ctx, target.ringFd, 1, 1),
    asyncFsync(ctx, 4000),
    asyncMsgRing(ctx, target.ringFd, 2, 2),
  ]);
  value(await ops[0]);
  assertCode(await ops[1], "EBADF");
  assertCode(await ops[2], "ECANCELED");
  await filled(messages, 1);
  assertEquals(messages, [[1, 1]]);
});

// ---- onMessage ---------------------------------------------------------------------------

kioTest("onMessage is what was set, null at first", (ctx) => {
  assertEquals(ctx.onMessage, null);
  const handler = () => {};
  ctx.onMessage = handler;
  assertEquals(ctx.onMessage, handler);
  ctx.onMessage = null;
  assertEquals(ctx.onMessage, null);
});

kioTest(
  "onMessage may be left out, and be changed at any time",
  async (ctx) => {
    using target = new IoContext(4);
    value(await asyncMsgRing(ctx, target.ringFd, 1, 1));
    value(await asyncSleep(target, 5));
    const messages: string[] = [];
    target.onMessage = (result) => {
      messages.push(`one ${result}`);
      target.onMessage = (result) => messages.push(`two ${result}`);
    };
    value(await asyncMsgRing(ctx, target.ringFd, 2, 2));
    value(await asyncMsgRing(ctx, target.ringFd, 3, 3));
    await filled(messages, 2);
    assertEquals(messages, ["one 2", "two 3"]);
  },
);

kioTest(
  "onMessage that throws is reported, and the rest goes on",
  async (ctx) => {
    using target = new IoContext(4);
    const reported: unknown[] = [];
    const onError = (event: ErrorEvent) => {
      event.preventDefault();
      reported.push(event.error);
    };
    globalThis.addEventListener("error", onError);
    try {
      const messages: number[] = [];
      target.onMessage = (result) => {
        messages.push(result);
        if (result % 2 === 0) throw new SyntaxError(`of message ${result}`);
      };
      let ticks = 0;
      const running = target.run(() => void ticks++);
      const sleeping = asyncSleep(target, 2);
      const ops = Array.from(
        { length: 10 },
        (_, i) => asyncMsgRing(ctx, target.ringFd, i, i),
      );
      for (const op of ops) value(await op);
      await filled(messages, 10);
      assertEquals(messages, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      assertEquals(
        reported.map((error) => (error as Error).message),
        [0, 2, 4, 6, 8].map((result) => `of message ${result}`),
      );
      value(await sleeping);
      assert(ticks > 0, "the tick of the batch came as well");
      target.stop();
      await running;
    } finally {
      globalThis.removeEventListener("error", onError);
    }
  },
);

kioTest(
  "onMessage that answers: 500 rounds between two contexts",
  async (ctx) => {
    using left = new IoContext(4);
    using right = new IoContext(4);
    const over = Promise.withResolvers<void>();
    const failed: string[] = [];
    const pass = async (from: IoContext, to: IoContext, round: number) => {
      const result = await asyncMsgRing(from, to.ringFd, round, round);
      if (!result.ok) failed.push(result.error.code);
    };
    left.onMessage = (round) => {
      if (round < 1000) void pass(left, right, round + 1);
      else over.resolve();
    };
    right.onMessage = (round) => void pass(right, left, round + 1);
    await pass(ctx, right, 1);
    await within(20_000, over.promise, "1000 messages");
    assertEquals(failed, []);
  },
);

kioTest("onMessage that calls stop() ends run()", async (ctx) => {
  using target = new IoContext(4);
  target.onMessage = () => target.stop();
  const running = target.run();
  await turn(5);
  value(await asyncMsgRing(ctx, target.ringFd, 0, 0));
  await within(10_000, running, "run()");
});
