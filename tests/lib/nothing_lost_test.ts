import { assert, assertEquals } from "@std/assert";
import {
  asyncAccept,
  asyncClose,
  asyncConnect,
  asyncFsync,
  asyncOpen,
  asyncPoll,
  asyncRead,
  asyncRecv,
  asyncSend,
  asyncShutdown,
  asyncSleep,
  asyncWrite,
  IoContext,
  link,
  MSG_DONTWAIT,
  MSG_WAITALL,
  O_RDONLY,
  POLLIN,
  POLLOUT,
  SHUT_WR,
  Socket,
  unwrap,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  assertFds,
  bytes,
  immediate,
  kioTest,
  listen,
  openFds,
  pattern,
  randomOf,
  tempFile,
  turn,
  unixPair,
  value,
} from "../support.ts";

// ---- more than the queues hold ------------------------------------------------------------

kioTest(
  "10000 operations in flight on 256 entries all complete, once",
  async (ctx) => {
    const pairs = Array.from({ length: 50 }, () => unixPair("datagram"));
    const settled = new Uint8Array(10_000);
    const buffers = Array.from({ length: 7500 }, () => new Uint8Array(4));
    const ops: UringOp<unknown>[] = [];
    for (let i = 0; i < 7500; i++) {
      ops.push(asyncRecv(ctx, pairs[i % 50]!.left, buffers[i]!));
    }
    for (let i = 0; i < 1250; i++) ops.push(asyncSleep(ctx, i % 40));
    for (let i = 0; i < 1250; i++) {
      ops.push(asyncPoll(ctx, pairs[i % 50]!.right, POLLIN));
    }
    const counted = ops.map((op, i) =>
      op.then((result) => {
        settled[i]!++;
        return result;
      })
    );
    assertEquals(ctx.pending, 10_000);
    await turn();
    // A datagram for each receive, with a number of its own.
    const numbers = new Set<number>();
    for (let i = 0; i < 7500; i++) {
      const data = new Uint8Array(Int32Array.of(i).buffer);
      value(await asyncSend(ctx, pairs[i % 50]!.right, data));
      numbers.add(i);
    }
    for (let i = 0; i < 7500; i++) assertEquals(value(await counted[i]!), 4);
    for (const buffer of buffers) {
      const number = new Int32Array(buffer.buffer)[0]!;
      assert(numbers.delete(number), `${number} came twice or from nowhere`);
    }
    assertEquals(numbers.size, 0);
    for (const { left } of pairs) value(await asyncSend(ctx, left, bytes("x")));
    for (const op of counted) assert((await op).ok);
    assert(settled.every((count) => count === 1));
    for (const pair of pairs) pair[Symbol.dispose]();
  },
  { entries: 256 },
);

kioTest("completions beyond the completion queue are not lost", async (ctx) => {
  // 64 entries make a queue of 256 completions. Nothing empties it while these
  // are queued in one go, and all of them complete during submission.
  const data = pattern(5000);
  await using file = await tempFile(ctx, data);
  const buffers = Array.from({ length: 5000 }, () => new Uint8Array(1));
  const ops = buffers.map((buffer, i) => asyncRead(ctx, file, buffer, i));
  assertEquals(ctx.pending, 5000);
  for (const [i, op] of ops.entries()) {
    assertEquals(value(await op), 1);
    assertEquals(buffers[i]![0], data[i], `read ${i}`);
  }
});

kioTest("completions beyond the queue of one entry are not lost", async () => {
  using ctx = new IoContext(1);
  using pair = unixPair();
  const polls = Array.from(
    { length: 3000 },
    () => asyncPoll(ctx, pair.left, POLLIN),
  );
  const writes = Array.from(
    { length: 3000 },
    () => asyncPoll(ctx, pair.left, POLLOUT),
  );
  for (const op of writes) assertEquals(value(await op), POLLOUT);
  assertEquals(ctx.pending, 3000);
  // One event completes all of them, far more than there are places for.
  value(await asyncSend(ctx, pair.right, bytes("x")));
  for (const op of polls) assertEquals(value(await op), POLLIN);
});

