import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  asyncRecvmsg,
  asyncRecvmsgMultishot,
  asyncSend,
  asyncSendmsg,
  asyncShutdown,
  BufferPool,
  IoContext,
  link,
  type MessageLease,
  MSG_CTRUNC,
  MSG_TRUNC,
  parseScmRights,
  type RecvmsgMultishotOptions,
  scmRights,
  scmRightsSpace,
  SHUT_WR,
  Socket,
  SocketAddress,
  UdpSocket,
  unwrap,
  type UringStream,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  openFds,
  pattern,
  tcpPair,
  tempFile,
  text,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";
import { assertWhole, next } from "./leases.ts";
import { loadShim } from "../../ffi/load.ts";

const closeFd = (fd: number) => loadShim().kio_fd_close(fd);

/** Bytes before the ancillary data of a message. */
const HEAD = 144;
const ONE_FD = scmRightsSpace(1).length;

const ANY = {
  ipv4: SocketAddress.v4(0, "127.0.0.1"),
  ipv6: SocketAddress.v6(0, "::1"),
};

function udpPair(family: "ipv4" | "ipv6" = "ipv4") {
  const server = unwrap(UdpSocket.bind(ANY[family]));
  const client = unwrap(UdpSocket.connect(server.localAddress!));
  return {
    server,
    client,
    [Symbol.dispose]() {
      server[Symbol.dispose]();
      client[Symbol.dispose]();
    },
  };
}

/** The messages of a stream until its end, and the code of its last error. */
async function received(stream: UringStream<MessageLease>) {
  const texts: string[] = [];
  let code = "";
  for await (const result of stream) {
    if (!result.ok) {
      code = result.error.code;
      continue;
    }
    texts.push(text(result.value.bytes));
    for (const fd of parseScmRights(result.value.control)) closeFd(fd);
  }
  return { texts, code };
}

/** Sends a byte with an fd of its own. */
async function sendFd(ctx: IoContext, socket: Socket): Promise<void> {
  const control = scmRights([socket]);
  const buffers = [bytes("f")];
  value(await asyncSendmsg(ctx, socket, { buffers, control }));
}

// ---- messages -------------------------------------------------------------------

for (const family of ["ipv4", "ipv6"] as const) {
  kioTest(
    `asyncRecvmsgMultishot() gives datagrams and their senders in order: ${family}`,
    async (ctx) => {
      using it = udpPair(family);
      using other = unwrap(UdpSocket.bind(ANY[family]));
      using pool = new BufferPool(ctx, { count: 4, size: 256 });
      await using stream = asyncRecvmsgMultishot(ctx, it.server, pool);
      for (let i = 0; i < 20; i++) {
        const from = i % 3 === 0 ? other : it.client;
        const to = from === other ? it.server.localAddress! : undefined;
        const data = i % 5 === 0 ? "" : `datagram ${i}`;
        value(await from.send(ctx, data === "" ? [] : bytes(data), to));
        const message = await next(stream);
        assertEquals(text(message.bytes), data);
        assertEquals(message.copy().length, message.length);
        assertEquals(`${message.address}`, `${from.localAddress}`);
        assertEquals(
          [message.missingBytes, message.flags, message.control.length],
          [0, 0, 0],
        );
        assertEquals(message.segmentSize, undefined);
      }
      await stream[Symbol.asyncDispose]();
      assertWhole(pool);
    },
  );
}

kioTest(
  "asyncRecvmsgMultishot() gives many that wait in order",
  async (ctx) => {
    using it = udpPair();
    using pool = new BufferPool(ctx, { count: 8, size: 256 });
    const sent = Array.from({ length: 100 }, (_, i) => `${i}`);
    for (const data of sent) value(await it.client.send(ctx, bytes(data)));
    const stream = asyncRecvmsgMultishot(ctx, it.server, pool, {
      leasesMax: 2,
    });
    for (const data of sent) {
      assertEquals(
        text((await next(stream)).bytes),
        data,
      );
    }
    await stream[Symbol.asyncDispose]();
    assertWhole(pool);
  },
);

kioTest("asyncRecvmsgMultishot() tells how much did not fit", async (ctx) => {
  using it = udpPair();
  using pool = new BufferPool(ctx, { count: 4, size: HEAD + 8 });
  await using stream = asyncRecvmsgMultishot(ctx, it.server, pool);
  for (const size of [7, 8, 9, 1000]) {
    value(await it.client.send(ctx, pattern(size)));
    const { bytes, missingBytes, flags } = await next(stream);
    assertEquals(bytes, pattern(size).subarray(0, 8));
    assertEquals(missingBytes, Math.max(0, size - 8));
    assertEquals(flags, size > 8 ? MSG_TRUNC : 0);
  }
});

