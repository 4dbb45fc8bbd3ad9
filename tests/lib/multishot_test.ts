import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  asyncAcceptMultishot,
  asyncConnect,
  asyncPollMultishot,
  asyncRecv,
  asyncSend,
  IoContext,
  link,
  MSG_DONTWAIT,
  POLLHUP,
  POLLIN,
  Socket,
  type SocketAddress,
  unwrap,
  type UringStream,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  isOpen,
  kioTest,
  listen,
  tempFile,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";

/** Connections to a listener; closed with the block. */
class Clients implements AsyncDisposable {
  readonly sockets: Socket[] = [];

  async connect(ctx: IoContext, at: SocketAddress, count: number) {
    const sockets = Array.from(
      { length: count },
      () => unwrap(Socket.open("ipv4")),
    );
    this.sockets.push(...sockets);
    const all = sockets.map((socket) => asyncConnect(ctx, socket, at));
    for (const result of await Promise.all(all)) value(result);
  }

  /** How many were closed by the other side. */
  async closed(ctx: IoContext): Promise<number> {
    await turn(5);
    let count = 0;
    for (const socket of this.sockets) {
      const buffer = new Uint8Array(1);
      const end = await asyncRecv(ctx, socket, buffer, MSG_DONTWAIT);
      if (end.ok || end.error.code === "ECONNRESET") count++;
    }
    return count;
  }

  async [Symbol.asyncDispose]() {
    await Promise.all(this.sockets.map((socket) => socket.close()));
  }
}

async function closeAll(fds: readonly number[]): Promise<void> {
  await Promise.all(fds.map((fd) => new Socket(fd).close()));
}

async function taken<T>(stream: UringStream<T>, count: number): Promise<T[]> {
  const values: T[] = [];
  for (let i = 0; i < count; i++) {
    const step = await stream[Symbol.asyncIterator]().next();
    if (step.done === true) break;
    values.push(value(step.value));
  }
  return values;
}

/** All results of a stream, until it ends; closes fds. */
async function codesOf(
  stream: UringStream<number>,
  close = closeAll,
): Promise<string[]> {
  const codes: string[] = [];
  for await (const result of stream) {
    codes.push(result.ok ? "ok" : result.error.code);
    if (result.ok) await close([result.value]);
  }
  return codes;
}

// ---- asyncAcceptMultishot --------------------------------------------------------

kioTest(
  "asyncAcceptMultishot() accepts one connection after the other",
  async (ctx) => {
    const { listener, at } = listen();
    await using _ = listener;
    await using clients = new Clients();
    const stream = asyncAcceptMultishot(ctx, listener);
    for (let round = 0; round < 3; round++) {
      await clients.connect(ctx, at, 5);
      const fds = await taken(stream, 5);
      assertEquals(new Set(fds).size, 5);
      await closeAll(fds);
    }
    assertEquals(ctx.pending, 1);
    const { submissions } = ctx.stats();
    assert(submissions < 100, `${submissions} submissions`);
    await stream[Symbol.asyncDispose]();
    assertEquals(ctx.pending, 0);
  },
);

for (const queueMax of [1, 2, 7]) {
  kioTest(
    `asyncAcceptMultishot() with a queue of ${queueMax} loses none of 60, and holds few`,
    async (ctx) => {
      const { listener, at } = listen();
      await using _ = listener;
      await using clients = new Clients();
      await using stream = asyncAcceptMultishot(ctx, listener, { queueMax });
      const fds: number[] = [];
      for (let round = 0; round < 3; round++) {
        await clients.connect(ctx, at, 20);
        await turn(5);
        // The first half is taken without a promise.
        for (let i = 0; i < 10; i++) {
          const result = stream.take();
          if (result === undefined) break;
          fds.push(value(result));
        }
        fds.push(...await taken(stream, 20 * (round + 1) - fds.length));
      }
      assertEquals(new Set(fds).size, 60);
      await closeAll(fds);
    },
  );
}

kioTest(
  "asyncAcceptMultishot() stops when its queue is full",
  async (ctx) => {
    const { listener, at } = listen();
    await using _ = listener;
    await using clients = new Clients();
    const stream = asyncAcceptMultishot(ctx, listener, { queueMax: 2 });
    await clients.connect(ctx, at, 2);
    await turn(5);
    await clients.connect(ctx, at, 30);
    await turn(5);
    let waiting = 0;
    const fds: number[] = [];
    // Nothing comes after them within this turn.
    for (let it = stream.take(); it !== undefined; it = stream.take()) {
      fds.push(value(it));
      waiting++;
    }
    assert(waiting >= 2 && waiting < 10, `${waiting} waited`);
    fds.push(...await taken(stream, 32 - waiting));
    assertEquals(fds.length, 32);
    await closeAll(fds);
    await stream[Symbol.asyncDispose]();
  },
);

