import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncOpen,
  asyncPipe,
  asyncReadMultishot,
  asyncRecvExact,
  asyncUnlink,
  asyncWrite,
  asyncWriteExact,
  type BufferLease,
  BufferPool,
  type IoContext,
  link,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  type UringStream,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  pattern,
  tempFile,
  text,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";
import { assertWhole, bytesOf, next } from "./leases.ts";
import { loadShim } from "../../ffi/load.ts";

const libc = Deno.dlopen("libc.so.6", {
  mkfifo: { parameters: ["buffer", "u32"], result: "i32" },
  unlockpt: { parameters: ["i32"], result: "i32" },
  ptsname_r: { parameters: ["i32", "buffer", "usize"], result: "i32" },
});

const O_NOCTTY = 0o400;

/** Closes fds at the end of a test. */
function closing(ctx: IoContext, ...fds: number[]): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      for (const fd of fds) value(await asyncClose(ctx, fd));
    },
  };
}

/** Writes all, then closes the end of the pipe. */
async function writeAll(ctx: IoContext, fd: number, data: Uint8Array) {
  value(await asyncWriteExact(ctx, fd, data));
  value(await asyncClose(ctx, fd));
}

async function openPipe(ctx: IoContext, nonblocking: boolean) {
  const pipe = value(await asyncPipe(ctx));
  loadShim().kio_nonblocking_set(pipe.readFd, nonblocking);
  return pipe;
}

// ---- pipes ----------------------------------------------------------------------

for (const nonblocking of [false, true]) {
  const kind = nonblocking ? "a pipe with O_NONBLOCK" : "a pipe";
  for (
    const [count, size, leasesMax] of [[4, 64, 4], [8, 1000, 1], [3, 7, 2], [
      256,
      4096,
      128,
    ]] as const
  ) {
    kioTest(
      `asyncReadMultishot() gives all bytes in order: ${kind}, ${leasesMax} of ${count} buffers of ${size}`,
      async (ctx) => {
        const { readFd, writeFd } = await openPipe(ctx, nonblocking);
        await using _ = closing(ctx, readFd);
        using pool = new BufferPool(ctx, { count, size });
        const data = pattern(size * 70 + 3);
        const stream = asyncReadMultishot(ctx, readFd, pool, { leasesMax });
        const [{ all, code }] = await Promise.all([
          bytesOf(stream),
          writeAll(ctx, writeFd, data),
        ]);
        assertEquals([code, all.length], ["", data.length]);
        assertEquals(all, data);
        assertWhole(pool);
        assertEquals(ctx.pending, 0);
      },
    );
  }

  kioTest(
    `asyncReadMultishot() sees an end right behind data: ${kind}`,
    async (ctx) => {
      using pool = new BufferPool(ctx, { count: 4, size: 64 });
      for (let i = 0; i < 100; i++) {
        const { readFd, writeFd } = await openPipe(ctx, nonblocking);
        await using _ = closing(ctx, readFd);
        const stream = asyncReadMultishot(ctx, readFd, pool);
        if (i % 2 === 0) await turn();
        const written = asyncWrite(ctx, writeFd, bytes("x"));
        const closed = asyncClose(ctx, writeFd);
        const { all, code } = await within(2000, bytesOf(stream), "the end");
        assertEquals([text(all), code], ["x", ""]);
        value(await written);
        value(await closed);
      }
      assertWhole(pool);
    },
  );
}

kioTest("asyncReadMultishot() needs one operation for many", async (ctx) => {
  if (ctx.capabilities.features.readMultishot.support !== "native") return;
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  await using _ = closing(ctx, readFd, writeFd);
  using pool = new BufferPool(ctx, { count: 32, size: 64 });
  await using stream = asyncReadMultishot(ctx, readFd, pool);
  await turn();
  const before = ctx.stats().submissions;
  for (let i = 0; i < 80; i++) {
    value(await asyncWrite(ctx, writeFd, bytes("a")));
    assertEquals(text((await next(stream)).bytes), "a");
  }
  const count = ctx.stats().submissions - before;
  // Single shots would make 160 of it, besides those of the driver.
  assert(count < 150, `${count} submissions`);
});

kioTest("asyncReadMultishot() waits for a buffer, in order", async (ctx) => {
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  await using _ = closing(ctx, readFd);
  using pool = new BufferPool(ctx, { count: 2, size: 4 });
  const stream = asyncReadMultishot(ctx, readFd, pool, { leasesMax: 2 });
  const written = writeAll(ctx, writeFd, pattern(40));
  const kept = [(await next(stream)).keep(), (await next(stream)).keep()];
  await turn(5);
  assertEquals([pool.stats().free, stream.take()], [0, undefined]);
  const before = ctx.stats().submissions;
  await turn(30);
  assert(ctx.stats().submissions - before < 5, "it spins");
  const parts = kept.flatMap((it) => [...it.bytes]);
  for (const it of kept) it.release();
  const { all, code } = await within(2000, bytesOf(stream), "the rest");
  assertEquals([[...parts, ...all], code], [[...pattern(40)], ""]);
  await written;
  assertWhole(pool);
});

