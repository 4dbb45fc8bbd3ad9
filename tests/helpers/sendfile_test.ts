import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncFadvise,
  asyncFtruncate,
  asyncOpen,
  asyncPoll,
  asyncRead,
  asyncReadExact,
  asyncRecv,
  asyncRecvExact,
  asyncSend,
  asyncSendfile,
  asyncShutdown,
  asyncWriteExact,
  CURRENT_POSITION,
  IoContext,
  link,
  O_DIRECT,
  O_RDONLY,
  O_WRONLY,
  POLLIN,
  POSIX_FADV_DONTNEED,
  type Result,
  SHUT_WR,
  type Socket,
  type UringOp,
} from "@kio/kio";
import { loadShim } from "../../ffi/load.ts";
import { pipePoolOf } from "../../helpers/pipe_pool.ts";
import { ringOf } from "../../lib/internal.ts";
import { SENDFILE } from "../../lib/ops/table.ts";
import {
  assertCode,
  bytes,
  kioTest,
  openFds,
  type Pair,
  pattern,
  randomOf,
  statusOf,
  tcpPair,
  type TempFile,
  tempFile,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";

/** More than a socket and a pipe hold together. */
const LARGE = 24 << 20;
const DATA = pattern(LARGE);

type FileOf = (
  ctx: IoContext,
  data: Uint8Array<ArrayBuffer>,
) => Promise<TempFile>;

const fileIn = (folder: string): FileOf => async (ctx, data) => {
  const file = await tempFile(ctx, undefined, 0, folder);
  value(await asyncWriteExact(ctx, file, data));
  return file;
};

/** A file in the page cache: calls of the shim send it. */
const fileOf = fileIn("/tmp");

/** A file that always goes through the ring: tmpfs has no reads that do not
 * wait. */
const ringFileOf = fileIn("/dev/shm");

/** A test of both ways. */
function bothWays(
  name: string,
  run: (ctx: IoContext, fileOf: FileOf) => Promise<void>,
  entries = 64,
): void {
  kioTest(`${name}, at once`, (ctx) => run(ctx, fileOf), { entries });
  kioTest(`${name}, by the ring`, (ctx) => run(ctx, ringFileOf), { entries });
}

function movedOf(result: Result<number>): number {
  return result.ok ? -1 : result.error.bytesTransferred!;
}

/** All that comes until the peer closes. */
async function received(ctx: IoContext, socket: Socket): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (;;) {
    const buffer = new Uint8Array(1 << 20);
    const count = value(await asyncRecv(ctx, socket, buffer));
    if (count === 0) break;
    parts.push(buffer.subarray(0, count));
  }
  const all = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Pipes that are open, in the pool or in use. */
function pipes(before: readonly number[]): number {
  return openFds().filter((fd) => !before.includes(fd)).length / 2;
}

/** Closes the pipes of the pool: a test leaves no fd behind. */
function emptyPool(ctx: IoContext): void {
  pipePoolOf(ringOf(ctx, SENDFILE), 65536).close();
}

const KINDS: [kind: string, open: (ctx: IoContext) => Promise<Pair>][] = [
  ["TCP", tcpPair],
  ["unix", () => Promise.resolve(unixPair())],
];

for (const [kind, open] of KINDS) {
  bothWays(
    `asyncSendfile() sends all of a file, ${kind}`,
    async (ctx, fileOf) => {
      using pair = await open(ctx);
      await using file = await fileOf(ctx, DATA);
      const buffer = new Uint8Array(LARGE);
      const [sent, got] = await Promise.all([
        asyncSendfile(ctx, pair.left, file, 0, LARGE),
        asyncRecvExact(ctx, pair.right, buffer),
      ]);
      assertEquals([value(sent), value(got)], [LARGE, LARGE]);
      assert(buffer.every((byte, i) => byte === DATA[i]));
      emptyPool(ctx);
    },
  );
}

bothWays(
  "asyncSendfile() sends parts of any length and place",
  async (ctx, fileOf) => {
    using pair = unixPair();
    const data = pattern(1 << 20, 3);
    await using file = await fileOf(ctx, data);
    const random = randomOf(17);
    const lengths = [1, 4095, 4096, 4097, 65536, 65537, 300_000];
    for (const length of lengths) {
      const at = random(data.length - length);
      const buffer = new Uint8Array(length);
      const [sent, got] = await Promise.all([
        asyncSendfile(ctx, pair.left, file, at, length),
        asyncRecvExact(ctx, pair.right, buffer),
      ]);
      assertEquals([value(sent), value(got)], [length, length]);
      assertEquals(buffer, data.subarray(at, at + length));
    }
    assertEquals(value(await asyncSendfile(ctx, pair.left, file, 7, 0)), 0);
    emptyPool(ctx);
  },
);

kioTest("asyncSendfile() sends to a pipe", async (ctx) => {
  const data = pattern(1 << 20, 4);
  await using file = await fileOf(ctx, data);
  const fds = new Int32Array(2);
  assertEquals(loadShim().kio_pipe(fds, 4096), 4096);
  const sending = asyncSendfile(ctx, fds[1]!, file, 0, data.length);
  const buffer = new Uint8Array(data.length);
  for (let at = 0; at < data.length;) {
    value(await asyncPoll(ctx, fds[0]!, POLLIN));
    const piece = buffer.subarray(at, at + 5000);
    at += value(await asyncRead(ctx, fds[0]!, piece, CURRENT_POSITION));
  }
  assertEquals(value(await sending), data.length);
  assertEquals(buffer, data);
  for (const fd of fds) value(await asyncClose(ctx, fd));
  emptyPool(ctx);
});

kioTest("asyncSendfile() uses a pipe again", async (ctx) => {
  using pair = unixPair();
  await using file = await ringFileOf(ctx, pattern(100));
  const before = openFds();
  for (let i = 0; i < 20; i++) {
    value(await asyncSendfile(ctx, pair.left, file, 0, 100));
  }
  assertEquals(pipes(before), 1);
  emptyPool(ctx);
  assertEquals(pipes(before), 0);
});

kioTest("asyncSendfile() keeps no more than 16 pipes", async (ctx) => {
  await using file = await ringFileOf(ctx, pattern(1 << 20));
  const before = openFds();
  const pairs = Array.from({ length: 40 }, () => unixPair());
  const inside = openFds();
  const sends = pairs.map(({ left }) =>
    asyncSendfile(ctx, left, file, 0, 1 << 20)
  );
  await turn(5);
  assertEquals(pipes(inside), 40);
  await Promise.all(
    pairs.map(({ right }) =>
      asyncRecvExact(ctx, right, new Uint8Array(1 << 20))
    ),
  );
  for (const sent of sends) assertEquals(value(await sent), 1 << 20);
  assertEquals(pipes(inside), 16);
  for (const pair of pairs) pair[Symbol.dispose]();
  emptyPool(ctx);
  assertEquals(pipes(before), 0);
});

bothWays(
  "asyncSendfile() gives ENODATA at the end of the file",
  async (ctx, fileOf) => {
    using pair = unixPair();
    await using file = await fileOf(ctx, pattern(1000));
    const sent = await asyncSendfile(ctx, pair.left, file, 400, 1000);
    assertCode(sent, "ENODATA");
    assertEquals(movedOf(sent), 600);
    const beyond = await asyncSendfile(ctx, pair.left, file, 5000, 1);
    assertCode(beyond, "ENODATA");
    assertEquals(movedOf(beyond), 0);
    emptyPool(ctx);
  },
);

bothWays(
  "asyncSendfile() of a file that shrinks gives ENODATA",
  async (ctx, fileOf) => {
    using pair = unixPair();
    await using file = await fileOf(ctx, DATA);
    const sending = asyncSendfile(ctx, pair.left, file, 0, LARGE);
    await turn(20);
    value(await asyncFtruncate(ctx, file, 100));
    const receiving = received(ctx, pair.right);
    const sent = await sending;
    assertCode(sent, "ENODATA");
    await pair.left.close();
    const got = await receiving;
    assertEquals(got.length, movedOf(sent));
    emptyPool(ctx);
  },
);

bothWays(
  "asyncSendfile() to a peer that is gone gives EPIPE",
  async (ctx, fileOf) => {
    for (const open of [tcpPair, () => Promise.resolve(unixPair())]) {
      using pair = await open(ctx);
      await using file = await fileOf(ctx, DATA);
      const sending = asyncSendfile(ctx, pair.left, file, 0, LARGE);
      value(await asyncPoll(ctx, pair.right, POLLIN));
      await pair.right.close();
      const sent = await sending;
      assertCode(sent, "EPIPE", "ECONNRESET");
      assert(movedOf(sent) > 0);
    }
    emptyPool(ctx);
  },
);

bothWays(
  "asyncSendfile() that is given up leaves no byte to the next",
  async (ctx, fileOf) => {
    const secret = new Uint8Array(LARGE).fill(0xee);
    const open = new Uint8Array(LARGE).fill(0x11);
    await using secretFile = await fileOf(ctx, secret);
    await using openFile = await fileOf(ctx, open);
    const random = randomOf(23);
    for (let round = 0; round < 12; round++) {
      using victim = unixPair();
      const abort = new AbortController();
      const sending = asyncSendfile(ctx, victim.left, secretFile, 0, LARGE, {
        signal: abort.signal,
        timeoutMs: round % 3 === 0 ? random(10) : 60_000,
      });
      await turn(random(15));
      if (round % 3 === 1) abort.abort();
      if (round % 3 === 2) await victim.right.close();
      const sent = await sending;
      assertCode(sent, "ETIMEDOUT", "ECANCELED", "EPIPE", "ECONNRESET");

      using next = unixPair();
      const buffer = new Uint8Array(1 << 20);
      const [result, got] = await Promise.all([
        asyncSendfile(ctx, next.left, openFile, 0, buffer.length),
        asyncRecvExact(ctx, next.right, buffer),
      ]);
      assertEquals([value(result), value(got)], [buffer.length, buffer.length]);
      assert(buffer.every((byte) => byte === 0x11), "foreign bytes");
    }
    emptyPool(ctx);
  },
);

bothWays(
  "asyncSendfile() sends what it says, up to a timeout",
  async (ctx, fileOf) => {
    using pair = await tcpPair(ctx);
    await using file = await fileOf(ctx, DATA);
    const sent = await asyncSendfile(ctx, pair.left, file, 0, LARGE, {
      timeoutMs: 50,
    });
    assertCode(sent, "ETIMEDOUT");
    const moved = movedOf(sent);
    assert(moved > 0 && moved < LARGE);
    const receiving = received(ctx, pair.right);
    await pair.left.close();
    const got = await receiving;
    assertEquals(got.length, moved);
    assert(got.every((byte, i) => byte === DATA[i]));
    emptyPool(ctx);
  },
);

for (const [kind, open] of KINDS) {
  bothWays(
    `asyncSendfile() sleeps while a peer that only receives is slow, ${kind}`,
    async (ctx, fileOf) => {
      using pair = await open(ctx);
      await using file = await fileOf(ctx, DATA);
      value(await asyncShutdown(ctx, pair.right, SHUT_WR));
      const sending = asyncSendfile(ctx, pair.left, file, 0, LARGE);
      // Some time until the socket is full, on a slow machine more.
      let entries = Infinity;
      for (let i = 0; i < 40 && entries > 0; i++) {
        const before = ctx.stats().kernelEntries;
        // More than two pauses, if it waited by the clock.
        await turn(150);
        entries = ctx.stats().kernelEntries - before;
      }
      assertEquals(entries, 0, "entries while nothing can be sent");
      const buffer = new Uint8Array(LARGE);
      value(await asyncRecvExact(ctx, pair.right, buffer));
      assertEquals(value(await sending), LARGE);
      assert(buffer.every((byte, i) => byte === DATA[i]));
      emptyPool(ctx);
    },
  );
}

kioTest(
  "asyncSendfile() goes from the ring to the page cache and back in order",
  async (ctx) => {
    using pair = unixPair();
    // What is written past the page cache is not in it.
    await using written = await tempFile(ctx, undefined, O_DIRECT);
    const data = ctx.allocate(LARGE);
    data.set(DATA);
    value(await asyncWriteExact(ctx, written, data));
    const path = `/proc/self/fd/${written.fd}`;
    const file = value(await asyncOpen(ctx, path, O_RDONLY));
    const start = 1 << 16;
    value(await asyncReadExact(ctx, file, data.subarray(start), start));
    const half = LARGE / 2;
    const sending = asyncSendfile(ctx, pair.left, file, 0, LARGE);
    // Until the socket is full, and some is left in the pipe.
    await turn(20);
    const buffer = new Uint8Array(LARGE);
    const random = randomOf(5);
    for (let at = 0; at < LARGE;) {
      const piece = buffer.subarray(at, at + 1 + random(400_000));
      at += value(await asyncRecv(ctx, pair.right, piece));
      if (random(8) === 0) {
        value(await asyncFadvise(ctx, file, 0, half, POSIX_FADV_DONTNEED));
      }
    }
    assertEquals(value(await sending), LARGE);
    assert(buffer.every((byte, i) => byte === DATA[i]));
    value(await asyncClose(ctx, file));
    emptyPool(ctx);
  },
);

bothWays(
  "asyncSendfile() ends when its socket is closed",
  async (ctx, fileOf) => {
    using pair = unixPair();
    await using file = await fileOf(ctx, DATA);
    const sending = asyncSendfile(ctx, pair.left, file, 0, LARGE);
    await turn(20);
    await pair.left.close();
    assertCode(await sending, "ECANCELED", "EPIPE");
    emptyPool(ctx);
  },
);

bothWays(
  "asyncSendfile() that is cancelled at once sends nothing",
  async (ctx, fileOf) => {
    using pair = unixPair();
    await using file = await fileOf(ctx, pattern(100));
    const sending = asyncSendfile(ctx, pair.left, file, 0, 100);
    sending.cancel();
    const sent = await sending;
    assertCode(sent, "ECANCELED");
    assertEquals(movedOf(sent), 0);
    const aborted = AbortSignal.abort();
    assertCode(
      await asyncSendfile(ctx, pair.left, file, 0, 100, { signal: aborted }),
      "ECANCELED",
    );
    value(await asyncSend(ctx, pair.left, bytes("x")));
    assertEquals(value(await asyncRecv(ctx, pair.right, new Uint8Array(9))), 1);
    emptyPool(ctx);
  },
);

for (const [kind, open] of KINDS) {
  bothWays(
    `asyncSendfile() sends a head before the file, ${kind}`,
    async (ctx, fileOf) => {
      using pair = await open(ctx);
      const data = pattern(3 << 20, 8);
      await using file = await fileOf(ctx, data);
      // The longest fits into no socket; behind some of them comes no file.
      for (const headLength of [1, 300, 7 << 20]) {
        for (const length of [0, 1, 100_000, 2 << 20]) {
          const head = pattern(headLength, 9);
          const buffer = new Uint8Array(headLength + length);
          const [sent, got] = await Promise.all([
            asyncSendfile(ctx, pair.left, file, 77, length, { head }),
            asyncRecvExact(ctx, pair.right, buffer),
          ]);
          assertEquals([value(sent), value(got)], [
            buffer.length,
            buffer.length,
          ]);
          const isSame = (byte: number, i: number) =>
            byte === (i < headLength ? head[i] : data[77 + i - headLength]);
          assert(buffer.every(isSame), `${headLength} and ${length} bytes`);
        }
      }
      emptyPool(ctx);
    },
  );
}

bothWays(
  "asyncSendfile() with a head tells what the socket has taken",
  async (ctx, fileOf) => {
    await using file = await fileOf(ctx, pattern(1000));
    const head = pattern(LARGE, 2);
    for (const timeoutMs of [30, 0]) {
      using pair = await tcpPair(ctx);
      const options = { head, timeoutMs };
      const sent = await asyncSendfile(ctx, pair.left, file, 0, 1000, options);
      assertCode(sent, "ETIMEDOUT");
      const receiving = received(ctx, pair.right);
      await pair.left.close();
      const got = await receiving;
      assertEquals(got.length, movedOf(sent));
      assert(got.length < LARGE);
      assert(got.every((byte, i) => byte === head[i]));
    }
    using pair = unixPair();
    const short = { head: bytes("head") };
    const beyond = await asyncSendfile(ctx, pair.left, file, 900, 101, short);
    assertCode(beyond, "ENODATA");
    assertEquals(movedOf(beyond), 104);
    const cancelled = asyncSendfile(ctx, pair.left, file, 0, 100, short);
    cancelled.cancel();
    assertEquals(movedOf(await cancelled), 0);
    await pair.right.close();
    const broken = await asyncSendfile(ctx, pair.left, file, 0, 1, short);
    assertCode(broken, "EPIPE", "ECONNRESET");
    assertEquals(movedOf(broken), 0);
    emptyPool(ctx);
  },
);

kioTest("asyncSendfile() of a head to a pipe gives ENOTSOCK", async (ctx) => {
  await using file = await fileOf(ctx, pattern(100));
  const fds = new Int32Array(2);
  assert(loadShim().kio_pipe(fds, 4096) > 0);
  const options = { head: bytes("head") };
  const sent = await asyncSendfile(ctx, fds[1]!, file, 0, 100, options);
  assertCode(sent, "ENOTSOCK");
  assertEquals(movedOf(sent), 0);
  for (const fd of fds) value(await asyncClose(ctx, fd));
});

kioTest(
  "asyncSendfile() of a head needs a context that may send",
  async (ctx) => {
    await using file = await fileOf(ctx, pattern(100));
    using pair = unixPair();
    using splicing = new IoContext({ allow: ["splice"] });
    const options = { head: bytes("head") };
    const { left } = pair;
    const sent = await asyncSendfile(splicing, left, file, 0, 100, options);
    assertCode(sent, "EACCES");
    assertEquals(movedOf(sent), 0);
  },
);

kioTest(
  "asyncSendfile() with a timeout of 0 sends what goes at once",
  async (ctx) => {
    using pair = unixPair();
    await using file = await fileOf(ctx, pattern(100));
    const timeoutMs = 0;
    const sent = asyncSendfile(ctx, pair.left, file, 0, 100, { timeoutMs });
    assertEquals(value(await sent), 100);
    const late = asyncSendfile(ctx, pair.left, file, 0, 100).withTimeout(0);
    assertEquals(value(await late), 100);
  },
);

kioTest(
  "asyncSendfile() comes after sends that were started before",
  async (ctx) => {
    await using file = await fileOf(ctx, bytes("file"));
    for (let i = 0; i < 3; i++) {
      using pair = unixPair();
      const sends = [
        asyncSend(ctx, pair.left, bytes("head ")),
        asyncSendfile(ctx, pair.left, file, 0, 4),
      ];
      for (const sent of sends) value(await sent);
      const buffer = new Uint8Array(9);
      value(await asyncRecvExact(ctx, pair.right, buffer));
      assertEquals(buffer, bytes("head file"));
    }
  },
);

bothWays(
  "asyncSendfile() to 500 stalled readers holds few threads",
  async (ctx, fileOf) => {
    await using file = await fileOf(ctx, pattern(4 << 20));
    // Not unix streams: Linux before 6.5 splices into those without end.
    const pairs: Pair[] = [];
    for (let i = 0; i < 500; i++) {
      pairs.push(await tcpPair(ctx));
      value(pairs[i]!.left.setSendBuffer(65536));
    }
    // As those are that were accepted.
    for (const { left } of pairs) value(left.setNonBlocking(false));
    const threads = await statusOf("Threads");
    const sends = pairs.map(({ left }) =>
      asyncSendfile(ctx, left, file, 0, 4 << 20)
    );
    // All of them have sent what their peer holds.
    const polls = pairs.map(({ right }) => asyncPoll(ctx, right, POLLIN));
    await within(20_000, Promise.all(polls), "the first bytes of each");
    // Threads that hold what does not go on come a little later.
    for (let before = -1; before !== ctx.stats().submissions;) {
      before = ctx.stats().submissions;
      await turn(50);
    }
    // Those that have moved the first bytes linger for some seconds.
    const more = await statusOf("Threads") - threads;
    assert(more <= 8, `${more} more threads`);
    // Others are served as before.
    using pair = unixPair();
    const buffer = new Uint8Array(1000);
    const [sent] = await Promise.all([
      asyncSendfile(ctx, pair.left, file, 0, 1000),
      asyncRecvExact(ctx, pair.right, buffer),
    ]);
    assertEquals(value(sent), 1000);
    await Promise.all(pairs.map(({ right }) => right.close()));
    for (const stalled of sends) {
      assertCode(await stalled, "EPIPE", "ECONNRESET");
    }
    await Promise.all(pairs.map(({ left }) => left.close()));
    emptyPool(ctx);
  },
  256,
);

kioTest("asyncSendfile() pending when its context is closed", async () => {
  for (const how of ["dispose", "asyncDispose"]) {
    for (const fileOf of [fileIn("/tmp"), ringFileOf]) {
      using pair = unixPair();
      const outer = new IoContext(16);
      const file = await fileOf(outer, DATA);
      const ctx = new IoContext(16);
      const sending = asyncSendfile(ctx, pair.left, file, 0, LARGE);
      await turn(20);
      if (how === "dispose") ctx[Symbol.dispose]();
      else await ctx[Symbol.asyncDispose]();
      assertCode(await sending, "ECANCELED");
      await file[Symbol.asyncDispose]();
      outer[Symbol.dispose]();
    }
  }
});

kioTest("asyncSendfile() closes its pipes with its context", async () => {
  using pair = unixPair();
  const before = openFds();
  const ctx = new IoContext(16);
  const file = await ringFileOf(ctx, pattern(100));
  value(await asyncSendfile(ctx, pair.left, file, 0, 100));
  await file[Symbol.asyncDispose]();
  ctx[Symbol.dispose]();
  await turn(5);
  assertEquals(openFds(), before);
});

for (const entries of [1, 2, 4]) {
  bothWays(
    `asyncSendfile() with a queue of ${entries}`,
    async (ctx, fileOf) => {
      using pair = unixPair();
      const data = pattern(3 << 20, entries);
      await using file = await fileOf(ctx, data);
      const buffer = new Uint8Array(data.length);
      const [sent, got] = await Promise.all([
        asyncSendfile(ctx, pair.left, file, 0, data.length),
        asyncRecvExact(ctx, pair.right, buffer),
      ]);
      assertEquals([value(sent), value(got)], [data.length, data.length]);
      assertEquals(buffer, data);
      emptyPool(ctx);
    },
    entries,
  );
}

/** Starts to send 128 KiB to each of some sockets, which have room for it. */
async function startMany(
  ctx: IoContext,
  count: number,
  run: (sends: UringOp<number>[], pairs: Pair[]) => Promise<void>,
): Promise<void> {
  const size = 1 << 17;
  await using file = await fileOf(ctx, pattern(size));
  const pairs = Array.from({ length: count }, () => unixPair());
  const sends = pairs.map(({ left }) =>
    asyncSendfile(ctx, left, file, 0, size)
  );
  await run(sends, pairs);
  for (const pair of pairs) pair[Symbol.dispose]();
  emptyPool(ctx);
}

kioTest(
  "asyncSendfile() of many files sends 1 MiB a step, in order",
  (ctx) =>
    startMany(ctx, 40, async (sends) => {
      const ring = ringOf(ctx, SENDFILE);
      const step = ring.step.bind(ring);
      let steps = 0;
      ring.step = (...args) => (steps++, step(...args));
      const ended: number[] = [];
      const perStep = new Map<number, number>();
      await Promise.all(sends.map(async (send, i) => {
        value(await send);
        perStep.set(steps, (perStep.get(steps) ?? 0) + 1);
        ended.push(i);
      }));
      assertEquals(ended, sends.map((_, i) => i));
      assertEquals([...perStep.values()], [8, 8, 8, 8, 8]);
    }),
);

kioTest(
  "asyncSendfile() that waits for its turn can be given up",
  (ctx) =>
    startMany(ctx, 40, async (sends, pairs) => {
      const hurried = sends[38]!.withTimeout(60_000);
      value(await sends[0]!);
      sends[39]!.cancel();
      hurried.withTimeout(0);
      await pairs[37]!.left.close();
      for (const i of [37, 38, 39]) {
        const sent = await sends[i]!;
        assertCode(sent, i === 38 ? "ETIMEDOUT" : "ECANCELED");
        assertEquals(movedOf(sent), 0);
      }
      for (const send of sends.slice(0, 37)) value(await send);
    }),
);

bothWays(
  "asyncSendfile() of 100 files at a time mixes nothing",
  async (ctx, fileOf) => {
    const sends = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const data = pattern(200_000 + i, i);
        const file = await fileOf(ctx, data);
        const pair = unixPair();
        const buffer = new Uint8Array(data.length);
        const [sent, got] = await Promise.all([
          asyncSendfile(ctx, pair.left, file, 0, data.length),
          asyncRecvExact(ctx, pair.right, buffer),
        ]);
        pair[Symbol.dispose]();
        await file[Symbol.asyncDispose]();
        return { sent, got, isSame: buffer.every((b, at) => b === data[at]) };
      }),
    );
    for (const { sent, got, isSame } of sends) {
      assert(value(sent) === value(got) && isSame);
    }
    emptyPool(ctx);
  },
);

