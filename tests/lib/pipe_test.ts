import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncOpen,
  asyncPipe,
  asyncPoll,
  asyncRead,
  asyncRecvExact,
  asyncSendExact,
  asyncShutdown,
  asyncSplice,
  asyncWrite,
  IoContext,
  link,
  O_RDONLY,
  type PipeFds,
  POLLIN,
  POLLOUT,
  SHUT_WR,
  type Socket,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  isOpen,
  kioTest,
  openFds,
  pattern,
  procText,
  tcpPair,
  text,
  unixPair,
  value,
} from "../support.ts";

async function close(
  ctx: IoContext,
  { readFd, writeFd }: PipeFds,
): Promise<void> {
  value(await asyncClose(ctx, readFd));
  value(await asyncClose(ctx, writeFd));
}

/** The fds that are open now and were not. */
function opened(before: readonly number[]): number[] {
  return openFds().filter((fd) => !before.includes(fd));
}

kioTest("asyncPipe() gives what is written to be read", async (ctx) => {
  const pipe = value(await asyncPipe(ctx));
  const buffer = new Uint8Array(8);
  const reading = asyncRead(ctx, pipe.readFd, buffer);
  value(await asyncWrite(ctx, pipe.writeFd, bytes("hello")));
  assertEquals(value(await reading), 5);
  assertEquals(text(buffer.subarray(0, 5)), "hello");
  value(await asyncClose(ctx, pipe.writeFd));
  assertEquals(value(await asyncRead(ctx, pipe.readFd, buffer)), 0);
  value(await asyncClose(ctx, pipe.readFd));
});

kioTest("asyncPipe() makes fds that nobody inherits", async (ctx) => {
  const pipe = value(await asyncPipe(ctx));
  for (const fd of [pipe.readFd, pipe.writeFd]) {
    const info = await procText(`/proc/self/fdinfo/${fd}`);
    const flags = parseInt(/^flags:\s*([0-7]+)$/m.exec(info!)![1]!, 8);
    // O_CLOEXEC and O_NONBLOCK.
    assertEquals(flags & 0o2004000, 0o2004000);
  }
  await close(ctx, pipe);
});

kioTest("asyncPipe() has the size that is asked for", async (ctx) => {
  const sizes = [[undefined, 65536], [1, 4096], [5000, 8192], [
    2 ** 20,
    2 ** 20,
  ]];
  for (const [size, expected] of sizes) {
    const pipe = value(await asyncPipe(ctx, { size }));
    assertEquals(pipe.size, expected);
    // So much goes in, and no more.
    const data = new Uint8Array(pipe.size);
    assertEquals(value(await asyncWrite(ctx, pipe.writeFd, data)), pipe.size);
    const events = await asyncPoll(ctx, pipe.writeFd, POLLOUT).withTimeout(1);
    assertCode(events, "ETIMEDOUT");
    await close(ctx, pipe);
  }
  // Beyond what the kernel grants it has the kernel's own.
  const pipe = value(await asyncPipe(ctx, { size: 2 ** 31 - 1 }));
  assert(pipe.size >= 4096 && pipe.size < 2 ** 31);
  await close(ctx, pipe);
});

kioTest("asyncPipe() is pending until it settles, once", async (ctx) => {
  const op = asyncPipe(ctx);
  assertEquals(ctx.pending, 1);
  const pipe = value(await op);
  assertEquals(ctx.pending, 0);
  op.cancel();
  assert(isOpen(pipe.readFd) && isOpen(pipe.writeFd), "a result wins");
  assertEquals(await op.orThrow(), pipe);
  await close(ctx, pipe);
});

