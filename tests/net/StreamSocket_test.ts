import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  asyncUnlink,
  Connections,
  type IoContext,
  Socket,
  SocketAddress,
  TcpListener,
  TcpStream,
  UnixListener,
  UnixStream,
  unwrap,
} from "@kio/kio";
import { assertCode, bytes, kioTest, text, turn, value } from "../support.ts";

const HERE = "127.0.0.1";

/** Both ends of a TCP connection. */
async function pair(ctx: IoContext): Promise<[TcpStream, TcpStream]> {
  await using listener = unwrap(
    TcpListener.bind(SocketAddress.v4(0, HERE), { ctx }),
  );
  const { hostname, port } = listener.addr;
  const accepting = listener.accept();
  const client = unwrap(await TcpStream.connect(ctx, hostname, port));
  return [client, await accepting];
}

/** Reads to the end. */
async function textOf(stream: ReadableStream<Uint8Array>): Promise<string> {
  return text(
    new Uint8Array(await new Response(stream as never).arrayBuffer()),
  );
}

// ---- the shapes of Deno ------------------------------------------------------------

kioTest("TcpStream has the members of Deno.TcpConn", async (ctx) => {
  const [client, server] = await pair(ctx);
  // The type tests.
  const conn: Deno.TcpConn = client;
  const peer: Deno.Conn & AsyncDisposable = server;
  assertEquals(conn.remoteAddr, peer.localAddr as Deno.NetAddr);
  assertEquals(peer.remoteAddr, conn.localAddr);
  assertEquals(conn.localAddr.transport, "tcp");
  conn.setNoDelay(false);
  conn.setNoDelay();
  conn.setKeepAlive(true);
  assertEquals(await conn.write(bytes("hello")), 5);
  const buffer = new Uint8Array(8);
  assertEquals(await peer.read(buffer), 5);
  assertEquals(text(buffer.subarray(0, 5)), "hello");
  assertEquals(await conn.write(new Uint8Array(0)), 0);
  assertEquals(await peer.read(new Uint8Array(0)), 0);
  await conn.closeWrite();
  assertEquals(await peer.read(buffer), null);
  assertEquals(await peer.write(bytes("bye")), 3);
  assertEquals(await conn.read(buffer), 3);
  conn.close();
  peer[Symbol.dispose]();
  await turn();
  assertEquals([client.fd, server.fd], [-1, -1]);
});

kioTest("TcpListener has the members of Deno.Listener", async (ctx) => {
  const listener = unwrap(
    TcpListener.bind(SocketAddress.v4(0, HERE), { ctx }),
  );
  const like: Deno.TcpListener = listener;
  const any: Deno.Listener = listener;
  assertEquals(any.addr.transport, "tcp");
  const { hostname, port } = like.addr;
  assertEquals(hostname, HERE);
  const served: string[] = [];
  const serving = (async () => {
    for await (const conn of like) {
      served.push(await textOf(conn.readable));
      conn.close();
    }
  })();
  for (const message of ["one", "two"]) {
    const client = unwrap(await TcpStream.connect(ctx, HERE, port));
    const writer = client.writable.getWriter();
    await writer.write(bytes(message));
    await writer.close();
    assertEquals(await client.read(new Uint8Array(1)), null);
    await client.close();
  }
  like.close();
  await serving;
  assertEquals(served, ["one", "two"]);
});

kioTest("a loop over a listener that is left closes it", async (ctx) => {
  const listener = unwrap(
    TcpListener.bind(SocketAddress.v4(0, HERE), { ctx }),
  );
  const { port } = listener.addr;
  const connecting = TcpStream.connect(ctx, HERE, port);
  for await (const conn of listener) {
    await conn.close();
    break;
  }
  assertEquals(listener.fd, -1);
  await unwrap(await connecting).close();
  assertThrows(() => listener.accept(), TypeError, "closed");
});

kioTest("UnixStream and UnixListener have Deno's shapes", async (ctx) => {
  const path = `/tmp/kio-shape-${crypto.randomUUID()}`;
  const listener = unwrap(UnixListener.bind(path, { ctx, backlog: 4 }));
  const like: Deno.UnixListener = listener;
  assertEquals(like.addr, { transport: "unix", path });
  const accepting = like.accept();
  const client = unwrap(await UnixStream.connect(ctx, path));
  const conn: Deno.UnixConn = client;
  const server = await accepting;
  assertEquals(conn.remoteAddr, { transport: "unix", path });
  assertEquals(conn.localAddr, { transport: "unix", path: "" });
  await conn.write(bytes("hi"));
  await conn.closeWrite();
  assertEquals(await textOf(server.readable), "hi");
  server.close();
  await client.close();
  const connecting = UnixStream.connect(ctx, path);
  for await (const stream of listener.incoming(ctx).orThrow()) {
    assert(stream instanceof UnixStream);
    await stream.close();
    break;
  }
  await unwrap(await connecting).close();
  await listener.close();
  value(await asyncUnlink(ctx, path));
  assertCode(await UnixStream.connect(ctx, path), "ENOENT");
  assertCode(
    UnixListener.bind("/nonexistent/kio", { ctx }),
    "ENOENT",
  );
});

