import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncOpen,
  asyncRead,
  asyncRecv,
  asyncSend,
  asyncSplice,
  asyncWrite,
  CURRENT_POSITION,
  IoContext,
  link,
  O_WRONLY,
  Socket,
  SPLICE_F_MORE,
  SPLICE_F_MOVE,
  SPLICE_F_NONBLOCK,
  type SpliceOptions,
  unwrap,
  type UringOp,
} from "@kio/kio";
import { loadShim } from "../../ffi/load.ts";
import {
  assertCode,
  bytes,
  contentOf,
  isOpen,
  kioTest,
  pattern,
  statusOf,
  tcpPair,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

const NO_FD = 4000;
const PIPE_SIZE = 65536;

/** A pipe, closed at the end of its block. */
class Pipe implements Disposable {
  readEnd: number;
  writeEnd: number;
  readonly size: number;

  /** A pipe whose ends wait holds a splice as long as there is nothing to do. */
  constructor({ waits = false } = {}) {
    const fds = new Int32Array(2);
    this.size = loadShim().kio_pipe(fds, PIPE_SIZE);
    assert(this.size > 0);
    [this.readEnd = -1, this.writeEnd = -1] = fds;
    for (const fd of fds) loadShim().kio_nonblocking_set(fd, !waits);
  }

  /** Reads all bytes of the pipe. */
  async drain(ctx: IoContext): Promise<Uint8Array> {
    const buffer = new Uint8Array(this.size);
    const result = await asyncRead(
      ctx,
      this.readEnd,
      buffer,
      CURRENT_POSITION,
    ).withTimeout(100);
    if (result.ok) return buffer.subarray(0, result.value);
    assertCode(result, "EAGAIN", "ETIMEDOUT");
    return buffer.subarray(0, 0);
  }

  closeReadEnd(): void {
    if (this.readEnd >= 0) loadShim().kio_fd_close(this.readEnd);
    this.readEnd = -1;
  }

  closeWriteEnd(): void {
    if (this.writeEnd >= 0) loadShim().kio_fd_close(this.writeEnd);
    this.writeEnd = -1;
  }

  [Symbol.dispose](): void {
    this.closeReadEnd();
    this.closeWriteEnd();
  }
}

/** Fills a socket whose peer reads nothing. */
async function fill(ctx: IoContext, socket: Socket): Promise<number> {
  const data = new Uint8Array(65536);
  for (let sum = 0;;) {
    const sent = await asyncSend(ctx, socket, data).withTimeout(20);
    if (!sent.ok) return sum;
    sum += sent.value;
  }
}

// ---- what it moves ------------------------------------------------------------------

kioTest("asyncSplice() moves bytes of a file through a pipe", async (ctx) => {
  const data = pattern(10_000);
  await using from = await tempFile(ctx, data);
  await using to = await tempFile(ctx);
  using pipe = new Pipe();
  const { readEnd, writeEnd } = pipe;
  const options = { fromOffset: 100, flags: SPLICE_F_MOVE | SPLICE_F_MORE };
  assertEquals(
    value(await asyncSplice(ctx, from, writeEnd, 5000, options)),
    5000,
  );
  assertEquals(
    value(await asyncSplice(ctx, readEnd, to, 5000, { toOffset: 3 })),
    5000,
  );
  const content = await contentOf(ctx, to);
  assertEquals(content.subarray(0, 3), new Uint8Array(3));
  assertEquals(content.subarray(3), data.subarray(100, 5100));
});

kioTest("asyncSplice() moves the position of a file", async (ctx) => {
  const data = pattern(1000);
  await using from = await tempFile(ctx, data);
  using pipe = new Pipe();
  // The writes used offsets, so the position is 0.
  for (const length of [300, 500, 999]) {
    value(await asyncSplice(ctx, from, pipe.writeEnd, length));
  }
  assertEquals(await pipe.drain(ctx), data);
  // With an offset it does not.
  const options = { fromOffset: 0 };
  value(await asyncSplice(ctx, from, pipe.writeEnd, 10, options));
  assertEquals(value(await asyncSplice(ctx, from, pipe.writeEnd, 10)), 0);
});

kioTest("asyncSplice() takes offsets above 4 GiB", async (ctx) => {
  await using file = await tempFile(ctx);
  const at = 2 ** 40 + 12345;
  value(await asyncWrite(ctx, file, bytes("abc"), at));
  using pipe = new Pipe();
  const { readEnd, writeEnd } = pipe;
  const options: SpliceOptions = { fromOffset: at };
  assertEquals(value(await asyncSplice(ctx, file, writeEnd, 9, options)), 3);
  const back = { toOffset: at + 3 };
  assertEquals(value(await asyncSplice(ctx, readEnd, file, 9, back)), 3);
  const buffer = new Uint8Array(9);
  assertEquals(value(await asyncRead(ctx, file, buffer, at)), 6);
  assertEquals(text(buffer), "abcabc\0\0\0");
});

kioTest("asyncSplice() gives 0 at the end of a file", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  using pipe = new Pipe();
  for (const fromOffset of [3, 4, 2 ** 40]) {
    const op = asyncSplice(ctx, file, pipe.writeEnd, 1, { fromOffset });
    assertEquals(value(await op), 0);
  }
});

