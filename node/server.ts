/** Servers of Node that take their connections from a listener of kio. */
import net from "node:net";
import { nextTick } from "node:process";
import { SocketTransport } from "../helpers/transport.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { acceptLoop } from "../net/accept_loop.ts";
import { Socket } from "../net/Socket.ts";
import { nodeError } from "./errors.ts";
import { fillAddress, type NodeAddress } from "./handle.ts";
import { outside, rethrow } from "./outside.ts";
import { NodeSocket } from "./socket.ts";

/** Members of `net.Server` that its types lack, or have as `readonly`. */
interface Inner {
  _handle: object | null;
  _pipeName?: string;
  _connections: number;
  _emitCloseIfDrained(): void;
  readonly allowHalfOpen: boolean;
  readonly noDelay?: boolean;
}

/** Members of `net.Socket` by which a server counts it. */
interface Counted {
  server: net.Server;
  _server: net.Server;
}

/**
 * Has a server of Node take its connections from a listener of kio, in place of
 * `server.listen()`. It is for any `net.Server`: one of node:http, with
 * `express`, `fastify`, `hono` or `ws` on it.
 *
 * The server has the state and the events of one that listens: "listening",
 * `server.address()`, which is the path of a unix socket, `maxConnections`. That
 * matters: Deno closes each connection after a request if its server does not
 * listen, and counts no `headersTimeout`. `server.close()` closes the listener,
 * after the clients that the kernel has let in were accepted. If the context closes, the server closes
 * too. An error of accept(2) that is not about one client is its "error".
 *
 * @param ctx The context.
 * @param listener A `TcpListener`, or a unix socket that listens. The server
 * owns it from now on.
 * @param server The server, which must not listen yet.
 * @throws {TypeError} If an argument has the wrong type, the context is closed,
 * or the server listens already.
 *
 * @example node:http
 * ```ts
 * import { IoContext, SocketAddress, TcpListener, unwrap } from "@kio/kio";
 * import { serveNode } from "@kio/kio/node";
 * import { once } from "node:events";
 * import http from "node:http";
 *
 * using ctx = new IoContext();
 * const server = http.createServer((_request, response) => response.end("hi"));
 * const address = SocketAddress.v4(0, "127.0.0.1");
 * serveNode(ctx, unwrap(TcpListener.bind(address)), server);
 * server.close();
 * await once(server, "close");
 * ```
 */
export function serveNode(
  ctx: IoContext,
  listener: Socket,
  server: net.Server,
): void {
  const verb = "serve";
  ringOf(ctx, { verb }).checkOpen(verb);
  if (!(listener instanceof Socket)) {
    throw new TypeError(`Cannot ${verb}: expected a listener of kio`);
  }
  if (!(server instanceof net.Server)) {
    throw new TypeError(`Cannot ${verb}: expected a net.Server of Node`);
  }
  if (server.listening) {
    throw new TypeError(
      `Cannot ${verb}: the server listens already; call serveNode() in place of listen()`,
    );
  }
  const inner = server as unknown as Inner;
  const stop = new AbortController();
  const address = listener.localAddress;
  const isUnix = address?.family === "unix";
  // server.address() asks for one or the other.
  if (isUnix) inner._pipeName = address.host;
  const name = isUnix
    ? {}
    : { getsockname: (into: NodeAddress) => fillAddress(into, address) };
  inner._handle = {
    close() {
      stop.abort();
      // Clients that wait are accepted before the server is closed.
      inner._connections++;
    },
    ...name,
    ref() {},
    unref() {
      throw new TypeError(
        "Cannot unref the server: it waits for connections of kio; close it",
      );
    },
  };
  nextTick(() => {
    if (server.listening) server.emit("listening");
    void acceptAll(ctx, listener, server, stop.signal);
  });
}

async function acceptAll(
  ctx: IoContext,
  listener: Socket,
  server: net.Server,
  signal: AbortSignal,
): Promise<void> {
  const inner = server as unknown as Inner;
  const accepted = await acceptLoop(
    ctx,
    listener,
    (fd) => take(ctx, new Socket(fd), server),
    signal,
    { onError: rethrow },
  );
  await listener.close();
  if (server.listening) server.close();
  inner._connections--;
  inner._emitCloseIfDrained();
  if (accepted.ok) return;
  const error = nodeError("accept", accepted.error);
  outside(() => server.emit("error", error));
}

/** Gives a server a connection. */
function take(ctx: IoContext, socket: Socket, server: net.Server): void {
  const inner = server as unknown as Inner;
  const { maxConnections } = server;
  if (maxConnections && inner._connections >= maxConnections) {
    const { localAddress: local, peerAddress: remote } = socket;
    socket[Symbol.dispose]();
    server.emit("drop", {
      localAddress: local?.host,
      localPort: local?.port,
      remoteAddress: remote?.host,
      remotePort: remote?.port,
    });
    return;
  }
  const { allowHalfOpen, noDelay } = inner;
  const made = new NodeSocket({ allowHalfOpen });
  made.open(new SocketTransport(ctx, socket));
  if (noDelay) made.setNoDelay();
  const counted = made as unknown as Counted;
  counted.server = counted._server = server;
  inner._connections++;
  server.emit("connection", made);
}
