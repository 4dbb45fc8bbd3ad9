/**
 * Zero-copy sends: two completions, and what may happen between them. A peer
 * that does not read keeps them apart: the kernel needs the memory until the
 * peer has all of it.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncAccept,
  asyncConnect,
  asyncFsync,
  asyncRecv,
  asyncRecvExact,
  asyncRecvmsg,
  asyncSend,
  asyncSendmsgZc,
  asyncSendZc,
  asyncSleep,
  IoContext,
  link,
  MSG_DONTWAIT,
  parseScmRights,
  type Result,
  scmRights,
  scmRightsSpace,
  Socket,
  SocketAddress,
  unwrap,
  type ZeroCopyOp,
} from "@kio/kio";
import { ringOf } from "../../lib/internal.ts";
import { SEND_ZC } from "../../lib/ops/table.ts";
import {
  assertCode,
  bytes,
  fill,
  kioTest,
  listen,
  overwriteGarbage,
  pattern,
  tcpPair,
  text,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";

/** More than a socket takes in that nobody reads from. */
const LARGE = 1 << 20;
/** Two completions; else the result of a plain send is the only one. */
const HAS_TWO = IoContext.probe().features.sendZc.support === "native";
const nativeTest: typeof kioTest = (name, body, options) =>
  kioTest(name, (ctx) => HAS_TWO ? body(ctx) : undefined, options);
/** Turns in which a notification would have come. */
const TURNS = 5;
/** Turns of Deno until memory is seen to be collected. */
const TURNS_MAX = 200;

/** A send whose bytes are sent, and whose peer has not read them. */
interface Sent {
  readonly op: ZeroCopyOp;
  readonly count: number;
}

async function sendUnread(
  ctx: IoContext,
  socket: Socket,
  data = pattern(LARGE),
): Promise<Sent> {
  const op = asyncSendZc(ctx, socket, data);
  return { op, count: value(await op.sent) };
}

/** Tells whether an operation stays pending for some turns. */
async function waits(op: PromiseLike<unknown>): Promise<boolean> {
  let isOver = false;
  void op.then(() => isOver = true);
  for (let i = 0; i < TURNS; i++) await turn(1);
  return !isOver;
}

/** Reads what was sent, and compares it. */
async function assertArrives(
  ctx: IoContext,
  socket: Socket,
  data: Uint8Array,
): Promise<void> {
  const received = new Uint8Array(data.length);
  value(await asyncRecvExact(ctx, socket, received));
  assertEquals(received, data);
}

nativeTest(
  "asyncSendZc() settles when its buffer is free, and tells its bytes before",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const data = pattern(LARGE);
    const { op, count } = await sendUnread(ctx, pair.left, data);
    assert(count > 0);
    assert(await waits(op));
    assertEquals(ctx.pending, 1);
    const [pending] = ctx.inspect();
    assertEquals([pending!.operation, pending!.bytes], ["asyncSendZc", LARGE]);
    await assertArrives(ctx, pair.right, data.subarray(0, count));
    // The loopback interface copies.
    assertEquals(value(await op), { bytes: count, copied: true });
  },
);

nativeTest(
  "asyncSendZc() keeps its memory until the notification, though nobody refers to it",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const send = () => {
      const data = pattern(LARGE);
      return {
        memory: new WeakRef(data),
        op: asyncSendZc(ctx, pair.left, data),
      };
    };
    const { memory, op } = send();
    const count = value(await op.sent);
    for (let i = 0; i < TURNS; i++) {
      await turn();
      overwriteGarbage();
    }
    assert(memory.deref() !== undefined, "the kernel still has it");
    await assertArrives(ctx, pair.right, pattern(LARGE).subarray(0, count));
    value(await op);
    for (let i = 0; i < TURNS_MAX && memory.deref() !== undefined; i++) {
      await turn();
      overwriteGarbage();
    }
    assertEquals(memory.deref(), undefined, "the memory is kept for good");
  },
);

const ends: Record<string, (op: ZeroCopyOp) => void> = {
  "cancel()": (op) => op.cancel(),
  "withTimeout()": (op) => void op.withTimeout(0),
  "withSignal()": (op) => {
    const controller = new AbortController();
    op.withSignal(controller.signal);
    controller.abort();
  },
};

