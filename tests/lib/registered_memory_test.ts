/**
 * Registered memory: operations name it by its place in a table of the kernel.
 * A place that is empty gives EFAULT, which tells who names it and who does not.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncPipe,
  asyncRead,
  asyncReadExact,
  asyncReadFixed,
  asyncReadv,
  asyncRecv,
  asyncSend,
  asyncSendZc,
  asyncWrite,
  asyncWriteExact,
  asyncWriteFixed,
  asyncWritev,
  type IoContext,
  IoContext as Context,
  O_DIRECT,
  Socket,
  unwrap,
  type UringOp,
} from "@kio/kio";
import { ringOf } from "../../lib/internal.ts";
import { READ } from "../../lib/ops/table.ts";
import { PLACES_MAX } from "../../lib/ring/fixed_memory.ts";
import {
  assertCode,
  bytes,
  kioTest,
  overwriteGarbage,
  pattern,
  tcpPair,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

const PAGE = 4096;

/** Empties a place behind the back of the context. */
function empty(ctx: IoContext, place: number): void {
  const { shim, handle } = ringOf(ctx, READ);
  assertEquals(shim.kio_memory_unregister(handle, place), 0);
}

type Call = (
  ctx: IoContext,
  fd: number,
  memory: Uint8Array<ArrayBuffer>,
) => UringOp<unknown>;

/** Operations that name the place of their memory. */
const byPlace: Record<string, Call> = {
  "asyncRead()": (ctx, fd, memory) => asyncRead(ctx, fd, memory),
  "asyncRead() at a bigint": (ctx, fd, memory) =>
    asyncRead(ctx, fd, memory, 0n),
  "asyncWrite()": (ctx, fd, memory) => asyncWrite(ctx, fd, memory),
  "asyncReadFixed()": (ctx, _, memory) => asyncReadFixed(ctx, 0, memory),
  "asyncWriteFixed()": (ctx, _, memory) => asyncWriteFixed(ctx, 0, memory),
  "asyncReadExact()": (ctx, fd, memory) => asyncReadExact(ctx, fd, memory),
  "asyncWriteExact()": (ctx, fd, memory) => asyncWriteExact(ctx, fd, memory),
};

for (const [name, call] of Object.entries(byPlace)) {
  kioTest(`${name} names the place of registered memory`, async (ctx) => {
    await using file = await tempFile(ctx, pattern(PAGE));
    unwrap(ctx.registerFiles([file.fd]));
    const memory = ctx.allocate(2 * PAGE, { registered: true });
    memory.set(pattern(PAGE));
    // Each part of it, as any view.
    for (const part of [memory.subarray(0, PAGE), memory.subarray(1, PAGE)]) {
      value(await call(ctx, file.fd, part));
      const copy = new Uint8Array(part.length);
      value(await asyncRead(ctx, file, copy));
      assertEquals(part, copy);
    }
    value(await call(ctx, file.fd, new Uint8Array(PAGE)));
    empty(ctx, 0);
    assertCode(await call(ctx, file.fd, memory.subarray(0, PAGE)), "EFAULT");
    unwrap(ctx.unregisterFiles());
  });
}

kioTest("asyncSendZc() names the place of registered memory", async (ctx) => {
  if (ctx.capabilities.features.sendZc.support !== "native") return;
  using pair = await tcpPair(ctx);
  const memory = ctx.allocate(PAGE, { registered: true });
  value(await asyncSendZc(ctx, pair.left, memory));
  empty(ctx, 0);
  const op = asyncSendZc(ctx, pair.left, memory);
  assertCode(await op, "EFAULT");
  assertCode(await op.sent, "EFAULT");
});

kioTest("other operations use registered memory as any memory", async (ctx) => {
  using pair = unixPair();
  await using file = await tempFile(ctx);
  const memory = ctx.allocate(PAGE, { registered: true });
  empty(ctx, 0);
  memory.set(bytes("abcdefgh"));
  const [one, two] = [memory.subarray(0, 3), memory.subarray(3, 8)];
  assertEquals(value(await asyncWritev(ctx, file, [one, two])), 8);
  assertEquals(value(await asyncReadv(ctx, file, [two, one])), 8);
  assertEquals(text(memory.subarray(0, 8)), "fghabcde");
  value(await asyncSend(ctx, pair.left, one));
  assertEquals(value(await asyncRecv(ctx, pair.right, two)), 3);
});

kioTest("registered memory is fit for O_DIRECT", async (ctx) => {
  await using file = await tempFile(ctx, undefined, O_DIRECT);
  const memory = ctx.allocate(4 * PAGE, { registered: true });
  memory.set(pattern(4 * PAGE));
  assertEquals(value(await asyncWrite(ctx, file, memory)), 4 * PAGE);
  const part = memory.subarray(PAGE, 2 * PAGE);
  assertEquals(value(await asyncRead(ctx, file, part)), PAGE);
  assertEquals(part, pattern(PAGE));
});

kioTest(
  "asyncRead() into registered memory waits for a stream",
  async (ctx) => {
    const { readFd, writeFd } = value(await asyncPipe(ctx));
    using from = new Socket(readFd);
    using to = new Socket(writeFd);
    const memory = ctx.allocate(PAGE, { registered: true });
    const reading = asyncRead(ctx, from.fd, memory);
    await turn(2);
    value(await asyncWrite(ctx, to.fd, bytes("hello")));
    assertEquals(value(await reading), 5);
    assertEquals(text(memory.subarray(0, 5)), "hello");
    const cancelled = asyncRead(ctx, from.fd, memory);
    await turn();
    cancelled.cancel();
    assertCode(await cancelled, "ECANCELED");
  },
);

