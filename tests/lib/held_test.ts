/** Operations that take a lease where they take memory to read from. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncFstat,
  asyncOpen,
  asyncRecvExact,
  asyncRecvMultishot,
  asyncSend,
  asyncSendmsg,
  asyncSendZc,
  asyncShutdown,
  asyncWrite,
  asyncWriteFixed,
  type BufferLease,
  BufferPool,
  type IoContext,
  link,
  O_RDWR,
  O_TMPFILE,
  RWF_APPEND,
  SHUT_WR,
  unwrap,
  type UringStream,
} from "@kio/kio";
import { loadShim } from "../../ffi/load.ts";
import {
  assertCode,
  fill,
  kioTest,
  tcpPair,
  turn,
  unixPair,
  value,
} from "../support.ts";

async function next(stream: UringStream<BufferLease>): Promise<BufferLease> {
  const step = await stream[Symbol.asyncIterator]().next();
  assert(step.done !== true, "the stream is over");
  return value(step.value);
}

/** Leases of 16 bytes, in all places of a pool, each with its own bytes. */
async function leases(
  ctx: IoContext,
  count: number,
): Promise<{ list: BufferLease[]; pool: BufferPool } & AsyncDisposable> {
  const pair = unixPair();
  const pool = new BufferPool(ctx, { count, size: 16 });
  const stream = asyncRecvMultishot(ctx, pair.right, pool, {
    leasesMax: count,
  });
  const list: BufferLease[] = [];
  for (let i = 0; i < count; i++) {
    value(await asyncSend(ctx, pair.left, new Uint8Array(16).fill(i + 1)));
    list.push((await next(stream)).keep());
  }
  const end = async () => {
    await stream[Symbol.asyncDispose]();
    pair[Symbol.dispose]();
    await pool.close();
  };
  return { list, pool, [Symbol.asyncDispose]: end };
}

kioTest(
  "asyncSend() sends the bytes of each lease, and no others",
  async (ctx) => {
    await using made = await leases(ctx, 5);
    using out = unixPair();
    for (const lease of made.list) {
      const op = asyncSend(ctx, out.left, lease);
      assertEquals(ctx.inspect().at(-1)!.bytes, 16);
      assertEquals(value(await op), 16);
      const back = new Uint8Array(16);
      value(await asyncRecvExact(ctx, out.right, back));
      assertEquals(back, lease.bytes);
      lease.release();
    }
    assertEquals(made.pool.stats().leased, 0);
  },
);

for (const kind of ["unix", "TCP"]) {
  for (const isBlocking of [true, false]) {
    const socketKind = `${kind}, ${isBlocking ? "" : "non-"}blocking`;
    kioTest(
      `asyncSend() of a lease waits for room: ${socketKind}`,
      async (ctx) => {
        await using made = await leases(ctx, 3);
        using out = kind === "unix" ? unixPair() : await tcpPair(ctx);
        loadShim().kio_nonblocking_set(out.left.fd, !isBlocking);
        // The kernel then takes a thread for it.
        value(await asyncShutdown(ctx, out.right, SHUT_WR));
        const count = await fill(ctx, out.left);
        const [, lease] = made.list;
        const expected = lease!.copy();
        const sending = asyncSend(ctx, out.left, lease!);
        lease!.release();
        await turn(5);
        assertEquals([ctx.pending, made.pool.stats().leased], [2, 3]);
        const back = new Uint8Array(count + 16);
        value(await asyncRecvExact(ctx, out.right, back));
        assertEquals(value(await sending), 16);
        assertEquals(back.subarray(count), expected);
        assertEquals(made.pool.stats().leased, 2);
        for (const it of made.list) it.release();
      },
    );
  }
}

kioTest("asyncSend() of a lease is a link like any other", async (ctx) => {
  await using made = await leases(ctx, 2);
  using out = unixPair();
  const [first, second] = made.list;
  const expected = [...first!.bytes, ...second!.bytes];
  const ops = link(ctx, () => [
    asyncSend(ctx, out.left, first!),
    asyncSend(ctx, out.left, second!),
  ]);
  first!.release();
  second!.release();
  for (const op of ops) assertEquals(value(await op), 16);
  const back = new Uint8Array(32);
  value(await asyncRecvExact(ctx, out.right, back));
  assertEquals([...back], expected);
  assertEquals(made.pool.stats().leased, 0);
});

kioTest("asyncSend() of an empty or a lost lease throws", async (ctx) => {
  await using made = await leases(ctx, 1);
  const [lease] = made.list;
  using pair = unixPair("datagram");
  using pool = new BufferPool(ctx, { count: 1, size: 8 });
  await using stream = asyncRecvMultishot(ctx, pair.right, pool);
  value(await asyncSendmsg(ctx, pair.left, { buffers: [] }));
  const empty = await next(stream);
  assertThrows(() => asyncSend(ctx, pair.left, empty), RangeError, "empty");
  assertThrows(() => asyncSend(ctx, -1, lease!), RangeError);
  lease!.release();
  assertThrows(
    () => asyncSend(ctx, pair.left, lease!),
    TypeError,
    "given back",
  );
  assertThrows(
    () => asyncSendZc(ctx, pair.left, lease!),
    TypeError,
    "given back",
  );
  assertEquals(made.pool.stats().leased, 0);
});

kioTest("asyncWrite() of a lease minds its options", async (ctx) => {
  await using made = await leases(ctx, 1);
  const [lease] = made.list;
  const fd = unwrap(await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR));
  const append = { rwFlags: RWF_APPEND };
  value(await asyncWrite(ctx, fd, lease!));
  value(await asyncWrite(ctx, fd, lease!, 0, append));
  unwrap(ctx.registerFiles([fd]));
  value(await asyncWriteFixed(ctx, 0, lease!, 0, append));
  assertEquals(value(await asyncFstat(ctx, fd)).size, 48);
  unwrap(ctx.unregisterFiles());
  lease!.release();
  value(await asyncClose(ctx, fd));
});

kioTest("asyncSendZc() holds a lease until its notification", async (ctx) => {
  if (ctx.capabilities.features.sendZc.support !== "native") return;
  await using made = await leases(ctx, 2);
  using out = await tcpPair(ctx);
  const [, lease] = made.list;
  const expected = lease!.copy();
  const count = await fill(ctx, out.left);
  value(await asyncRecvExact(ctx, out.right, new Uint8Array(count >> 1)));
  const op = asyncSendZc(ctx, out.left, lease!);
  lease!.release();
  assertEquals(value(await op.sent), 16);
  await turn(5);
  // The peer does not read: the kernel still needs the buffer.
  assertEquals([ctx.pending, made.pool.stats().leased], [2, 2]);
  const back = new Uint8Array(count - (count >> 1) + 16);
  value(await asyncRecvExact(ctx, out.right, back));
  assertEquals(back.subarray(-16), expected);
  assertEquals(value(await op).bytes, 16);
  assertEquals(made.pool.stats().leased, 1);
  made.list[0]!.release();
});

kioTest(
  "asyncSendZc() that fails or is cancelled lets go of its lease",
  async (ctx) => {
    await using made = await leases(ctx, 1);
    const [lease] = made.list;
    using out = unixPair();
    const cancelled = asyncSendZc(ctx, out.left, lease!);
    cancelled.cancel();
    assertCode(await cancelled, "ECANCELED");
    value(await asyncShutdown(ctx, out.left, SHUT_WR));
    assertCode(await asyncSendZc(ctx, out.left, lease!), "EPIPE");
    lease!.release();
    assertEquals(made.pool.stats().leased, 0);
  },
);