kioTest(
  "asyncRecvmsgMultishot() names senders of unix datagrams",
  async (ctx) => {
    using server = unwrap(Socket.open("unix", "datagram"));
    using client = unwrap(Socket.open("unix", "datagram"));
    const name = () => SocketAddress.unix(`\0kio-${crypto.randomUUID()}`);
    value(server.bind(name()));
    value(client.bind(name()));
    using pool = new BufferPool(ctx, { count: 4, size: 256 });
    await using stream = asyncRecvmsgMultishot(ctx, server, pool);
    const address = server.localAddress!;
    value(await asyncSendmsg(ctx, client, { buffers: [bytes("hi")], address }));
    const message = await next(stream);
    assertEquals(text(message.bytes), "hi");
    assertEquals(`${message.address}`, `${client.localAddress}`);
    using pair = unixPair("datagram");
    await using unnamed = asyncRecvmsgMultishot(ctx, pair.right, pool);
    value(await asyncSend(ctx, pair.left, bytes("ho")));
    assertEquals((await next(unnamed)).address, undefined);
  },
);

for (const kind of ["unix", "TCP"]) {
  kioTest(
    `asyncRecvmsgMultishot() gives all bytes of a stream: ${kind}`,
    async (ctx) => {
      using pair = kind === "unix" ? unixPair() : await tcpPair(ctx);
      using pool = new BufferPool(ctx, { count: 4, size: HEAD + 16 });
      const stream = asyncRecvmsgMultishot(ctx, pair.right, pool);
      const data = "0123456789abcdef".repeat(20) + "rest";
      value(await asyncSend(ctx, pair.left, bytes(data)));
      value(await asyncShutdown(ctx, pair.left, SHUT_WR));
      const { texts, code } = await within(2000, received(stream), "the end");
      assertEquals([texts.join(""), code], [data, ""]);
      assertWhole(pool);
      assertEquals(ctx.pending, 0);
    },
  );
}

kioTest("a MessageLease is of no use after its turn", async (ctx) => {
  using it = udpPair();
  using pool = new BufferPool(ctx, { count: 4, size: 256 });
  await using stream = asyncRecvmsgMultishot(ctx, it.server, pool);
  value(await it.client.send(ctx, bytes("one")));
  const message = await next(stream);
  message.release();
  for (
    const use of [
      () => message.bytes,
      () => message.address,
      () => message.control,
      () => message.flags,
      () => message.missingBytes,
      () => message.segmentSize,
    ]
  ) {
    assertThrows(use, TypeError, "the buffer of the lease was given back");
  }
  assertEquals(message.length, 3);
});

kioTest(
  "operations take a MessageLease, and sendTo() sends it",
  async (ctx) => {
    using it = udpPair();
    using out = unixPair("datagram");
    using pool = new BufferPool(ctx, { count: 1, size: 256 });
    const stream = asyncRecvmsgMultishot(ctx, it.server, pool);
    const buffer = new Uint8Array(8);
    for (const data of ["one", "three"]) {
      value(await it.client.send(ctx, bytes(data)));
      const message = await next(stream);
      if (data === "one") value(await asyncSend(ctx, out.left, message));
      else message.sendTo(out.left);
      const { bytes: count } = value(
        await asyncRecvmsg(ctx, out.right, { buffers: [buffer] }),
      );
      assertEquals(text(buffer.subarray(0, count)), data);
    }
    await stream[Symbol.asyncDispose]();
    assertWhole(pool);
  },
);

kioTest(
  "asyncRecvmsgMultishot() needs one submission for many",
  async (ctx) => {
    if (ctx.capabilities.features.recvmsgMultishot.support !== "native") return;
    using it = udpPair();
    using pool = new BufferPool(ctx, { count: 16, size: 256 });
    await using stream = asyncRecvmsgMultishot(ctx, it.server, pool);
    await turn();
    const before = ctx.stats().submissions;
    for (let i = 0; i < 40; i++) {
      const sends = ["a", "b"].map((data) => it.client.send(ctx, bytes(data)));
      for (const result of await Promise.all(sends)) value(result);
      assertEquals(text((await next(stream)).bytes), "a");
      assertEquals(text((await next(stream)).bytes), "b");
    }
    const count = ctx.stats().submissions - before;
    // Single shots would make 160 of it, besides those of the driver.
    assert(count < 150, `${count} submissions`);
  },
);

// ---- fds ------------------------------------------------------------------------