const LEAVING: Record<string, (stream: UringStream<number>) => unknown> = {
  "break": async (stream) => {
    for await (const result of stream) {
      await closeAll([value(result)]);
      break;
    }
  },
  "break from values": async (stream) => {
    for await (const fd of stream.orThrow()) {
      await closeAll([fd]);
      break;
    }
  },
  "an exception": async (stream) => {
    await assertRejects(async () => {
      for await (const result of stream) {
        await closeAll([value(result)]);
        throw new Error("on purpose");
      }
    }, "on purpose");
  },
  "await using": (stream) => stream[Symbol.asyncDispose](),
  "cancel()": async (stream) => {
    stream.cancel();
    await turn(10);
    assertEquals(await codesOf(stream), ["ECANCELED"]);
  },
  "a signal": async (stream) => {
    const controller = new AbortController();
    stream.withSignal(controller.signal);
    controller.abort();
    assertEquals((await codesOf(stream)).at(-1), "ECANCELED");
  },
  "a signal that is aborted": async (stream) => {
    stream.withSignal(AbortSignal.abort());
    assertEquals((await codesOf(stream)).at(-1), "ECANCELED");
  },
  "a timeout": async (stream) => {
    stream.withTimeout(0);
    assertEquals((await codesOf(stream)).at(-1), "ETIMEDOUT");
  },
};

for (const [how, leave] of Object.entries(LEAVING)) {
  kioTest(
    `asyncAcceptMultishot() that is left by ${how} closes what nobody took`,
    async (ctx) => {
      const { listener, at } = listen();
      await using _ = listener;
      await using clients = new Clients();
      const stream = asyncAcceptMultishot(ctx, listener, { queueMax: 4 });
      await clients.connect(ctx, at, 4);
      await turn(5);
      // Not taken over by the ring yet.
      await clients.connect(ctx, at, 4);
      await leave(stream);
      assertEquals(ctx.pending, 0);
      assertEquals(stream.take(), undefined);
      assertEquals(await codesOf(stream), []);
      // Those that were never accepted wait for the next.
      const next = asyncAcceptMultishot(ctx, listener);
      const rest = await clients.closed(ctx);
      await closeAll(await taken(next, 8 - rest));
      await next[Symbol.asyncDispose]();
      assertEquals(await clients.closed(ctx), 8);
    },
  );
}

kioTest(
  "asyncAcceptMultishot() ends when its listener is closed",
  async (ctx) => {
    const { listener, at } = listen();
    await using clients = new Clients();
    const stream = asyncAcceptMultishot(ctx, listener);
    await clients.connect(ctx, at, 3);
    await turn(5);
    const codes = codesOf(stream);
    await listener.close();
    assertEquals((await codes).at(-1), "ECANCELED");
    assertEquals(ctx.pending, 0);
  },
);

for (const how of ["dispose", "asyncDispose"] as const) {
  kioTest(
    `asyncAcceptMultishot() ends when its context is closed, by ${how}`,
    async (ctx) => {
      const other = new IoContext(16);
      const { listener, at } = listen();
      await using _ = listener;
      await using clients = new Clients();
      const stream = asyncAcceptMultishot(other, listener, { queueMax: 2 });
      await clients.connect(ctx, at, 10);
      await turn(5);
      if (how === "dispose") other[Symbol.dispose]();
      else await other[Symbol.asyncDispose]();
      assertEquals((await codesOf(stream)).at(-1), "ECANCELED");
      assertEquals(stream.take(), undefined);
    },
  );
}

kioTest(
  "asyncAcceptMultishot() gives several consumers one each",
  async (ctx) => {
    const { listener, at } = listen();
    await using _ = listener;
    await using clients = new Clients();
    const stream = asyncAcceptMultishot(ctx, listener);
    const iterator = stream[Symbol.asyncIterator]();
    const steps = Array.from({ length: 5 }, () => iterator.next());
    await clients.connect(ctx, at, 3);
    const fds = await Promise.all(steps.slice(0, 3));
    await closeAll(fds.map((step) => value(step.value!)));
    stream.cancel();
    const [last, over] = await Promise.all(steps.slice(3));
    assertCode(last!.value!, "ECANCELED");
    assertEquals(over, { done: true, value: undefined });
  },
);

