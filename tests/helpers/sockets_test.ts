import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  type IoContext,
  SocketAddress,
  TcpListener,
  type TcpStream,
  unwrap,
} from "@kio/kio";
import { connect, type Socket, SocketError } from "@kio/kio/sockets";
import { bytes, kioTest, text, turn } from "../support.ts";

/** A socket, and its peer. */
async function open(
  ctx: IoContext,
  options = {},
): Promise<[Socket, TcpStream]> {
  const address = SocketAddress.v4(0, "127.0.0.1");
  await using listener = unwrap(TcpListener.bind(address, { ctx }));
  const { hostname, port } = listener.addr;
  const socket = connect(ctx, { hostname, port }, options);
  return [socket, await listener.accept()];
}

kioTest("connect() gives streams that can be used at once", async (ctx) => {
  const [socket, peer] = await open(ctx);
  const writer = socket.writable.getWriter();
  const writing = writer.write(bytes("hello"));
  const { remoteAddress, localAddress, alpn } = await socket.opened;
  assertEquals(remoteAddress, `${peer.localAddress}`);
  assertEquals(localAddress, `${peer.peerAddress}`);
  assertEquals([alpn, socket.upgraded], [null, false]);
  await writing;
  const buffer = new Uint8Array(16);
  assertEquals(await peer.read(buffer), 5);
  await peer.write(bytes("and back"));
  const reader = socket.readable.getReader();
  assertEquals(text((await reader.read()).value!), "and back");
  await socket.close();
  assertEquals((await reader.read()).done, true);
  await assertRejects(() => writer.write(bytes("x")), SocketError);
  assertEquals(await peer.read(buffer), null);
  await peer.close();
});

kioTest(
  "connect() sends what is queued when the peer has ended, and closes",
  async (ctx) => {
    const [socket, peer] = await open(ctx);
    await socket.opened;
    const writer = socket.writable.getWriter();
    const data = new Uint8Array(4_000_000);
    const writing = writer.write(data);
    await peer.closeWrite();
    assertEquals((await socket.readable.getReader().read()).done, true);
    const got = await new Response(peer.readable as never).arrayBuffer();
    assertEquals(got.byteLength, data.length);
    await writing;
    await socket.closed;
    await peer.close();
  },
);

kioTest("closed keeps what has come until it is read", async (ctx) => {
  for (const end of ["closeWrite", "close"] as const) {
    const [socket, peer] = await open(ctx);
    await socket.opened;
    let isClosed = false;
    void socket.closed.then(() => isClosed = true);
    await peer.write(bytes("hello"));
    await peer[end]();
    await turn(5);
    assertEquals(isClosed, false);
    assertEquals(await new Response(socket.readable).text(), "hello");
    await socket.closed;
    await peer.close();
  }
});

kioTest("connect() with allowHalfOpen leaves writable open", async (ctx) => {
  const [socket, peer] = await open(ctx, { allowHalfOpen: true });
  await peer.closeWrite();
  assertEquals((await socket.readable.getReader().read()).done, true);
  await turn();
  const writer = socket.writable.getWriter();
  await writer.write(bytes("late"));
  await writer.close();
  assertEquals(await new Response(peer.readable as never).text(), "late");
  await socket.closed;
  await peer.close();
});

kioTest("connect() that fails tells so everywhere", async (ctx) => {
  const [gone, peer] = await open(ctx);
  const { remoteAddress } = await gone.opened;
  await Promise.all([gone.close(), peer.close()]);
  const socket = connect(ctx, remoteAddress);
  const error = await assertRejects(
    () => socket.opened,
    SocketError,
    "SocketError: Cannot connect",
  );
  assert(error.cause instanceof Deno.errors.ConnectionRefused);
  for (
    const part of [
      socket.closed,
      socket.readable.getReader().read(),
      socket.writable.getWriter().write(bytes("x")),
    ]
  ) assertStrictEquals(await assertRejects(() => part), error);
  await socket[Symbol.asyncDispose]();
});

kioTest("close() ends the attempt to connect", async (ctx) => {
  const [open1, peer] = await open(ctx);
  const { remoteAddress } = await open1.opened;
  const socket = connect(ctx, remoteAddress);
  const reason = new Error("never mind");
  await assertRejects(() => socket.close(reason), Error, "never mind");
  await assertRejects(() => socket.opened, Error, "never mind");
  await Promise.all([open1.close(), peer.close()]);
});