for (const kind of ["stream", "datagram"] as const) {
  kioTest(
    `asyncRecvmsgMultishot() gives fds to who takes the message: ${kind}`,
    async (ctx) => {
      using pair = unixPair(kind);
      using pool = new BufferPool(ctx, { count: 4, size: 256 });
      const stream = asyncRecvmsgMultishot(ctx, pair.right, pool, {
        controlSize: ONE_FD,
      });
      for (let i = 0; i < 3; i++) {
        await sendFd(ctx, pair.left);
        // Waiting in the queue, or taken at once.
        if (i > 0) await turn(3);
        const { control, flags } = await next(stream);
        const [fd] = parseScmRights(control);
        assertEquals(flags, 0);
        value(await asyncSend(ctx, fd!, bytes("by the copy")));
        closeFd(fd!);
        assertEquals(text((await next(stream)).bytes), "by the copy");
      }
      await stream[Symbol.asyncDispose]();
      assertWhole(pool);
    },
  );
}

kioTest("asyncRecvmsgMultishot() tells of fds without room", async (ctx) => {
  using pair = unixPair("datagram");
  using pool = new BufferPool(ctx, { count: 4, size: 256 });
  await using stream = asyncRecvmsgMultishot(ctx, pair.right, pool);
  const before = openFds();
  await sendFd(ctx, pair.left);
  const { control, flags } = await next(stream);
  assertEquals([control.length, flags], [0, MSG_CTRUNC]);
  assertEquals(openFds(), before);
});

const LEAVING: Record<
  string,
  (stream: UringStream<MessageLease>, ctx: IoContext) => unknown
> = {
  "await using": (stream) => stream[Symbol.asyncDispose](),
  "cancel()": async (stream) => {
    stream.cancel();
    assertEquals((await received(stream)).code, "ECANCELED");
  },
  "a timeout": async (stream) => {
    stream.withTimeout(0);
    assertEquals((await received(stream)).code, "ETIMEDOUT");
  },
  "the end of its context": (_, ctx) => ctx[Symbol.dispose](),
};

for (const [how, leave] of Object.entries(LEAVING)) {
  for (const turns of [0, 1, 3]) {
    kioTest(
      `asyncRecvmsgMultishot() that is left by ${how} after ${turns} turns closes what nobody took`,
      async (outer) => {
        const before = openFds();
        using own = new IoContext(16);
        {
          using pair = unixPair("datagram");
          using pool = new BufferPool(own, { count: 8, size: 256 });
          const stream = asyncRecvmsgMultishot(own, pair.right, pool, {
            controlSize: ONE_FD,
            leasesMax: 8,
          });
          for (let i = 0; i < 4; i++) await sendFd(outer, pair.left);
          await turn(turns);
          // Not taken over by the ring yet.
          const late = sendFd(outer, pair.left);
          await within(2000, leave(stream, own), "the end");
          await late;
          assertEquals(own.pending, 0);
          assertEquals(stream.take()?.ok ?? false, false);
          assertEquals(pool.stats().leased, 0);
        }
        own[Symbol.dispose]();
        await turn();
        assertEquals(openFds().length, before.length);
      },
    );
  }
}

// ---- a want of buffers, errors, the end ---------------------------------------------

kioTest("asyncRecvmsgMultishot() waits without a buffer", async (ctx) => {
  using it = udpPair();
  using pool = new BufferPool(ctx, { count: 2, size: 256 });
  const stream = asyncRecvmsgMultishot(ctx, it.server, pool, { leasesMax: 2 });
  for (const data of ["1", "2", "3"]) {
    value(await it.client.send(ctx, bytes(data)));
  }
  const kept = [(await next(stream)).keep(), (await next(stream)).keep()];
  using other = udpPair();
  const late = asyncRecvmsgMultishot(ctx, other.server, pool);
  value(await other.client.send(ctx, bytes("late")));
  await turn(5);
  assertEquals([late.take(), pool.stats().free], [undefined, 0]);
  for (const it of kept) it.release();
  assertEquals(text((await within(2000, next(late), "late")).bytes), "late");
  assertEquals(text((await within(2000, next(stream), "3")).bytes), "3");
  for (const it of [stream, late]) await it[Symbol.asyncDispose]();
  assertWhole(pool);
});

kioTest(
  "asyncRecvmsgMultishot() goes on after an error that came back",
  async (ctx) => {
    using it = udpPair();
    const address = it.server.localAddress!;
    using pool = new BufferPool(ctx, { count: 4, size: 256 });
    await using stream = asyncRecvmsgMultishot(ctx, it.client, pool);
    await it.server.close();
    value(await it.client.send(ctx, bytes("to nobody")));
    const step = await stream[Symbol.asyncIterator]().next();
    assertCode(step.value!, "ECONNREFUSED");
    using again = unwrap(UdpSocket.bind(address));
    value(await again.send(ctx, bytes("hello"), it.client.localAddress!));
    assertEquals(text((await next(stream)).bytes), "hello");
  },
);

