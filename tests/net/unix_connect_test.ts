/** Connecting to a unix listener whose queue is full. */
import { assert, assertEquals } from "@std/assert";
import {
  asyncAccept,
  asyncConnect,
  asyncRecv,
  asyncSend,
  type IoContext,
  IoContext as Context,
  link,
  Socket,
  SocketAddress,
  type SocketType,
  unwrap,
} from "@kio/kio";
import { loadShim } from "../../ffi/load.ts";
import { assertCode, bytes, kioTest, text, turn, value } from "../support.ts";

/** A listener that has let in all that it has room for. */
interface Full extends Disposable {
  at: SocketAddress;
  listener: Socket;
}

async function fullUnixListener(
  ctx: IoContext,
  type: SocketType = "stream",
): Promise<Full> {
  const at = SocketAddress.unix(`\0kio-test-${crypto.randomUUID()}`);
  const opened = new DisposableStack();
  const listener = opened.use(unwrap(Socket.open("unix", type)));
  unwrap(listener.bind(at));
  unwrap(listener.listen(1));
  for (;;) {
    const client = opened.use(unwrap(Socket.open("unix", type)));
    // A link of a chain does not wait.
    const [connected] = link(ctx, () => [asyncConnect(ctx, client, at)]);
    const result = await connected;
    if (result.ok) continue;
    assertCode(result, "EAGAIN");
    return { at, listener, [Symbol.dispose]: () => opened.dispose() };
  }
}

for (const type of ["stream", "seqpacket"] as const) {
  kioTest(
    `asyncConnect() waits until a unix listener (${type}) has room`,
    async (ctx) => {
      using full = await fullUnixListener(ctx, type);
      using client = unwrap(Socket.open("unix", type));
      const connecting = asyncConnect(ctx, client, full.at);
      // Several pauses long.
      await turn(20);
      assertEquals(ctx.pending, 1);
      const peers: Socket[] = [];
      for (let i = 0; i < 3; i++) {
        peers.push(new Socket(value(await asyncAccept(ctx, full.listener))));
      }
      value(await connecting);
      value(await asyncSend(ctx, client, bytes("hi")));
      const buffer = new Uint8Array(2);
      value(await asyncRecv(ctx, peers.at(-1)!, buffer));
      assertEquals(text(buffer), "hi");
      for (const peer of peers) await peer.close();
    },
  );
}

kioTest(
  "asyncConnect() to a full unix listener ends with its timeout, signal, cancel or context",
  async (ctx) => {
    using full = await fullUnixListener(ctx);
    for (const waitMs of [0, 1, 15]) {
      using client = unwrap(Socket.open("unix"));
      const connect = (it: IoContext) => asyncConnect(it, client, full.at);
      assertCode(await connect(ctx).withTimeout(waitMs), "ETIMEDOUT");
      const controller = new AbortController();
      const aborted = connect(ctx).withSignal(controller.signal);
      const cancelled = connect(ctx);
      const contexts = [new Context(8), new Context(8)];
      const closed = contexts.map((it) => connect(it));
      if (waitMs > 0) await turn(waitMs);
      controller.abort();
      cancelled.cancel();
      contexts[0]![Symbol.dispose]();
      await contexts[1]![Symbol.asyncDispose]();
      for (const op of [aborted, cancelled, ...closed]) {
        assertCode(await op, "ECANCELED");
      }
    }
  },
);

kioTest(
  "asyncConnect() to a full unix listener tells of no pause that ends with its timeout",
  async (ctx) => {
    using full = await fullUnixListener(ctx);
    using opened = new DisposableStack();
    const ops = [];
    for (let i = 0; i < 200; i++) {
      const client = opened.use(unwrap(Socket.open("unix")));
      const op = asyncConnect(ctx, client, full.at);
      ops.push(op.withTimeout([1, 2, 3, 7][i % 4]!));
    }
    for (const op of ops) assertCode(await op, "ETIMEDOUT");
  },
);

kioTest(
  "asyncConnect() to a full unix listener ends at once when that closes",
  async (ctx) => {
    const full = await fullUnixListener(ctx);
    using client = unwrap(Socket.open("unix"));
    const connecting = asyncConnect(ctx, client, full.at);
    await turn(10);
    full[Symbol.dispose]();
    assertCode(await connecting, "ECONNREFUSED");
  },
);

kioTest(
  "asyncConnect() to a full unix listener ends when its socket closes",
  async (ctx) => {
    using full = await fullUnixListener(ctx);
    const client = unwrap(Socket.open("unix"));
    const connecting = asyncConnect(ctx, client, full.at);
    await turn(10);
    await client.close();
    assertCode(await connecting, "ECANCELED");
  },
);

kioTest(
  "asyncConnect() to a full unix listener does not spin",
  async (ctx) => {
    using full = await fullUnixListener(ctx);
    using client = unwrap(Socket.open("unix"));
    const before = ctx.stats();
    const op = asyncConnect(ctx, client, full.at).withTimeout(300);
    assertCode(await op, "ETIMEDOUT");
    const after = ctx.stats();
    // 1 + 2 + 4 + 8 + 16 ms, then 32 each: 13 pauses at most, each of which
    // arms the timeout of the ring and its wake-up as well.
    const tries = after.submissions - before.submissions;
    assert(tries >= 3 && tries < 100, `${tries} submissions`);
  },
);

kioTest(
  "asyncConnect() of a blocking socket to a full unix listener waits and can be cancelled",
  async (ctx) => {
    using full = await fullUnixListener(ctx);
    using client = unwrap(Socket.open("unix"));
    loadShim().kio_nonblocking_set(client.fd, false);
    const op = asyncConnect(ctx, client, full.at).withTimeout(20);
    assertCode(await op, "ETIMEDOUT");
    const connecting = asyncConnect(ctx, client, full.at);
    await turn(10);
    const peers = [];
    for (let i = 0; i < 3; i++) {
      peers.push(new Socket(value(await asyncAccept(ctx, full.listener))));
    }
    value(await connecting);
    for (const peer of peers) await peer.close();
  },
);

kioTest(
  "asyncConnect() of many sockets to one full unix listener loses none",
  async (ctx) => {
    using full = await fullUnixListener(ctx);
    const clients = Array.from(
      { length: 40 },
      () => unwrap(Socket.open("unix")),
    );
    const connecting = clients.map((it) => asyncConnect(ctx, it, full.at));
    for (let i = 0; i < clients.length + 2; i++) {
      new Socket(value(await asyncAccept(ctx, full.listener)))
        [Symbol.dispose]();
    }
    for (const op of connecting) value(await op);
    for (const client of clients) await client.close();
  },
);
