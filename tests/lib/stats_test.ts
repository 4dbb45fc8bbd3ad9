import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import {
  asyncFsync,
  asyncOpen,
  asyncRead,
  asyncReadv,
  asyncRecv,
  asyncRecvExact,
  asyncSend,
  asyncSleep,
  IoContext,
  O_RDONLY,
  wake,
} from "@kio/kio";
import { loadShim } from "../../ffi/load.ts";
import {
  assertCode,
  bytes,
  kioTest,
  turn,
  unixPair,
  value,
} from "../support.ts";

kioTest("stats() of a new context is all zeros, but for its queues", () => {
  using ctx = new IoContext(64);
  const { errors, latencies, sqEntries, cqEntries, ...numbers } = ctx.stats();
  assertEquals([sqEntries, cqEntries], [64, 256]);
  assertEquals([errors, latencies], [{}, {}]);
  assertEquals(new Set(Object.values(numbers)), new Set([0]));
});

kioTest("stats() counts what was started and what is complete", async (ctx) => {
  using pair = unixPair();
  const receives = Array.from(
    { length: 10 },
    () => asyncRecv(ctx, pair.left, new Uint8Array(1)),
  );
  await turn(2);
  const before = ctx.stats();
  assertEquals([before.started, before.completed, before.pending], [10, 0, 10]);
  value(await asyncSend(ctx, pair.right, bytes("0123456789")));
  await Promise.all(receives);
  value(await asyncSleep(ctx, 50));
  const after = ctx.stats();
  assertEquals([after.started, after.completed, after.pending], [12, 12, 0]);
  assertEquals(after.pendingMax, 11);
  assertEquals(after.errors, {});
  // The sleep is one of the library itself, and has a timeout in the kernel.
  assert(after.submissions >= 11 && after.completions >= 11);
  assert(after.kernelEntries > 0 && after.wakeUps > 0);
  assertEquals(
    after.completionsPerEntry,
    after.completions / after.kernelEntries,
  );
});

kioTest("stats() counts errors, timeouts and cancels", async (ctx) => {
  using pair = unixPair();
  const buffer = new Uint8Array(8);
  for (let i = 0; i < 3; i++) assertCode(await asyncFsync(ctx, 4000), "EBADF");
  const late = asyncRecv(ctx, pair.left, buffer).withTimeout(1);
  assertCode(await late, "ETIMEDOUT");
  const cancelled = asyncRecv(ctx, pair.left, buffer);
  await turn();
  cancelled.cancel();
  cancelled.cancel();
  assertCode(await cancelled, "ECANCELED");
  const sleep = asyncSleep(ctx, 1000).withTimeout(1);
  assertCode(await sleep, "ETIMEDOUT");
  const short = asyncRecvExact(ctx, pair.left, buffer, { timeoutMs: 1 });
  assertCode(await short, "ETIMEDOUT");
  const { errors, timeouts, cancels } = ctx.stats();
  assertEquals(errors, { EBADF: 3, ETIMEDOUT: 3, ECANCELED: 1 });
  assertEquals([timeouts, cancels], [3, 1]);
});

kioTest("stats() counts overflows of the completion queue", async (ctx) => {
  // Its queue has four places, and it gets no turn before all are sent.
  const target = new IoContext(1);
  let messages = 0;
  target.onMessage = () => messages++;
  const running = target.run();
  for (let i = 0; i < 100; i++) {
    assertEquals(wake(target.ringFd, 0, i), { ok: true, value: undefined });
  }
  while (messages < 100) await turn();
  assert(target.stats().overflows > 0);
  assertEquals(ctx.stats().overflows, 0);
  target.stop();
  await running;
  target[Symbol.dispose]();
});

kioTest("stats() of a closed context are its last", async () => {
  const ctx = new IoContext(4);
  value(await asyncSleep(ctx, 1));
  ctx[Symbol.dispose]();
  const { completed, kernelEntries } = ctx.stats();
  assert(completed === 1 && kernelEntries > 0);
});