kioTest(
  "memory that one context has registered is any memory to another",
  async (ctx) => {
    await using file = await tempFile(ctx, pattern(64));
    using other = new Context(4);
    const memory = other.allocate(64, { registered: true });
    assertEquals(value(await asyncRead(ctx, file, memory)), 64);
    ctx.allocate(64, { registered: true });
    assertEquals(value(await asyncRead(ctx, file, memory)), 64);
    assertEquals(memory, pattern(64));
  },
);

kioTest("registered memory outlives its context", async (ctx) => {
  const other = new Context(4);
  const memory = other.allocate(64, { registered: true });
  memory.set(bytes("hello"));
  other[Symbol.dispose]();
  using pair = unixPair();
  value(await asyncSend(ctx, pair.left, memory.subarray(0, 5)));
  assertEquals(value(await asyncRecv(ctx, pair.right, memory)), 5);
});

// ---- unregistering -------------------------------------------------------------

kioTest(
  "unregisterMemory() waits for what is queued, and what waits",
  async (ctx) => {
    await using file = await tempFile(ctx, pattern(PAGE));
    const { readFd, writeFd } = value(await asyncPipe(ctx));
    using from = new Socket(readFd);
    using to = new Socket(writeFd);
    const memory = ctx.allocate(2 * PAGE, { registered: true });
    const [low, high] = [memory.subarray(0, PAGE), memory.subarray(PAGE)];
    const waiting = asyncRead(ctx, from.fd, high);
    await turn();
    const queued = asyncRead(ctx, file, low);
    let isOver = false;
    const over = ctx.unregisterMemory(low).then(() => isOver = true);
    assertEquals(value(await queued), PAGE);
    assertEquals(low, pattern(PAGE));
    // Its place may have other memory by now.
    const other = ctx.allocate(PAGE, { registered: true });
    assertEquals(value(await asyncRead(ctx, file, other)), PAGE);
    await turn(2);
    assert(!isOver, "a read still waits");
    value(await asyncWrite(ctx, to.fd, bytes("hello")));
    assertEquals(value(await waiting), 5);
    assertEquals(text(high.subarray(0, 5)), "hello");
    await over;
    // Any memory from now on, and its place is for others.
    assertEquals(value(await asyncRead(ctx, file, low)), PAGE);
    const next = ctx.allocate(PAGE, { registered: true });
    assertEquals(value(await asyncRead(ctx, file, next)), PAGE);
    assertEquals(next, pattern(PAGE));
  },
);

kioTest(
  "unregisterMemory() may be repeated, and lets go for good",
  async (ctx) => {
    const memory = ctx.allocate(64, { registered: true });
    await Promise.all([
      ctx.unregisterMemory(memory),
      ctx.unregisterMemory(memory.buffer),
    ]);
    await ctx.unregisterMemory(memory);
    await ctx.unregisterMemory(new Uint8Array(8));
    await using file = await tempFile(ctx, pattern(64));
    assertEquals(value(await asyncRead(ctx, file, memory)), 64);
  },
);

kioTest(
  "unregisterMemory() may be overtaken by the end of the context",
  async (outer) => {
    const { readFd, writeFd } = value(await asyncPipe(outer));
    using from = new Socket(readFd);
    using _ = new Socket(writeFd);
    const ctx = new Context(4);
    const memory = ctx.allocate(64, { registered: true });
    const waiting = asyncRead(ctx, from.fd, memory);
    const over = ctx.unregisterMemory(memory);
    await ctx[Symbol.asyncDispose]();
    assertCode(await waiting, "ECANCELED");
    await over;
    assertThrows(() => ctx.unregisterMemory(memory), TypeError, "is closed");
  },
);

kioTest("unregisterMemory() refuses what is no buffer", (ctx) => {
  for (const given of [undefined, null, 5, "x", {}, [1]]) {
    assertThrows(
      () => ctx.unregisterMemory(given as unknown as Uint8Array),
      TypeError,
      "Cannot unregister memory: expected a Uint8Array",
    );
  }
});

kioTest("memory that nothing refers to gives its place back", async (ctx) => {
  for (let i = 0; i < 2 * PLACES_MAX; i++) {
    ctx.allocate(64, { registered: true });
    if (i % 256 !== 255) continue;
    // The collector reports freed objects by an event.
    for (let turns = 0; turns < 3; turns++) {
      overwriteGarbage();
      await turn();
    }
  }
});

// ---- refusals --------------------------------------------------------------------

kioTest("allocate() registers so many pieces, and says so", async (ctx) => {
  const all = Array.from(
    { length: PLACES_MAX },
    () => ctx.allocate(64, { registered: true }),
  );
  assertThrows(
    () => ctx.allocate(64, { registered: true }),
    RangeError,
    `Cannot allocate: ${PLACES_MAX} pieces of memory are registered`,
  );
  ctx.allocate(64);
  await ctx.unregisterMemory(all[5]!);
  await using file = await tempFile(ctx, pattern(64));
  all[5] = ctx.allocate(64, { registered: true });
  for (const memory of all) value(await asyncRead(ctx, file, memory));
});

kioTest("allocate() refuses options that make no sense", (ctx) => {
  const refused = (options: unknown) => () =>
    ctx.allocate(64, options as { registered: boolean });
  for (const options of [null, 5, "registered", true]) {
    assertThrows(refused(options), TypeError, "options must be an object");
  }
  for (const registered of [null, 0, 1, "", "yes", {}]) {
    assertThrows(refused({ registered }), TypeError, "must be a boolean");
  }
  assertThrows(
    () => ctx.allocate(2 ** 30 + 1, { registered: true }),
    RangeError,
    "size must be an integer from 1 to 1073741824",
  );
});
