import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncAccept,
  asyncAcceptFrom,
  asyncConnect,
  asyncPoll,
  asyncRead,
  asyncRecv,
  asyncSend,
  asyncShutdown,
  asyncSleep,
  MSG_WAITALL,
  POLLIN,
  POLLOUT,
  SHUT_WR,
  Socket,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  fill,
  kioTest,
  listen,
  pattern,
  randomOf,
  tcpPair,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

const buffer = () => new Uint8Array(8);

kioTest("withTimeout() is never early", async (ctx) => {
  using pair = unixPair();
  for (const timeoutMs of [20, 0, 1, 3.5]) {
    for (
      const op of [asyncRecv(ctx, pair.left, buffer()), asyncSleep(ctx, 1e6)]
    ) {
      const startMs = performance.now();
      assertEquals(op.withTimeout(timeoutMs), op);
      assertCode(await op, "ETIMEDOUT");
      const tookMs = performance.now() - startMs;
      assert(tookMs >= timeoutMs - 0.1, `${timeoutMs} took ${tookMs} ms`);
    }
  }
});

kioTest(
  "withTimeout() of asyncAccept() leaves the listener as it was",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    assertCode(await asyncAccept(ctx, listener).withTimeout(10), "ETIMEDOUT");
    using client = unwrap(Socket.open("ipv4"));
    value(await asyncConnect(ctx, client, at));
    using _server = new Socket(
      value(await asyncAccept(ctx, listener).withTimeout(5000)),
    );
  },
);

kioTest("withTimeout() ends a blocked asyncSend() of TCP", async (ctx) => {
  using pair = await tcpPair(ctx);
  await fill(ctx, pair.left);
  const result = await asyncSend(ctx, pair.left, buffer()).withTimeout(10);
  assertCode(result, "ETIMEDOUT");
});

// ---- what made it --------------------------------------------------------------------

kioTest("withTimeout() leaves a result in time alone", async (ctx) => {
  using pair = unixPair();
  const receiving = asyncRecv(ctx, pair.left, buffer()).withTimeout(10_000);
  await turn();
  value(await asyncSend(ctx, pair.right, bytes("abc")));
  assertEquals(value(await receiving), 3);
});

kioTest("withTimeout() leaves an error in time alone", async (ctx) => {
  const result = await asyncRecv(ctx, 4000, buffer()).withTimeout(10_000);
  assertCode(result, "EBADF");
});

kioTest("withTimeout(0) lets through what can be done at once", async (ctx) => {
  using pair = unixPair();
  await using file = await tempFile(ctx, bytes("abc"));
  for (let i = 0; i < 100; i++) {
    const write = asyncSend(ctx, pair.right, bytes("abc")).withTimeout(0);
    assertEquals(value(await write), 3);
    const read = asyncRecv(ctx, pair.left, buffer()).withTimeout(0);
    assertEquals(value(await read), 3);
    assertEquals(
      value(await asyncPoll(ctx, pair.left, POLLOUT).withTimeout(0)),
      POLLOUT,
    );
    assertEquals(
      value(await asyncRead(ctx, file, buffer()).withTimeout(0)),
      3,
    );
  }
  const { listener, at } = listen();
  using _ = listener;
  using client = unwrap(Socket.open("ipv4"));
  value(await asyncConnect(ctx, client, at).withTimeout(0));
  using _server = new Socket(
    value(await asyncAccept(ctx, listener).withTimeout(0)),
  );
});

kioTest(
  "withTimeout() gives the part that MSG_WAITALL has received",
  async (ctx) => {
    for (const pair of [unixPair(), await tcpPair(ctx)]) {
      using _ = pair;
      const memory = new Uint8Array(8);
      const receiving = asyncRecv(ctx, pair.left, memory, MSG_WAITALL)
        .withTimeout(30);
      await turn();
      value(await asyncSend(ctx, pair.right, bytes("abc")));
      assertEquals(value(await receiving), 3, "the bytes have moved");
      assertEquals(text(memory.subarray(0, 3)), "abc");
      value(await asyncSend(ctx, pair.right, bytes("def")));
      assertEquals(value(await asyncRecv(ctx, pair.left, memory)), 3);
      assertEquals(text(memory.subarray(0, 3)), "def");
    }
  },
);

