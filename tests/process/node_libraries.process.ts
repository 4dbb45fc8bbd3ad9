/**
 * Libraries from npm that are made for Node, over connections of kio: servers by
 * `serveNode()`, clients by `createNodeSocket()`. tests/peers/clients.ts has
 * those that need a server of their own.
 */
// deno-lint-ignore-file no-import-prefix -- the library itself needs none of them
import { createAdaptorServer } from "npm:@hono/node-server@2.1.9";
// @ts-types="npm:@types/express@5.0.6"
import express from "npm:express@5.3.0";
import fastify from "npm:fastify@5.12.8";
import { Hono } from "npm:hono@4.13.19";
import { Agent, request } from "npm:undici@8.13.1";
// @ts-types="npm:@types/ws@8.18.2"
import { WebSocket, WebSocketServer } from "npm:ws@8.23.0";
import { assertEquals } from "@std/assert";
import { IoContext, SocketAddress, TcpListener, unwrap } from "@kio/kio";
import { createNodeSocket, serveNode } from "@kio/kio/node";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import type net from "node:net";

/** A server of Node on a free port, with a context of its own. */
class Served implements AsyncDisposable {
  readonly ctx = new IoContext();
  readonly port: number;
  readonly connections: net.Socket[] = [];
  readonly #server: net.Server;
  readonly #closings: Promise<void>[] = [];