kioTest("asyncSplice() gives 0 when all writers are gone", async (ctx) => {
  await using file = await tempFile(ctx);
  using pipe = new Pipe({ waits: true });
  const op = asyncSplice(ctx, pipe.readEnd, file, 10);
  await turn();
  pipe.closeWriteEnd();
  assertEquals(value(await op), 0);
});

kioTest("asyncSplice() moves no more than a pipe holds", async (ctx) => {
  await using file = await tempFile(ctx, pattern(3 * PIPE_SIZE));
  using pipe = new Pipe();
  const count = value(await asyncSplice(ctx, file, pipe.writeEnd, 0x7ffff000));
  assert(count > 0 && count <= pipe.size, `${count}`);
  assertCode(await asyncSplice(ctx, file, pipe.writeEnd, 1), "EAGAIN");
  assertEquals(await pipe.drain(ctx), pattern(count));
});

kioTest("asyncSplice() moves from pipe to pipe and to sockets", async (ctx) => {
  using first = new Pipe();
  using second = new Pipe();
  for (const pair of [unixPair(), await tcpPair(ctx)]) {
    using _ = pair;
    const { left, right } = pair;
    value(await asyncWrite(ctx, first.writeEnd, bytes("abcdef")));
    const { readEnd, writeEnd } = second;
    assertEquals(value(await asyncSplice(ctx, first.readEnd, writeEnd, 4)), 4);
    assertEquals(value(await asyncSplice(ctx, readEnd, left, 9)), 4);
    const buffer = new Uint8Array(9);
    assertEquals(value(await asyncRecv(ctx, right, buffer)), 4);
    assertEquals(text(buffer.subarray(0, 4)), "abcd");
    assertEquals(text(await first.drain(ctx)), "ef");
    // And back, from a socket.
    value(await asyncSend(ctx, right, bytes("xyz")));
    assertEquals(value(await asyncSplice(ctx, left, writeEnd, 9)), 3);
    assertEquals(text(await second.drain(ctx)), "xyz");
  }
});

kioTest("asyncSplice() waits for data where the pipe waits", async (ctx) => {
  await using file = await tempFile(ctx);
  using pipe = new Pipe({ waits: true });
  const op = asyncSplice(ctx, pipe.readEnd, file, 3);
  await turn(5);
  assertEquals(ctx.pending, 1);
  value(await asyncWrite(ctx, pipe.writeEnd, bytes("abc")));
  assertEquals(value(await op), 3);
  assertEquals(text(await contentOf(ctx, file)), "abc");
});