kioTest(
  "withTimeout() gives the part that MSG_WAITALL has sent",
  async (ctx) => {
    using pair = unixPair();
    const data = pattern(2 ** 21);
    const sent = value(
      await asyncSend(ctx, pair.left, data, MSG_WAITALL).withTimeout(20),
    );
    assert(sent > 0 && sent < data.length);
    value(await asyncShutdown(ctx, pair.left, SHUT_WR));
    const memory = new Uint8Array(2 ** 21);
    let received = 0;
    for (;;) {
      const count = value(
        await asyncRecv(ctx, pair.right, memory.subarray(received)),
      );
      if (count === 0) break;
      received += count;
    }
    assertEquals(received, sent);
    assert(memory.subarray(0, sent).every((byte, i) => byte === data[i]));
  },
);

kioTest(
  "withTimeout() of an operation that has completed does nothing",
  async (ctx) => {
    using pair = unixPair();
    const op = asyncPoll(ctx, pair.left, POLLOUT);
    value(await op);
    assertEquals(op.withTimeout(0), op);
    assertThrows(
      () => op.withTimeout(-1),
      RangeError,
      "Cannot set a timeout: timeoutMs ",
    );
    // Its slot is taken by another, which must not be hit.
    const next = asyncRecv(ctx, pair.left, buffer());
    op.withTimeout(1);
    await turn(10);
    assertEquals(ctx.pending, 1);
    value(await asyncSend(ctx, pair.right, bytes("x")));
    assertEquals(value(await next), 1);
  },
);

kioTest(
  "withTimeout() ends with its operation: the next one in the slot has all its time",
  async (ctx) => {
    using pair = unixPair();
    for (let i = 0; i < 3; i++) {
      value(await asyncSend(ctx, pair.right, bytes("x")));
      value(await asyncRecv(ctx, pair.left, buffer()).withTimeout(15));
    }
    const receiving = asyncRecv(ctx, pair.left, buffer());
    await turn(40);
    assertEquals(ctx.pending, 1);
    value(await asyncSend(ctx, pair.right, bytes("x")));
    assertEquals(value(await receiving), 1);
  },
);

// ---- several timeouts ------------------------------------------------------------------

kioTest("withTimeout() counts the earliest of several", async (ctx) => {
  using pair = unixPair();
  const orders = [[10, 10_000], [10_000, 10], [10_000, 10, 20_000], [
    20_000,
    10_000,
    10,
  ]];
  for (const order of orders) {
    const op = asyncRecv(ctx, pair.left, buffer());
    for (const timeoutMs of order) op.withTimeout(timeoutMs);
    const startMs = performance.now();
    assertCode(await op, "ETIMEDOUT");
    assert(performance.now() - startMs < 5000);
  }
});

kioTest(
  "withTimeout() may be set long after the operation has started",
  async (ctx) => {
    using pair = unixPair();
    const op = asyncRecv(ctx, pair.left, buffer()).withTimeout(60_000);
    await turn(10);
    op.withTimeout(5);
    assertCode(await op, "ETIMEDOUT");
  },
);

kioTest(
  "withTimeout() wakes up earlier than a timeout that is in the kernel",
  async (ctx) => {
    using pair = unixPair();
    const late = asyncRecv(ctx, pair.left, buffer()).withTimeout(60_000);
    await turn(5);
    const startMs = performance.now();
    const soon = asyncPoll(ctx, pair.right, POLLIN).withTimeout(10);
    assertCode(await soon, "ETIMEDOUT");
    assert(performance.now() - startMs < 5000);
    late.cancel();
    assertCode(await late, "ECANCELED");
  },
);

kioTest(
  "withTimeout() fires after one that was set for earlier and has gone",
  async (ctx) => {
    using pair = unixPair();
    value(await asyncSend(ctx, pair.right, bytes("x")));
    value(await asyncRecv(ctx, pair.left, buffer()).withTimeout(10));
    const startMs = performance.now();
    const op = asyncRecv(ctx, pair.left, buffer()).withTimeout(40);
    assertCode(await op, "ETIMEDOUT");
    assert(performance.now() - startMs >= 39.9);
  },
);

kioTest(
  "withTimeout() takes times far beyond the end of the world",
  async (ctx) => {
    using pair = unixPair();
    const times = [2 ** 31, 2 ** 32 + 1, 2 ** 40, Number.MAX_SAFE_INTEGER];
    const ops = times.map((timeoutMs) =>
      asyncRecv(ctx, pair.left, new Uint8Array(1)).withTimeout(timeoutMs)
    );
    await turn(20);
    assertEquals(ctx.pending, ops.length, "none has wrapped around");
    // The kernel's timer is that far away now, and still can be brought forward.
    await asyncSleep(ctx, 1);
    value(await asyncSend(ctx, pair.right, bytes("abcd")));
    for (const op of ops) assertEquals(value(await op), 1);
  },
);

