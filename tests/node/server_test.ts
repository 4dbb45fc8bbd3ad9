import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncUnlink,
  type IoContext,
  Socket,
  TcpListener,
  UnixListener,
  unwrap,
} from "@kio/kio";
import { createNodeSocket, serveNode } from "@kio/kio/node";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { kioTest, listen, turn, within } from "../support.ts";
import { closed, noted, textOf } from "./support.ts";

/** Connections of an agent, and the agent. */
function agentOf(ctx: IoContext) {
  const sockets: net.Socket[] = [];
  const agent = new http.Agent({ keepAlive: true });
  agent.createConnection = (options) => {
    const socket = noted(createNodeSocket(ctx));
    sockets.push(socket);
    return socket.connect(options as net.TcpNetConnectOpts);
  };
  return { agent, sockets };
}

/** Makes a request; gives the text of its answer. */
async function fetched(
  port: number,
  options: http.RequestOptions,
  body?: string,
): Promise<string> {
  const request = http.request({ host: "127.0.0.1", port, ...options });
  const answered = once(request, "response");
  request.end(body);
  const [response] = await answered;
  return await textOf(response);
}

kioTest(
  "serveNode() serves node:http, and keeps connections alive",
  async (ctx) => {
    const { listener, at: { port } } = listen();
    const server = http.createServer(async (request, response) => {
      const body = await textOf(request);
      response.end(`${request.url} ${body} ${request.socket.remoteAddress}`);
    });
    const connections = new Set<unknown>();
    server.on("connection", (it) => connections.add(it));
    serveNode(ctx, listener, server);
    await once(server, "listening");
    assertEquals(server.listening, true);
    assertEquals((server.address() as net.AddressInfo).port, port);

    const { agent, sockets } = agentOf(ctx);
    for (let i = 0; i < 5; i++) {
      const text = await fetched(port, { agent, path: `/${i}` });
      assertEquals(text, `/${i}  127.0.0.1`);
      // The socket goes back to the agent.
      await turn();
    }
    const body = "é".repeat(100_000);
    const options = { agent, method: "POST", path: "/" };
    assertEquals(await fetched(port, options, body), `/ ${body} 127.0.0.1`);
    assertEquals([connections.size, sockets.length], [1, 1]);
    agent.destroy();
    server.close();
    await once(server, "close");
    await closed(...sockets);
    assertEquals(listener.fd, -1);
  },
);

kioTest(
  "serveNode() ends answers and idle connections when the server closes",
  async (ctx) => {
    const { listener, at: { port } } = listen();
    const server = http.createServer(async (_, response) => {
      response.write("first, ");
      await turn(20);
      response.end("last");
    });
    serveNode(ctx, listener, server);
    const { agent, sockets } = agentOf(ctx);
    const answer = fetched(port, { agent });
    await once(server, "request");
    const end = once(server, "close");
    server.close();
    assertEquals(server.listening, false);
    assertEquals(await answer, "first, last");
    await within(5000, end, "the server's end");
    agent.destroy();
    await closed(...sockets);
  },
);

kioTest(
  "serveNode() accepts the clients that wait when the server closes",
  async (ctx) => {
    const { listener, at: { port } } = listen();
    let left = 5;
    const server = net.createServer((socket) => {
      socket.once("close", () => left--);
      void turn(20).then(() => socket.end("served"));
    });
    const leftAtEnd = once(server, "close").then(() => left);
    const clients = Array.from(
      { length: 5 },
      () => noted(createNodeSocket(ctx)),
    );
    for (const client of clients) {
      client.connect(port, "127.0.0.1");
    }
    await Promise.all(clients.map((it) => once(it, "connect")));
    serveNode(ctx, listener, server);
    server.close();
    for (const client of clients) assertEquals(await textOf(client), "served");
    assertEquals(await leftAtEnd, 0);
    await closed(...clients);
  },
);

kioTest("serveNode() has the path of a unix socket as address", async (ctx) => {
  const path = `/tmp/kio-node-${crypto.randomUUID()}`;
  const server = net.createServer();
  serveNode(ctx, unwrap(UnixListener.bind(path)), server);
  assertEquals(server.address(), path);
  server.close();
  await once(server, "close");
  unwrap(await asyncUnlink(ctx, path));
});

kioTest("serveNode() limits connections by maxConnections", async (ctx) => {
  const { listener, at: { port } } = listen();
  const server = net.createServer((socket) => socket.resume());
  server.maxConnections = 1;
  serveNode(ctx, listener, server);
  const connect = async () => {
    const client = noted(createNodeSocket(ctx));
    client.connect(port, "127.0.0.1");
    await once(client, "connect");
    return client;
  };
  const first = await connect();
  const dropped = once(server, "drop");
  const second = await connect();
  await dropped;
  second.resume();
  await closed(second);
  first.end();
  await closed(first);
  const third = await connect();
  third.end();
  await closed(third);
  server.close();
  await once(server, "close");
});

kioTest("serveNode() counts the time of a silent client", async (ctx) => {
  const { listener, at: { port } } = listen();
  const server = http.createServer({
    headersTimeout: 30,
    requestTimeout: 30,
    connectionsCheckingInterval: 10,
  });
  serveNode(ctx, listener, server);
  const client = noted(createNodeSocket(ctx));
  client.connect(port, "127.0.0.1");
  assert((await textOf(client)).startsWith("HTTP/1.1 408"));
  await closed(client);
  server.close();
  await once(server, "close");
});

kioTest("serveNode() ends with its context", async (ctx) => {
  const { listener } = listen();
  const server = http.createServer();
  serveNode(ctx, listener, server);
  await once(server, "listening");
  const end = once(server, "close");
  await ctx[Symbol.asyncDispose]();
  await within(5000, end, "the server's end");
  assertEquals(listener.fd, -1);
});

kioTest(
  "serveNode() tells the server of a listener that is none",
  async (ctx) => {
    const listener = unwrap(Socket.open("ipv4"));
    const server = net.createServer();
    const failed = new Promise<NodeJS.ErrnoException>((resolve) =>
      server.once("error", resolve)
    );
    serveNode(ctx, listener, server);
    const { code, syscall } = await failed;
    assertEquals([code, syscall], ["EINVAL", "accept"]);
    assertEquals(server.listening, false);
  },
);

kioTest(
  "serveNode() leaves the errors of listeners to the program",
  async (ctx) => {
    const { listener, at: { port } } = listen();
    const server = net.createServer((socket) => {
      noted(socket).destroy();
      throw new Error("of connection");
    });
    const thrown = new Promise<string>((resolve) =>
      addEventListener("error", (event) => {
        event.preventDefault();
        resolve(event.error.message);
      }, { once: true })
    );
    serveNode(ctx, listener, server);
    const client = noted(createNodeSocket(ctx));
    client.on("error", () => {});
    client.resume();
    client.connect(port, "127.0.0.1");
    assertEquals(await thrown, "of connection");
    await closed(client);
    server.close();
    await once(server, "close");
  },
);

kioTest("serveNode() refuses what it cannot serve", async (ctx) => {
  const serve = serveNode as (...args: unknown[]) => void;
  await using listener = unwrap(TcpListener.bind(0));
  const server = http.createServer();
  assertThrows(() => serve({}, listener, server), TypeError, "IoContext");
  assertThrows(() => serve(ctx, 7, server), TypeError, "listener");
  assertThrows(() => serve(ctx, listener, {}), TypeError, "net.Server");
  serve(ctx, listener, server);
  assertThrows(() => serve(ctx, listener, server), TypeError, "already");
  assertThrows(() => server.unref(), TypeError, "unref");
  server.close();
  await once(server, "close");
});