kioTest("asyncAcceptMultishot() reports what cannot go on", async (ctx) => {
  using pair = unixPair();
  using fresh = unwrap(Socket.open("ipv4"));
  assertEquals(await codesOf(asyncAcceptMultishot(ctx, 4000)), ["EBADF"]);
  assertEquals(await codesOf(asyncAcceptMultishot(ctx, fresh)), ["EINVAL"]);
  assertEquals(await codesOf(asyncAcceptMultishot(ctx, pair.left)), ["EINVAL"]);
  const values = asyncAcceptMultishot(ctx, 4000).orThrow();
  const error = await assertRejects(
    async () => {
      for await (const fd of values) console.log(fd);
    },
    Deno.errors.BadResource,
    "Cannot accept (fd 4000): Bad file descriptor (EBADF)",
  );
  assertEquals(
    (error as unknown as { operation: string }).operation,
    "asyncAcceptMultishot",
  );
});

kioTest("asyncAcceptMultishot() takes no wrong argument", async (ctx) => {
  const { listener } = listen();
  await using _ = listener;
  for (const queueMax of [0, -1, 1.5, 65537, NaN, "1" as unknown as number]) {
    assertThrows(
      () => asyncAcceptMultishot(ctx, listener, { queueMax }),
      RangeError,
      "Cannot accept: queueMax must be an integer from 1 to 65536",
    );
  }
  assertThrows(() => asyncAcceptMultishot(ctx, -1), RangeError);
  assertThrows(
    () => asyncAcceptMultishot({} as IoContext, listener),
    TypeError,
  );
  assertThrows(
    () => link(ctx, () => asyncAcceptMultishot(ctx, listener)),
    TypeError,
    "Cannot accept many times in link()",
  );
  assertEquals(ctx.pending, 0);
});

kioTest(
  "a limit of a stream that is wrong takes the stream with it",
  async (ctx) => {
    const { listener, at } = listen();
    await using _ = listener;
    await using clients = new Clients();
    await clients.connect(ctx, at, 2);
    const wrong: ((stream: UringStream<number>) => unknown)[] = [
      (stream) => stream.withTimeout(-1),
      (stream) => stream.withSignal({} as AbortSignal),
    ];
    for (const attach of wrong) {
      const stream = asyncAcceptMultishot(ctx, listener);
      assertThrows(() => attach(stream));
      assertEquals((await codesOf(stream)).at(-1), "ECANCELED");
    }
    const stream = asyncAcceptMultishot(ctx, listener);
    await closeAll(await taken(stream, 2));
    await stream[Symbol.asyncDispose]();
  },
);

kioTest(
  "asyncAcceptMultishot() loses none when the completion queue overflows",
  async () => {
    using small = new IoContext(1);
    const { listener, at } = listen();
    await using _ = listener;
    await using clients = new Clients();
    await using stream = asyncAcceptMultishot(small, listener);
    await clients.connect(small, at, 50);
    const fds = await within(10_000, taken(stream, 50), "fifty");
    assertEquals(new Set(fds).size, 50);
    await closeAll(fds);
  },
);

kioTest("a stream that is over does nothing any more", async (ctx) => {
  const { listener } = listen();
  const stream = asyncAcceptMultishot(ctx, listener);
  await listener.close();
  assertEquals(await codesOf(stream), ["ECANCELED"]);
  // Its slot is taken by another, which must not be hit.
  using pair = unixPair();
  const next = asyncRecv(ctx, pair.left, new Uint8Array(1));
  stream.cancel();
  stream.withTimeout(0).withSignal(AbortSignal.abort());
  await stream[Symbol.asyncDispose]();
  await turn(5);
  assertEquals(ctx.pending, 1);
  value(await asyncSend(ctx, pair.right, bytes("x")));
  value(await next);
});

kioTest(
  "closed is the end of a stream, asked for before or after",
  async (ctx) => {
    const { listener } = listen();
    const stream = asyncAcceptMultishot(ctx, listener);
    const before = stream.closed;
    stream.cancel();
    assertCode(await within(2000, before, "closed"), "ECANCELED");
    const other = asyncAcceptMultishot(ctx, listener);
    other.cancel();
    for await (const _ of other);
    assertCode(await within(2000, other.closed, "closed"), "ECANCELED");
    assertStrictEquals(other.closed, other.closed);
    await listener.close();
    await listener.close();
  },
);

