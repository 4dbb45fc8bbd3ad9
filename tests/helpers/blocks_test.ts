import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  asyncFtruncate,
  asyncPipe,
  asyncSleep,
  asyncWrite,
  asyncWriteExact,
  type BlocksOptions,
  File,
  IoContext,
  O_DIRECT,
  O_RDWR,
  O_TMPFILE,
  unwrap,
} from "@kio/kio";
import { kioTest, pattern, randomOf, turn, value } from "../support.ts";

const SIZE = 4096;
const DATA = pattern(100 * SIZE + 17);

async function open(ctx: IoContext, data = DATA, flags = 0): Promise<File> {
  const how = O_TMPFILE | O_RDWR | flags;
  const file = unwrap(await File.open(ctx, "/tmp", how));
  if (flags === 0) value(await asyncWriteExact(ctx, file, data));
  return file;
}

/** Copies of all blocks. */
async function blocksOf(
  file: File,
  options?: BlocksOptions,
): Promise<Uint8Array[]> {
  const blocks: Uint8Array[] = [];
  for await (const block of file.blocks(options)) blocks.push(block.slice());
  return blocks;
}

function joined(blocks: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(blocks.reduce((sum, it) => sum + it.length, 0));
  let at = 0;
  for (const block of blocks) {
    all.set(block, at);
    at += block.length;
  }
  return all;
}

for (const inFlight of [1, 2, 7, 256]) {
  kioTest(
    `File.blocks() with ${inFlight} in flight gives all, in order`,
    async (ctx) => {
      await using file = await open(ctx);
      for (const size of [1000, SIZE, DATA.length, 2 * DATA.length]) {
        await file.seek(0, Deno.SeekMode.Start);
        const blocks = await blocksOf(file, { size, inFlight });
        assertEquals(joined(blocks), DATA);
        const sizes = new Set(blocks.slice(0, -1).map(({ length }) => length));
        assert(sizes.size === 0 || sizes.has(size) && sizes.size === 1);
      }
    },
  );
}

kioTest("File.blocks() keeps several reads in flight", async (ctx) => {
  await using file = await open(ctx);
  const blocks = file.blocks({ size: SIZE, inFlight: 5 })
    [Symbol.asyncIterator]();
  const first = blocks.next();
  // The first, and those behind it.
  for (let i = 0; ctx.pending < 6 && i < 10; i++) await null;
  assertEquals(ctx.pending, 6);
  assertEquals((await first).value, DATA.subarray(0, SIZE));
  await blocks.return!();
  assertEquals(ctx.pending, 0);
});

kioTest("File.blocks() begins at the position, and moves it", async (ctx) => {
  await using file = await open(ctx);
  await file.seek(100, Deno.SeekMode.Start);
  let count = 0;
  for await (const block of file.blocks({ size: SIZE })) {
    const from = 100 + count * SIZE;
    assertEquals(block, DATA.subarray(from, from + SIZE));
    if (++count === 3) break;
  }
  assertEquals(await file.seek(0, Deno.SeekMode.Current), 100 + 3 * SIZE);
  assertEquals(joined(await blocksOf(file)), DATA.subarray(100 + 3 * SIZE));
  assertEquals(await blocksOf(file), []);
});

kioTest("File.blocks() lends a block until the next turn", async (ctx) => {
  await using file = await open(ctx);
  const memory = new Set<ArrayBuffer>();
  for await (const block of file.blocks({ size: SIZE, inFlight: 3 })) {
    // The reads behind it are under way, and must not touch it.
    const copy = block.slice();
    await turn();
    assertEquals(block, copy);
    memory.add(block.buffer);
  }
  assertEquals(memory.size, 1);
});

kioTest("File.blocks() that is left ends its reads", async (ctx) => {
  await using file = await open(ctx);
  for (const how of ["break", "throw", "return"]) {
    const run = async () => {
      for await (const _ of file.blocks({ size: SIZE, inFlight: 8 })) {
        if (how === "break") break;
        if (how === "throw") throw new Error("mine");
        return;
      }
    };
    await run().catch((error) => assertEquals(error.message, "mine"));
    assertEquals(ctx.pending, 0);
  }
});

kioTest("File.blocks() goes on where the file has grown", async (ctx) => {
  await using file = await open(ctx, DATA.subarray(0, SIZE + 10));
  const got: Uint8Array[] = [];
  let end = SIZE + 10;
  for await (const block of file.blocks({ size: SIZE })) {
    got.push(block.slice());
    if (end === DATA.length) continue;
    const more = DATA.subarray(end, end + 20_000);
    value(await asyncWriteExact(ctx, file, more, end));
    end += more.length;
  }
  assertEquals(joined(got), DATA);
});

kioTest("File.blocks() ends where the file was cut off", async (ctx) => {
  const random = randomOf(5);
  for (let round = 0; round < 20; round++) {
    await using file = await open(ctx);
    const length = random(DATA.length);
    const got: Uint8Array[] = [];
    for await (const block of file.blocks({ size: SIZE, inFlight: 3 })) {
      got.push(block.slice());
      if (got.length === 2) value(await asyncFtruncate(ctx, file, length));
    }
    // What was read before may be more.
    const all = joined(got);
    assert(all.length >= Math.min(length, 2 * SIZE));
    assert(all.length <= Math.max(length, 6 * SIZE));
    assertEquals(all, DATA.subarray(0, all.length));
  }
});

