import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncAccept,
  asyncAcceptFrom,
  asyncClose,
  asyncConnect,
  asyncFallocate,
  asyncFtruncate,
  asyncMsgRing,
  asyncOpen,
  asyncPoll,
  asyncRead,
  asyncRecv,
  asyncSend,
  asyncSendmsg,
  asyncShutdown,
  asyncSleep,
  asyncWrite,
  asyncWritev,
  IoContext,
  link,
  MSG_DONTWAIT,
  MSG_WAITALL,
  O_RDWR,
  O_TMPFILE,
  POLLIN,
  POLLOUT,
  SHUT_RDWR,
  Socket,
  unwrap,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  contentOf,
  immediate,
  isOpen,
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

// ---- before the kernel has seen it ------------------------------------------------------

kioTest(
  "cancel() in the same turn: asyncWrite() and asyncWritev() write nothing",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const ops = [
      asyncWrite(ctx, file, bytes("X")),
      asyncWritev(ctx, file, [bytes("YZ")], 1),
      asyncWrite(ctx, file, bytes("far"), 1000),
    ];
    for (const op of ops) op.cancel();
    for (const op of ops) assertCode(await op, "ECANCELED");
    assertEquals(text(await contentOf(ctx, file)), "abc");
  },
);

kioTest(
  "cancel() in the same turn: asyncSend() and asyncSendmsg() send nothing",
  async (ctx) => {
    using pair = unixPair();
    const ops = [
      asyncSend(ctx, pair.left, bytes("x")),
      asyncSendmsg(ctx, pair.left, { buffers: [bytes("y")] }),
    ];
    for (const op of ops) op.cancel();
    for (const op of ops) assertCode(await op, "ECANCELED");
    assertCode(
      await asyncRecv(ctx, pair.right, buffer(), MSG_DONTWAIT),
      "EAGAIN",
    );
  },
);

kioTest(
  "cancel() in the same turn: asyncFtruncate() and asyncFallocate() change nothing",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const ops = [asyncFallocate(ctx, file, 0, 0, 100)];
    // Before Linux 6.9 it is done at once.
    if (ctx.capabilities.operations.asyncFtruncate === "ring") {
      ops.push(asyncFtruncate(ctx, file, 1));
    }
    for (const op of ops) op.cancel();
    for (const op of ops) assertCode(await op, "ECANCELED");
    assertEquals(text(await contentOf(ctx, file)), "abc");
  },
);

kioTest(
  "cancel() in the same turn: asyncOpen() opens, asyncShutdown() shuts, asyncConnect() connects nothing",
  async (ctx) => {
    using pair = unixPair();
    const { listener, at } = listen();
    using _ = listener;
    using client = unwrap(Socket.open("ipv4"));
    const ops = [
      asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600),
      asyncShutdown(ctx, pair.left, SHUT_RDWR),
      asyncConnect(ctx, client, at),
    ];
    for (const op of ops) op.cancel();
    for (const op of ops) assertCode(await op, "ECANCELED");
    value(await asyncSend(ctx, pair.left, bytes("x")));
    assertEquals(client.peerAddress, undefined);
  },
);

kioTest(
  "cancel() in the same turn: asyncRecv() and asyncAccept() take nothing",
  async (ctx) => {
    using pair = unixPair();
    value(await asyncSend(ctx, pair.right, bytes("abc")));
    const { listener, at } = listen();
    using _ = listener;
    using client = unwrap(Socket.open("ipv4"));
    value(await asyncConnect(ctx, client, at));
    const ops = [
      asyncRecv(ctx, pair.left, buffer()),
      asyncAccept(ctx, listener),
    ];
    for (const op of ops) op.cancel();
    for (const op of ops) assertCode(await op, "ECANCELED");
    assertEquals(value(await asyncRecv(ctx, pair.left, buffer())), 3);
    using _server = new Socket(value(await asyncAccept(ctx, listener)));
  },
);