kioTest("asyncSendfile() gives errors of what cannot be sent", async (ctx) => {
  using pair = unixPair();
  await using file = await fileOf(ctx, pattern(100));
  const folder = value(await asyncOpen(ctx, "/tmp", O_RDONLY));
  const writeOnly = value(await asyncOpen(ctx, "/dev/null", O_WRONLY));
  const cases: [number | Socket, number | TempFile, string][] = [
    [pair.left, folder, "EINVAL"],
    [pair.left, writeOnly, "EBADF"],
    [pair.left, 4000, "EBADF"],
    [4000, file, "EBADF"],
  ];
  for (const [to, from, code] of cases) {
    const sent = await asyncSendfile(ctx, to, from, 0, 10);
    assertCode(sent, code, "EISDIR");
    assertEquals(movedOf(sent), 0);
  }
  for (const fd of [folder, writeOnly]) value(await asyncClose(ctx, fd));
  emptyPool(ctx);
});

kioTest("asyncSendfile() refuses what makes no sense", async (ctx) => {
  using pair = unixPair();
  await using file = await fileOf(ctx, pattern(100));
  const before = openFds();
  // deno-lint-ignore no-explicit-any
  const bad = (value: unknown) => value as any;
  const { left } = pair;
  const calls: [() => unknown, ErrorConstructor][] = [
    [() => asyncSendfile(bad({}), left, file, 0, 1), TypeError],
    [() => asyncSendfile(ctx, -1, file, 0, 1), RangeError],
    [() => asyncSendfile(ctx, left, 1.5, 0, 1), RangeError],
    [() => asyncSendfile(ctx, left, file, -1, 1), RangeError],
    [() => asyncSendfile(ctx, left, file, 0, -1), RangeError],
    [() => asyncSendfile(ctx, left, file, 0, NaN), RangeError],
    [() => asyncSendfile(ctx, left, file, 2 ** 53 - 1, 1), RangeError],
    [() => asyncSendfile(ctx, left, file, bad(0n), 1), RangeError],
    [() => asyncSendfile(ctx, left, file, 0, 1, { timeoutMs: -1 }), RangeError],
    [() => asyncSendfile(ctx, left, file, 0, 1, bad(7)), TypeError],
    [
      () => asyncSendfile(ctx, left, file, 0, 1, { head: bad("head") }),
      TypeError,
    ],
    [
      () => asyncSendfile(ctx, left, file, 0, 1, { head: bytes("") }),
      RangeError,
    ],
    [
      () =>
        asyncSendfile(ctx, left, file, 0, 1, { head: bad(new Int16Array(2)) }),
      TypeError,
    ],
    [
      () => link(ctx, () => asyncSendfile(ctx, left, file, 0, 1)),
      TypeError,
    ],
  ];
  for (const [call, error] of calls) assertThrows(call, error, "Cannot ");
  assertEquals([ctx.pending, openFds()], [0, before]);
  const closed = new IoContext(4);
  closed[Symbol.dispose]();
  assertThrows(() => asyncSendfile(closed, left, file, 0, 1), TypeError);
});
