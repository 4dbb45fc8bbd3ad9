/**
 * Buffers of more than 4 GiB. Linux moves 2 GiB less a page at a time. A
 * library that cuts a length to 32 bits moves five bytes.
 */
import { statfsSync } from "node:fs";
import { assertEquals } from "@std/assert";
import {
  asyncClose,
  asyncFtruncate,
  asyncOpen,
  asyncRead,
  asyncReadExact,
  asyncRecvExact,
  asyncSendExact,
  asyncSendfile,
  asyncWrite,
  asyncWriteExact,
  IoContext,
  O_RDWR,
  O_TMPFILE,
  Socket,
  unwrap,
} from "@kio/kio";

const LENGTH = 2 ** 32 + 5;
/** The most that Linux moves at a time. */
const PIECE = 0x7ffff000;

/** Places where a byte shows that it is right: around each border. */
const PLACES = [0, PIECE, 2 ** 31, 2 * PIECE, 2 ** 32, LENGTH - 1]
  .flatMap((border) => [border - 1, border, border + 1])
  .filter((at) => at >= 0 && at < LENGTH);
/** Between them all is zero; looked at in steps. */
const STEP = 4093;

/** A folder of tmpfs: its files are memory, and go when they are closed. */
const FOLDER = "/dev/shm";
/** Two buffers, or a buffer and a file of that length. */
const BYTES_NEEDED = 2.5 * LENGTH;
/** Memory for buffers, and for the file. */
const memory = Deno.systemMemoryInfo().available;
const { bavail, bsize } = statfsSync(FOLDER);
const room = bavail * bsize;
const isLarge = memory >= BYTES_NEEDED && room > LENGTH;

/** Zeros, with marks where it matters. */
function marked(): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(LENGTH);
  PLACES.forEach((at, i) => data[at] = i + 1);
  return data;
}

function assertMarked(data: Uint8Array): void {
  const marks = new Map(PLACES.map((at, i) => [at, i + 1]));
  assertEquals(PLACES.map((at) => data[at]), [...marks.values()]);
  for (let at = 0; at < LENGTH; at += STEP) {
    if (data[at] !== 0 && !marks.has(at)) {
      throw new Error(`a byte at ${at} that was not sent`);
    }
  }
}

/** A file without a name. */
function openFile(ctx: IoContext): Promise<number> {
  return asyncOpen(ctx, FOLDER, O_TMPFILE | O_RDWR, 0o600).orThrow();
}

function largeTest(
  name: string,
  body: (ctx: IoContext) => Promise<void>,
): void {
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const why = isLarge
    ? ""
    : ` (skipped: needs ${gib(BYTES_NEEDED)} of memory and ${
      gib(LENGTH)
    } in ${FOLDER}, there are ${gib(memory)} and ${gib(room)})`;
  Deno.test({
    name: `${name} more than 4 GiB${why}`,
    ignore: !isLarge,
    async fn() {
      using ctx = new IoContext();
      await body(ctx);
      assertEquals(ctx.pending, 0);
    },
  });
}

largeTest("asyncSendExact() and asyncRecvExact() move", async (ctx) => {
  const [left, right] = unwrap(Socket.pair());
  const received = new Uint8Array(LENGTH);
  assertEquals(
    await Promise.all([
      asyncSendExact(ctx, left, marked()).orThrow(),
      asyncRecvExact(ctx, right, received).orThrow(),
    ]),
    [LENGTH, LENGTH],
  );
  assertMarked(received);
  await Promise.all([left.close(), right.close()]);
});

largeTest("asyncWriteExact() writes", async (ctx) => {
  const file = await openFile(ctx);
  assertEquals(
    await asyncWriteExact(ctx, file, marked()).orThrow(),
    LENGTH,
  );
  const byte = new Uint8Array(1);
  for (const [i, at] of PLACES.entries()) {
    await asyncRead(ctx, file, byte, at).orThrow();
    assertEquals(byte[0], i + 1, `at ${at}`);
  }
  await asyncClose(ctx, file).orThrow();
});

/** A file of that length that is mostly a hole. */
async function markedFile(ctx: IoContext): Promise<number> {
  const file = await openFile(ctx);
  await asyncFtruncate(ctx, file, LENGTH).orThrow();
  for (const [i, at] of PLACES.entries()) {
    await asyncWrite(ctx, file, new Uint8Array([i + 1]), at).orThrow();
  }
  return file;
}

largeTest("asyncReadExact() reads", async (ctx) => {
  const file = await markedFile(ctx);
  const data = new Uint8Array(LENGTH);
  assertEquals(await asyncReadExact(ctx, file, data).orThrow(), LENGTH);
  assertMarked(data);
  await asyncClose(ctx, file).orThrow();
});

largeTest("asyncSendfile() sends", async (ctx) => {
  const file = await markedFile(ctx);
  const [left, right] = unwrap(Socket.pair());
  const received = new Uint8Array(LENGTH);
  assertEquals(
    await Promise.all([
      asyncSendfile(ctx, left, file, 0, LENGTH).orThrow(),
      asyncRecvExact(ctx, right, received).orThrow(),
    ]),
    [LENGTH, LENGTH],
  );
  assertMarked(received);
  await Promise.all([left.close(), right.close()]);
  await asyncClose(ctx, file).orThrow();
});