kioTest(
  "cancel() in the same turn: asyncMsgRing() sends nothing",
  async (ctx) => {
    const messages: number[] = [];
    ctx.onMessage = (result) => messages.push(result);
    const op = asyncMsgRing(ctx, ctx.ringFd, 1, 1);
    op.cancel();
    assertCode(await op, "ECANCELED");
    value(await asyncMsgRing(ctx, ctx.ringFd, 2, 2));
    await turn(5);
    assertEquals(messages, [2]);
  },
);

kioTest(
  "cancel() in the same turn: asyncClose() still takes the fd away, as its result says nothing",
  async (ctx) => {
    // "The fd is gone whatever the result; never repeat it."
    const [number, owned] = unwrap(Socket.pair());
    const fds = [number.fd, owned.fd];
    const ops = [asyncClose(ctx, number.release()), asyncClose(ctx, owned)];
    for (const op of ops) op.cancel();
    for (const op of ops) await op;
    const left = fds.filter(isOpen);
    for (const fd of left) value(await asyncClose(ctx, fd));
    assertEquals(left, []);
  },
);

kioTest(
  "cancel() in the same turn hits only its own among many",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const ops = Array.from(
      { length: 60 },
      (_, i) => asyncWrite(ctx, file, bytes("x"), i),
    );
    const random = randomOf(2);
    const cancelled = ops.map(() => random(2) === 0);
    ops.forEach((op, i) => cancelled[i] && op.cancel());
    for (const [i, op] of ops.entries()) {
      if (cancelled[i]) assertCode(await op, "ECANCELED");
      else assertEquals(value(await op), 1);
    }
    value(await asyncFtruncate(ctx, file, 60));
    const content = await contentOf(ctx, file);
    assertEquals([...content], cancelled.map((yes) => yes ? 0 : 0x78));
  },
);

kioTest(
  "cancel() in the same turn holds when other cancels fill the queue",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx);
    const receives = Array.from(
      { length: 40 },
      () => asyncRecv(ctx, pair.left, buffer()),
    );
    await turn();
    // The queue has 64 places. The cancels of operations in the kernel do not
    // fit beside the writes, and must not submit these to make room.
    const writes = Array.from(
      { length: 40 },
      (_, i) => asyncWrite(ctx, file, bytes("x"), i),
    );
    for (const op of [...receives, ...writes]) op.cancel();
    for (const op of receives) assertCode(await op, "ECANCELED");
    const written = (await Promise.all(writes)).filter((result) => result.ok);
    assertEquals(written.length, 0);
    assertEquals((await contentOf(ctx, file)).length, 0);
  },
);

kioTest(
  "cancel() of a full queue submits what is needed and ends all",
  async (ctx) => {
    using pair = unixPair();
    const ops = Array.from(
      { length: 500 },
      () => asyncRecv(ctx, pair.left, new Uint8Array(1)),
    );
    for (const op of ops) op.cancel();
    for (const op of ops) assertCode(await op, "ECANCELED");
    value(await asyncSend(ctx, pair.right, bytes("x")));
    assertEquals(value(await asyncRecv(ctx, pair.left, buffer())), 1);
  },
);

// ---- a request, not a state ---------------------------------------------------------------

kioTest(
  "cancel() leaves the slot to the operation until it completes",
  async (ctx) => {
    using pair = unixPair();
    const op = asyncRecv(ctx, pair.left, buffer());
    await turn();
    op.cancel();
    assertEquals(ctx.pending, 1, "the kernel still has the buffer");
    assertCode(await op, "ECANCELED");
  },
);

kioTest(
  "cancel() of an operation that has completed does nothing to the next in its slot",
  async (ctx) => {
    using pair = unixPair();
    const old = asyncPoll(ctx, pair.left, POLLOUT);
    value(await old);
    const next = asyncRecv(ctx, pair.left, buffer());
    old.cancel();
    await turn(5);
    old.cancel();
    assertEquals(ctx.pending, 1);
    value(await asyncSend(ctx, pair.right, bytes("x")));
    assertEquals(value(await next), 1);
  },
);

