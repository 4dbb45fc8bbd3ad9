import { assert, assertEquals } from "@std/assert";
import {
  asyncAccept,
  asyncAcceptFrom,
  asyncClose,
  asyncConnect,
  asyncMsgRing,
  asyncOpen,
  asyncPoll,
  asyncRead,
  asyncReadv,
  asyncRecv,
  asyncRecvmsg,
  asyncSend,
  asyncSendmsg,
  asyncShutdown,
  asyncSplice,
  asyncUnlink,
  asyncWrite,
  asyncWritev,
  IoContext,
  link,
  MSG_DONTWAIT,
  MSG_WAITALL,
  O_CREAT,
  O_RDONLY,
  O_WRONLY,
  POLLIN,
  type Result,
  SHUT_WR,
  Socket,
  unwrap,
  type UringOp,
} from "@kio/kio";
import { loadShim } from "../../ffi/load.ts";
import {
  assertCode,
  bytes,
  immediate,
  isOpen,
  kioTest,
  listen,
  type Pair,
  randomOf,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

const buffer = () => new Uint8Array(8);

function codes(results: readonly Result<unknown>[]): string {
  return results.map((result) => result.ok ? "ok" : result.error.code).join();
}

/** Fails if something can be received. */
async function assertNothingCame(
  ctx: IoContext,
  socket: Socket,
): Promise<void> {
  assertCode(await asyncRecv(ctx, socket, buffer(), MSG_DONTWAIT), "EAGAIN");
}

/** Makes a pair whose left end takes no more, and keeps the bytes sent by it.
 */
async function fullPair(ctx: IoContext): Promise<Pair> {
  const pair = unixPair();
  const data = new Uint8Array(65536);
  while ((await asyncSend(ctx, pair.left, data, MSG_DONTWAIT)).ok);
  return pair;
}

async function empty(ctx: IoContext, socket: Socket): Promise<void> {
  const memory = new Uint8Array(65536);
  while ((await asyncRecv(ctx, socket, memory, MSG_DONTWAIT)).ok);
}

/** The first of a chain, which waits, and how it is brought to its end. */
interface Head {
  start(): UringOp<unknown>;
  fire(): unknown;
  end?(result: Result<unknown>): unknown;
}

/** Operations that may be under way when a link behind them is cancelled. */
const heads: Record<
  string,
  (ctx: IoContext, stack: AsyncDisposableStack) => Head | Promise<Head>
> = {
  asyncPoll: (ctx, stack) => receiver(ctx, stack, asyncPoll, POLLIN),
  asyncRecv: (ctx, stack) => receiver(ctx, stack, asyncRecv, buffer()),
  asyncRead: (ctx, stack) => receiver(ctx, stack, asyncRead, new Uint8Array(5)),
  asyncReadv: (ctx, stack) =>
    receiver(ctx, stack, asyncReadv, [new Uint8Array(2), new Uint8Array(3)]),
  asyncRecvmsg: (ctx, stack) =>
    receiver(ctx, stack, asyncRecvmsg, { buffers: [buffer()] }),
  asyncSend: (ctx, stack) => sender(ctx, stack, asyncSend, buffer()),
  asyncSendmsg: (ctx, stack) =>
    sender(ctx, stack, asyncSendmsg, { buffers: [buffer()] }),
  asyncWrite: (ctx, stack) => sender(ctx, stack, asyncWrite, buffer()),
  asyncWritev: (ctx, stack) => sender(ctx, stack, asyncWritev, [buffer()]),
  asyncAccept: (ctx, stack) =>
    acceptor(ctx, stack, asyncAccept, (fd) => new Socket(fd)),
  asyncAcceptFrom: (ctx, stack) =>
    acceptor(ctx, stack, asyncAcceptFrom, ({ fd }) => new Socket(fd)),
  asyncSplice: (ctx, stack) => {
    // A blocking one, in a thread of the kernel.
    const from = blockingPipe(stack);
    const to = blockingPipe(stack);
    return {
      start: () => asyncSplice(ctx, from.readFd, to.writeFd, 5),
      fire: () => asyncWrite(ctx, from.writeFd, bytes("hello")).orThrow(),
    };
  },
  asyncOpen: async (ctx, stack) => {
    const path = `/tmp/kio-chain-${Deno.pid}`;
    const libc = Deno.dlopen("libc.so.6", {
      mkfifo: { parameters: ["buffer", "u32"], result: "i32" },
    });
    assertEquals(libc.symbols.mkfifo(bytes(`${path}\0`), 0o600), 0);
    libc.close();
    stack.defer(async () => void await asyncUnlink(ctx, path));
    return await Promise.resolve({
      // With O_CREAT in a thread of the kernel, which waits for a writer.
      start: () => asyncOpen(ctx, path, O_RDONLY | O_CREAT, 0o600),
      fire: async () => {
        const fd = value(await asyncOpen(ctx, path, O_WRONLY | O_CREAT));
        stack.defer(async () => void await asyncClose(ctx, fd));
      },
      end: (result: Result<unknown>) =>
        asyncClose(ctx, value(result as Result<number>)),
    });
  },
};

function receiver<A extends unknown[]>(
  ctx: IoContext,
  stack: AsyncDisposableStack,
  start: (ctx: IoContext, socket: Socket, ...args: A) => UringOp<unknown>,
  ...args: A
): Head {
  const pair = stack.use(unixPair());
  return {
    start: () => start(ctx, pair.left, ...args),
    fire: () => asyncSend(ctx, pair.right, bytes("hello")).orThrow(),
  };
}

async function sender<A extends unknown[]>(
  ctx: IoContext,
  stack: AsyncDisposableStack,
  start: (ctx: IoContext, socket: Socket, ...args: A) => UringOp<unknown>,
  ...args: A
): Promise<Head> {
  const pair = stack.use(await fullPair(ctx));
  return {
    start: () => start(ctx, pair.left, ...args),
    fire: () => empty(ctx, pair.right),
  };
}

function acceptor<T>(
  ctx: IoContext,
  stack: AsyncDisposableStack,
  start: (ctx: IoContext, listener: Socket) => UringOp<T>,
  socketOf: (value: T) => Socket,
): Head {
  const { listener, at } = listen();
  stack.use(listener);
  const client = stack.use(unwrap(Socket.open("ipv4")));
  return {
    start: () => start(ctx, listener),
    fire: () => asyncConnect(ctx, client, at).orThrow(),
    end: (result) => socketOf(value(result as Result<T>)).close(),
  };
}

function blockingPipe(
  stack: AsyncDisposableStack,
): { readFd: number; writeFd: number } {
  const shim = loadShim();
  const fds = new Int32Array(2);
  assert(shim.kio_pipe(fds, 65536) > 0);
  const [readFd, writeFd] = fds;
  for (const fd of fds) {
    shim.kio_nonblocking_set(fd, false);
    stack.defer(() => void shim.kio_fd_close(fd));
  }
  return { readFd: readFd!, writeFd: writeFd! };
}

for (const [name, prepare] of Object.entries(heads)) {
  kioTest(
    `cancel() of a link behind ${name}() keeps it from running`,
    async (ctx) => {
      await using stack = new AsyncDisposableStack();
      using target = unixPair();
      const { start, fire, end } = await prepare(ctx, stack);
      const [head, member, last] = link(ctx, () => [
        start(),
        asyncSend(ctx, target.left, bytes("private")),
        asyncSend(ctx, target.left, bytes("too")),
      ]);
      await turn(5);
      member.cancel();
      assertEquals(codes([await member, await last]), "ECANCELED,ECANCELED");
      await turn(5);
      assertEquals(ctx.pending, 1, "the one before it goes on");
      await fire();
      const result = await head;
      assert(result.ok, codes([result]));
      await end?.(result);
      await assertNothingCame(ctx, target.right);
    },
  );
}

kioTest("cancel() of a link behind asyncConnect()", async (ctx) => {
  const { listener, at } = listen(1);
  using _ = listener;
  using target = unixPair();
  // Its queue is full: the connect goes on until there is room.
  const others: Socket[] = [];
  for (;;) {
    const client = unwrap(Socket.open("ipv4"));
    others.push(client);
    const op = asyncConnect(ctx, client, at).withTimeout(100);
    if (!(await op).ok) break;
  }
  using client = unwrap(Socket.open("ipv4"));
  const [head, between, member] = link(ctx, () => [
    asyncConnect(ctx, client, at),
    asyncSend(ctx, client, bytes("hello")),
    asyncSend(ctx, target.left, bytes("private")),
  ]);
  await turn(5);
  member.cancel();
  assertCode(await member, "ECANCELED");
  await turn(5);
  assertEquals(ctx.pending, 2);
  for (const other of others) {
    const fd = await asyncAccept(ctx, listener).withTimeout(100);
    if (fd.ok) await asyncClose(ctx, fd.value);
    await other.close();
  }
  // The kernel tries again after a second.
  assertEquals(codes([await head, await between]), "ok,ok");
  await assertNothingCame(ctx, target.right);
});

// ---- where the cut is ----------------------------------------------------------------

/** A chain whose first waits for a byte, and whose others send one each. */
function sendingChain(ctx: IoContext, waiting: Pair, target: Pair, n: number) {
  return link(ctx, () => [
    asyncPoll(ctx, waiting.left, POLLIN),
    ...Array.from(
      { length: n - 1 },
      (_, i) => asyncSend(ctx, target.left, bytes(String(i + 1))),
    ),
  ]);
}

async function received(ctx: IoContext, socket: Socket): Promise<string> {
  const memory = new Uint8Array(64);
  const result = await asyncRecv(ctx, socket, memory, MSG_DONTWAIT);
  return result.ok ? text(memory.subarray(0, result.value)) : "";
}

kioTest("cancel() of any of ten links: those before it run", async (ctx) => {
  for (let cut = 1; cut < 10; cut++) {
    using waiting = unixPair();
    using target = unixPair();
    const ops = sendingChain(ctx, waiting, target, 10);
    await turn(1);
    ops[cut]!.cancel();
    await turn(1);
    value(await asyncSend(ctx, waiting.right, bytes("x")));
    const expected = ops.map((_, i) => i < cut ? "ok" : "ECANCELED").join();
    assertEquals(codes(await Promise.all(ops)), expected);
    assertEquals(
      await received(ctx, target.right),
      "123456789".slice(0, cut - 1),
    );
  }
});

kioTest("cancel() of several links: the first of them counts", async (ctx) => {
  for (const [first, second] of [[7, 3], [3, 7], [5, 1], [4, 0]] as const) {
    for (const turns of [0, 1, 2]) {
      using waiting = unixPair();
      using target = unixPair();
      const ops = sendingChain(ctx, waiting, target, 10);
      await turn(1);
      ops[first]!.cancel();
      for (let i = 0; i < turns; i++) await turn();
      ops[second]!.cancel();
      await turn();
      value(await asyncSend(ctx, waiting.right, bytes("x")));
      const cut = Math.min(first, second);
      const expected = ops.map((_, i) => i < cut ? "ok" : "ECANCELED").join();
      assertEquals(codes(await Promise.all(ops)), expected);
      assertEquals(
        await received(ctx, target.right),
        "123456789".slice(0, Math.max(0, cut - 1)),
      );
    }
  }
});

kioTest(
  "withTimeout() and withSignal() of links keep them from running",
  async (ctx) => {
    using waiting = unixPair();
    using target = unixPair();
    const timed = sendingChain(ctx, waiting, target, 4);
    timed[3]!.withTimeout(10);
    timed[2]!.withTimeout(20);
    assertEquals(codes([await timed[3]!]), "ETIMEDOUT");
    assertEquals(codes([await timed[2]!]), "ETIMEDOUT");
    const controller = new AbortController();
    const aborted = sendingChain(ctx, waiting, target, 3);
    aborted[1]!.withSignal(controller.signal);
    await turn(1);
    controller.abort();
    assertEquals(
      codes([await aborted[1]!, await aborted[2]!]),
      "ECANCELED,ECANCELED",
    );
    aborted[0]!.withTimeout(10);
    assertCode(await aborted[0]!, "ETIMEDOUT");
    value(await asyncSend(ctx, waiting.right, bytes("x")));
    assertEquals(codes(await Promise.all(timed.slice(0, 2))), "ok,ok");
    assertEquals(await received(ctx, target.right), "1");
  },
);

kioTest("cancel() of a link is not repeated while it waits", async (ctx) => {
  using waiting = unixPair();
  using target = unixPair();
  const ops = sendingChain(ctx, waiting, target, 3);
  await turn(1);
  ops[2]!.cancel();
  await ops[2];
  await turn(20);
  const { submissions } = ctx.stats();
  await turn(60);
  assert(ctx.stats().submissions - submissions <= 4, "it goes on asking");
  value(await asyncSend(ctx, waiting.right, bytes("x")));
  assertEquals(codes(await Promise.all(ops)), "ok,ok,ECANCELED");
});

kioTest(
  "cancel() of a link takes the fd of an asyncClose() away all the same",
  async (ctx) => {
    for (const cut of [2, 1]) {
      using waiting = unixPair();
      using target = unixPair();
      const doomed = unixPair();
      const { fd } = doomed.left;
      const send = () => asyncSend(ctx, target.left, bytes("x"));
      const close = () => asyncClose(ctx, doomed.left);
      const ops = link(ctx, () => [
        asyncPoll(ctx, waiting.left, POLLIN),
        ...cut === 2 ? [close(), send()] : [send(), close()],
      ]);
      await turn(1);
      ops[cut]!.cancel();
      ops[1]!.cancel();
      await turn(5);
      assertEquals(isOpen(fd), cut === 2);
      value(await asyncSend(ctx, waiting.right, bytes("x")));
      assertEquals(
        codes(await Promise.all(ops)),
        cut === 2 ? "ok,ok,ECANCELED" : "ok,ECANCELED,ECANCELED",
      );
      assert(!isOpen(fd), "the fd is gone whatever the result");
      await doomed.right.close();
      assertEquals(await received(ctx, target.right), "");
    }
  },
);

kioTest(
  "cancel() of a link behind a MSG_WAITALL that moved a part ends the chain",
  async (ctx) => {
    using waiting = unixPair();
    using target = unixPair();
    const memory = buffer();
    const ops = link(ctx, () => [
      asyncRecv(ctx, waiting.left, memory, MSG_WAITALL),
      asyncSend(ctx, target.left, bytes("1")),
      asyncSend(ctx, target.left, bytes("2")),
    ]);
    value(await asyncSend(ctx, waiting.right, bytes("abc")));
    await turn(1);
    ops[2]!.cancel();
    assertEquals(value(await ops[0]), 3);
    assertEquals(text(memory.subarray(0, 3)), "abc");
    assertEquals(codes([await ops[1]!, await ops[2]!]), "ECANCELED,ECANCELED");
    await assertNothingCame(ctx, target.right);
  },
);

kioTest(
  "cancel() of a link and the end of its context: each settles once",
  async () => {
    for (const close of [Symbol.dispose, Symbol.asyncDispose] as const) {
      for (const turns of [0, 1, 2]) {
        using waiting = unixPair();
        using target = unixPair();
        const other = new IoContext(16);
        const ops = sendingChain(other, waiting, target, 5);
        await turn(1);
        ops[3]!.cancel();
        for (let i = 0; i < turns; i++) await turn();
        await other[close]();
        assertEquals(
          codes(await Promise.all(ops)),
          Array(5).fill("ECANCELED").join(),
        );
      }
    }
  },
);

kioTest("cancel() of links at random never lets one run", async (ctx) => {
  const random = randomOf(3);
  for (let round = 0; round < 300; round++) {
    using waiting = unixPair();
    using target = unixPair();
    const ops = sendingChain(ctx, waiting, target, 6);
    await turn();
    const cuts = [1 + random(5), 1 + random(5)];
    for (const cut of cuts) {
      if (random(4) > 0) ops[cut]!.cancel();
      else ops[cut]!.withTimeout(0);
      if (random(3) === 0) await immediate();
    }
    await turn();
    value(await asyncSend(ctx, waiting.right, bytes("x")));
    const results = await Promise.all(ops);
    const cut = Math.min(...cuts);
    assertEquals(results.filter(({ ok }) => ok).length, cut);
    assertEquals(
      await received(ctx, target.right),
      "12345".slice(0, cut - 1),
    );
  }
});

kioTest("cancel() of a link lets messages between through", async (ctx) => {
  using waiting = unixPair();
  const arrived: number[] = [];
  ctx.onMessage = (result) => arrived.push(result);
  const ops = link(ctx, () => [
    asyncPoll(ctx, waiting.left, POLLIN),
    asyncMsgRing(ctx, ctx.ringFd, 1, 0),
    asyncShutdown(ctx, waiting.left, SHUT_WR),
    asyncMsgRing(ctx, ctx.ringFd, 2, 0),
  ]);
  await turn(1);
  ops[3]!.cancel();
  value(await asyncMsgRing(ctx, ctx.ringFd, 3, 0));
  value(await asyncSend(ctx, waiting.right, bytes("x")));
  assertEquals(codes(await Promise.all(ops)), "ok,ok,ok,ECANCELED");
  await turn();
  assertEquals(arrived, [3, 1]);
});