kioTest(
  "what is queued by continuations while completions overflow is not lost",
  async (ctx) => {
    const data = pattern(64);
    await using file = await tempFile(ctx, data);
    let reads = 0;
    const chain = async (at: number) => {
      for (let i = 0; i < 8; i++) {
        const buffer = new Uint8Array(1);
        assertEquals(value(await asyncRead(ctx, file, buffer, at)), 1);
        assertEquals(buffer[0], data[at]);
        reads++;
      }
    };
    await Promise.all(Array.from({ length: 1000 }, (_, i) => chain(i % 64)));
    assertEquals(reads, 8000);
  },
);

kioTest("cancels beyond the queues are not lost", async (ctx) => {
  using pair = unixPair();
  const ops = Array.from(
    { length: 5000 },
    () => asyncRecv(ctx, pair.left, new Uint8Array(1)),
  );
  await turn();
  for (const op of ops) op.cancel();
  for (const op of ops) assertCode(await op, "ECANCELED");
  value(await asyncSend(ctx, pair.right, bytes("x")));
  assertEquals(value(await asyncRecv(ctx, pair.left, new Uint8Array(8))), 1);
});

kioTest(
  "timeouts of 5000 operations at one instant are not lost",
  async (ctx) => {
    using pair = unixPair();
    const ops = Array.from(
      { length: 5000 },
      () => asyncPoll(ctx, pair.left, POLLIN).withTimeout(10),
    );
    for (const op of ops) assertCode(await op, "ETIMEDOUT");
  },
);

kioTest(
  "a linked pair keeps its order at each fill of the queue, with others in flight",
  async (ctx) => {
    using pair = unixPair();
    const waiting = Array.from(
      { length: 300 },
      () => asyncRecv(ctx, pair.left, new Uint8Array(1)),
    );
    await using file = await tempFile(ctx);
    for (let fill = 0; fill <= 66; fill++) {
      const name = bytes(`${fill}`.padStart(4));
      const before = Array.from(
        { length: fill },
        () => asyncFsync(ctx, 4000),
      );
      const memory = new Uint8Array(4);
      const [written, read] = link(ctx, () => [
        asyncWrite(ctx, file, name),
        asyncRead(ctx, file, memory),
      ]);
      const after = asyncFsync(ctx, 4000);
      assertEquals([value(await written), value(await read)], [4, 4]);
      assertEquals(memory, name, `fill ${fill}`);
      for (const op of [...before, after]) assertCode(await op, "EBADF");
    }
    assertEquals(ctx.pending, 300);
    value(await asyncSend(ctx, pair.right, new Uint8Array(300)));
    for (const op of waiting) assertEquals(value(await op), 1);
  },
);

// ---- slots -------------------------------------------------------------------------------------

kioTest(
  "a slot is used again and again, and each result finds its own operation",
  async (ctx) => {
    const data = pattern(256);
    await using file = await tempFile(ctx, data);
    const buffer = new Uint8Array(1);
    // One slot, and its generation goes past 2^16.
    for (let i = 0; i < 70_000; i++) {
      const result = await asyncRead(ctx, file, buffer, i % 256);
      if (!result.ok || buffer[0] !== data[i % 256]) {
        assertEquals([result, buffer[0]], [
          { ok: true, value: 1 },
          data[i % 256],
        ]);
      }
    }
  },
);