kioTest(
  "kernelWorkersMax bounds the threads that splices hold",
  async (outer) => {
    // Splices into a file would be done one after the other.
    const sink = value(await asyncOpen(outer, "/dev/null", O_WRONLY));
    const threadsOf = async (kernelWorkersMax: number, enough: number) => {
      using ctx = new IoContext({ kernelWorkersMax });
      const pipes: Pipe[] = [];
      const ops: ReturnType<typeof asyncSplice>[] = [];
      const splice = () => {
        const pipe = new Pipe({ waits: true });
        pipes.push(pipe);
        ops.push(asyncSplice(ctx, pipe.readEnd, sink, 1));
      };
      for (let i = 0; i < 40; i++) splice();
      let threads = 0;
      for (let i = 0; i < 100 && threads < enough; i++) {
        await turn(i < 5 ? 20 : 100);
        threads = Math.max(threads, await statusOf("Threads"));
        if (i < 5) continue;
        if (enough === Infinity) break;
        // The kernel gives up a thread whose start was interrupted three times.
        // The next operation makes it try again.
        splice();
      }
      await ctx.cancelAllPending();
      for (const op of ops) assertCode(await op, "ECANCELED");
      for (const pipe of pipes) pipe[Symbol.dispose]();
      return threads;
    };
    const before = await statusOf("Threads");
    const few = await threadsOf(3, Infinity);
    assert(few <= before + 3, `${few} threads, ${before} before`);
    // That they would be more is no matter of course.
    const many = await threadsOf(64, before + 30);
    assert(many >= before + 30, `${many} threads, ${before} before`);
    value(await asyncClose(outer, sink));
  },
);

kioTest("asyncSplice() goes in chains, a short one ends them", async (ctx) => {
  const data = pattern(5000);
  await using from = await tempFile(ctx, data);
  await using to = await tempFile(ctx);
  using pipe = new Pipe();
  const copy = (length: number) =>
    Promise.all(link(ctx, () => [
      asyncSplice(ctx, from, pipe.writeEnd, length, { fromOffset: 0 }),
      asyncSplice(ctx, pipe.readEnd, to, length, { toOffset: 0 }),
    ]));
  assertEquals((await copy(5000)).map(value), [5000, 5000]);
  assertEquals(await contentOf(ctx, to), data);
  const [short, rest] = await copy(5001);
  assertEquals(value(short), 5000);
  assertCode(rest, "ECANCELED");
  assertEquals(await pipe.drain(ctx), data);
});

// ---- errors -----------------------------------------------------------------------------

kioTest("asyncSplice() reports what is wrong", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  using pipe = new Pipe();
  using pair = unixPair();
  const { readEnd, writeEnd } = pipe;
  const codes: [from: number, to: number, SpliceOptions, code: string][] = [
    [NO_FD, writeEnd, {}, "EBADF"],
    [file.fd, NO_FD, {}, "EBADF"],
    // The wrong ends.
    [file.fd, readEnd, {}, "EBADF"],
    [writeEnd, file.fd, {}, "EBADF"],
    [file.fd, file.fd, {}, "EINVAL"],
    [pair.left.fd, pair.right.fd, {}, "EINVAL"],
    [readEnd, writeEnd, {}, "EINVAL"],
    [readEnd, file.fd, { fromOffset: 0 }, "ESPIPE"],
    [file.fd, writeEnd, { toOffset: 0 }, "ESPIPE"],
    [file.fd, writeEnd, { flags: 0x100 }, "EINVAL"],
    // Nothing there, no room, and no wish to wait.
    [readEnd, file.fd, {}, "EAGAIN"],
    [readEnd, pair.left.fd, { flags: SPLICE_F_NONBLOCK }, "EAGAIN"],
    [pair.left.fd, writeEnd, {}, "EAGAIN"],
  ];
  for (const [from, to, options, code] of codes) {
    assertCode(await asyncSplice(ctx, from, to, 10, options), code);
  }
  assertEquals(text(await contentOf(ctx, file)), "abc");
});

kioTest("asyncSplice() to who is gone is EPIPE, no signal", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  using pipe = new Pipe();
  const { left, right } = unixPair();
  await right.close();
  value(await asyncSplice(ctx, file, pipe.writeEnd, 3, { fromOffset: 0 }));
  assertCode(await asyncSplice(ctx, pipe.readEnd, left, 3), "EPIPE");
  // The bytes are still in the pipe: no other transfer can use it.
  assertEquals(text(await pipe.drain(ctx)), "abc");
  await left.close();
  pipe.closeReadEnd();
  const op = asyncSplice(ctx, file, pipe.writeEnd, 3, { fromOffset: 0 });
  assertCode(await op, "EPIPE");
});

kioTest("asyncSplice() to a socket without room is EAGAIN", async (ctx) => {
  // Into a stream of this kind Linux before 6.5 splices without end.
  using pair = unixPair("datagram");
  using pipe = new Pipe();
  await fill(ctx, pair.left);
  value(await asyncWrite(ctx, pipe.writeEnd, bytes("abc")));
  assertCode(await asyncSplice(ctx, pipe.readEnd, pair.left, 3), "EAGAIN");
  assertEquals(text(await pipe.drain(ctx)), "abc");
});