kioTest("an error of the connection is that of its streams", async (ctx) => {
  const [socket, peer] = await open(ctx);
  await socket.opened;
  const reading = assertRejects(
    () => socket.readable.getReader().read(),
    Deno.errors.ConnectionReset,
  );
  await turn();
  await peer.reset();
  await reading;
  await socket.closed;
  await assertRejects(
    () => socket.writable.getWriter().write(bytes("x")),
    Deno.errors.ConnectionReset,
  );
});

kioTest("a readable that is cancelled leaves writable open", async (ctx) => {
  const [socket, peer] = await open(ctx);
  await socket.readable.cancel();
  const writer = socket.writable.getWriter();
  await writer.write(bytes("still"));
  await writer.close();
  assertEquals(await new Response(peer.readable as never).text(), "still");
  await socket.closed;
  await peer.close();
});

kioTest("writable is closed when all is sent", async (ctx) => {
  const [socket, peer] = await open(ctx);
  const writer = socket.writable.getWriter();
  const data = new Uint8Array(8_000_000);
  const got = new Response(peer.readable as never).arrayBuffer();
  void writer.write(data);
  await writer.close();
  await socket.close();
  assertEquals((await got).byteLength, data.length);
  await peer.close();
});

kioTest("close() cuts a write off, which rejects", async (ctx) => {
  const [socket, peer] = await open(ctx);
  await socket.readable.cancel();
  const writing = assertRejects(
    () => socket.writable.getWriter().write(new Uint8Array(1 << 26)),
    Error,
    "enough",
  );
  await turn(5);
  await socket.close(new Error("enough"));
  await writing;
  await peer.close();
});

kioTest("abort() ends a write that is stuck", async (ctx) => {
  const [socket, peer] = await open(ctx);
  const writer = socket.writable.getWriter();
  const writing = assertRejects(() => writer.write(new Uint8Array(1 << 26)));
  await turn(5);
  await writer.abort("enough");
  await Promise.all([writing, socket.closed]);
  await peer.close();
});

kioTest("a write that fails rejects, and nothing else does", async (ctx) => {
  const [socket, peer] = await open(ctx);
  await socket.opened;
  // Nobody reads, so readable does not tell of the error.
  await assertRejects(
    () => socket.writable.getWriter().write("text" as never),
    TypeError,
    "Uint8Array",
  );
  await assertRejects(
    () => peer.read(new Uint8Array(1)),
    Deno.errors.ConnectionReset,
  );
  await socket.closed;
  await peer.close();
});

kioTest("connect() takes an address of IPv6 in brackets", async (ctx) => {
  for (const address of ["[::1]:1", { hostname: "[::1]", port: 1 }]) {
    const { opened } = connect(ctx, address);
    const error = await assertRejects(() => opened, SocketError);
    assert(error.cause instanceof Deno.errors.ConnectionRefused);
  }
});

kioTest("connect() refuses what cannot be", (ctx) => {
  for (const address of ["localhost", "::1:80", "", ":80", "[::1]"]) {
    assertThrows(() => connect(ctx, address), SocketError, "port");
  }
  for (const port of [0, 65536, 1.5]) {
    assertThrows(() => connect(ctx, { hostname: "::1", port }), RangeError);
  }
  assertThrows(() => connect(ctx, null as never), TypeError);
  assertThrows(() => connect(null as never, "a:1"), TypeError, "IoContext");
  const wrong = { allowHalfOpen: 1 } as never;
  assertThrows(() => connect(ctx, "a:1", wrong), TypeError, "allowHalfOpen");
  for (const secureTransport of ["on", "starttls"] as const) {
    assertThrows(
      () => connect(ctx, "a:1", { secureTransport }),
      SocketError,
      "secureTransport",
    );
  }
});

kioTest("startTls() is refused", async (ctx) => {
  const [socket, peer] = await open(ctx);
  assertThrows(() => socket.startTls(), SocketError, "TLS");
  await Promise.all([socket.close(), peer.close()]);
});