kioTest(
  "a storm of all kinds of operations ends with nothing pending (seeded)",
  async (ctx) => {
    const seed = 20;
    const random = randomOf(seed);
    await using file = await tempFile(ctx, pattern(4096));
    const pairs = Array.from({ length: 4 }, () => unixPair());
    const counts = new Map<string, number>();
    const note = (name: string) =>
      counts.set(name, (counts.get(name) ?? 0) + 1);
    let sent = 0;
    let received = 0;
    const actions: (() => Promise<void>)[] = [
      async () => {
        const pair = pairs[random(4)]!;
        const op = asyncRecv(ctx, pair.left, new Uint8Array(1 + random(8)));
        const end = random(3);
        if (end === 0) op.withTimeout(random(5));
        else if (end === 1) op.withSignal(AbortSignal.abort());
        else op.withTimeout(random(50)).cancel();
        const result = await op;
        if (result.ok) received += result.value;
        else assertCode(result, "ETIMEDOUT", "ECANCELED");
        note(result.ok ? "received" : result.error.code);
      },
      async () => {
        const data = new Uint8Array(1 + random(8));
        const result = await asyncSend(
          ctx,
          pairs[random(2)]!.right,
          data,
          MSG_DONTWAIT,
        );
        if (result.ok) sent += result.value;
        note(result.ok ? "sent" : result.error.code);
      },
      async () => {
        const result = await asyncSleep(ctx, random(4));
        note(result.ok ? "slept" : result.error.code);
      },
      async () => {
        const op = asyncSleep(ctx, random(1000));
        await immediate();
        op.cancel();
        await op;
      },
      async () => {
        const ops = link(ctx, () => [
          asyncWrite(ctx, file, bytes("x"), random(4096)),
          asyncFsync(ctx, random(3) === 0 ? 4000 : file.fd),
          asyncRead(ctx, file, new Uint8Array(8), random(4000)),
        ]);
        if (random(3) === 0) ops[random(3)]!.cancel();
        const results = await Promise.all(ops);
        note(results.every((result) => result.ok) ? "linked" : "unlinked");
      },
      async () => {
        const op = asyncPoll(ctx, pairs[random(4)]!.left, POLLIN);
        op.withTimeout(random(10));
        await op;
      },
      async () => {
        const result = await asyncOpen(ctx, "/proc/version", O_RDONLY);
        const fd = value(result);
        if (random(2) === 0) await asyncRead(ctx, fd, new Uint8Array(16));
        value(await asyncClose(ctx, fd));
        note("opened");
      },
    ];
    const started: Promise<void>[] = [];
    for (let i = 0; i < 6000; i++) {
      started.push(actions[random(actions.length)]!());
      if (random(20) === 0) await immediate();
      if (random(200) === 0) await turn();
    }
    await Promise.all(started);
    assertEquals(ctx.pending, 0, `seed ${seed}`);
    for (
      const name of ["received", "ETIMEDOUT", "ECANCELED", "sent", "linked"]
    ) {
      assert((counts.get(name) ?? 0) > 0, `seed ${seed}: no ${name}`);
    }
    // Bytes that were sent were received, or are still there.
    for (const { left, right } of pairs) {
      value(await asyncShutdown(ctx, right, SHUT_WR));
      const rest = new Uint8Array(65536);
      received += value(await asyncRecv(ctx, left, rest, MSG_WAITALL));
    }
    assertEquals(received, sent, `seed ${seed}`);
    for (const pair of pairs) pair[Symbol.dispose]();
  },
);

kioTest(
  "a storm with cancelAllPending() in it ends with nothing pending (seeded)",
  async (ctx) => {
    const random = randomOf(21);
    await using file = await tempFile(ctx, pattern(4096));
    using pair = unixPair();
    let settled = 0;
    const ops: Promise<unknown>[] = [];
    const kinds: (() => UringOp<unknown>)[] = [
      () => asyncRecv(ctx, pair.left, new Uint8Array(8)),
      () => asyncRead(ctx, file, new Uint8Array(8), random(4096)),
      () => asyncSleep(ctx, random(100)),
      () => asyncPoll(ctx, pair.left, POLLIN).withTimeout(random(100)),
      () => asyncSend(ctx, pair.right, bytes("x"), MSG_DONTWAIT),
    ];
    for (let i = 0; i < 200; i++) {
      for (let j = random(40); j > 0; j--) {
        ops.push(kinds[random(kinds.length)]!().then(() => settled++));
      }
      if (random(3) === 0) await immediate();
      if (random(10) === 0) await turn();
      if (random(4) === 0) await ctx.cancelAllPending();
    }
    await ctx.cancelAllPending();
    await Promise.all(ops);
    assertEquals([ctx.pending, settled], [0, ops.length]);
  },
);