kioTest(
  "asyncRecvmsgMultishot() ends when its socket or its pool closes",
  async (ctx) => {
    for (const what of ["socket", "pool"]) {
      using it = udpPair();
      const pool = new BufferPool(ctx, { count: 4, size: 256 });
      const stream = asyncRecvmsgMultishot(ctx, it.server, pool);
      value(await it.client.send(ctx, bytes("one")));
      await turn();
      const ended = received(stream);
      await (what === "socket" ? it.server : pool).close();
      assertEquals((await ended).code, "ECANCELED");
      assertEquals(pool.stats().leased, 0);
      await pool.close();
    }
  },
);

kioTest("asyncRecvmsgMultishot() tells of errors that end it", async (ctx) => {
  using pool = new BufferPool(ctx, { count: 4, size: 256 });
  await using file = await tempFile(ctx);
  for (const [fd, code] of [[4000, "EBADF"], [file.fd, "ENOTSOCK"]] as const) {
    const stream = asyncRecvmsgMultishot(ctx, fd, pool);
    assertEquals((await received(stream)).code, code);
  }
  await assertRejects(
    async () => {
      for await (const _ of asyncRecvmsgMultishot(ctx, 4000, pool).orThrow());
    },
    Deno.errors.BadResource,
    "Cannot receive messages (fd 4000): Bad file descriptor (EBADF)",
  );
  assertWhole(pool);
});

kioTest("asyncRecvmsgMultishot() refuses what makes no sense", (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 4, size: HEAD + 8 });
  const start = (options: RecvmsgMultishotOptions) =>
    asyncRecvmsgMultishot(ctx, pair.left, pool, options);
  assertThrows(
    () => start({ controlSize: 8 }),
    RangeError,
    "Cannot receive messages: buffers of 152 bytes have no room behind a head of 152; make those of the BufferPool larger",
  );
  assertThrows(
    () => link(ctx, () => start({}) as never),
    TypeError,
    "Cannot receive messages many times in link()",
  );
  assertEquals(ctx.pending, 0);
});

// ---- the callback ----------------------------------------------------------------

kioTest(
  "onMessage gets each message, and the stream its errors",
  async (ctx) => {
    using it = udpPair();
    using pool = new BufferPool(ctx, { count: 4, size: 256 });
    const given: string[] = [];
    const messages: MessageLease[] = [];
    const stream = asyncRecvmsgMultishot(ctx, it.server, pool, {
      onMessage: (message) => {
        given.push(`${text(message.bytes)} ${message.address}`);
        messages.push(message);
      },
    });
    for (let i = 0; i < 9; i++) value(await it.client.send(ctx, bytes(`${i}`)));
    for (let i = 0; given.length < 9 && i < 100; i++) await turn();
    const from = it.client.localAddress;
    assertEquals(given, Array.from({ length: 9 }, (_, i) => `${i} ${from}`));
    assertThrows(() => messages[0]!.bytes, TypeError);
    stream.cancel();
    assertEquals(await received(stream), { texts: [], code: "ECANCELED" });
    assertWhole(pool);
  },
);

kioTest("onMessage that ends its context leaves no fd open", async (outer) => {
  const before = openFds();
  {
    const own = new IoContext(16);
    using pair = unixPair("datagram");
    using pool = new BufferPool(own, { count: 8, size: 256 });
    for (let i = 0; i < 4; i++) await sendFd(outer, pair.left);
    const called = Promise.withResolvers<void>();
    asyncRecvmsgMultishot(own, pair.right, pool, {
      controlSize: ONE_FD,
      leasesMax: 8,
      onMessage: ({ control }) => {
        for (const fd of parseScmRights(control)) closeFd(fd);
        own[Symbol.dispose]();
        called.resolve();
      },
    });
    await within(2000, called.promise, "the first message");
    await turn();
  }
  assertEquals(openFds().length, before.length);
});

kioTest("pool.inspect() tells of messages that are out", async (outer) => {
  using traced = new IoContext({ trace: true });
  using it = udpPair();
  using pool = new BufferPool(traced, { count: 2, size: 256 });
  const stream = asyncRecvmsgMultishot(traced, it.server, pool);
  value(await it.client.send(outer, bytes("one")));
  (await next(stream)).keep();
  const [{ length, stack } = { length: 0, stack: "" }] = pool.inspect();
  assertEquals(length, 3);
  assertMatch(stack, /recvmsg_multishot_test/);
  await stream[Symbol.asyncDispose]();
});