kioTest(
  "withTimeout() ends each of a thousand in its own time",
  async (ctx) => {
    using pair = unixPair();
    const random = randomOf(1);
    const startMs = performance.now();
    const early: string[] = [];
    await Promise.all(Array.from({ length: 1000 }, async () => {
      const timeoutMs = random(100);
      const result = await asyncRecv(ctx, pair.left, buffer())
        .withTimeout(timeoutMs);
      assertCode(result, "ETIMEDOUT");
      const tookMs = performance.now() - startMs;
      if (tookMs < timeoutMs - 0.1) early.push(`${timeoutMs}: ${tookMs}`);
    }));
    assertEquals(early, []);
  },
);

kioTest("withTimeout() of some leaves the others waiting", async (ctx) => {
  using pair = unixPair();
  const ops = Array.from({ length: 100 }, (_, i) => {
    const op = asyncPoll(ctx, pair.left, POLLIN);
    return i % 2 === 0 ? op.withTimeout(10) : op;
  });
  for (let i = 0; i < 100; i += 2) assertCode(await ops[i]!, "ETIMEDOUT");
  assertEquals(ctx.pending, 50);
  value(await asyncSend(ctx, pair.right, bytes("x")));
  for (let i = 1; i < 100; i += 2) assertEquals(value(await ops[i]!), POLLIN);
});

// ---- with other ends -------------------------------------------------------------------

kioTest("withTimeout() and cancel(): what came first counts", async (ctx) => {
  using pair = unixPair();
  const cancelled = asyncRecv(ctx, pair.left, buffer()).withTimeout(10_000);
  await turn();
  cancelled.cancel();
  assertCode(await cancelled, "ECANCELED");
  const timedOut = asyncRecv(ctx, pair.left, buffer()).withTimeout(5);
  assertCode(await timedOut, "ETIMEDOUT");
  timedOut.cancel();
  assertCode(await timedOut, "ETIMEDOUT");
});

kioTest(
  "withTimeout() and the end of the peer: the end is a result",
  async (ctx) => {
    using pair = unixPair();
    const op = asyncRecv(ctx, pair.left, buffer()).withTimeout(10_000);
    await turn();
    await pair.right.close();
    assertEquals(value(await op), 0);
  },
);

kioTest("withTimeout() raced with the sender loses no byte", async (ctx) => {
  const rounds = 1500;
  const data = pattern(rounds);
  const random = randomOf(7);
  const received: number[] = [];
  let timeouts = 0;
  using pair = await tcpPair(ctx);
  const sending = (async () => {
    for (let at = 0; at < rounds;) {
      const count = 1 + random(3);
      at += value(
        await asyncSend(ctx, pair.right, data.subarray(at, at + count)),
      );
      if (random(4) === 0) await asyncSleep(ctx, random(20) / 10);
    }
  })();
  while (received.length < rounds) {
    const memory = new Uint8Array(4);
    const flags = random(2) === 0 ? MSG_WAITALL : 0;
    const result = await asyncRecv(ctx, pair.left, memory, flags)
      .withTimeout(random(10) / 10);
    if (result.ok) received.push(...memory.subarray(0, result.value));
    else timeouts++;
    if (!result.ok) assertCode(result, "ETIMEDOUT");
  }
  await sending;
  assertEquals(Uint8Array.from(received), data);
  assert(timeouts > 0, "no timeout came into it");
});

kioTest(
  "withTimeout() raced with connections loses none and leaks no fd",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    const random = randomOf(11);
    const rounds = 300;
    let timeouts = 0;
    const clients: Socket[] = [];
    const connecting = (async () => {
      for (let i = 0; i < rounds; i++) {
        const client = unwrap(Socket.open("ipv4"));
        clients.push(client);
        value(await asyncConnect(ctx, client, at));
        if (random(3) === 0) await asyncSleep(ctx, random(20) / 10);
      }
    })();
    const ports = new Set<number>();
    while (ports.size < rounds) {
      const op = asyncAcceptFrom(ctx, listener).withTimeout(random(10) / 10);
      const result = await op;
      if (!result.ok) {
        assertCode(result, "ETIMEDOUT");
        timeouts++;
        continue;
      }
      using _server = new Socket(result.value.fd);
      assert(!ports.has(result.value.address.port), "accepted twice");
      ports.add(result.value.address.port);
    }
    await connecting;
    assert(timeouts > 0, "no timeout came into it");
    for (const client of clients) await client.close();
    assertCode(await asyncAccept(ctx, listener).withTimeout(0), "ETIMEDOUT");
  },
);
