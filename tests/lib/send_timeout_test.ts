/** That peers which never read do not keep the buffers of a pool. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncPipe,
  asyncReadMultishot,
  asyncRecvmsgMultishot,
  asyncRecvMultishot,
  asyncSend,
  asyncSendExact,
  asyncWriteExact,
  type BufferLease,
  BufferPool,
  type BufferPoolOptions,
  IoContext,
  MSG_DONTWAIT,
  SO_SNDBUF,
  SOL_SOCKET,
  type UringStream,
} from "@kio/kio";
import { loadShim } from "../../ffi/load.ts";
import { poolOf, ringOf } from "../../lib/internal.ts";
import {
  assertCode,
  bytes,
  fill,
  kioTest,
  type Pair,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";
import { assertWhole, next } from "./leases.ts";

const SIZE = 1024;

/** Far away: no test waits for it. */
const LATE_MS = 600_000;

/** Time for what comes soon, on a machine that is busy. */
const SOON_MS = 5000;

async function until(condition: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + SOON_MS;
  while (!condition()) {
    assert(performance.now() < endMs, `${what}: not within ${SOON_MS} ms`);
    await turn();
  }
}

/** The time for which the ring would set a timeout; 0 for none. */
function deadlineOf(ctx: IoContext): number {
  return ringOf(ctx, { verb: "test" }).nextDeadlineMs;
}

function openPool(ctx: IoContext, options: BufferPoolOptions): BufferPool {
  return new BufferPool(ctx, { count: 4, size: SIZE, ...options });
}

/** A peer that does not read, and the leases that wait for it. */
class Stall implements Disposable {
  readonly source = unixPair();
  readonly #target: Pair;
  /** Bytes before those of leases. */
  readonly #filled: number;
  #leases = 0;

  private constructor(target: Pair, filled: number) {
    this.#target = target;
    this.#filled = filled;
  }

  /** A small socket takes a few leases at a time, any other one all of them. */
  static async open(ctx: IoContext, isSmall = false): Promise<Stall> {
    const target = unixPair();
    const size = isSmall ? 1 : 65536;
    value(target.left.setOption(SOL_SOCKET, SO_SNDBUF, size));
    return new Stall(target, await fill(ctx, target.left));
  }

  get fd(): number {
    return this.#target.left.fd;
  }

  /** Takes leases of a pool, and sends them. Gives the end of their stream. */
  async hold(
    ctx: IoContext,
    pool: BufferPool,
    leases = pool.stats().free,
  ): Promise<UringStream<BufferLease>> {
    const { count, leased } = pool.stats();
    const stream = asyncRecvMultishot(ctx, this.source.right, pool, {
      leasesMax: count,
      onChunk: (chunk) => chunk.sendTo(this.fd),
    });
    const data = new Uint8Array(SIZE * leases);
    value(await asyncSendExact(ctx, this.source.left, data));
    await until(() => pool.stats().leased === leased + leases, "the leases");
    this.#leases += leases;
    return stream;
  }

  /** Reads all, without a step of the ring. */
  read(): void {
    let left = this.#filled + SIZE * this.#leases;
    const buffer = new Uint8Array(left);
    const { right } = this.#target;
    loadShim().kio_nonblocking_set(right.fd, true);
    for (;;) {
      const count = loadShim().kio_blocking_read(right.fd, buffer, left);
      if (count <= 0) break;
      left -= count;
    }
  }

  [Symbol.dispose](): void {
    this.source[Symbol.dispose]();
    this.#target[Symbol.dispose]();
  }
}

/** A stream that has data, and waits for a buffer. */
class Starved implements Disposable {
  readonly stream: UringStream<BufferLease>;
  readonly #pair = unixPair();
  readonly #ctx: IoContext;
  readonly #pool: BufferPool;