kioTest("sendTo() sends what a pipe gives", async (ctx) => {
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  await using _ = closing(ctx, readFd);
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 4, size: 100 });
  const stream = asyncReadMultishot(ctx, readFd, pool, {
    onChunk: (chunk) => chunk.sendTo(pair.left),
  });
  const data = pattern(3000);
  const back = new Uint8Array(data.length);
  const [closed] = await Promise.all([
    stream.closed,
    writeAll(ctx, writeFd, data),
    asyncRecvExact(ctx, pair.right, back).orThrow(),
  ]);
  assertEquals([closed.ok, back], [true, data]);
  assertWhole(pool);
});

// ---- ends -----------------------------------------------------------------------

const LEAVING: Record<string, (stream: UringStream<BufferLease>) => unknown> = {
  "break": async (stream) => {
    for await (const result of stream) {
      value(result);
      break;
    }
  },
  "an exception": async (stream) => {
    await assertRejects(async () => {
      for await (const result of stream) {
        value(result);
        throw new Error("on purpose");
      }
    }, "on purpose");
  },
  "await using": (stream) => stream[Symbol.asyncDispose](),
  "cancel()": async (stream) => {
    stream.cancel();
    assertEquals((await bytesOf(stream)).code, "ECANCELED");
  },
  "a timeout": async (stream) => {
    stream.withTimeout(0);
    assertEquals((await bytesOf(stream)).code, "ETIMEDOUT");
  },
};

for (const [how, leave] of Object.entries(LEAVING)) {
  for (const turns of [0, 1, 3]) {
    kioTest(
      `asyncReadMultishot() that is left by ${how} after ${turns} turns gives every buffer back`,
      async (ctx) => {
        const { readFd, writeFd } = value(await asyncPipe(ctx));
        await using _ = closing(ctx, readFd, writeFd);
        using pool = new BufferPool(ctx, { count: 8, size: 16 });
        const stream = asyncReadMultishot(ctx, readFd, pool, { leasesMax: 8 });
        value(await asyncWrite(ctx, writeFd, pattern(16 * 6)));
        for (let i = 0; i < turns; i++) await turn();
        // Not taken over by the ring yet.
        const late = asyncWrite(ctx, writeFd, pattern(16 * 6));
        await within(2000, leave(stream), "the end");
        await late;
        assertEquals(ctx.pending, 0);
        assertEquals(stream.take(), undefined);
        assertWhole(pool);
      },
    );
  }
}

kioTest("asyncReadMultishot() tells of errors that end it", async (ctx) => {
  using pool = new BufferPool(ctx, { count: 8, size: 16 });
  const folder = value(await asyncOpen(ctx, "/", O_RDONLY));
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  await using _ = closing(ctx, folder, readFd, writeFd);
  for (
    const [fd, code] of [[4000, "EBADF"], [folder, "EISDIR"], [
      writeFd,
      "EBADF",
    ]] as const
  ) {
    // A poll of the wrong end of a pipe would wait for ever.
    if (fd === writeFd && !pool.stats().isNative) continue;
    assertEquals((await bytesOf(asyncReadMultishot(ctx, fd, pool))).code, code);
  }
  await assertRejects(
    async () => {
      for await (const _ of asyncReadMultishot(ctx, 4000, pool).orThrow());
    },
    Deno.errors.BadResource,
    "Cannot read (fd 4000): Bad file descriptor (EBADF)",
  );
  await pool.close();
  assertThrows(
    () => asyncReadMultishot(ctx, readFd, pool),
    TypeError,
    "Cannot read: the BufferPool is closed",
  );
  assertWhole(pool);
});

kioTest("asyncReadMultishot() cannot be a link", async (ctx) => {
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  await using _ = closing(ctx, readFd, writeFd);
  using pool = new BufferPool(ctx, { count: 8, size: 16 });
  assertThrows(
    () => link(ctx, () => asyncReadMultishot(ctx, readFd, pool) as never),
    TypeError,
    "Cannot read many times in link()",
  );
});

kioTest("asyncReadMultishot() sees the end of a named pipe", async (ctx) => {
  using pool = new BufferPool(ctx, { count: 4, size: 64 });
  const path = `/tmp/kio-fifo-${crypto.randomUUID()}`;
  assertEquals(libc.symbols.mkfifo(bytes(`${path}\0`), 0o600), 0);
  const readFd = value(await asyncOpen(ctx, path, O_RDONLY | O_NONBLOCK));
  await using _ = closing(ctx, readFd);
  loadShim().kio_nonblocking_set(readFd, false);
  const writeFd = value(await asyncOpen(ctx, path, O_WRONLY));
  value(await asyncUnlink(ctx, path));
  const stream = asyncReadMultishot(ctx, readFd, pool);
  value(await asyncWrite(ctx, writeFd, bytes("one")));
  assertEquals(text((await next(stream)).bytes), "one");
  await turn();
  value(await asyncClose(ctx, writeFd));
  const { all, code } = await within(2000, bytesOf(stream), "the end");
  assertEquals([all.length, code], [0, ""]);
  assertWhole(pool);
});

