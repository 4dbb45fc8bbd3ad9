import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncAccept,
  asyncUnlink,
  type IoContext,
  IPPROTO_TCP,
  SO_KEEPALIVE,
  Socket,
  SocketAddress,
  SOL_SOCKET,
  TCP_NODELAY,
  unwrap,
} from "@kio/kio";
import { createNodeSocket } from "@kio/kio/node";
import { once } from "node:events";
import type net from "node:net";
import {
  fullListener,
  kioTest,
  listen,
  openFds,
  optionOf,
  turn,
  value,
  within,
} from "../support.ts";
import { closed, eventsOf, nodeSocket, noted, textOf } from "./support.ts";

/** A socket that a failing test does not end the process with. */
function created(ctx: IoContext): net.Socket {
  const socket = noted(createNodeSocket(ctx));
  socket.on("error", () => {});
  return socket;
}

/** Waits for an error, and gives its properties. */
async function errorOf(socket: net.Socket): Promise<Record<string, unknown>> {
  const { message, ...properties } = await new Promise<Error>((resolve) =>
    socket.once("error", resolve)
  );
  return { message, ...properties };
}

kioTest(
  "createNodeSocket() connects, and sends what waits for that",
  async (ctx) => {
    using listener = listen().listener;
    const { port } = listener.localAddress!;
    const client = created(ctx);
    const seen = eventsOf(client);
    let isCalled = false;
    assertEquals([client.connecting, client.pending], [false, true]);
    client.connect(port, "127.0.0.1", () => isCalled = true);
    client.setNoDelay(false);
    client.setKeepAlive(true);
    assertEquals([client.connecting, client.readyState], [true, "opening"]);
    client.write("one ");
    client.end("two");
    const server = nodeSocket(
      ctx,
      new Socket(value(await asyncAccept(ctx, listener))),
    );
    assertEquals(await textOf(server), "one two");
    await closed(client, server);
    assert(isCalled);
    assertEquals(seen, ["connect", "ready", "finish", "end", "close false"]);
  },
);