kioTest(
  "late answers to cancels hit no operation that came after",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx, bytes("x"));
    // Most of these are done in the kernel before they are cancelled, so that
    // there is nothing to cancel, and their completions fill several batches.
    const reads = Array.from(
      { length: 3000 },
      () => asyncRead(ctx, file, new Uint8Array(1)),
    );
    const later: UringOp<number>[] = [];
    for (const read of reads) {
      // In the slots of those that are over.
      void read.then(() => {
        later.push(asyncRecv(ctx, pair.left, new Uint8Array(1)));
      });
      read.cancel();
    }
    const results = await Promise.all(reads);
    assert(results.filter((result) => result.ok).length > 2000);
    await turn(30);
    assertEquals(ctx.pending, 3000);
    value(await asyncSend(ctx, pair.right, new Uint8Array(3000)));
    for (const op of later) assertEquals(value(await op), 1);
  },
);

// ---- connections ------------------------------------------------------------------------------

kioTest(
  "1000 connections opened and closed leave nothing behind, 5 rounds",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    const before = openFds();
    for (let round = 0; round < 5; round++) {
      const serve = async () => {
        using server = new Socket(value(await asyncAccept(ctx, listener)));
        const buffer = new Uint8Array(64);
        for (;;) {
          const count = value(await asyncRecv(ctx, server, buffer));
          if (count === 0) break;
          value(await asyncSend(ctx, server, buffer.subarray(0, count)));
        }
        await server.close();
      };
      const visit = async (number: number) => {
        const client = unwrap(Socket.open("ipv4"));
        value(await asyncConnect(ctx, client, at));
        const data = pattern(48, number);
        value(await asyncSend(ctx, client, data));
        const buffer = new Uint8Array(48);
        const echoed = value(await asyncRecv(ctx, client, buffer, MSG_WAITALL));
        assertEquals(echoed, 48);
        assertEquals(buffer, data, "somebody else's bytes");
        await client.close();
      };
      await Promise.all(
        Array.from({ length: 1000 }, (_, i) => [serve(), visit(i)]).flat(),
      );
      assertEquals(ctx.pending, 0);
      await assertFds(before, `after round ${round}`);
    }
  },
  { entries: 256 },
);

kioTest(
  "connections that are dropped in every state leave nothing behind",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    const random = randomOf(6);
    for (let round = 0; round < 100; round++) {
      const client = unwrap(Socket.open("ipv4"));
      const connecting = asyncConnect(ctx, client, at);
      const accepting = asyncAccept(ctx, listener);
      if (random(2) === 0) await immediate();
      if (random(3) === 0) client[Symbol.dispose]();
      const [connected, accepted] = await Promise.all([
        connecting,
        accepting.withTimeout(20),
      ]);
      if (!connected.ok) {
        assertCode(
          connected,
          "ECANCELED",
          "EBADF",
          "ECONNABORTED",
          "ECONNRESET",
          "EINVAL",
          "EPIPE",
        );
      }
      if (accepted.ok) {
        const server = new Socket(accepted.value);
        const buffer = new Uint8Array(8);
        const receiving = asyncRecv(ctx, server, buffer);
        if (client.fd >= 0 && random(2) === 0) {
          void asyncSend(ctx, client, bytes("x"));
        }
        const end = random(3);
        if (end === 0) server[Symbol.dispose]();
        else if (end === 1) await server.close();
        else value(await asyncClose(ctx, server));
        if (client.fd >= 0 && random(2) === 0) client[Symbol.dispose]();
        else await client.close();
        await receiving;
      } else {
        assertCode(accepted, "ETIMEDOUT");
        await client.close();
      }
    }
    await ctx.cancelAllPending();
    // Connections that were not accepted in time.
    for (;;) {
      const rest = await asyncAccept(ctx, listener).withTimeout(0);
      if (!rest.ok) break;
      value(await asyncClose(ctx, rest.value));
    }
  },
);