kioTest("members of Deno's shapes refuse what cannot be", async (ctx) => {
  const [left, right] = unwrap(Socket.pair());
  const stream = new TcpStream(left.release());
  const none = "no IoContext";
  assertThrows(() => stream.read(new Uint8Array(1)), TypeError, none);
  assertThrows(() => stream.write(new Uint8Array(1)), TypeError, none);
  assertThrows(() => stream.closeWrite(), TypeError, none);
  assertThrows(() => stream.readable, TypeError, none);
  assertThrows(() => stream.writable, TypeError, none);
  assertThrows(() => stream.unref(), TypeError, none);
  assertThrows(() => stream.localAddr, TypeError, "unix socket");
  assertThrows(() => stream.setNoDelay(), Deno.errors.NotSupported);
  const gone = new TcpStream(stream.release(), ctx);
  await gone.close();
  assertThrows(() => gone.read(new Uint8Array(1)), TypeError, "closed");
  assertThrows(() => gone.readable, TypeError, "closed");
  assertThrows(() => gone.localAddr, TypeError, "closed");
  await right.close();

  const listener = unwrap(TcpListener.bind(SocketAddress.v4(0, HERE)));
  assertThrows(() => listener.accept(), TypeError, none);
  assertThrows(() => listener[Symbol.asyncIterator](), TypeError, none);
  const { port } = listener.addr;
  await listener.close();
  const tcp = new UnixStream(unwrap(Socket.open("ipv4")).release(), ctx);
  assertThrows(() => tcp.localAddr, TypeError, "TcpStream");
  assertThrows(() => tcp.remoteAddr, Deno.errors.NotConnected);
  await tcp.close();

  const wrong = {} as never;
  assertThrows(() => new TcpStream(0, wrong), TypeError, "IoContext");
  assertThrows(() => new TcpListener(0, wrong), TypeError, "IoContext");
  assertThrows(
    () => TcpListener.bind(0, { ctx: wrong }),
    TypeError,
    "IoContext",
  );
  const address = SocketAddress.v4(port, HERE);
  assertThrows(() => UnixListener.bind(address), TypeError, "unix socket");
  assertThrows(() => UnixListener.bind(7 as never), TypeError);
  assertThrows(() => UnixListener.bind("/x", null as never), TypeError);
  await assertRejects(() => UnixStream.connect(ctx, address), TypeError);
  await assertRejects(() => UnixStream.connect(wrong, "/x"), TypeError);
});

kioTest("errors of Deno's members have Deno's classes", async (ctx) => {
  const [client, server] = await pair(ctx);
  await server.reset();
  const { ConnectionReset, Interrupted } = Deno.errors;
  const error = await assertRejects(
    () => client.read(new Uint8Array(1)),
    ConnectionReset,
  );
  assertEquals((error as unknown as { code: string }).code, "ECONNRESET");
  await assertRejects(() => client.write(bytes("x")), Deno.errors.BrokenPipe);
  await client.close();

  const listener = unwrap(
    TcpListener.bind(SocketAddress.v4(0, HERE), { ctx }),
  );
  const accepting = assertRejects(() => listener.accept(), Interrupted);
  await listener.close();
  await accepting;
});

kioTest("Connections gives its handler a TcpStream", async (ctx) => {
  const seen: unknown[] = [];
  const connections = new Connections(ctx, async (stream) => {
    seen.push(stream);
    await stream.write(bytes("hello"));
  });
  const [a, b] = await pair(ctx);
  connections.add(b);
  assertEquals(await textOf(a.readable), "hello");
  await a.close();
  const [c, d] = await pair(ctx);
  connections.add(d.release());
  assertEquals(await textOf(c.readable), "hello");
  await c.close();
  await connections.closed;
  assertStrictEquals(seen[0], b);
  assert(seen[1] instanceof TcpStream);
  assertEquals(b.fd, -1);
});