kioTest("ctx.inspect() names a stream", async (ctx) => {
  const { listener } = listen();
  await using _ = listener;
  const stream = asyncAcceptMultishot(ctx, listener).withTimeout(60_000);
  const [pending] = ctx.inspect();
  assertEquals(pending!.operation, "asyncAcceptMultishot");
  assertEquals(pending!.fd, listener.fd);
  assert(pending!.leftMs > 0);
  await stream[Symbol.asyncDispose]();
});

kioTest("an fd that was taken from a stream is the taker's", async (ctx) => {
  const { listener, at } = listen();
  await using _ = listener;
  await using clients = new Clients();
  const stream = asyncAcceptMultishot(ctx, listener);
  await clients.connect(ctx, at, 1);
  const [fd] = await taken(stream, 1);
  await stream[Symbol.asyncDispose]();
  assert(isOpen(fd!));
  await closeAll([fd!]);
});

// ---- asyncPollMultishot ----------------------------------------------------------

kioTest("asyncPollMultishot() tells of each change", async (ctx) => {
  using pair = unixPair();
  await using stream = asyncPollMultishot(ctx, pair.left, POLLIN);
  const buffer = new Uint8Array(8);
  for (let round = 0; round < 5; round++) {
    value(await asyncSend(ctx, pair.right, bytes("x")));
    const [events] = await taken(stream, 1);
    assertEquals(events! & POLLIN, POLLIN);
    value(await asyncRecv(ctx, pair.left, buffer, MSG_DONTWAIT));
  }
  await pair.right.close();
  const [events] = await taken(stream, 1);
  assertEquals(events! & POLLHUP, POLLHUP);
});

kioTest(
  "asyncPollMultishot() holds a bounded number of results",
  async (ctx) => {
    using pair = unixPair();
    const stream = asyncPollMultishot(ctx, pair.left, POLLIN, { queueMax: 3 });
    for (let i = 0; i < 40; i++) {
      value(await asyncSend(ctx, pair.right, bytes("x")));
      await turn();
    }
    let waiting = 0;
    while (stream.take() !== undefined) waiting++;
    assert(waiting >= 3 && waiting < 10, `${waiting} waited`);
    // It was armed again by that.
    value(await asyncSend(ctx, pair.right, bytes("x")));
    assertEquals((await taken(stream, 1)).length, 1);
    await stream[Symbol.asyncDispose]();
  },
);

kioTest("asyncPollMultishot() ends with its socket", async (ctx) => {
  using pair = unixPair();
  const stream = asyncPollMultishot(ctx, pair.left, POLLIN);
  const codes = codesOf(stream, async () => {});
  await turn(5);
  await pair.left.close();
  assertEquals(await codes, ["ECANCELED"]);
});

kioTest("asyncPollMultishot() reports what cannot go on", async (ctx) => {
  assertEquals(await codesOf(asyncPollMultishot(ctx, 4000, POLLIN)), ["EBADF"]);
  assertThrows(() => asyncPollMultishot(ctx, 0, 65536), RangeError);
});

kioTest(
  "asyncPollMultishot() of what is always ready does not spin",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const before = ctx.stats().submissions;
    let count = 0;
    for await (
      const _ of asyncPollMultishot(ctx, file, POLLIN).withTimeout(100)
    ) count++;
    const submissions = ctx.stats().submissions - before;
    // Some at once, then one each 10 ms, each with the timeout of the ring.
    assert(count > 1 && submissions < 80, `${count}, ${submissions}`);
  },
);

kioTest(
  "a stream that goes on within link() is no link of the chain",
  async (ctx) => {
    const { listener, at } = listen();
    await using _ = listener;
    await using clients = new Clients();
    const stream = asyncAcceptMultishot(ctx, listener, { queueMax: 1 });
    await clients.connect(ctx, at, 1);
    await turn(5);
    using pair = unixPair();
    const fds: number[] = [];
    const ops = link(ctx, () => {
      const first = asyncSend(ctx, pair.left, bytes("1"));
      fds.push(value(stream.take()!));
      return [first, asyncSend(ctx, pair.left, bytes("2"))];
    });
    // The stream waits for a client: as a link it would hold up what follows.
    for (const op of ops) value(await within(2000, op, "the chain"));
    await closeAll(fds);
    await stream[Symbol.asyncDispose]();
  },
);