kioTest(
  "cancel() in the turn of the completion does nothing to the next in the slot",
  async (ctx) => {
    using pair = unixPair();
    for (let i = 0; i < 200; i++) {
      value(await asyncSend(ctx, pair.right, bytes("x")));
      const old = asyncRecv(ctx, pair.left, buffer());
      await turn();
      // It has completed, or is about to.
      old.cancel();
      const next = asyncRecv(ctx, pair.left, buffer());
      const first = await old;
      value(await asyncSend(ctx, pair.right, bytes("yy")));
      const second = value(await next);
      if (first.ok) assertEquals([first.value, second], [1, 2]);
      else assert(second >= 1);
      // Take the bytes that are left if the first was cancelled.
      await asyncRecv(ctx, pair.left, buffer(), MSG_DONTWAIT);
    }
  },
);

kioTest(
  "cancel() gives the part that MSG_WAITALL has received",
  async (ctx) => {
    using pair = unixPair();
    const memory = buffer();
    const op = asyncRecv(ctx, pair.left, memory, MSG_WAITALL);
    await turn();
    value(await asyncSend(ctx, pair.right, bytes("abc")));
    await turn(2);
    op.cancel();
    assertEquals(value(await op), 3);
    assertEquals(text(memory.subarray(0, 3)), "abc");
  },
);

kioTest(
  "cancel() of asyncSend() with MSG_WAITALL gives what was sent",
  async (ctx) => {
    using pair = unixPair();
    const op = asyncSend(ctx, pair.left, pattern(2 ** 21), MSG_WAITALL);
    await turn(5);
    op.cancel();
    const sent = value(await op);
    await pair.left.close();
    const memory = new Uint8Array(2 ** 21);
    let received = 0;
    for (let count = -1; count !== 0; received += count) {
      count = value(await asyncRecv(ctx, pair.right, memory));
    }
    assertEquals(received, sent);
  },
);

kioTest("cancel() of a file operation gives its result", async (ctx) => {
  await using file = await tempFile(ctx);
  for (let i = 0; i < 50; i++) {
    const op = asyncWrite(ctx, file, new Uint8Array(65536).fill(1), 65536 * i);
    if (i % 2 === 0) await Promise.resolve();
    else await turn();
    op.cancel();
    const result = await op;
    const count = value(
      await asyncRead(ctx, file, new Uint8Array(65536), 65536 * i),
    );
    assertEquals(count, result.ok ? result.value : 0);
    if (!result.ok) assertCode(result, "ECANCELED");
    value(
      await asyncWrite(ctx, file, new Uint8Array(65536).fill(1), 65536 * i),
    );
  }
});

kioTest("cancel() of 2000 receives in a race loses no byte", async (ctx) => {
  using pair = await tcpPair(ctx);
  const rounds = 2000;
  const data = pattern(rounds);
  const random = randomOf(3);
  const received: number[] = [];
  let [cancels, sent] = [0, 0];
  for (let i = 0; i < rounds; i++) {
    const memory = new Uint8Array(4);
    const op = asyncRecv(ctx, pair.left, memory);
    if (random(2) === 0) await immediate();
    const send = asyncSend(ctx, pair.right, data.subarray(i, i + 1));
    if (random(2) === 0) await immediate();
    for (let hops = random(12); hops > 0; hops--) await null;
    op.cancel();
    sent += value(await send);
    const result = await op;
    if (result.ok) received.push(...memory.subarray(0, result.value));
    else assertCode(result, "ECANCELED");
    if (!result.ok) cancels++;
  }
  assertEquals(sent, rounds);
  while (received.length < rounds) {
    const memory = new Uint8Array(64);
    const result = await asyncRecv(ctx, pair.left, memory).withTimeout(5000);
    received.push(...memory.subarray(0, value(result)));
  }
  assertEquals(Uint8Array.from(received), data);
  assert(cancels > 0 && cancels < rounds, `${cancels} cancels are no race`);
});

