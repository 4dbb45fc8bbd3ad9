import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncRead,
  asyncRecv,
  asyncSend,
  asyncSleep,
  IoContext,
  Socket,
  unwrap,
  wake,
} from "@kio/kio";
import { assertCode, kioTest, turn, within } from "../support.ts";

/** Sends a byte to a context that sleeps, again and again: it waits in the
 * kernel from the third on. */
async function traffic(ctx: IoContext, times: number): Promise<void> {
  const [left, right] = unwrap(Socket.pair());
  const byte = new Uint8Array(1);
  for (let i = 0; i < times; i++) {
    const received = asyncRecv(ctx, right, byte);
    const sent = asyncSleep(ctx, 2).then(() => asyncSend(ctx, left, byte));
    unwrap(await received);
    unwrap(await sent);
  }
  await Promise.all([left.close(), right.close()]);
}

kioTest("IoContext refuses `exclusive` that is no boolean", () => {
  assertThrows(
    () => new IoContext({ exclusive: 1 as unknown as boolean }),
    TypeError,
    "Cannot open an IoContext: exclusive must be a boolean, got number",
  );
});

kioTest("exclusive contexts wait in the kernel, others do not", async (ctx) => {
  using exclusive = new IoContext({ exclusive: true });
  await traffic(exclusive, 20);
  assert(exclusive.stats().exclusiveWaits >= 10);
  await traffic(ctx, 20);
  assertEquals(ctx.stats().exclusiveWaits, 0);
});

kioTest("Deno's turn comes with a completion, not in between", async () => {
  const libc = Deno.dlopen("libc.so.6", {
    timerfd_create: { parameters: ["i32", "i32"], result: "i32" },
    timerfd_settime: {
      parameters: ["i32", "i32", "buffer", "pointer"],
      result: "i32",
    },
  });
  using ctx = new IoContext({ exclusive: true });
  const fd = libc.symbols.timerfd_create(1, 0);
  // struct itimerspec: each 10 ms, from 10 ms on.
  const times = new BigInt64Array([0n, 10_000_000n, 0n, 10_000_000n]);
  assertEquals(libc.symbols.timerfd_settime(fd, 0, times, null), 0);
  libc.close();
  const count = new Uint8Array(8);
  const reads = 60;
  for (let i = 0; i < reads; i++) unwrap(await asyncRead(ctx, fd, count));
  const { exclusiveWaits, wakeUps } = ctx.stats();
  assert(exclusiveWaits > reads / 2, `${exclusiveWaits}`);
  // A turn in between takes a wait that ends in vain, and a wake-up.
  const all = exclusiveWaits + wakeUps;
  assert(all < 1.25 * reads, `${all} for ${reads}`);
  unwrap(await asyncClose(ctx, fd));
});

kioTest("exclusive waits end at the deadlines of operations", async () => {
  using ctx = new IoContext({ exclusive: true });
  const [left, right] = unwrap(Socket.pair());
  await traffic(ctx, 10);
  const { exclusiveWaits } = ctx.stats();
  // With waits that went on it would take twice as long as is allowed.
  const timeouts = async () => {
    for (let i = 0; i < 100; i++) {
      const received = asyncRecv(ctx, right, new Uint8Array(1)).withTimeout(3);
      assertCode(await received, "ETIMEDOUT");
    }
  };
  await within(1700, timeouts(), "100 timeouts of 3 ms");
  assert(ctx.stats().exclusiveWaits > exclusiveWaits);
  await Promise.all([left.close(), right.close()]);
});

kioTest(
  "exclusive waits do not begin behind an operation of Deno's",
  async () => {
    using ctx = new IoContext({ exclusive: true });
    const libc = Deno.dlopen("libc.so.6", {
      usleep: { parameters: ["u32"], result: "i32", nonblocking: true },
    });
    await traffic(ctx, 10);
    const { exclusiveWaits } = ctx.stats();
    const sleeps: Promise<number>[] = [];
    for (let i = 0; i < 30; i++) {
      sleeps.push(libc.symbols.usleep(300_000));
      unwrap(await asyncSleep(ctx, 2));
    }
    assertEquals(ctx.stats().exclusiveWaits, exclusiveWaits);
    await Promise.all(sleeps);
    libc.close();
  },
);

kioTest("exclusive waits end with a message of another thread", async () => {
  using ctx = new IoContext({ exclusive: true });
  let messages = 0;
  ctx.onMessage = () => messages++;
  const running = ctx.run();
  await traffic(ctx, 10);
  for (let i = 1; i <= 20; i++) {
    unwrap(wake(ctx.ringFd, 7, i));
    await traffic(ctx, 1);
  }
  assertEquals(messages, 20);
  ctx.stop();
  await within(10_000, running, "run()");
});

kioTest("exclusive contexts that only listen leave the thread", async () => {
  using ctx = new IoContext({ exclusive: true });
  let messages = 0;
  ctx.onMessage = () => messages++;
  for (let i = 1; i <= 20; i++) {
    unwrap(wake(ctx.ringFd, 7, i));
    await turn(2);
  }
  assertEquals(messages, 20);
  assertEquals(ctx.stats().exclusiveWaits, 0);
});

kioTest("two exclusive contexts of a thread both go on", async () => {
  using one = new IoContext({ exclusive: true });
  using other = new IoContext({ exclusive: true });
  await Promise.all([traffic(one, 50), traffic(other, 50)]);
});

kioTest(
  "an exclusive context is closed while it is about to wait",
  async () => {
    for (let i = 0; i < 20; i++) {
      const ctx = new IoContext({ exclusive: true });
      const [left, right] = unwrap(Socket.pair());
      await traffic(ctx, 4);
      const received = asyncRecv(ctx, right, new Uint8Array(1));
      // Between the passes of Deno's loop, and after.
      for (let passes = 0; passes < i % 7; passes++) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (i % 2 === 0) ctx[Symbol.dispose]();
      else await ctx[Symbol.asyncDispose]();
      assertCode(await received, "ECANCELED");
      left[Symbol.dispose]();
      right[Symbol.dispose]();
    }
  },
);

kioTest("exclusive contexts do without a clock that is replaced", async () => {
  using ctx = new IoContext({ exclusive: true });
  await traffic(ctx, 10);
  const { setImmediate: original } = globalThis;
  // As a test does that has a clock of its own: it never calls back.
  globalThis.setImmediate = (() => ({})) as unknown as typeof setImmediate;
  try {
    const { exclusiveWaits } = ctx.stats();
    await within(10_000, traffic(ctx, 20), "the messages");
    assertEquals(ctx.stats().exclusiveWaits, exclusiveWaits);
  } finally {
    globalThis.setImmediate = original;
  }
  await turn();
});
