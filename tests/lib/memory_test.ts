import {
  assert,
  assertEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  asyncClose,
  asyncOpen,
  asyncRead,
  asyncReadv,
  asyncRecv,
  asyncRecvmsg,
  asyncSend,
  asyncWrite,
  asyncWritev,
  IoContext,
  O_DIRECT,
  O_RDONLY,
  O_RDWR,
  pin,
} from "@kio/kio";
import {
  bytes,
  kioTest,
  pattern,
  statusOf,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

/** The most that Linux transfers at a time. */
const TRANSFER_MAX = 0x7ffff000;

/** All ways to take a buffer away from its owner. */
const takings: Record<string, (buffer: ArrayBuffer) => void> = {
  "transfer()": (buffer) => void buffer.transfer(),
  "transfer() to another size": (buffer) => void buffer.transfer(1),
  "transferToFixedLength()": (buffer) => void buffer.transferToFixedLength(),
  "structuredClone()": (buffer) =>
    void structuredClone(buffer, { transfer: [buffer] }),
  "postMessage()": (buffer) => {
    const { port1, port2 } = new MessageChannel();
    try {
      port1.postMessage(buffer, [buffer]);
    } finally {
      port1.close();
      port2.close();
    }
  },
};

function assertStays(buffer: ArrayBuffer): void {
  const { byteLength } = buffer;
  for (const [name, take] of Object.entries(takings)) {
    assertThrows(() => take(buffer), Error, "", name);
    assert(!buffer.detached, name);
    assertEquals(buffer.byteLength, byteLength, name);
  }
}

// ---- allocate ----------------------------------------------------------------------------

kioTest("allocate() gives zeroed memory of that size", (ctx) => {
  for (const size of [1, 7, 4095, 4096, 4097, 2 ** 20]) {
    const memory = ctx.allocate(size);
    assert(memory instanceof Uint8Array);
    assertEquals([memory.length, memory.byteOffset], [size, 0]);
    assertEquals(memory.buffer.byteLength, size);
    assert(memory.every((byte) => byte === 0));
    memory.fill(255);
  }
});

kioTest("allocate() gives memory that is apart from all other", (ctx) => {
  const memories = Array.from({ length: 100 }, () => ctx.allocate(100));
  for (const [i, memory] of memories.entries()) memory.fill(i);
  for (const [i, memory] of memories.entries()) {
    assert(memory.every((byte) => byte === i));
  }
});

kioTest("allocate() is fit for O_DIRECT, page by page", async (ctx) => {
  await using file = await tempFile(ctx, undefined, O_DIRECT);
  const memory = ctx.allocate(5 * 4096);
  const data = pattern(4 * 4096);
  memory.set(data);
  assertEquals(
    value(await asyncWrite(ctx, file, memory.subarray(0, data.length))),
    data.length,
  );
  for (let page = 0; page < 5; page++) {
    const target = memory.subarray(page * 4096, page * 4096 + 4096).fill(0);
    const at = page % 4 * 4096;
    assertEquals(value(await asyncRead(ctx, file, target, at)), 4096);
    assertEquals(target, data.slice(at, at + 4096));
  }
});

kioTest("allocate() gives memory that cannot be taken away", async (ctx) => {
  using pair = unixPair();
  const memory = ctx.allocate(64);
  const receiving = asyncRecv(ctx, pair.left, memory);
  await turn();
  assertStays(memory.buffer);
  value(await asyncSend(ctx, pair.right, bytes("abc")));
  assertEquals(value(await receiving), 3);
  assertEquals(text(memory.subarray(0, 3)), "abc");
});

kioTest("allocate() gives memory for every operation", async (ctx) => {
  using pair = unixPair();
  await using file = await tempFile(ctx);
  const memory = ctx.allocate(4096);
  memory.set(bytes("abcdefgh"));
  const [one, two] = [memory.subarray(0, 3), memory.subarray(3, 8)];
  assertEquals(value(await asyncWritev(ctx, file, [one, two])), 8);
  memory.fill(0);
  assertEquals(value(await asyncReadv(ctx, file, [two, one])), 8);
  assertEquals(text(memory.subarray(0, 8)), "fghabcde");
  value(await asyncSend(ctx, pair.left, one));
  const message = { buffers: [memory.subarray(100, 110)], control: two };
  assertEquals(value(await asyncRecvmsg(ctx, pair.right, message)).bytes, 3);
  assertEquals(text(memory.subarray(100, 103)), "fgh");
});

kioTest("allocate() gives memory that outlives its context", async (outer) => {
  const ctx = new IoContext(4);
  const memory = ctx.allocate(8192);
  memory.fill(7);
  ctx[Symbol.dispose]();
  await turn();
  assert(memory.every((byte) => byte === 7));
  using pair = unixPair();
  value(await asyncSend(outer, pair.left, memory.subarray(0, 100)));
  assertEquals(value(await asyncRecv(outer, pair.right, memory)), 100);
});

kioTest(
  "allocate() gives memory back when nothing refers to it",
  async (ctx) => {
    const beforeKb = await statusOf("VmRSS");
    // 1.25 GiB in all, of which 0.9 may be there at a time.
    for (let i = 0; i < 320; i++) {
      ctx.allocate(2 ** 22).fill(1);
      // The collector reports freed objects by an event.
      if (i % 8 === 0) await turn();
    }
    const grownKb = await statusOf("VmRSS") - beforeKb;
    assert(grownKb < 0.9 * 2 ** 20, `grown by ${grownKb} kB`);
  },
);

kioTest(
  "allocate() gives memory that is not freed under an operation",
  async (ctx) => {
    using pair = unixPair("datagram");
    const results: Promise<number>[] = [];
    const views: Uint8Array[] = [];
    for (let i = 0; i < 20; i++) {
      const memory = ctx.allocate(2 ** 20);
      results.push(
        asyncRecv(ctx, pair.left, memory).then((result) => value(result)),
      );
      // A part is enough to keep all of it.
      if (i % 2 === 0) views.push(memory.subarray(0, 4));
    }
    for (let i = 0; i < 100; i++) {
      ctx.allocate(2 ** 22).fill(1);
      if (i % 8 === 0) await turn();
    }
    for (let i = 0; i < 20; i++) {
      value(await asyncSend(ctx, pair.right, bytes("abcd")));
    }
    for (const result of results) assertEquals(await result, 4);
    for (const view of views) assertEquals(text(view), "abcd");
  },
);

kioTest("allocate() of several contexts at a time", async (ctx) => {
  using other = new IoContext(4);
  using pair = unixPair();
  const one = ctx.allocate(16);
  const two = other.allocate(16);
  one.set(bytes("from one"));
  value(await asyncSend(other, pair.left, one.subarray(0, 8)));
  assertEquals(value(await asyncRecv(ctx, pair.right, two)), 8);
  assertEquals(text(two.subarray(0, 8)), "from one");
});

// ---- large transfers ------------------------------------------------------------------------

kioTest(
  "asyncWrite() and asyncWritev() cut what is longer than Linux transfers",
  async (ctx) => {
    const fd = value(await asyncOpen(ctx, "/dev/null", O_RDWR));
    // Nothing of it is ever touched, and so there.
    const memory = ctx.allocate(2 ** 32);
    const lengths = [
      TRANSFER_MAX - 1,
      TRANSFER_MAX,
      TRANSFER_MAX + 1,
      2 ** 31,
      2 ** 32 - 1,
      2 ** 32,
    ];
    for (const length of lengths) {
      const part = memory.subarray(0, length);
      const expected = Math.min(length, TRANSFER_MAX);
      assertEquals(
        value(await asyncWrite(ctx, fd, part)),
        expected,
        `${length}`,
      );
      assertEquals(value(await asyncWritev(ctx, fd, [part])), expected);
    }
    assertEquals(
      value(await asyncWritev(ctx, fd, [memory, memory, memory])),
      TRANSFER_MAX,
    );
    value(await asyncClose(ctx, fd));
  },
);

kioTest(
  "asyncRead() into a view of more than 4 GiB is no read of a few bytes",
  async (ctx) => {
    const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
    const memory = ctx.allocate(2 ** 32);
    const count = value(await asyncRead(ctx, fd, memory));
    assert(text(memory.subarray(0, count)).startsWith("Linux version"));
    value(await asyncClose(ctx, fd));
  },
);

// ---- pin --------------------------------------------------------------------------------------

Deno.test("pin() gives the same buffer, which stays", () => {
  const view = new Uint8Array(64);
  assertStrictEquals(pin(view), view);
  assertStays(view.buffer);
  const buffer = new ArrayBuffer(64);
  assertStrictEquals(pin(buffer), buffer);
  assertStays(buffer);
  const data = new DataView(new ArrayBuffer(64), 8, 8);
  assertStrictEquals(pin(data), data);
  assertStays(data.buffer);
});

Deno.test("pin() twice is as good as once", () => {
  const view = pin(pin(new Uint8Array(8)));
  assertStays(view.buffer);
});

Deno.test("pin() leaves shared memory as it is", () => {
  const view = new Uint8Array(new SharedArrayBuffer(8));
  assertStrictEquals(pin(view), view);
});

Deno.test("pin() leaves other buffers alone", () => {
  pin(new Uint8Array(8));
  const other = new Uint8Array(8);
  other.buffer.transfer();
  assert(other.buffer.detached);
});

Deno.test("pin() leaves what can be done otherwise", () => {
  const view = pin(new Uint8Array([1, 2, 3]));
  assertEquals(structuredClone(view), view);
  assertEquals(view.slice(1), new Uint8Array([2, 3]));
  view[0] = 9;
  assertEquals(view[0], 9);
});

Deno.test("pin() refuses the memory of WebAssembly, which may grow", {
  // V8 has none with --jitless.
  ignore: typeof WebAssembly === "undefined",
}, () => {
  for (const initial of [0, 1, 3]) {
    const memory = new WebAssembly.Memory({ initial, maximum: 10 });
    assertThrows(() => pin(memory.buffer as ArrayBuffer), TypeError);
    assertThrows(
      () => pin(new Uint8Array(memory.buffer)),
      TypeError,
      "may grow",
    );
    assertEquals(memory.grow(1), initial);
    const { toResizableBuffer } = memory as {
      toResizableBuffer?: () => ArrayBuffer;
    };
    if (toResizableBuffer === undefined) continue;
    const resizable = toResizableBuffer.call(memory);
    assertThrows(() => pin(resizable), TypeError, "may grow");
    assertEquals(memory.grow(1), initial + 1);
  }
});

Deno.test("pin() refuses a resizable buffer, which goes on resizing", () => {
  const memory = new ArrayBuffer(8, { maxByteLength: 131072 });
  assertThrows(() => pin(memory), TypeError, "may grow");
  assertThrows(() => pin(new Uint8Array(memory)), TypeError, "may grow");
  memory.resize(131072);
  assertEquals(memory.byteLength, 131072);
});

Deno.test("pin() takes plain buffers of the size of WebAssembly memory", () => {
  for (let i = 0; i < 20; i++) {
    for (const pages of [0, 1, 2, 32]) {
      const view = new Uint8Array(65536 * pages).fill(7);
      assertStrictEquals(pin(view), view);
      assertEquals(view.length, 65536 * pages);
      assertEquals(view.at(-1), pages === 0 ? undefined : 7);
      assertStays(view.buffer);
    }
  }
});

kioTest("pin() takes what was pinned already", (ctx) => {
  const view = ctx.allocate(65536);
  assertStrictEquals(pin(view), view);
  assertStays(view.buffer);
});

kioTest("pin() of a buffer that is in flight keeps it there", async (ctx) => {
  using pair = unixPair();
  const view = new Uint8Array(64);
  const receiving = asyncRecv(ctx, pair.left, view);
  await turn();
  assertStays(pin(view).buffer);
  value(await asyncSend(ctx, pair.right, bytes("abc")));
  assertEquals(value(await receiving), 3);
});

// ---- buffers without any reference
// --------------------------------------------

kioTest(
  "buffers stay while the kernel has them, though nobody refers to them",
  async (ctx) => {
    using pair = unixPair("datagram");
    const kept: WeakRef<Uint8Array>[] = [];
    const ops = Array.from({ length: 100 }, () => {
      const buffer = new Uint8Array(2 ** 16);
      kept.push(new WeakRef(buffer));
      return asyncRecv(ctx, pair.left, buffer);
    });
    for (let i = 0; i < 60; i++) {
      new Uint8Array(2 ** 24).fill(0x58);
      await turn();
    }
    for (const ref of kept) assert(ref.deref() !== undefined);
    for (let i = 0; i < 100; i++) {
      value(await asyncSend(ctx, pair.right, bytes("abcd")));
    }
    for (const op of ops) assertEquals(value(await op), 4);
  },
);

kioTest("buffers are let go after completion", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  let gone = 0;
  const registry = new FinalizationRegistry(() => gone++);
  const ops = [];
  for (let i = 0; i < 100; i++) {
    const buffer = new Uint8Array(2 ** 16);
    registry.register(buffer, undefined);
    ops.push(asyncRead(ctx, file, buffer));
    await ops[i];
  }
  // The results stay referenced, the buffers are not.
  const endMs = performance.now() + 25_000;
  while (gone < 90 && performance.now() < endMs) {
    new Uint8Array(2 ** 24).fill(0x58);
    await turn();
  }
  assert(gone >= 90, `${gone} of 100 were let go`);
  assertEquals(ops.length, 100);
});