// ---- other files ------------------------------------------------------------------

kioTest("asyncReadMultishot() reads a file from its position", async (ctx) => {
  await using file = await tempFile(ctx);
  const data = pattern(1000);
  value(await asyncWriteExact(ctx, file, data));
  const path = `/proc/self/fd/${file.fd}`;
  for (const [from, size] of [[0, 64], [0, 1000], [990, 64], [0, 3]] as const) {
    const fd = value(await asyncOpen(ctx, path, O_RDONLY));
    await using _ = closing(ctx, fd);
    // Few buffers: it has to go on where it was.
    using pool = new BufferPool(ctx, { count: 2, size });
    if (from > 0) {
      using skipped = new BufferPool(ctx, { count: 1, size: from });
      await using first = asyncReadMultishot(ctx, fd, skipped);
      assertEquals((await next(first)).length, from);
    }
    const { all, code } = await bytesOf(asyncReadMultishot(ctx, fd, pool));
    assertEquals([all, code], [data.subarray(from), ""]);
    assertWhole(pool);
  }
});

for (const path of ["/proc/self/maps", "/dev/null", "/proc/self/mounts"]) {
  kioTest(`asyncReadMultishot() comes to the end of ${path}`, async (ctx) => {
    const fd = value(await asyncOpen(ctx, path, O_RDONLY));
    await using _ = closing(ctx, fd);
    using pool = new BufferPool(ctx, { count: 2, size: 256 });
    const { all, code } = await within(
      10_000,
      bytesOf(asyncReadMultishot(ctx, fd, pool)),
      "the end",
    );
    assertEquals([all.length > 0, code], [path !== "/dev/null", ""]);
  });
}

/** A terminal: the end of its user, and that of a program. */
async function terminal(ctx: IoContext, flags: number) {
  const user = value(await asyncOpen(ctx, "/dev/ptmx", O_RDWR | O_NOCTTY));
  const name = new Uint8Array(64);
  assertEquals(libc.symbols.unlockpt(user), 0);
  assertEquals(libc.symbols.ptsname_r(user, name, BigInt(name.length)), 0);
  const path = text(name.subarray(0, name.indexOf(0)));
  const opened = asyncOpen(ctx, path, O_RDWR | O_NOCTTY | flags);
  return { user, program: value(await opened) };
}

for (const flags of [0, O_NONBLOCK]) {
  const kind = flags === 0 ? "a terminal" : "a terminal with O_NONBLOCK";

  kioTest(`asyncReadMultishot() reads lines of ${kind}`, async (ctx) => {
    const { user, program } = await terminal(ctx, flags);
    await using _ = closing(ctx, program, user);
    using pool = new BufferPool(ctx, { count: 4, size: 64 });
    const stream = asyncReadMultishot(ctx, program, pool);
    for (let i = 0; i < 20; i++) {
      value(await asyncWrite(ctx, user, bytes(`line ${i}\n`)));
      const line = await within(2000, next(stream), "a line");
      assertEquals(text(line.bytes), `line ${i}\n`);
    }
    await turn(10);
    const before = ctx.stats().submissions;
    await turn(100);
    assert(ctx.stats().submissions - before < 8, "it waits by the clock");
    // Ctrl-D
    value(await asyncWrite(ctx, user, bytes("\x04")));
    const { all, code } = await within(2000, bytesOf(stream), "the end");
    assertEquals([all.length, code], [0, ""]);
    assertWhole(pool);
  });

  kioTest(`asyncReadMultishot() can be left at ${kind}`, async (ctx) => {
    const { user, program } = await terminal(ctx, flags);
    await using _ = closing(ctx, program, user);
    using pool = new BufferPool(ctx, { count: 4, size: 64 });
    const stream = asyncReadMultishot(ctx, program, pool);
    await turn();
    value(await asyncWrite(ctx, user, bytes("one\n")));
    await next(stream);
    stream.cancel();
    assertEquals((await bytesOf(stream)).code, "ECANCELED");
    assertWhole(pool);
  });
}

kioTest("asyncReadMultishot() tells that a terminal is gone", async (ctx) => {
  const { user, program } = await terminal(ctx, 0);
  await using _ = closing(ctx, user);
  using pool = new BufferPool(ctx, { count: 4, size: 64 });
  const stream = asyncReadMultishot(ctx, user, pool);
  value(await asyncWrite(ctx, program, bytes("bye")));
  value(await asyncClose(ctx, program));
  const { all, code } = await within(2000, bytesOf(stream), "the end");
  assertEquals([text(all), code], ["bye", "EIO"]);
  assertCode(await stream.closed, "EIO");
  assertWhole(pool);
});