kioTest(
  "cancel() of accepts in a race with connections loses none and leaks no fd",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    // The connecting side has a ring of its own, so that its operations and the
    // cancels are in no fixed order.
    using other = new IoContext(16);
    const random = randomOf(5);
    const rounds = 500;
    const accepted: number[] = [];
    let cancels = 0;
    for (let i = 0; i < rounds; i++) {
      const client = unwrap(Socket.open("ipv4"));
      const op = random(2) === 0
        ? asyncAccept(ctx, listener)
        : asyncAcceptFrom(ctx, listener);
      if (random(2) === 0) await immediate();
      const connecting = asyncConnect(other, client, at);
      if (random(2) === 0) value(await connecting);
      if (random(4) === 0) await turn();
      else if (random(2) === 0) await immediate();
      for (let hops = random(6); hops > 0; hops--) await null;
      op.cancel();
      const result = await op;
      value(await connecting);
      let fd: number;
      if (result.ok) {
        fd = typeof result.value === "number" ? result.value : result.value.fd;
      } else {
        assertCode(result, "ECANCELED");
        cancels++;
        fd = value(await asyncAccept(ctx, listener).withTimeout(5000));
      }
      using server = new Socket(fd);
      accepted.push(server.peerAddress!.port);
      assertEquals(server.peerAddress!.port, client.localAddress!.port);
      await client.close();
    }
    assertEquals(accepted.length, rounds);
    assert(cancels > 0 && cancels < rounds, `${cancels} cancels are no race`);
  },
);

// ---- members of a chain ----------------------------------------------------------------

kioTest("cancel() of the head of a chain ends those behind it", async (ctx) => {
  using pair = unixPair();
  await using file = await tempFile(ctx);
  for (const turns of [0, 1]) {
    const ops = link(ctx, () => [
      asyncRecv(ctx, pair.left, buffer()),
      asyncWrite(ctx, file, bytes("x")),
      asyncWrite(ctx, file, bytes("y"), 1),
    ]);
    for (let i = 0; i < turns; i++) await turn();
    ops[0].cancel();
    for (const op of ops) assertCode(await op, "ECANCELED");
    assertEquals((await contentOf(ctx, file)).length, 0);
  }
});

kioTest(
  "cancel() in the same turn: a member of a chain never happens, nor those behind it",
  async (ctx) => {
    for (let which = 0; which < 3; which++) {
      await using file = await tempFile(ctx, bytes("..."));
      const ops = link(
        ctx,
        () => [0, 1, 2].map((i) => asyncWrite(ctx, file, bytes("x"), i)),
      );
      ops[which]!.cancel();
      for (const [i, op] of ops.entries()) {
        if (i < which) assertEquals(value(await op), 1);
        else assertCode(await op, "ECANCELED");
      }
      assertEquals(
        text(await contentOf(ctx, file)),
        "x".repeat(which).padEnd(3, "."),
      );
    }
  },
);

kioTest(
  "cancel() within link(): a member never happens, nor those behind it",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("..."));
    const ops = link(ctx, () => {
      const one = asyncWrite(ctx, file, bytes("x"), 0);
      const two = asyncWrite(ctx, file, bytes("x"), 1);
      two.cancel();
      return [one, two, asyncWrite(ctx, file, bytes("x"), 2)];
    });
    assertEquals(value(await ops[0]), 1);
    assertCode(await ops[1], "ECANCELED");
    assertCode(await ops[2], "ECANCELED");
    assertEquals(text(await contentOf(ctx, file)), "x..");
  },
);

