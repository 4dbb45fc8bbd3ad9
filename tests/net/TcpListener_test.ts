import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncAccept,
  asyncAcceptMultishot,
  asyncConnect,
  asyncRecv,
  asyncSend,
  IoContext,
  link,
  MSG_DONTWAIT,
  Socket,
  SocketAddress,
  TcpListener,
  TcpStream,
  unwrap,
} from "@kio/kio";
import { assertCode, bytes, kioTest, text, turn, value } from "../support.ts";

function listen(): { listener: TcpListener; at: SocketAddress } {
  const address = SocketAddress.v4(0, "127.0.0.1");
  const listener = unwrap(TcpListener.bind(address));
  return { listener, at: listener.localAddress! };
}

async function clientsOf(
  ctx: IoContext,
  at: SocketAddress,
  count: number,
): Promise<Socket[]> {
  const clients = Array.from(
    { length: count },
    () => unwrap(Socket.open("ipv4")),
  );
  const all = clients.map((client) => asyncConnect(ctx, client, at));
  for (const result of await Promise.all(all)) value(result);
  return clients;
}

/** How many were closed by the other side. */
async function closed(ctx: IoContext, clients: Socket[]): Promise<number> {
  await turn(5);
  let count = 0;
  for (const client of clients) {
    const end = await asyncRecv(ctx, client, new Uint8Array(1), MSG_DONTWAIT);
    if (end.ok || end.error.code === "ECONNRESET") count++;
  }
  return count;
}

kioTest("incoming() gives connections that work", async (ctx) => {
  const { listener, at } = listen();
  using _ = listener;
  const clients = await clientsOf(ctx, at, 3);
  let served = 0;
  for await (const stream of listener.incoming(ctx).orThrow()) {
    assert(stream instanceof TcpStream);
    value(await asyncSend(ctx, stream, bytes("hello")));
    await stream.close();
    if (++served === 3) break;
  }
  for (const client of clients) {
    const buffer = new Uint8Array(9);
    assertEquals(value(await asyncRecv(ctx, client, buffer)), 5);
    assertEquals(text(buffer.subarray(0, 5)), "hello");
    await client.close();
  }
  assertEquals(ctx.pending, 0);
});

kioTest("incoming() of a unix listener", async (ctx) => {
  const at = SocketAddress.unix(`\0kio-incoming-${Math.random()}`);
  using listener = unwrap(TcpListener.bind(at));
  using client = unwrap(Socket.open("unix"));
  value(await asyncConnect(ctx, client, at));
  for await (const stream of listener.incoming(ctx).orThrow()) {
    await stream.close();
    break;
  }
  assertEquals(value(await asyncRecv(ctx, client, new Uint8Array(1))), 0);
});

kioTest("incoming() that is left closes what nobody took", async (ctx) => {
  const { listener, at } = listen();
  await using _ = listener;
  const clients = await clientsOf(ctx, at, 10);
  for await (const stream of listener.incoming(ctx).orThrow()) {
    await stream.close();
    break;
  }
  // What the kernel had not accepted by then still waits for another.
  for await (const result of listener.incoming(ctx).withTimeout(20)) {
    if (result.ok) await result.value.close();
  }
  assertEquals(await closed(ctx, clients), 10);
  for (const client of clients) await client.close();
});

kioTest("incoming() holds no more than its queue", async (ctx) => {
  const { listener, at } = listen();
  await using _ = listener;
  const stream = listener.incoming(ctx, { queueMax: 2 });
  const clients = [];
  for (let i = 0; i < 12; i++) {
    clients.push(...await clientsOf(ctx, at, 1));
    await turn();
  }
  const streams: TcpStream[] = [];
  for (let result = stream.take(); result?.ok; result = stream.take()) {
    streams.push(result.value);
  }
  const { length } = streams;
  assert(length >= 2 && length < 12, `${length} connections were accepted`);
  for (const it of streams) await it.close();
  await stream[Symbol.asyncDispose]();
  for (const client of clients) await client.close();
});

kioTest("incoming() ends with its listener, and with its context", async () => {
  const ctx = new IoContext(4);
  const { listener } = listen();
  const first = listener.incoming(ctx)[Symbol.asyncIterator]();
  await turn();
  await listener.close();
  const ended = await first.next();
  assertCode(ended.value!, "ECANCELED");
  assertEquals((await first.next()).done, true);
  const { listener: other } = listen();
  using _ = other;
  const second = other.incoming(ctx)[Symbol.asyncIterator]();
  await turn();
  await ctx[Symbol.asyncDispose]();
  assertCode((await second.next()).value!, "ECANCELED");
});

kioTest("incoming() refuses what makes no sense", async (ctx) => {
  const { listener } = listen();
  await using _ = listener;
  for (const queueMax of [0, 65537, 1.5, NaN]) {
    assertThrows(
      () => listener.incoming(ctx, { queueMax }),
      RangeError,
      "Cannot accept: queueMax must be",
    );
  }
  assertThrows(
    () => listener.incoming(ctx, null as never),
    TypeError,
    "options must be an object",
  );
  assertThrows(
    () => link(ctx, () => [listener.incoming(ctx) as never]),
    TypeError,
    "in link()",
  );
  const { listener: gone } = listen();
  await gone.close();
  assertThrows(() => gone.incoming(ctx), RangeError, "is closed");
  assertEquals(ctx.pending, 0);
});

// Without DEFER_TASKRUN the end of the listener comes before the cancel.
for (const deferTaskrun of [true, false]) {
  kioTest(
    `close() cancels what accepts, ${
      deferTaskrun ? "with" : "without"
    } deferTaskrun`,
    async () => {
      await using ctx = new IoContext({ features: { deferTaskrun } });
      const { listener } = listen();
      const accepts = [asyncAccept(ctx, listener), asyncAccept(ctx, listener)];
      const next = asyncAcceptMultishot(ctx, listener)[Symbol.asyncIterator]()
        .next();
      await turn(5);
      await listener.close();
      for (const accept of accepts) assertCode(await accept, "ECANCELED");
      assertCode((await next).value!, "ECANCELED");
    },
  );
}