for (const [way, end] of Object.entries(ends)) {
  nativeTest(
    `${way} between the two completions ends nothing, and asks nothing of the kernel`,
    async (ctx) => {
      using pair = await tcpPair(ctx);
      const { op, count } = await sendUnread(ctx, pair.left);
      const { submissions } = ctx.stats();
      end(op);
      assert(await waits(op));
      const { cancels, timeouts, submissions: after } = ctx.stats();
      assertEquals([cancels, timeouts], [0, 0]);
      // The driver submits timers of its own.
      assert(after - submissions < TURNS, `${after - submissions} submissions`);
      await assertArrives(ctx, pair.right, pattern(LARGE).subarray(0, count));
      assertEquals(value(await op).bytes, count);
    },
  );

  kioTest(
    `${way} before the first completion ends asyncSendZc() and its sent`,
    async (ctx) => {
      using pair = await tcpPair(ctx);
      await fill(ctx, pair.left);
      const op = asyncSendZc(ctx, pair.left, new Uint8Array(LARGE));
      if (way !== "withTimeout()") await turn(1);
      end(op);
      const code = way === "withTimeout()" ? "ETIMEDOUT" : "ECANCELED";
      assertCode(await op, code);
      assertCode(await op.sent, code);
    },
  );
}

nativeTest(
  "withTimeout() that comes with the first completion leaves nothing behind",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const op = asyncSendZc(ctx, pair.left, pattern(LARGE)).withTimeout(300);
    const count = value(await op.sent);
    await turn(310);
    await assertArrives(ctx, pair.right, pattern(LARGE).subarray(0, count));
    assertEquals(value(await op).bytes, count);
    assertEquals(ctx.stats().timeouts, 0);
  },
);

nativeTest(
  "cancel() that reaches the kernel after the first completion is not repeated",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const { op, count } = await sendUnread(ctx, pair.left);
    const { shim, handle, table } = ringOf(ctx, SEND_ZC);
    const [entry] = table.live();
    // It finds nothing: the kernel says so.
    assertEquals(shim.kio_cancel(handle, entry!.id), 0);
    value(await asyncSleep(ctx, 10));
    assert(await waits(op));
    await assertArrives(ctx, pair.right, pattern(LARGE).subarray(0, count));
    assertEquals(value(await op).bytes, count);
  },
);

nativeTest(
  "a reset by the peer between the two completions frees the buffer",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const { op, count } = await sendUnread(ctx, pair.left);
    // What it has not read resets the connection.
    await pair.right.close();
    assertEquals(value(await op).bytes, count);
  },
);

nativeTest(
  "close() between the two completions does not wait, and all bytes arrive",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const { op, count } = await sendUnread(ctx, pair.left);
    await within(2000, pair.left.close(), "close()");
    assert(await waits(op));
    await assertArrives(ctx, pair.right, pattern(LARGE).subarray(0, count));
    assertEquals(value(await op).bytes, count);
  },
);

for (const isAsync of [false, true]) {
  nativeTest(
    `the end of a context by ${
      isAsync ? "await using" : "using"
    } does not wait for ever for a peer that does not read`,
    async (outer) => {
      using pair = await tcpPair(outer);
      const ctx = new IoContext(8);
      const { op, count } = await sendUnread(ctx, pair.left);
      if (isAsync) await within(30_000, ctx[Symbol.asyncDispose](), "the end");
      else ctx[Symbol.dispose]();
      assertEquals(ctx.pending, 0);
      assertEquals(value(await op).bytes, count);
      // Its last bytes were not sent, and it knows.
      const buffer = new Uint8Array(LARGE);
      let result: Result<number>;
      do result = await asyncRecv(outer, pair.right, buffer); while (
        result.ok && result.value > 0
      );
      assertCode(result, "ECONNRESET");
    },
  );
}

nativeTest(
  "the end of a context resets no socket that has the fd later",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const { listener, at } = listen();
    using _ = listener;
    const { op } = await sendUnread(ctx, pair.left);
    const { fd } = pair.left;
    await pair.left.close();
    using other = unwrap(Socket.open("ipv4"));
    assertEquals(other.fd, fd, "the number is in use again");
    value(await asyncConnect(ctx, other, at));
    using peer = new Socket(value(await asyncAccept(ctx, listener)));
    const { shim, handle } = ringOf(ctx, SEND_ZC);
    shim.kio_zero_copy_reset(handle);
    value(await asyncSend(ctx, other, bytes("still there")));
    const buffer = new Uint8Array(64);
    const length = value(await asyncRecv(ctx, peer, buffer));
    assertEquals(text(buffer.subarray(0, length)), "still there");
    await pair.right.close();
    value(await op);
  },
);