kioTest(
  "cancel() of a member that has not started takes effect when it does",
  async (ctx) => {
    using pair = unixPair();
    using other = unixPair();
    for (const turns of [0, 1]) {
      const [head, member, last] = link(ctx, () => [
        asyncRecv(ctx, pair.left, buffer()),
        asyncRecv(ctx, other.left, buffer()),
        asyncSend(ctx, other.left, bytes("x")),
      ]);
      for (let i = 0; i < turns; i++) await turn();
      member.cancel();
      await turn(20);
      value(await asyncSend(ctx, pair.right, bytes("abc")));
      assertEquals(value(await head), 3);
      assertCode(await member, "ECANCELED");
      assertCode(await last, "ECANCELED");
      assertCode(
        await asyncRecv(ctx, other.right, buffer(), MSG_DONTWAIT),
        "EAGAIN",
      );
    }
  },
);

kioTest(
  "cancel() of a member leaves the chain of others alone",
  async (ctx) => {
    using pair = unixPair();
    using other = unixPair();
    const doomed = link(ctx, () => [
      asyncRecv(ctx, pair.left, buffer()),
      asyncSend(ctx, pair.left, bytes("x")),
    ]);
    const lucky = link(ctx, () => [
      asyncRecv(ctx, other.left, buffer()),
      asyncSend(ctx, other.left, bytes("answer")),
    ]);
    doomed[0].cancel();
    for (const op of doomed) assertCode(await op, "ECANCELED");
    value(await asyncSend(ctx, other.right, bytes("question")));
    assertEquals(value(await lucky[0]), 8);
    assertEquals(value(await lucky[1]), 6);
  },
);

kioTest(
  "withTimeout() of the head of a chain: ETIMEDOUT, then ECANCELED",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx);
    const [head, second, third] = link(ctx, () => [
      asyncRecv(ctx, pair.left, buffer()).withTimeout(10),
      asyncWrite(ctx, file, bytes("x")),
      asyncWrite(ctx, file, bytes("y")),
    ]);
    assertCode(await head, "ETIMEDOUT");
    assertCode(await second, "ECANCELED");
    assertCode(await third, "ECANCELED");
    assertEquals((await contentOf(ctx, file)).length, 0);
  },
);

kioTest(
  "withTimeout() of a later member ends it once the chain is there",
  async (ctx) => {
    using pair = unixPair();
    using other = unixPair();
    const [head, member, last] = link(ctx, () => [
      asyncRecv(ctx, pair.left, buffer()),
      asyncRecv(ctx, other.left, buffer()).withTimeout(10),
      asyncSend(ctx, other.left, bytes("x")),
    ]);
    await turn(30);
    value(await asyncSend(ctx, pair.right, bytes("abc")));
    assertEquals(value(await head), 3);
    assertCode(await member, "ETIMEDOUT");
    assertCode(await last, "ECANCELED");
  },
);

kioTest(
  "withTimeout() of the last member ends it alone",
  async (ctx) => {
    using pair = unixPair();
    const [written, received] = link(ctx, () => [
      asyncSend(ctx, pair.left, bytes("question")),
      asyncRecv(ctx, pair.left, buffer()).withTimeout(15),
    ]);
    assertEquals(value(await written), 8);
    assertCode(await received, "ETIMEDOUT");
  },
);

// ---- signals ------------------------------------------------------------------------------

/** A signal that counts the listeners it has. */
function countingSignal(): {
  controller: AbortController;
  listeners: () => number;
} {
  const controller = new AbortController();
  const { signal } = controller;
  const current = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (
    ...args: Parameters<typeof signal.addEventListener>
  ) => {
    current.add(args[1]);
    add(...args);
  };
  signal.removeEventListener = (
    ...args: Parameters<typeof signal.removeEventListener>
  ) => {
    current.delete(args[1]);
    remove(...args);
  };
  return { controller, listeners: () => current.size };
}