  constructor(server: net.Server) {
    const listener = unwrap(TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")));
    this.port = listener.localAddress!.port;
    this.#server = server;
    server.on("connection", (socket) => {
      this.connections.push(socket);
      this.#closings.push(
        new Promise((resolve) => socket.once("close", () => resolve())),
      );
    });
    serveNode(this.ctx, listener, server);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Makes three requests one after the other, of a client of Deno's own. */
  async texts(path = "/"): Promise<string[]> {
    using client = Deno.createHttpClient({ poolMaxIdlePerHost: 1 });
    const texts: string[] = [];
    for (let i = 0; i < 3; i++) {
      const answer = await fetch(this.url + path, { client });
      texts.push(`${answer.status} ${await answer.text()}`);
    }
    return texts;
  }

  /** Closes the server, and checks that nothing is left of its connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) {
      this.#server.close();
      await once(this.#server, "close");
    }
    await Promise.all(this.#closings);
    assertEquals(this.ctx.pending, 0);
    this.ctx[Symbol.dispose]();
  }
}

/** Checks three answers that came over one connection. */
function assertKept(served: Served, texts: string[], text: string): void {
  assertEquals(texts, [text, text, text]);
  assertEquals(served.connections.length, 1);
}

Deno.test("serveNode() serves express", async () => {
  const app = express();
  app.get("/", (request, response) => {
    response.json({ ip: request.ip });
  });
  app.post("/", express.json({ limit: "4mb" }), (request, response) => {
    response.send(request.body);
  });
  await using served = new Served(http.createServer(app));
  assertKept(served, await served.texts(), '200 {"ip":"127.0.0.1"}');
  const body = JSON.stringify({ text: "é".repeat(1_000_000) });
  const answer = await fetch(served.url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  assertEquals(await answer.text(), body);
});

Deno.test("serveNode() serves fastify", async () => {
  const app = fastify();
  app.get("/", (request) => ({ ip: request.ip }));
  await app.ready();
  await using served = new Served(app.server);
  assertKept(served, await served.texts(), '200 {"ip":"127.0.0.1"}');
  await app.close();
});

Deno.test("serveNode() serves hono", async () => {
  const app = new Hono().get("/", (context) => context.text("hello"));
  const server = createAdaptorServer({ fetch: app.fetch }) as net.Server;
  await using served = new Served(server);
  assertKept(served, await served.texts(), "200 hello");
});

Deno.test("serveNode() and createNodeSocket() carry ws", async () => {
  const server = http.createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on(
    "connection",
    (socket) =>
      socket.on("message", (data, binary) => socket.send(data, { binary })),
  );
  await using served = new Served(server);
  const client = new WebSocket(`ws://127.0.0.1:${served.port}`, {
    createConnection: () =>
      createNodeSocket(served.ctx).connect(served.port, "127.0.0.1"),
  });
  await once(client, "open");
  for (const size of [0, 1, 125, 126, 70_000, 3_000_000]) {
    const sent = new Uint8Array(size).map((_, i) => i * 7);
    client.send(sent);
    const [received] = await once(client, "message");
    assertEquals(new Uint8Array(received), sent);
  }
  client.close(4000, "enough");
  const [code, reason] = await once(client, "close");
  assertEquals([code, `${reason}`], [4000, "enough"]);
  // Deno's own client.
  const other = new globalThis.WebSocket(`ws://127.0.0.1:${served.port}`);
  other.onopen = () => other.send("from Deno");
  const answer = await new Promise((resolve) =>
    other.onmessage = ({ data }) => resolve(data)
  );
  assertEquals(answer, "from Deno");
  const closed = new Promise((resolve) => other.onclose = resolve);
  other.close();
  await closed;
});

Deno.test("serveNode() and createNodeSocket() carry node:http2", async () => {
  const server = http2.createServer();
  server.on("stream", (stream: http2.ServerHttp2Stream) => {
    stream.respond({ ":status": 200 });
    stream.pipe(stream);
  });
  await using served = new Served(server);
  const socket = createNodeSocket(served.ctx).connect(served.port, "127.0.0.1");
  await once(socket, "connect");
  const session = http2.connect(served.url, { createConnection: () => socket });
  const echoed = await Promise.all([0, 1, 100_000].map(async (size) => {
    const stream = session.request({ ":method": "POST", ":path": "/" });
    stream.end(new Uint8Array(size).fill(size));
    let count = 0;
    for await (const chunk of stream) count += chunk.length;
    return count;
  }));
  assertEquals(echoed, [0, 1, 100_000]);
  const closed = once(socket, "close");
  session.close();
  await closed;
});

Deno.test("createNodeSocket() lets the process end beside an idle socket", async () => {
  const script = `
    import { IoContext } from "@kio/kio";
    import { createNodeSocket } from "@kio/kio/node";
    import http from "node:http";
import http2 from "node:http2";
    const ctx = new IoContext();
    const agent = new http.Agent({ keepAlive: true });
    agent.createConnection = (options) => createNodeSocket(ctx).connect(options);
    const [port] = Deno.args;
    http.get({ agent, port, host: "127.0.0.1" }, (response) => {
      response.on("data", (data) => console.log(String(data)));
    });
  `;
  const server = http.createServer((_, response) => response.end("once"));
  await using served = new Served(server);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-lock", script, `${served.port}`],
  }).output();
  const decoder = new TextDecoder();
  assertEquals(
    [code, decoder.decode(stdout)],
    [0, "once\n"],
    decoder.decode(stderr),
  );
});

Deno.test({
  name: "createNodeSocket() carries undici",
  // It keeps a timer of its own.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await using served = new Served(http.createServer((request, response) => {
      request.pipe(response);
    }));
    const dispatcher = new Agent({
      connections: 1,
      connect: ({ port, hostname }, callback) => {
        const socket = createNodeSocket(served.ctx);
        const onError = (error: Error) => callback(error, null);
        socket.once("error", onError);
        socket.connect(Number(port), hostname, () => {
          socket.off("error", onError);
          callback(null, socket);
        });
      },
    });
    for (const size of [0, 10, 1_000_000]) {
      const body = "x".repeat(size);
      const options = { dispatcher, method: "POST", body } as const;
      const answer = await request(served.url, options);
      assertEquals(await answer.body.text(), body);
    }
    assertEquals(served.connections.length, 1);
    await dispatcher.close();
  },
});