kioTest("asyncSplice() of a closed context throws", (outer) => {
  const ctx = new IoContext();
  ctx[Symbol.dispose]();
  const use = () => void asyncSplice(ctx, 0, 1, 1);
  assertThrows(use, TypeError, "the IoContext is closed");
  assertEquals(outer.pending, 0);
});

kioTest("asyncSplice() of a closed socket throws", (ctx) => {
  const [left, right] = unwrap(Socket.pair());
  left[Symbol.dispose]();
  right[Symbol.dispose]();
  for (
    const use of [
      () => asyncSplice(ctx, left, 1, 1),
      () => asyncSplice(ctx, 0, right, 1),
    ]
  ) {
    assertThrows(
      () => void use(),
      RangeError,
      "the socket is closed or released",
    );
  }
  assertEquals(ctx.pending, 0);
});

// ---- cancelling --------------------------------------------------------------------------

/** Splices that wait: for data, for room in a pipe, for room in a socket. */
async function waitingSplices(
  ctx: IoContext,
  use: (starts: Record<string, () => UringOp<number>>) => Promise<void>,
): Promise<void> {
  await using file = await tempFile(ctx, pattern(2 * PIPE_SIZE));
  using empty = new Pipe({ waits: true });
  using full = new Pipe({ waits: true });
  using source = new Pipe({ waits: true });
  using pair = unixPair("datagram");
  value(pair.left.setNonBlocking(false));
  await fill(ctx, pair.left);
  const data = pattern(PIPE_SIZE);
  value(await asyncWrite(ctx, full.writeEnd, data));
  value(await asyncWrite(ctx, source.writeEnd, data));
  await use({
    "for data": () => asyncSplice(ctx, empty.readEnd, file, 10),
    "for room in a pipe": () =>
      asyncSplice(ctx, file, full.writeEnd, 10, { fromOffset: 0 }),
    "for room in a socket": () =>
      asyncSplice(ctx, source.readEnd, pair.left, 10),
    "for a socket": () => asyncSplice(ctx, pair.left, empty.writeEnd, 10),
  });
  // Nothing was lost by it.
  assertEquals(await full.drain(ctx), data);
  assertEquals(await source.drain(ctx), data);
  assertEquals((await empty.drain(ctx)).length, 0);
}

const ENDS: Record<
  string,
  [end: (op: UringOp<number>) => unknown, code: string]
> = {
  "cancel()": [(op) => op.cancel(), "ECANCELED"],
  "cancel() in the kernel": [
    (op) => turn(5).then(() => op.cancel()),
    "ECANCELED",
  ],
  "withTimeout()": [(op) => op.withTimeout(5), "ETIMEDOUT"],
  "withTimeout(0)": [(op) => op.withTimeout(0), "ETIMEDOUT"],
  "withSignal()": [
    (op) => op.withSignal(AbortSignal.timeout(5)),
    "ECANCELED",
  ],
};

for (const [name, [end, code]] of Object.entries(ENDS)) {
  kioTest(`asyncSplice() that waits is ended by ${name}`, async (ctx) => {
    await waitingSplices(ctx, async (starts) => {
      for (const [what, start] of Object.entries(starts)) {
        const op = start();
        end(op);
        const result = await op;
        assertEquals(result.ok ? "moved" : result.error.code, code, what);
      }
    });
  });
}

kioTest("asyncSplice() that waits ends with its context", async (outer) => {
  await using file = await tempFile(outer);
  using pipe = new Pipe({ waits: true });
  for (const inKernel of [false, true]) {
    const ctx = new IoContext();
    const op = asyncSplice(ctx, pipe.readEnd, file, 10);
    if (inKernel) await turn(5);
    ctx[Symbol.dispose]();
    assertCode(await op, "ECANCELED");
  }
});

// ---- closing a socket that a splice uses --------------------------------------------------

const CLOSES: Record<string, (socket: Socket) => unknown> = {
  "close()": (socket) => socket.close(),
  "[Symbol.dispose]()": (socket) => socket[Symbol.dispose](),
};