kioTest(
  "withSignal() leaves no listener after a result, an error, a timeout or a cancel",
  async (ctx) => {
    using pair = unixPair();
    const { controller: { signal }, listeners } = countingSignal();
    const receive = () =>
      asyncRecv(ctx, pair.left, buffer()).withSignal(signal);
    value(await asyncSend(ctx, pair.right, bytes("x")));
    const received = receive();
    assertEquals(listeners(), 1, "the count does not count");
    value(await received);
    await turn();
    assertEquals(listeners(), 0);
    const failing = asyncRecv(ctx, 4000, buffer()).withSignal(signal);
    assertCode(await failing, "EBADF");
    await turn();
    assertEquals(listeners(), 0);
    assertCode(await receive().withTimeout(1), "ETIMEDOUT");
    await turn();
    assertEquals(listeners(), 0);
    const cancelled = receive();
    cancelled.cancel();
    assertCode(await cancelled, "ECANCELED");
    await turn();
    assertEquals(listeners(), 0);
    const slept = asyncSleep(ctx, 1).withSignal(signal);
    value(await slept);
    await turn();
    assertEquals(listeners(), 0);
  },
);

kioTest(
  "withSignal() takes what AbortSignal.timeout() and any() make",
  async (ctx) => {
    using pair = unixPair();
    const receive = () => asyncRecv(ctx, pair.left, buffer());
    assertCode(await receive().withSignal(AbortSignal.timeout(5)), "ECANCELED");
    const controllers = [new AbortController(), new AbortController()];
    const any = AbortSignal.any(controllers.map(({ signal }) => signal));
    const op = receive().withSignal(any);
    await turn();
    controllers[1]!.abort();
    assertCode(await op, "ECANCELED");
  },
);

kioTest(
  "withSignal() leaves no listener after an abort or a closed context",
  async (ctx) => {
    using pair = unixPair();
    const { controller, listeners } = countingSignal();
    const aborted = asyncRecv(ctx, pair.left, buffer())
      .withSignal(controller.signal);
    controller.abort();
    assertCode(await aborted, "ECANCELED");
    await turn();
    assertEquals(listeners(), 0);
    const closing = countingSignal();
    const other = new IoContext(4);
    const op = asyncRecv(other, pair.left, buffer())
      .withSignal(closing.controller.signal);
    other[Symbol.dispose]();
    assertCode(await op, "ECANCELED");
    assertEquals(closing.listeners(), 0);
  },
);

kioTest(
  "withSignal() of an aborted signal keeps the operation from happening",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const { controller, listeners } = countingSignal();
    controller.abort();
    const op = asyncWrite(ctx, file, bytes("X")).withSignal(controller.signal);
    assertCode(await op, "ECANCELED");
    await turn();
    assertEquals(listeners(), 0);
    assertEquals(text(await contentOf(ctx, file)), "abc");
  },
);

kioTest(
  "withSignal() of one signal ends a thousand operations",
  async (ctx) => {
    using pair = unixPair();
    const { controller, listeners } = countingSignal();
    const ops = Array.from(
      { length: 1000 },
      () => asyncPoll(ctx, pair.left, POLLIN).withSignal(controller.signal),
    );
    await turn();
    // Each listener more would make each removal slower.
    assertEquals(listeners(), 1);
    controller.abort();
    for (const op of ops) assertCode(await op, "ECANCELED");
    await turn();
    assertEquals(listeners(), 0);
  },
);

kioTest("withSignal() of a second signal keeps the first", async (ctx) => {
  using pair = unixPair();
  for (const which of [0, 1]) {
    const controllers = [new AbortController(), new AbortController()];
    const op = asyncRecv(ctx, pair.left, buffer()).withTimeout(20_000);
    for (const { signal } of controllers) op.withSignal(signal);
    await turn();
    controllers[which]!.abort();
    assertCode(await op, "ECANCELED");
  }
});

kioTest("withSignal() after completion does nothing", async (ctx) => {
  using pair = unixPair();
  const { controller, listeners } = countingSignal();
  const op = asyncPoll(ctx, pair.left, POLLOUT);
  value(await op);
  assertEquals(op.withSignal(controller.signal), op);
  assertEquals(listeners(), 0);
  const next = asyncRecv(ctx, pair.left, buffer());
  controller.abort();
  op.withSignal(controller.signal);
  await turn(2);
  assertEquals(ctx.pending, 1);
  value(await asyncSend(ctx, pair.right, bytes("x")));
  assertEquals(value(await next), 1);
});

