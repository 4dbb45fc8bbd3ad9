import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncFsync,
  asyncOpen,
  asyncPipe,
  asyncRead,
  asyncReadFixed,
  asyncReadv,
  asyncRecvExact,
  asyncWrite,
  asyncWriteExact,
  asyncWriteFixed,
  asyncWritev,
  CURRENT_POSITION,
  IoContext,
  O_WRONLY,
  RWF_APPEND,
  RWF_DSYNC,
  RWF_NOWAIT,
  RWF_SYNC,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  contentOf,
  kioTest,
  overwriteGarbage,
  pattern,
  randomOf,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

const durable = true;
/** Not a flag of any kernel. */
const RWF_UNKNOWN = 2 ** 30;

/** Cuts data into pieces of random length, some of them empty. */
function pieces(data: Uint8Array, max: number, seed = 3): Uint8Array[] {
  const random = randomOf(seed);
  const cut: Uint8Array[] = [];
  for (let at = 0; at < data.length;) {
    const piece = data.subarray(at, at + random(max));
    cut.push(piece);
    at += piece.length;
  }
  return cut;
}

// ---- several buffers ----------------------------------------------------------

kioTest("asyncWriteExact() of an array writes all, in order", async (ctx) => {
  await using file = await tempFile(ctx);
  const data = pattern(200_000);
  const array = pieces(data, 100);
  assert(array.length > 3000, "more than the kernel takes at a time");
  const written = await asyncWriteExact(ctx, file, array, 7);
  assertEquals(value(written), data.length);
  const content = await contentOf(ctx, file, data.length + 100);
  assertEquals(content.subarray(7), data);
});

kioTest(
  "asyncWriteExact() of an array goes on within a piece, and behind it",
  async (ctx) => {
    for (const max of [10, 5000, 3 << 20]) {
      using pair = unixPair();
      const data = pattern(4 << 20, max);
      const copy = new Uint8Array(data.length);
      const array = pieces(data.subarray(0, max * 500), max);
      const total = array.reduce((sum, { length }) => sum + length, 0);
      const writing = asyncWriteExact(ctx, pair.left, array);
      // Nothing else refers to them.
      array.length = 0;
      overwriteGarbage();
      const [written, received] = await Promise.all([
        writing,
        asyncRecvExact(ctx, pair.right, copy.subarray(0, total)),
      ]);
      assertEquals([value(written), value(received)], [total, total]);
      assertEquals(copy.subarray(0, total), data.subarray(0, total));
    }
  },
);

kioTest("asyncWriteExact() takes buffers of any kind", async (ctx) => {
  await using file = await tempFile(ctx);
  const words = new Uint16Array([0x6261, 0x6463, 0x6665]);
  const array = [
    bytes("12").buffer,
    new Uint8Array(0),
    words.subarray(1),
    new DataView(bytes("xyz").buffer, 1, 1),
  ];
  assertEquals(value(await asyncWriteExact(ctx, file, array)), 7);
  assertEquals(text(await contentOf(ctx, file)), "12cdefy");
});

kioTest(
  "asyncWriteExact() of an array that is given up tells how far it came",
  async (ctx) => {
    using pair = unixPair();
    const data = pattern(8 << 20);
    const result = await asyncWriteExact(
      ctx,
      pair.left,
      pieces(data, 9000),
      0,
      {
        timeoutMs: 20,
      },
    );
    assertCode(result, "ETIMEDOUT");
    const moved = result.ok ? 0 : result.error.bytesTransferred!;
    assert(moved > 0 && moved < data.length);
    const copy = new Uint8Array(moved);
    value(await asyncRecvExact(ctx, pair.right, copy));
    assertEquals(copy, data.subarray(0, moved));
  },
);

// ---- durable ------------------------------------------------------------------

kioTest("asyncWriteExact() that is durable is one operation", async (ctx) => {
  await using file = await tempFile(ctx);
  const data = pattern(100_000);
  for (const given of [data, pieces(data, 999)]) {
    const before = ctx.stats();
    const writing = asyncWriteExact(ctx, file, given, 0, { durable });
    assertEquals(ctx.pending, 1);
    assertEquals(value(await writing), data.length);
    assertEquals(ctx.stats().started - before.started, 1);
    assertEquals(await contentOf(ctx, file, data.length), data);
  }
});

kioTest(
  "asyncWriteExact() whose sync fails fails, with all bytes written",
  async (ctx) => {
    // A pipe takes the bytes, and cannot be synced.
    const { readFd, writeFd } = value(await asyncPipe(ctx));
    const result = await asyncWriteExact(ctx, writeFd, bytes("abc"), 0, {
      durable,
    });
    assertCode(result, "EINVAL");
    if (result.ok) return;
    assertEquals(result.error.bytesTransferred, 3);
    assertEquals(
      result.error.message,
      "Invalid argument, after 3 bytes; the disk may have any part of them",
    );
    const buffer = new Uint8Array(8);
    assertEquals(value(await asyncRead(ctx, readFd, buffer)), 3);
    for (const fd of [readFd, writeFd]) value(await asyncClose(ctx, fd));
  },
);

kioTest("asyncWriteExact() that fails is not synced", async (ctx) => {
  const full = value(await asyncOpen(ctx, "/dev/full", O_WRONLY));
  const result = await asyncWriteExact(ctx, full, bytes("abc"), 0, { durable });
  // The sync of this file would give EINVAL.
  assertCode(result, "ENOSPC");
  if (!result.ok) {
    assertEquals(
      result.error.message,
      "No space left on device, after 0 bytes",
    );
  }
  value(await asyncClose(ctx, full));
});