  constructor(ctx: IoContext, pool: BufferPool) {
    this.#ctx = ctx;
    this.#pool = pool;
    this.stream = asyncRecvMultishot(ctx, this.#pair.right, pool);
  }

  async wait(): Promise<void> {
    value(await asyncSend(this.#ctx, this.#pair.left, bytes("hello")));
    await until(() => this.#pool.stats().starved === 1, "the want");
    await turn(2);
  }

  /** Takes what it has waited for. */
  async serve(): Promise<void> {
    const chunk = await within(SOON_MS, next(this.stream), "its turn");
    assertEquals(chunk.bytes, bytes("hello"));
    this.stream.take();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stream[Symbol.asyncDispose]();
  }

  [Symbol.dispose](): void {
    this.#pair[Symbol.dispose]();
  }
}

for (const features of [{}, { bufferRing: false }, { recvMultishot: false }]) {
  const names = Object.keys(features).join() || "all features";
  kioTest(`sendTo() that stalls ends while others wait: ${names}`, async () => {
    await using ctx = new IoContext({ features });
    using stall = await Stall.open(ctx);
    using pool = openPool(ctx, { sendTimeoutMs: 50 });
    const stream = await stall.hold(ctx, pool);
    using starved = new Starved(ctx, pool);
    await starved.wait();
    await starved.serve();
    const last = await stream.closed;
    assertCode(last, "ETIMEDOUT");
    await starved[Symbol.asyncDispose]();
    await until(() => pool.stats().leased === 0, "the buffers");
    assertWhole(pool);
    assertEquals([ctx.pending, ctx.stats().timeouts], [0, 1]);
  });
}

const BOTH = { leasesMax: 2 };

/** Streams whose two leases wait for a peer that does not read, and their last
 * errors. */
const WAYS: Record<
  string,
  (
    ctx: IoContext,
    pool: BufferPool,
    source: Pair,
    fd: number,
  ) => Promise<string>
> = {
  async iterator(ctx, pool, { left, right }, fd) {
    value(await asyncSend(ctx, left, new Uint8Array(SIZE + 1)));
    for await (const result of asyncRecvMultishot(ctx, right, pool, BOTH)) {
      if (!result.ok) return result.error.code;
      result.value.sendTo(fd);
    }
    return "";
  },
  async "a loop with values"(ctx, pool, { left, right }, fd) {
    value(await asyncSend(ctx, left, new Uint8Array(SIZE + 1)));
    try {
      const stream = asyncRecvMultishot(ctx, right, pool, BOTH);
      for await (const chunk of stream.orThrow()) chunk.sendTo(fd);
    } catch (error) {
      const { message } = error as Error;
      assertEquals(
        message,
        `Cannot send to fd ${fd} (fd ${right.fd}): Connection timed out (ETIMEDOUT)`,
      );
      return "ETIMEDOUT";
    }
    return "";
  },
  async "a stream that was left"(ctx, pool, { left, right }, fd) {
    value(await asyncSend(ctx, left, new Uint8Array(SIZE + 1)));
    let count = 0;
    for await (const result of asyncRecvMultishot(ctx, right, pool, BOTH)) {
      value(result).sendTo(fd);
      if (++count === 2) break;
    }
    return "ETIMEDOUT";
  },
  async "leases that were kept"(ctx, pool, { left, right }, fd) {
    value(await asyncSend(ctx, left, new Uint8Array(SIZE + 1)));
    const stream = asyncRecvMultishot(ctx, right, pool, BOTH);
    const leases = [(await next(stream)).keep(), (await next(stream)).keep()];
    for (const it of leases) it.sendTo(fd);
    const { value: last } = await stream[Symbol.asyncIterator]().next();
    // They are the user's own as before.
    assertEquals(leases.map((it) => it.bytes.length), [SIZE, 1]);
    for (const it of leases) it.release();
    return last!.ok ? "" : last!.error.code;
  },
  async messages(ctx, pool, _, fd) {
    using pair = unixPair("datagram");
    for (const length of [700, 1]) {
      value(await asyncSend(ctx, pair.left, new Uint8Array(length)));
    }
    for await (
      const result of asyncRecvmsgMultishot(ctx, pair.right, pool, BOTH)
    ) {
      if (!result.ok) return result.error.code;
      result.value.sendTo(fd);
    }
    return "";
  },
  async "a pipe"(ctx, pool, _, fd) {
    const { readFd, writeFd } = value(await asyncPipe(ctx));
    value(await asyncWriteExact(ctx, writeFd, new Uint8Array(SIZE + 1)));
    let code = "";
    for await (const result of asyncReadMultishot(ctx, readFd, pool, BOTH)) {
      if (result.ok) result.value.sendTo(fd);
      else code = result.error.code;
    }
    for (const it of [readFd, writeFd]) value(await asyncClose(ctx, it));
    return code;
  },
};

for (const [name, start] of Object.entries(WAYS)) {
  kioTest(`sendTo() that stalls ends its stream: ${name}`, async (ctx) => {
    using stall = await Stall.open(ctx);
    using source = unixPair();
    using pool = openPool(ctx, { count: 2, sendTimeoutMs: 20 });
    const over = start(ctx, pool, source, stall.fd);
    await until(() => pool.stats().leased === 2, "the leases");
    using starved = new Starved(ctx, pool);
    await starved.wait();
    assertEquals(await within(SOON_MS, over, name), "ETIMEDOUT");
    await starved.serve();
    await starved[Symbol.asyncDispose]();
    assertWhole(pool);
  });
}

kioTest("sendTo() that waits by the clock ends, too", async (ctx) => {
  using source = unixPair();
  // Others have filled the queue of the peer: no event tells of room there.
  using full = unixPair("datagram");
  while ((await asyncSend(ctx, full.left, bytes("x"), MSG_DONTWAIT)).ok);
  loadShim().kio_nonblocking_set(full.left.fd, true);
  using pool = openPool(ctx, { count: 1, sendTimeoutMs: 20 });
  const stream = asyncRecvMultishot(ctx, source.right, pool, {
    onChunk: (chunk) => chunk.sendTo(full.left),
  });
  value(await asyncSend(ctx, source.left, bytes("one")));
  await until(() => pool.stats().leased === 1, "the lease");
  using starved = new Starved(ctx, pool);
  await starved.wait();
  await starved.serve();
  assertCode(await stream.closed, "ETIMEDOUT");
  await starved[Symbol.asyncDispose]();
});

kioTest("sendTimeoutMs counts only while streams wait", async (ctx) => {
  using stall = await Stall.open(ctx);
  using pool = openPool(ctx, { sendTimeoutMs: 1 });
  const stream = await stall.hold(ctx, pool, 3);
  using starved = new Starved(ctx, pool);
  await turn(50);
  assertEquals([pool.stats().leased, deadlineOf(ctx)], [3, 0]);
  // The pool is empty now, and no stream waits.
  value(await asyncSend(ctx, stall.source.left, new Uint8Array(SIZE)));
  await until(() => pool.stats().free === 0, "the last lease");
  await turn(50);
  assertEquals([pool.stats().leased, deadlineOf(ctx)], [4, 0]);
  stall.read();
  await until(() => pool.stats().leased === 0, "the sends");
  for (const it of [stream, starved]) await it[Symbol.asyncDispose]();
});

kioTest(
  "sendTimeoutMs begins anew when streams have been served",
  async (ctx) => {
    using stall = await Stall.open(ctx);
    using source = unixPair();
    using pool = openPool(ctx, { sendTimeoutMs: LATE_MS });
    await using own = asyncRecvMultishot(ctx, source.right, pool);
    value(await asyncSend(ctx, source.left, bytes("own")));
    const kept = (await next(own)).keep();
    const stream = await stall.hold(ctx, pool, 3);
    using starved = new Starved(ctx, pool);
    assertEquals(deadlineOf(ctx), 0);
    await starved.wait();
    const firstMs = deadlineOf(ctx);
    const nowMs = loadShim().kio_now_ms();
    assert(firstMs > nowMs && firstMs <= nowMs + LATE_MS, "no timeout");
    // What waits is no operation, and does not keep the program alive.
    assertEquals(ctx.pending, 4);
    kept.release();
    await starved.serve();
    await turn(2);
    assertEquals(deadlineOf(ctx), 0);
    value(await asyncSend(ctx, source.left, bytes("own")));
    const again = (await next(own)).keep();
    await starved.wait();
    assert(deadlineOf(ctx) > firstMs, "it has gone on");
    again.release();
    await starved.serve();
    stall.read();
    await until(() => pool.stats().leased === 0, "the sends");
    for (const it of [stream, starved]) await it[Symbol.asyncDispose]();
  },
);

kioTest("sendTimeoutMs: Infinity lets all readers be slow", async (ctx) => {
  using stall = await Stall.open(ctx);
  using pool = openPool(ctx, { sendTimeoutMs: Infinity });
  const stream = await stall.hold(ctx, pool);
  using starved = new Starved(ctx, pool);
  await starved.wait();
  await turn(50);
  assertEquals([pool.stats().starved, deadlineOf(ctx)], [1, 0]);
  stall.read();
  await starved.serve();
  for (const it of [stream, starved]) await it[Symbol.asyncDispose]();
});

kioTest("sendTo() that goes on is not ended", async (ctx) => {
  using stall = await Stall.open(ctx, true);
  using pool = openPool(ctx, { count: 16, sendTimeoutMs: LATE_MS });
  const stream = await stall.hold(ctx, pool);
  const ring = ringOf(ctx, { verb: "test" });
  const { memory, sends } = poolOf(pool, ring, { verb: "test" });
  await turn(20);
  const timeMs = loadShim().kio_now_ms() - 10;
  stall.read();
  await until(() => pool.stats().leased < 16, "progress");
  const { leased } = pool.stats();
  assert(leased > 0, "all is sent");
  assert(sends.endStalled(memory, timeMs) > timeMs);
  await turn(20);
  assertEquals([pool.stats().leased, ctx.stats().timeouts], [leased, 0]);
  assertEquals(sends.endStalled(memory, loadShim().kio_now_ms()), Infinity);
  assertCode(await within(SOON_MS, stream.closed, "the end"), "ETIMEDOUT");
  await stream[Symbol.asyncDispose]();
  assertWhole(pool);
});

kioTest("sendTo() is not ended for a thread that was busy", async (ctx) => {
  using stall = await Stall.open(ctx);
  using pool = openPool(ctx, { sendTimeoutMs: 100 });
  const stream = await stall.hold(ctx, pool);
  using starved = new Starved(ctx, pool);
  await starved.wait();
  const dueMs = deadlineOf(ctx);
  // The peer goes on in time, and the ring has no step for it.
  stall.read();
  while (loadShim().kio_now_ms() < dueMs + 20);
  await starved.serve();
  await until(() => pool.stats().leased === 0, "the sends");
  assertEquals(ctx.stats().timeouts, 0);
  for (const it of [stream, starved]) await it[Symbol.asyncDispose]();
});

kioTest(
  "sends of other pools are no matter of one that is empty",
  async (ctx) => {
    using stall = await Stall.open(ctx);
    using other = await Stall.open(ctx);
    using pool = openPool(ctx, { sendTimeoutMs: 20 });
    using apart = openPool(ctx, { sendTimeoutMs: 20 });
    const streams = [
      await stall.hold(ctx, pool),
      await other.hold(ctx, apart),
    ];
    using starved = new Starved(ctx, pool);
    await starved.wait();
    await starved.serve();
    assertEquals([pool.stats().leased, apart.stats().leased], [0, 4]);
    other.read();
    await until(() => apart.stats().leased === 0, "the sends");
    for (const it of [...streams, starved]) await it[Symbol.asyncDispose]();
  },
);

kioTest("a lease behind those of another pool stalls as well", async (ctx) => {
  using stall = await Stall.open(ctx);
  using source = unixPair();
  using first = openPool(ctx, {});
  using pool = openPool(ctx, { count: 1, sendTimeoutMs: 20 });
  const streams = [await stall.hold(ctx, first, 1)];
  streams.push(asyncRecvMultishot(ctx, source.right, pool, {
    onChunk: (chunk) => chunk.sendTo(stall.fd),
  }));
  value(await asyncSend(ctx, source.left, bytes("behind")));
  await until(() => pool.stats().leased === 1, "the lease");
  using starved = new Starved(ctx, pool);
  await starved.wait();
  await starved.serve();
  for (const it of streams) assertCode(await it.closed, "ETIMEDOUT");
  for (const it of [...streams, starved]) await it[Symbol.asyncDispose]();
});

for (const how of ["stream", "pool", "socket", "dispose", "asyncDispose"]) {
  kioTest(`the end of a wait leaves no timeout: ${how}`, async (outer) => {
    const ctx = new IoContext();
    using stall = await Stall.open(outer);
    const pool = openPool(ctx, { sendTimeoutMs: LATE_MS });
    const stream = await stall.hold(ctx, pool);
    using starved = new Starved(ctx, pool);
    await starved.wait();
    assert(deadlineOf(ctx) > 0);
    if (how === "stream") starved.stream.cancel();
    if (how === "pool") await pool.close();
    if (how === "socket") starved[Symbol.dispose]();
    if (how === "dispose") ctx[Symbol.dispose]();
    if (how === "asyncDispose") await ctx[Symbol.asyncDispose]();
    assertCode(await starved.stream.closed, "ECANCELED");
    await turn(2);
    assertEquals(deadlineOf(ctx), 0);
    assertEquals(ctx.stats().timeouts, 0);
    await ctx[Symbol.asyncDispose]();
    assert(!(await stream.closed).ok);
  });

  kioTest(`an end that comes with that of a stall: ${how}`, async (outer) => {
    const ctx = new IoContext();
    using stall = await Stall.open(outer);
    const pool = openPool(ctx, { sendTimeoutMs: 1 });
    const stream = await stall.hold(ctx, pool);
    using starved = new Starved(ctx, pool);
    // Its look comes when the thread goes on.
    void starved.wait().catch(() => {});
    await until(() => pool.stats().starved === 1, "the want");
    const timeMs = loadShim().kio_now_ms();
    while (loadShim().kio_now_ms() < timeMs + 15);
    if (how === "stream") stream.cancel();
    if (how === "pool") void pool.close();
    if (how === "socket") stall[Symbol.dispose]();
    if (how === "dispose") ctx[Symbol.dispose]();
    if (how === "asyncDispose") await ctx[Symbol.asyncDispose]();
    const last = await within(SOON_MS, stream.closed, "the stream");
    assertCode(last, "ECANCELED", "ETIMEDOUT", "EPIPE");
    await ctx[Symbol.asyncDispose]();
    assertEquals(pool.stats().leased, 0);
  });
}

kioTest("sendTimeoutMs is checked", (ctx) => {
  for (const sendTimeoutMs of [-1, NaN, -Infinity, "1" as unknown as number]) {
    assertThrows(
      () => new BufferPool(ctx, { sendTimeoutMs }),
      RangeError,
      "Cannot open a BufferPool: sendTimeoutMs must be a number of milliseconds",
    );
  }
});