kioTest("inspect() tells what is pending, the oldest first", async (ctx) => {
  using pair = unixPair();
  const buffers = [new Uint8Array(3), new Uint8Array(4)];
  const ops = [
    asyncRecv(ctx, pair.left, new Uint8Array(100)).withTimeout(60_000),
  ];
  await turn(30);
  ops.push(asyncReadv(ctx, pair.right, buffers));
  const sleep = asyncSleep(ctx, 50_000);
  const pending = ctx.inspect();
  const [recv, readv, slept] = [pending[0]!, pending[1]!, pending[2]!];
  assertEquals(
    [recv.operation, recv.fd, recv.bytes, recv.isCancelled],
    ["asyncRecv", pair.left.fd, 100, false],
  );
  assert(recv.target.startsWith("socket:["));
  assert(recv.ageMs >= 20 && recv.leftMs > 0 && recv.leftMs <= 60_000);
  assertEquals(
    [readv.operation, readv.bytes, readv.leftMs],
    ["asyncReadv", 7, Infinity],
  );
  assertEquals([slept.operation, slept.fd, slept.target], [
    "asyncSleep",
    -1,
    "",
  ]);
  assertEquals([recv.stack, readv.stack, slept.stack], ["", "", ""]);
  for (const op of [...ops, sleep]) op.cancel();
  await Promise.all([...ops, sleep]);
  assertEquals(ctx.inspect(), []);
});

kioTest("inspect() names the file of an fd", async (ctx) => {
  const fd = value(await asyncOpen(ctx, "/etc/passwd", O_RDONLY));
  const reading = asyncRead(ctx, fd, new Uint8Array(10));
  assertEquals(ctx.inspect()[0]!.target, "/etc/passwd");
  await reading;
  loadShim().kio_fd_close(fd);
});

kioTest("Deno.inspect() of a context shows what is pending", async (ctx) => {
  using pair = unixPair();
  // Where the kernel lacks something, that follows.
  assertMatch(Deno.inspect(ctx), /^IoContext \{ 0 pending(, without .+)? \}$/);
  const op = asyncRecv(ctx, pair.left, new Uint8Array(5)).withTimeout(10_000);
  await turn();
  op.cancel();
  const shown = Deno.inspect(ctx);
  assert(
    /^IoContext { 1 pending(?:, without .+)? }\n {2}asyncRecv fd \d+ \(socket:\[\d+\]\) 5 bytes for \d+ ms \d+ ms left cancelled$/
      .test(shown),
    shown,
  );
  await op;
});

kioTest(
  "inspect() with trace tells where an operation was started",
  async () => {
    using pair = unixPair();
    const ctx = new IoContext({ entries: 4, trace: true });
    function startHere() {
      return asyncRecv(ctx, pair.left, new Uint8Array(5));
    }
    const op = startHere();
    const { stack } = ctx.inspect()[0]!;
    assert(/^ +at startHere \(.*stats_test\.ts:\d+:\d+\)/.test(stack), stack);
    assert(!stack.includes("/ring.ts"), stack);
    op.cancel();
    await op;
    ctx[Symbol.dispose]();
  },
);

kioTest("closing a context with trace complains about operations", async () => {
  using pair = unixPair();
  for (const how of ["dispose", "asyncDispose"]) {
    const ctx = new IoContext({ entries: 4, trace: true });
    const op = asyncRecv(ctx, pair.left, new Uint8Array(5));
    let message = "";
    if (how === "dispose") {
      const error = assertThrows(() => ctx[Symbol.dispose](), Error);
      message = error.message;
    } else {
      await ctx[Symbol.asyncDispose]().catch((e: Error) => message = e.message);
    }
    assert(
      message.startsWith("1 operations were pending when their IoContext"),
      message,
    );
    assert(message.includes("asyncRecv fd") && message.includes("stats_test"));
    // It is closed all the same.
    assertCode(await op, "ECANCELED");
    ctx[Symbol.dispose]();
  }
});