kioTest("asyncSendZc() gives the errors of send(2), twice", async (ctx) => {
  const data = new Uint8Array(8);
  const errorOf = async (fd: number | Socket) => {
    const op = asyncSendZc(ctx, fd, data);
    const [result, sent] = await Promise.all([op, op.sent]);
    const [code, again] = [result, sent].map((it) =>
      it.ok ? "" : it.error.code
    );
    assertEquals(again, code);
    return code!;
  };
  assertEquals(await errorOf(4000), "EBADF");
  using lonely = unwrap(Socket.open("ipv4"));
  assertEquals(await errorOf(lonely), "EPIPE");
  using datagrams = unwrap(Socket.open("ipv4", "datagram"));
  assertEquals(await errorOf(datagrams), "EDESTADDRREQ");
  using pair = await tcpPair(ctx);
  await pair.right.close();
  value(await asyncSleep(ctx, 1));
  // The first only brings the reset.
  await asyncSendZc(ctx, pair.left, data);
  const code = await errorOf(pair.left);
  assert(["EPIPE", "ECONNRESET"].includes(code), code);
  assertEquals(ctx.pending, 0);
});

kioTest(
  "asyncSendZc() on a unix socket is a plain send, which copies",
  async (ctx) => {
    for (const type of ["stream", "seqpacket", "datagram"] as const) {
      using pair = unixPair(type);
      const op = asyncSendZc(ctx, pair.left, bytes("hello"));
      assertEquals(value(await op.sent), 5);
      assertEquals(value(await op), { bytes: 5, copied: true });
      const message = { buffers: [bytes("hel"), bytes("lo")] };
      const other = asyncSendmsgZc(ctx, pair.left, message);
      assertEquals(value(await other), { bytes: 5, copied: true });
      const buffer = new Uint8Array(64);
      const length = value(await asyncRecv(ctx, pair.right, buffer));
      assertEquals(text(buffer.subarray(0, length)).slice(0, 5), "hello");
    }
  },
);

kioTest(
  "asyncSendZc() that became a plain send waits for room, and can be ended",
  async (ctx) => {
    using pair = unixPair();
    await fill(ctx, pair.left);
    const data = new Uint8Array(65536);
    assertCode(
      await asyncSendZc(ctx, pair.left, data, MSG_DONTWAIT),
      "EAGAIN",
    );
    const late = asyncSendZc(ctx, pair.left, data).withTimeout(3);
    assertCode(await late, "ETIMEDOUT");
    assertCode(await late.sent, "ETIMEDOUT");
    const op = asyncSendZc(ctx, pair.left, data);
    await turn(1);
    value(await asyncRecvExact(ctx, pair.right, new Uint8Array(4 * 65536)));
    assert(value(await op).bytes > 0);
  },
);

kioTest(
  "asyncSendZc() tells of a short send, and what it took arrives",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    unwrap(pair.left.setSendBuffer(65536));
    const data = pattern(8 * LARGE);
    const { op, count } = await sendUnread(ctx, pair.left, data);
    assert(count > 0 && count < data.length, `${count}`);
    await assertArrives(ctx, pair.right, data.subarray(0, count));
    assertEquals(value(await op).bytes, count);
  },
);

kioTest(
  "sent lets the next asyncSendZc() start, and bytes stay in order",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const data = pattern(20 * 50_000);
    const reading = assertArrives(ctx, pair.right, data);
    const sends: ZeroCopyOp[] = [];
    for (let at = 0; at < data.length;) {
      const part = data.subarray(at, at + 50_000);
      const send = asyncSendZc(ctx, pair.left, part);
      at += value(await send.sent);
      sends.push(send);
    }
    await reading;
    for (const send of sends) value(await send);
  },
);

kioTest("asyncSendZc() on a direct descriptor is a plain send", async () => {
  // No reset would end it with the context.
  await using ctx = new IoContext();
  unwrap(ctx.reserveFiles(1));
  const { listener, at } = listen();
  using _ = listener;
  using client = unwrap(Socket.open("ipv4"));
  value(await asyncConnect(ctx, client, at));
  await using server = value(
    await asyncAccept(ctx, listener, { direct: true }),
  );
  const op = asyncSendZc(ctx, server, new Uint8Array(LARGE));
  let isSettled = false;
  void op.then(() => isSettled = true);
  // The peer does not read, so there would be no notification.
  const count = value(await op.sent);
  await turn();
  assert(isSettled);
  assertEquals(value(await op), { bytes: count, copied: true });
});

