import { assert, assertEquals } from "@std/assert";
import {
  asyncClose,
  asyncOpen,
  asyncRead,
  asyncRecv,
  asyncSend,
  asyncSleep,
  type IoContext,
  link,
  O_RDONLY,
  Socket,
  unwrap,
} from "@kio/kio";
import { kioTest, value } from "../support.ts";

// One byte wakes every receive that waits for it, and all but one find
// nothing: work of the kernel that gives no completion. It runs 20 pieces at a
// time, so the drive could go to sleep before the last one, which has a byte.
kioTest("drive does not sleep on work that is left over", async (ctx) => {
  const [left, right] = unwrap(Socket.pair());
  const [otherLeft, otherRight] = unwrap(Socket.pair());
  const byte = new Uint8Array(1);
  const crowd = Array.from(
    { length: 60 },
    () => asyncRecv(ctx, right, new Uint8Array(1)),
  );
  const last = asyncRecv(ctx, otherRight, new Uint8Array(1));
  await asyncSleep(ctx, 5);
  const sent = [asyncSend(ctx, left, byte), asyncSend(ctx, otherLeft, byte)];
  for (const result of await Promise.all(sent)) unwrap(result);
  const overdue = new Promise((resolve) => setTimeout(resolve, 1000, "asleep"));
  assertEquals(await Promise.race([last, overdue]), { ok: true, value: 1 });
  await overdue;
  await Promise.all([left, right, otherLeft, otherRight].map((s) => s.close()));
  // The end of the connection is no byte.
  const counts = (await Promise.all(crowd)).map((it) => it.ok ? it.value : 0);
  assertEquals(counts.filter((count) => count > 0), [1]);
});

async function pingPong(ctx: IoContext, rounds: number): Promise<number> {
  const [left, right] = unwrap(Socket.pair());
  const buffer = new Uint8Array(64);
  const echo = async () => {
    const copy = new Uint8Array(64);
    for (let i = 0; i < rounds; i++) {
      const count = unwrap(await asyncRecv(ctx, right, copy));
      unwrap(await asyncSend(ctx, right, copy.subarray(0, count)));
    }
  };
  const echoing = echo();
  let bytes = 0;
  for (let i = 0; i < rounds; i++) {
    unwrap(await asyncSend(ctx, left, buffer));
    bytes += unwrap(await asyncRecv(ctx, left, buffer));
  }
  await echoing;
  await Promise.all([left.close(), right.close()]);
  return bytes;
}

kioTest("drive gives Deno's timers their turn under full load", async (ctx) => {
  let ticks = 0;
  const interval = setInterval(() => ticks++, 5);
  let running = true;
  const load = (async () => {
    while (running) await pingPong(ctx, 100);
  })();
  await new Promise((resolve) => setTimeout(resolve, 300));
  running = false;
  await load;
  clearInterval(interval);
  assertEquals(ticks > 10, true, `${ticks} ticks of 5 ms in 300 ms`);
});

kioTest(
  "drive gives messages of workers their turn under full load",
  async (ctx) => {
    const { port1, port2 } = new MessageChannel();
    let messages = 0;
    let running = true;
    port1.onmessage = () => {
      messages++;
      if (running) port2.postMessage(null);
    };
    port2.postMessage(null);
    const load = (async () => {
      while (running) await pingPong(ctx, 100);
    })();
    await asyncSleep(ctx, 200);
    running = false;
    await load;
    port1.close();
    port2.close();
    assertEquals(messages > 10, true, `${messages} messages in 200 ms`);
  },
);

kioTest(
  "drive resumes continuations that are many microtasks deep",
  async (ctx) => {
    const deep = async (level: number): Promise<number> => {
      if (level > 0) return await deep(level - 1);
      unwrap(await asyncSleep(ctx, 0));
      return 1;
    };
    let sum = 0;
    for (let i = 0; i < 20; i++) sum += await deep(50);
    assertEquals(sum, 20);
  },
);

kioTest(
  "drive steps on while a chain is being queued elsewhere",
  async (ctx) => {
    const sleeps = link(ctx, () => [asyncSleep(ctx, 1), asyncSleep(ctx, 0)]);
    for (const result of await Promise.all(sleeps)) unwrap(result);
  },
);

for (const microtasks of [0, 5, 20, 200]) {
  kioTest(
    `IoContext lets Deno's timers run beside operations with ${microtasks} microtasks between them`,
    async (ctx) => {
      const fd = value(await asyncOpen(ctx, "/dev/zero", O_RDONLY));
      let isDue = false;
      setTimeout(() => isDue = true, 20);
      const buffer = new Uint8Array(64);
      // Ends by the timer only; a loop that keeps it out is given up.
      const endMs = performance.now() + 10_000;
      while (!isDue && performance.now() < endMs) {
        value(await asyncRead(ctx, fd, buffer));
        for (let left = microtasks; left > 0; left--) await undefined;
      }
      assert(isDue, "the timer did not run");
      value(await asyncClose(ctx, fd));
    },
  );
}