kioTest("createNodeSocket() takes the options of Node", async (ctx) => {
  using listener = listen().listener;
  const { port } = listener.localAddress!;
  const accept = async () =>
    new Socket(value(await asyncAccept(ctx, listener)));
  const before = openFds();
  // Not all types of Node have all of these.
  const options = {
    port: `${port}` as unknown as number,
    host: "127.0.0.1",
    noDelay: false,
    keepAlive: true,
  };
  const client = created(ctx).connect(options);
  await once(client, "connect");
  const fd = openFds().find((it) => !before.includes(it))!;
  assertEquals(optionOf(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  assertEquals(optionOf(fd, IPPROTO_TCP, TCP_NODELAY), 0);
  await using server = await accept();
  assertEquals(client.remotePort, port);
  assertEquals(server.peerAddress?.port, client.localPort);
  client.destroy();
  await closed(client);
});

kioTest("createNodeSocket() connects to a unix socket", async (ctx) => {
  const path = `/tmp/kio-${crypto.randomUUID()}.sock`;
  using listener = unwrap(Socket.open("unix"));
  unwrap(listener.bind(SocketAddress.unix(path)));
  unwrap(listener.listen());
  for (const arg of [path, { path }] as const) {
    const client = created(ctx);
    client.connect(arg as string);
    client.end("hello");
    const fd = value(await asyncAccept(ctx, listener));
    const server = nodeSocket(ctx, new Socket(fd));
    assertEquals(await textOf(server), "hello");
    await closed(client, server);
  }
  value(await asyncUnlink(ctx, path));
});

kioTest("createNodeSocket() has the errors of Node", async (ctx) => {
  const { listener, at: { port } } = listen();
  await listener.close();
  const refused = created(ctx);
  refused.connect(port, "127.0.0.1");
  assertEquals(await errorOf(refused), {
    message: `connect ECONNREFUSED 127.0.0.1:${port}`,
    errno: -111,
    code: "ECONNREFUSED",
    syscall: "connect",
    address: "127.0.0.1",
    port,
  });
  const nameless = created(ctx);
  nameless.connect(port, "a..b");
  assertEquals(await errorOf(nameless), {
    message: "getaddrinfo ENOTFOUND a..b",
    code: "ENOTFOUND",
    syscall: "getaddrinfo",
    hostname: "a..b",
  });
  const pathless = created(ctx);
  pathless.connect("/no/such.sock");
  assertEquals(await errorOf(pathless), {
    message: "connect ENOENT /no/such.sock",
    errno: -2,
    code: "ENOENT",
    syscall: "connect",
    address: "/no/such.sock",
  });
  await closed(refused, nameless, pathless);
});

kioTest(
  "createNodeSocket() tells a write that there is no connection",
  async (ctx) => {
    const { listener, at: { port } } = listen();
    await listener.close();
    const socket = created(ctx);
    socket.connect(port, "127.0.0.1");
    const written = new Promise<NodeJS.ErrnoException>((resolve) =>
      socket.write("x", (error) => resolve(error as Error))
    );
    assertEquals((await written).code, "ERR_SOCKET_CLOSED_BEFORE_CONNECTION");
    const other = created(ctx);
    other.write("x");
    assertEquals((await errorOf(other)).code, "ERR_SOCKET_CLOSED");
    await closed(socket, other);
  },
);

kioTest("createNodeSocket() is destroyed while it connects", async (ctx) => {
  using full = await fullListener(ctx);
  const at = { port: full.at.port, host: "127.0.0.1" };
  const socket = created(ctx);
  const seen = eventsOf(socket);
  socket.connect(at);
  await turn(5);
  assertEquals(ctx.pending > 0, true);
  socket.destroy(new Error("enough"));
  await within(5000, closed(socket), "the end");
  assertEquals(ctx.pending, 0);
  assertEquals(seen[0], "enough");
  assertEquals(seen.length, 2);
});

kioTest(
  "createNodeSocket() leaves no fd if the context is closed",
  async (ctx) => {
    const { listener, at: { port } } = listen();
    const targets = [{ path: "/no/such.sock" }, { port, host: "127.0.0.1" }];
    const sockets = targets.map(() => created(ctx));
    await ctx[Symbol.asyncDispose]();
    const errors = Promise.all(sockets.map(errorOf));
    sockets.forEach((socket, i) =>
      socket.connect(targets[i] as { path: string })
    );
    for (const { message } of await errors) {
      assertEquals(/closed/.test(`${message}`), true, `${message}`);
    }
    await closed(...sockets);
    await listener.close();
  },
);

kioTest("createNodeSocket() refuses what it cannot connect by", async (ctx) => {
  const make = createNodeSocket as (...args: unknown[]) => net.Socket;
  assertThrows(() => make({}), TypeError, "IoContext");
  assertThrows(() => make(ctx, 1), TypeError, "options");
  const socket = createNodeSocket(ctx);
  const connect = (...args: unknown[]) => () =>
    (socket.connect as (...args: unknown[]) => void)(...args);
  assertThrows(connect(), TypeError, "neither a port nor a path");
  assertThrows(connect({ host: "x" }), TypeError, "neither");
  assertThrows(connect(65536, "x"), RangeError, "port");
  for (const port of ["", " ", true, []]) {
    assertThrows(connect({ port }), RangeError, "port");
  }
  assertThrows(connect(""), RangeError, "port");
  for (const name of ["lookup", "localAddress", "localPort", "family"]) {
    assertThrows(connect({ port: 1, [name]: 4 }), TypeError, name);
  }
  const { listener, at } = listen();
  connect(at.port, "127.0.0.1")();
  assertThrows(connect(at.port), TypeError, "Cannot connect");
  await listener.close();
  socket.on("error", () => {});
  await new Promise((resolve) => socket.destroy().once("close", resolve));
  assertThrows(connect(at.port), TypeError, "Cannot connect");
});