kioTest("cancel() of asyncPipe() closes both fds", async (ctx) => {
  const before = openFds();
  const controller = new AbortController();
  const ops = [
    asyncPipe(ctx),
    asyncPipe(ctx).withSignal(controller.signal),
    asyncPipe(ctx).withSignal(AbortSignal.abort()),
  ];
  assertEquals(opened(before).length, 4);
  ops[0]!.cancel();
  ops[0]!.cancel();
  controller.abort();
  assertEquals(opened(before), []);
  for (const result of await Promise.all(ops)) assertCode(result, "ECANCELED");
  assertThrows(() => asyncPipe(ctx).withTimeout(-1), RangeError);
  assertEquals(opened(before), []);
  // It is there before any time is over.
  await close(ctx, value(await asyncPipe(ctx).withTimeout(0)));
});

kioTest("asyncPipe() closes both fds with its context", async () => {
  for (const close of [Symbol.dispose, Symbol.asyncDispose] as const) {
    const before = openFds();
    const other = new IoContext(4);
    const op = asyncPipe(other);
    await other[close]();
    assertEquals(opened(before), []);
    assertCode(await op, "ECANCELED");
    assertThrows(() => asyncPipe(other), TypeError, "the IoContext is closed");
  }
});

kioTest("asyncPipe() beyond operationsMax makes no pipe", async () => {
  using other = new IoContext({ entries: 4, operationsMax: 1 });
  const first = asyncPipe(other);
  const before = openFds();
  assertThrows(() => asyncPipe(other), RangeError, "operationsMax");
  assertEquals(opened(before), []);
  await close(other, value(await first));
});

kioTest("asyncPipe() is refused in link()", async (ctx) => {
  const before = openFds();
  assertThrows(
    () =>
      link(ctx, () => [
        asyncOpen(ctx, "/dev/null", O_RDONLY),
        asyncPipe(ctx),
      ]),
    TypeError,
    "Cannot make a pipe in link()",
  );
  while (ctx.pending > 0) await Promise.resolve();
  assertEquals(opened(before), []);
  await close(ctx, value(await asyncPipe(ctx)));
});

// ---- what it is for -----------------------------------------------------------

/** As the contract has it. */
async function relay(ctx: IoContext, from: Socket, to: Socket): Promise<void> {
  const { readFd, writeFd, size } = await asyncPipe(ctx).orThrow();
  try {
    for (;;) {
      await asyncPoll(ctx, from, POLLIN).orThrow();
      let left = await asyncSplice(ctx, from, writeFd, size).orThrow();
      if (left === 0) break;
      while (left > 0) {
        await asyncPoll(ctx, to, POLLOUT).orThrow();
        left -= await asyncSplice(ctx, readFd, to, left).orThrow();
      }
    }
    await asyncShutdown(ctx, to, SHUT_WR).orThrow();
  } finally {
    await Promise.all([asyncClose(ctx, readFd), asyncClose(ctx, writeFd)]);
  }
}

for (const pairOf of [tcpPair, () => Promise.resolve(unixPair())]) {
  kioTest(
    `asyncPipe() and asyncSplice() relay two ${
      pairOf === tcpPair ? "TCP" : "unix"
    } sockets both ways`,
    async (ctx) => {
      using client = await pairOf(ctx);
      using server = await pairOf(ctx);
      const relays = [
        relay(ctx, client.right, server.left),
        relay(ctx, server.left, client.right),
      ];
      const size = 1 << 20;
      const send = async (socket: Socket, seed: number) => {
        value(await asyncSendExact(ctx, socket, pattern(size, seed)));
        value(await asyncShutdown(ctx, socket, SHUT_WR));
      };
      const receive = async (socket: Socket) => {
        const copy = new Uint8Array(size);
        value(await asyncRecvExact(ctx, socket, copy));
        assertCode(
          await asyncRecvExact(ctx, socket, new Uint8Array(1)),
          "ENODATA",
        );
        return copy;
      };
      const [there, back] = await Promise.all([
        receive(server.right),
        receive(client.left),
        send(client.left, 1),
        send(server.right, 2),
        ...relays,
      ]);
      assertEquals(there, pattern(size, 1));
      assertEquals(back, pattern(size, 2));
    },
  );
}