kioTest("asyncSendZc() in link() is a plain send", async (ctx) => {
  using pair = await tcpPair(ctx);
  const data = pattern(1000);
  const [first, second, synced] = link(ctx, () => [
    asyncSendZc(ctx, pair.left, data.subarray(0, 500)),
    asyncSendmsgZc(ctx, pair.left, { buffers: [data.subarray(500)] }),
    asyncFsync(ctx, pair.left),
  ]);
  assertEquals(value(await first), { bytes: 500, copied: true });
  assertEquals(value(await first.sent), 500);
  assertEquals(value(await second), { bytes: 500, copied: true });
  // It ran, as those before it succeeded.
  assertCode(await synced, "EINVAL");
  await assertArrives(ctx, pair.right, data);
});

nativeTest(
  "asyncSendZc() in link() does not keep a cancel from those behind",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const [send, receiving] = link(ctx, () => [
      asyncSendZc(ctx, pair.left, pattern(LARGE)),
      asyncRecv(ctx, pair.left, new Uint8Array(1)),
    ]);
    const count = value(await send.sent);
    await turn(1);
    receiving.cancel();
    assertCode(await within(10_000, receiving, "the cancel"), "ECANCELED");
    await assertArrives(ctx, pair.right, pattern(LARGE).subarray(0, count));
  },
);

kioTest(
  "asyncSendmsgZc() sends several buffers as one, to an address",
  async (ctx) => {
    using receiver = unwrap(Socket.open("ipv4", "datagram"));
    unwrap(receiver.bind(SocketAddress.v4(0, "127.0.0.1")));
    using sender = unwrap(Socket.open("ipv4", "datagram"));
    const buffers = [bytes("he"), new Uint8Array(0), bytes("llo")];
    const address = receiver.localAddress!;
    const op = asyncSendmsgZc(ctx, sender, { buffers, address });
    assertEquals(value(await op.sent), 5);
    assertEquals(value(await op), { bytes: 5, copied: true });
    const buffer = new Uint8Array(64);
    const message = value(
      await asyncRecvmsg(ctx, receiver, { buffers: [buffer] }),
    );
    assertEquals(text(buffer.subarray(0, message.bytes)), "hello");
    assertEquals(message.address?.port, sender.localAddress?.port);
  },
);

nativeTest(
  "asyncSendmsgZc() keeps all of its memory until the notification",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const send = () => {
      const buffers = [pattern(LARGE, 1), pattern(LARGE, 2)];
      return {
        memory: buffers.map((it) => new WeakRef(it)),
        op: asyncSendmsgZc(ctx, pair.left, { buffers }),
      };
    };
    const { memory, op } = send();
    const count = value(await op.sent);
    for (let i = 0; i < TURNS; i++) {
      await turn();
      overwriteGarbage();
    }
    assert(memory.every((it) => it.deref() !== undefined));
    const data = new Uint8Array([...pattern(LARGE, 1), ...pattern(LARGE, 2)]);
    await assertArrives(ctx, pair.right, data.subarray(0, count));
    assertEquals(value(await op).bytes, count);
  },
);

kioTest("asyncSendmsgZc() passes fds where it is a plain send", async (ctx) => {
  using pair = unixPair();
  const message = { buffers: [bytes("x")], control: scmRights([pair.left.fd]) };
  value(await asyncSendmsgZc(ctx, pair.left, message));
  const control = scmRightsSpace(1);
  const buffers = [new Uint8Array(1)];
  const received = value(
    await asyncRecvmsg(ctx, pair.right, { buffers, control }),
  );
  for (const fd of parseScmRights(received.control)) {
    new Socket(fd)[Symbol.dispose]();
  }
});

kioTest(
  "asyncSendZc() whose limit is wrong throws, and gives its slot back",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const op = asyncSendZc(ctx, pair.left, pattern(8));
    assertThrows(() => op.withTimeout(-1), RangeError);
    const result = await op;
    if (!result.ok) assertCode(result, "ECANCELED");
    assertEquals(ctx.pending, 0);
  },
);

kioTest("asyncSendZc() takes registered memory", async (ctx) => {
  const memory = ctx.allocate(LARGE, { registered: true });
  memory.set(pattern(LARGE));
  using pair = await tcpPair(ctx);
  const part = memory.subarray(1000, 100_000);
  const op = asyncSendZc(ctx, pair.left, part);
  await assertArrives(ctx, pair.right, part);
  assertEquals(value(await op), { bytes: part.length, copied: true });
  using unix = unixPair();
  assertEquals(value(await asyncSendZc(ctx, unix.left, part)).copied, true);
  const [linked] = link(ctx, () => [asyncSendZc(ctx, unix.left, part)]);
  assertEquals(value(await linked).copied, true);
});