for (const [name, close] of Object.entries(CLOSES)) {
  for (const turns of [0, 1]) {
    const when = turns === 0 ? "queued" : "pending";

    kioTest(
      `Socket.${name} ends a splice to it that is ${when}, and then closes`,
      async (ctx) => {
        using pipe = new Pipe({ waits: true });
        const { left, right } = unixPair();
        const { fd } = left;
        // It waits for the pipe: nothing that happens to the socket wakes it.
        const op = asyncSplice(ctx, pipe.readEnd, left, 10);
        for (let i = 0; i < turns; i++) await turn(5);
        assertEquals(ctx.pending, 1);
        const closed = close(left);
        // Not before the kernel is done with it: the number would be reused.
        assert(isOpen(fd));
        assertCode(await op, "ECANCELED");
        await closed;
        await turn();
        assert(!isOpen(fd));
        assertEquals(
          await asyncRecv(ctx, right, new Uint8Array(1)).then(value),
          0,
        );
        await right.close();
      },
    );

    kioTest(
      `Socket.${name} ends a splice from it that is ${when}, and then closes`,
      async (ctx) => {
        using pipe = new Pipe({ waits: true });
        const { left, right } = unixPair();
        value(left.setNonBlocking(false));
        const { fd } = left;
        const op = asyncSplice(ctx, left, pipe.writeEnd, 10);
        for (let i = 0; i < turns; i++) await turn(5);
        const closed = close(left);
        const result = await op;
        // The end of the connection may be seen first.
        if (result.ok) assertEquals(result.value, 0);
        else assertCode(result, "ECANCELED");
        await closed;
        await turn();
        assert(!isOpen(fd));
        await right.close();
      },
    );
  }
}

kioTest(
  "Socket.close() ends splices to it of all contexts, and no others",
  async (ctx) => {
    using other = new IoContext();
    await using file = await tempFile(ctx);
    using pipe = new Pipe({ waits: true });
    using bystander = unixPair();
    const { left, right } = unixPair();
    const ended = [ctx, other].map((ctx) =>
      asyncSplice(ctx, pipe.readEnd, left, 10)
    );
    const unharmed = [file, bystander.left].map((to) =>
      asyncSplice(ctx, pipe.readEnd, to, 3)
    );
    await turn(5);
    await left.close();
    for (const op of ended) assertCode(await op, "ECANCELED");
    assertEquals([ctx.pending, other.pending], [2, 0]);
    value(await asyncWrite(ctx, pipe.writeEnd, bytes("abcdef")));
    assertEquals((await Promise.all(unharmed)).map(value), [3, 3]);
    await right.close();
  },
);

kioTest("a splice to a closed socket harms no socket after it", async (ctx) => {
  using pipe = new Pipe({ waits: true });
  for (let round = 0; round < 20; round++) {
    const { left, right } = unixPair();
    const op = asyncSplice(ctx, pipe.readEnd, left, 10);
    if (round % 2) await turn();
    left[Symbol.dispose]();
    right[Symbol.dispose]();
    // These may get their numbers, if too early.
    using next = unixPair();
    value(await asyncWrite(ctx, pipe.writeEnd, bytes("abc")));
    const result = await op;
    if (!result.ok) assertCode(result, "ECANCELED", "EPIPE");
    for (const socket of [next.left, next.right]) {
      const received = await asyncRecv(ctx, socket, new Uint8Array(9), 0x40);
      assertCode(received, "EAGAIN");
    }
    await pipe.drain(ctx);
  }
});

kioTest("many splices at once lose no byte", async (ctx) => {
  const data = pattern(40_000);
  await using from = await tempFile(ctx, data);
  await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    using pipe = new Pipe();
    await using to = await tempFile(ctx);
    const size = 40_000 - i;
    for (let at = 0; at < size;) {
      const length = size - at;
      const options = { fromOffset: at };
      const moved = value(
        await asyncSplice(ctx, from, pipe.writeEnd, length, options),
      );
      for (let left = moved; left > 0;) {
        const options = { toOffset: at };
        const count = value(
          await asyncSplice(ctx, pipe.readEnd, to, left, options),
        );
        left -= count;
        at += count;
      }
    }
    assertEquals(await contentOf(ctx, to), data.subarray(0, size));
  }));
});