kioTest(
  "withSignal() of a signal aborted by the operation's own continuation is harmless",
  async (ctx) => {
    using pair = unixPair();
    const controller = new AbortController();
    value(await asyncSend(ctx, pair.right, bytes("abcd")));
    // Both complete in one batch; the first one's continuation aborts.
    const ops = [0, 1].map(() =>
      asyncRecv(ctx, pair.left, new Uint8Array(2)).withSignal(controller.signal)
    );
    const first = ops[0]!.then((result) => {
      controller.abort();
      return result;
    });
    assertEquals(value(await first), 2);
    assertEquals(value(await ops[1]!), 2);
  },
);

kioTest("withSignal() in a race with a sender loses no byte", async (ctx) => {
  using pair = unixPair();
  const random = randomOf(9);
  const rounds = 500;
  let received = 0;
  for (let i = 0; i < rounds; i++) {
    const controller = new AbortController();
    const op = asyncRecv(ctx, pair.left, buffer())
      .withSignal(controller.signal);
    if (random(2) === 0) await immediate();
    const send = asyncSend(ctx, pair.right, bytes("x"));
    for (let hops = random(12); hops > 0; hops--) await null;
    controller.abort();
    value(await send);
    const result = await op;
    if (result.ok) received += result.value;
    else assertCode(result, "ECANCELED");
  }
  while (received < rounds) {
    const rest = await asyncRecv(ctx, pair.left, new Uint8Array(rounds))
      .withTimeout(5000);
    received += value(rest);
  }
  assertEquals(received, rounds);
});

/** Attaches something wrong to an operation that has started. */
const wrongly: Record<string, (op: UringOp<unknown>) => void> = {
  "withTimeout(-1)": (op) => void op.withTimeout(-1),
  "withSignal(null)": (op) => void op.withSignal(null as never),
};

for (const [name, attach] of Object.entries(wrongly)) {
  kioTest(
    `${name} throws, and the receive takes nothing of the next one`,
    async (ctx) => {
      using pair = unixPair();
      for (const isSubmitted of [false, true]) {
        const op = asyncRecv(ctx, pair.left, buffer());
        if (isSubmitted) await turn();
        assertThrows(() => attach(op));
        const next = asyncRecv(ctx, pair.left, buffer());
        assertCode(await op, "ECANCELED");
        value(await asyncSend(ctx, pair.right, bytes("next")));
        assertEquals(value(await next), 4);
        // One that is complete has nothing to lose.
        assertThrows(() => attach(next));
        assertEquals(value(await next), 4);
      }
    },
  );

  kioTest(`${name} of a sleep throws and ends it`, async (ctx) => {
    const op = asyncSleep(ctx, 1_000_000);
    assertThrows(() => attach(op));
    assertCode(await op, "ECANCELED");
  });
}

kioTest(
  "withSignal() of operations in a row share a listener while the drive runs",
  async (ctx) => {
    using pair = unixPair();
    const { controller: { signal } } = countingSignal();
    let added = 0;
    let removed = 0;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (
      ...args: Parameters<typeof addEventListener>
    ) => {
      added++;
      addEventListener(...args);
    };
    signal.removeEventListener = (
      ...args: Parameters<typeof removeEventListener>
    ) => {
      removed++;
      removeEventListener(...args);
    };
    const rounds = 50;
    for (let round = 0; round < rounds; round++) {
      value(await asyncSend(ctx, pair.right, bytes("x")).withSignal(signal));
      value(await asyncRecv(ctx, pair.left, buffer()).withSignal(signal));
    }
    // One a turn of the drive, however many operations it has.
    assert(added < 2 * rounds, `${added} listeners`);
    await turn();
    assertEquals(added, removed);
  },
);