kioTest(
  "asyncWriteExact() that is durable ends with its limits",
  async (ctx) => {
    using pair = unixPair();
    const data = pattern(8 << 20);
    const late = await asyncWriteExact(ctx, pair.left, data, 0, {
      durable,
      timeoutMs: 10,
    });
    assertCode(late, "ETIMEDOUT");
    const abort = new AbortController();
    const writing = asyncWriteExact(ctx, pair.left, data, 0, {
      durable,
      signal: abort.signal,
    });
    await turn(2);
    abort.abort();
    assertCode(await writing, "ECANCELED");
  },
);

kioTest("asyncWriteExact() pending when its context is closed", async () => {
  using pair = unixPair();
  const ctx = new IoContext(4);
  const array = pieces(pattern(4 << 20), 9000);
  const writing = asyncWriteExact(ctx, pair.left, array, 0, { durable });
  await turn(2);
  ctx[Symbol.dispose]();
  assertCode(await writing, "ECANCELED");
});

kioTest("asyncWriteExact() refuses options that make no sense", (ctx) => {
  // deno-lint-ignore no-explicit-any
  const write = (data: any, options: any) => () =>
    asyncWriteExact(ctx, 0, data, 0, options);
  const one = bytes("a");
  const gone = bytes("a");
  gone.buffer.transfer();
  const calls: [() => unknown, ErrorConstructor, string][] = [
    [write(one, { durable: 1 }), TypeError, "durable must be a boolean"],
    [write(one, { durable: "yes" }), TypeError, "durable must be a boolean"],
    [write(one, { rwFlags: -1 }), RangeError, "rwFlags must be an integer"],
    [write(one, { rwFlags: RWF_NOWAIT }), RangeError, "use asyncWrite()"],
    [write([], {}), RangeError, "the buffers are empty"],
    [write([new Uint8Array(0)], {}), RangeError, "the buffers are empty"],
    [write([one, gone], {}), TypeError, "detached"],
    [write([one, "abc"], {}), TypeError, "expected a Uint8Array"],
    [write([one, , one], {}), TypeError, "expected a Uint8Array"], // deno-lint-ignore no-sparse-arrays
    [write({ length: 1, 0: one }, {}), TypeError, "expected a Uint8Array"],
  ];
  for (const [call, error, message] of calls) {
    assertThrows(call, error, message);
  }
  assertEquals(ctx.pending, 0);
});

// ---- rwFlags ------------------------------------------------------------------

kioTest("RWF_APPEND writes at the end, whatever the offset", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const rwFlags = RWF_APPEND;
  value(await asyncWrite(ctx, file, bytes("d"), 0, { rwFlags }));
  value(await asyncWritev(ctx, file, [bytes("e"), bytes("f")], 0, { rwFlags }));
  value(await asyncWriteExact(ctx, file, bytes("g"), 0, { rwFlags }));
  value(await asyncWriteExact(ctx, file, [bytes("h")], 1n, { rwFlags }));
  unwrap(ctx.registerFiles([file.fd]));
  value(await asyncWriteFixed(ctx, 0, bytes("i"), 0, { rwFlags }));
  unwrap(ctx.unregisterFiles());
  assertEquals(text(await contentOf(ctx, file)), "abcdefghi");
});

kioTest("RWF_DSYNC and RWF_SYNC write", async (ctx) => {
  await using file = await tempFile(ctx);
  for (const rwFlags of [RWF_DSYNC, RWF_SYNC]) {
    value(await asyncWrite(ctx, file, bytes("abc"), 0, { rwFlags }));
    value(
      await asyncWrite(
        ctx,
        file,
        bytes("d"),
        3n,
        { rwFlags },
      ),
    );
  }
  assertEquals(text(await contentOf(ctx, file)), "abcd");
  value(await asyncFsync(ctx, file));
});

kioTest("RWF_NOWAIT gives EAGAIN instead of waiting", async (ctx) => {
  const rwFlags = RWF_NOWAIT;
  const buffer = new Uint8Array(4);
  using pair = unixPair();
  const { left, right } = pair;
  for (
    const read of [
      () => asyncRead(ctx, left, buffer, 0, { rwFlags }),
      () => asyncReadv(ctx, left, [buffer], 0, { rwFlags }),
      () => asyncReadFixed(ctx, 0, buffer, 0, { rwFlags }),
    ]
  ) {
    unwrap(ctx.registerFiles([left.fd]));
    const nothing = await read().withTimeout(1000);
    // Older kernels know the flag for files only.
    assertCode(nothing, "EAGAIN", "EOPNOTSUPP");
    if (!nothing.ok && nothing.error.code === "EAGAIN") {
      value(await asyncWrite(ctx, right, bytes("abcd")));
      assertEquals(value(await read()), 4);
    }
    unwrap(ctx.unregisterFiles());
  }
});

kioTest("rwFlags that the kernel does not know are EOPNOTSUPP", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const buffer = new Uint8Array(1);
  for (const call of [asyncRead, asyncWrite]) {
    const rwFlags = RWF_UNKNOWN;
    assertCode(await call(ctx, file, buffer, 0, { rwFlags }), "EOPNOTSUPP");
  }
  const read = await asyncRead(ctx, file, buffer, CURRENT_POSITION, {});
  assertEquals(value(read), 1);
});

kioTest("a read with rwFlags waits on after a lost race", async (ctx) => {
  using pair = unixPair();
  const buffer = new Uint8Array(1);
  const ops = Array.from(
    { length: 2 },
    () => asyncRead(ctx, pair.left, buffer, 0, { rwFlags: 0 }),
  );
  for (const _ of ops) {
    value(await asyncWrite(ctx, pair.right, bytes("a")));
    await turn();
  }
  for (const op of ops) assertEquals(value(await op), 1);
});