kioTest(
  "File.blocks() of a pipe gives what comes, and loses nothing",
  async (ctx) => {
    const { readFd, writeFd } = value(await asyncPipe(ctx));
    await using reader = new File(ctx, readFd);
    const writer = new File(ctx, writeFd);
    const blocks = reader.blocks({ size: 16 })[Symbol.asyncIterator]();
    for (const length of [3, 16, 5]) {
      value(await asyncWrite(ctx, writer, DATA.subarray(0, length)));
      const { value: block } = await blocks.next();
      assertEquals(block, DATA.subarray(0, length));
    }
    await blocks.return!();
    value(await asyncWrite(ctx, writer, DATA.subarray(0, 7)));
    const buffer = new Uint8Array(9);
    assertEquals(await reader.read(buffer), 7);
    await writer.close();
    assertEquals(await blocksOf(reader), []);
  },
);

kioTest("File.blocks() reads a file without a size", async (ctx) => {
  await using file = unwrap(await File.open(ctx, "/proc/self/maps"));
  const all = joined(await blocksOf(file, { size: 100 }));
  assert(all.length > 1000);
});

kioTest("File.blocks() answers calls in their order", async (ctx) => {
  await using file = await open(ctx, DATA.subarray(0, 3 * SIZE));
  const blocks = file.blocks({ size: SIZE })[Symbol.asyncIterator]();
  const steps = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const { done, value: block } = await blocks.next();
      return done ? "end" : block[0];
    }),
  );
  assertEquals(steps, [DATA[0], DATA[SIZE], DATA[2 * SIZE], "end", "end"]);
});

kioTest("File.blocks() rejects with an error, and has ended", async (ctx) => {
  const folder = unwrap(await File.open(ctx, "/tmp"));
  const blocks = folder.blocks()[Symbol.asyncIterator]();
  await assertRejects(() => blocks.next(), Deno.errors.IsADirectory, "EISDIR");
  assertEquals((await blocks.next()).done, true);
  await folder.close();
});

kioTest("File.blocks() ends when the file is closed", async (ctx) => {
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  const reader = new File(ctx, readFd);
  await using _ = new File(ctx, writeFd);
  const blocks = reader.blocks()[Symbol.asyncIterator]();
  const next = blocks.next();
  await turn();
  await Promise.all([
    assertRejects(() => next, Deno.errors.Interrupted, "ECANCELED"),
    reader.close(),
  ]);
});

kioTest("File.blocks() of a file that was closed says so", async (ctx) => {
  const file = await open(ctx, DATA.subarray(0, SIZE));
  const blocks = file.blocks({ size: SIZE })[Symbol.asyncIterator]();
  assertEquals((await blocks.next()).value, DATA.subarray(0, SIZE));
  await file.close();
  await assertRejects(() => blocks.next(), TypeError, "closed or released");
  assertEquals((await blocks.next()).done, true);
});

kioTest("File.blocks() does with the room that its context has", async () => {
  using ctx = new IoContext({ entries: 8, operationsMax: 2 });
  await using file = await open(ctx);
  const blocks = await blocksOf(file, { size: SIZE, inFlight: 8 });
  assertEquals(joined(blocks), DATA);
  const sleeps = [asyncSleep(ctx, 1e6), asyncSleep(ctx, 1e6)];
  await file.seek(0, Deno.SeekMode.Start);
  await assertRejects(() => blocksOf(file), RangeError, "operationsMax");
  for (const sleep of sleeps) sleep.cancel();
});

kioTest("File.blocks() ends with its context", async () => {
  const ctx = new IoContext(4);
  const file = await open(ctx);
  const blocks = file.blocks({ size: SIZE })[Symbol.asyncIterator]();
  await blocks.next();
  ctx[Symbol.dispose]();
  await assertRejects(() => blocks.next());
  await file.close();
});

kioTest(
  "File.blocks() with O_DIRECT reads a file of any length",
  async (ctx) => {
    const opened = await File.open(ctx, "/tmp", O_TMPFILE | O_RDWR | O_DIRECT);
    if (!opened.ok) return; // the file system cannot do it
    await using file = opened.value;
    const size = 1 << 16;
    const memory = ctx.allocate(4 * size);
    memory.set(pattern(memory.length));
    value(await asyncWriteExact(ctx, file, memory));
    await file.truncate(3 * size + 17);
    const all = joined(await blocksOf(file, { size, inFlight: 2 }));
    assertEquals(all, memory.subarray(0, 3 * size + 17));
  },
);

kioTest("File.blocks() refuses options that make no sense", async (ctx) => {
  await using file = await open(ctx);
  const wrong: [unknown, ErrorConstructor][] = [
    [null, TypeError],
    [5, TypeError],
    [{ size: 0 }, RangeError],
    [{ size: 2 ** 30 + 1 }, RangeError],
    [{ inFlight: 0 }, RangeError],
    [{ inFlight: 257 }, RangeError],
    [{ inFlight: "4" }, RangeError],
  ];
  for (const [options, error] of wrong) {
    assertThrows(() => file.blocks(options as BlocksOptions), error);
  }
});
