import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  acceptLoop,
  asyncConnect,
  asyncRecv,
  asyncSend,
  Connections,
  type IoContext,
  Socket,
  SocketAddress,
  TcpListener,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  isOpen,
  kioTest,
  listen,
  tcpPair,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";

/** Reads to the end; gives the number of bytes, or the code of the error. */
async function drained(
  ctx: IoContext,
  socket: Socket,
): Promise<number | string> {
  const buffer = new Uint8Array(65536);
  for (let total = 0;;) {
    const received = await asyncRecv(ctx, socket, buffer);
    if (!received.ok) return received.error.code;
    if (received.value === 0) return total;
    total += received.value;
  }
}

/** The messages of what is reported while `body` runs. */
async function reportsOf(body: () => Promise<void>): Promise<string[]> {
  const reported: string[] = [];
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    reported.push(event.error.message);
  };
  globalThis.addEventListener("error", onError);
  try {
    await body();
  } finally {
    globalThis.removeEventListener("error", onError);
  }
  return reported;
}

async function connect(ctx: IoContext, at: SocketAddress): Promise<Socket> {
  const socket = unwrap(Socket.open(at.family));
  value(await asyncConnect(ctx, socket, at));
  return socket;
}

// ---- Connections ------------------------------------------------------------------

kioTest("add() serves a connection and closes it", async (ctx) => {
  const pair = unixPair();
  using left = pair.left;
  const fd = pair.right.release();
  const connections = new Connections(ctx, async (socket) => {
    assertEquals(socket.fd, fd);
    value(await asyncSend(ctx, socket, new Uint8Array(3)));
  });
  assertEquals(connections.size, 0);
  connections.add(fd);
  assertEquals(connections.size, 1);
  assertEquals(await drained(ctx, left), 3);
  await left.close();
  await connections.finished();
  assertEquals(connections.size, 0);
  assertEquals(isOpen(fd), false);
});

kioTest("a handler may close its socket itself", async (ctx) => {
  const { left, right } = unixPair();
  using _ = left;
  const connections = new Connections(ctx, (socket) => socket.close());
  connections.add(right.release());
  await connections.finished();
  assertEquals(await drained(ctx, left), 0);
});

kioTest(
  "nothing is lost of what a slow client has not read yet",
  async (ctx) => {
    using listener = unwrap(Socket.open("ipv4"));
    unwrap(listener.bind(SocketAddress.v4(0, "127.0.0.1")));
    unwrap(listener.listen());
    using client = unwrap(Socket.open("ipv4"));
    unwrap(client.setRecvBuffer(4096));
    const size = 256 * 1024;
    const sent = Promise.withResolvers<void>();
    const connections = new Connections(ctx, async (socket) => {
      unwrap(socket.setSendBuffer(2 * size));
      // All of it is in the kernel, and what the client has said is not read.
      let left = size;
      while (left > 0) {
        left -= value(await asyncSend(ctx, socket, new Uint8Array(left)));
      }
      sent.resolve();
    });
    const stop = new AbortController();
    const accepting = acceptLoop(
      ctx,
      listener,
      (fd) => connections.add(fd),
      stop.signal,
    );
    value(await asyncConnect(ctx, client, listener.localAddress!));
    value(await asyncSend(ctx, client, new Uint8Array(1000)));
    await within(10_000, sent.promise, "sending");
    stop.abort();
    await accepting;
    await turn(20);
    assertEquals(await drained(ctx, client), size);
    await client.close();
    await connections.finished();
  },
);

kioTest(
  "a client that does not close its side is left after lingerMs",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const connections = new Connections(ctx, async () => {}, { lingerMs: 20 });
    connections.add(pair.right.release());
    assertEquals(await drained(ctx, pair.left), 0);
    await within(10_000, connections.finished(), "finished()");
  },
);

kioTest(
  "a handler that throws is reported, and its socket closed",
  async (ctx) => {
    const { left, right } = unixPair();
    using _ = left;
    const reported = await reportsOf(async () => {
      const connections = new Connections(ctx, () => {
        throw new SyntaxError("of the handler");
      });
      connections.add(right.release());
      await connections.finished();
      assertEquals(await drained(ctx, left), 0);
    });
    assertEquals(reported, ["of the handler"]);
  },
);

kioTest(
  "a handler that goes on without its context is not reported",
  async (ctx) => {
    const { left, right } = unixPair();
    using _ = left;
    const reported = await reportsOf(async () => {
      const connections = new Connections(ctx, async (socket) => {
        for (;;) await asyncRecv(ctx, socket, new Uint8Array(1));
      });
      connections.add(right.release());
      await turn();
      await ctx[Symbol.asyncDispose]();
      await within(10_000, connections.finished(), "finished()");
    });
    assertEquals(reported, []);
  },
);

kioTest("a context that is closed ends what lingers", async (ctx) => {
  using pair = await tcpPair(ctx);
  const connections = new Connections(ctx, async () => {}, { lingerMs: 1e6 });
  connections.add(pair.right.release());
  assertEquals(await drained(ctx, pair.left), 0);
  await ctx[Symbol.asyncDispose]();
  await within(10_000, connections.finished(), "finished()");
});

kioTest("new Connections() refuses what makes no sense", (ctx) => {
  const make = (...args: unknown[]) =>
    new Connections(...args as ConstructorParameters<typeof Connections>);
  assertThrows(() => make({}, () => {}), TypeError, "must be an IoContext");
  assertThrows(() => make(ctx), TypeError, "handler must be a function");
  const handler = async () => {};
  assertThrows(() => make(ctx, handler, { lingerMs: -1 }), RangeError);
  assertThrows(() => make(ctx, handler).add(-1), RangeError, "fd must be");
});

// ---- acceptLoop() -----------------------------------------------------------------

kioTest(
  "acceptLoop() accepts until the signal, and then what waits",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    const accepted: number[] = [];
    const stop = new AbortController();
    const accepting = acceptLoop(
      ctx,
      listener,
      (fd) => {
        accepted.push(fd);
        // From now on nothing is accepted before all of them are in the queue.
        if (accepted.length === 1) stop.abort();
      },
      stop.signal,
    );
    const clients = await Promise.all(
      Array.from({ length: 50 }, () => connect(ctx, at)),
    );
    value(await accepting);
    assertEquals(accepted.length, 50);
    for (const fd of accepted) await new Socket(fd).close();
    for (const client of clients) {
      assertEquals(await drained(ctx, client), 0);
      await client.close();
    }
  },
);

kioTest(
  "acceptLoop() leaves a listener that others share as it is",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    value(await acceptLoop(ctx, listener.fd, () => {}, AbortSignal.abort()));
    using client = await connect(ctx, at);
    const accepted: number[] = [];
    const add = (fd: number) => void accepted.push(fd);
    value(await acceptLoop(ctx, listener.fd, add, AbortSignal.abort()));
    assertEquals(accepted.length, 1);
    assert(client.peerAddress !== undefined);
    await new Socket(accepted[0]!).close();
  },
);

kioTest("acceptLoop() ends with its listener", async (ctx) => {
  const { listener } = listen();
  const { signal } = new AbortController();
  const accepting = acceptLoop(ctx, listener, () => {}, signal);
  await turn(5);
  await listener.close();
  value(await within(10_000, accepting, "acceptLoop()"));
});

kioTest("acceptLoop() ends with its context", async (ctx) => {
  const { listener } = listen();
  using _ = listener;
  const { signal } = new AbortController();
  const accepting = acceptLoop(ctx, listener, () => {}, signal);
  await turn(5);
  await ctx[Symbol.asyncDispose]();
  value(await within(10_000, accepting, "acceptLoop()"));
});

kioTest("acceptLoop() of what is no listener is an error", async (ctx) => {
  using socket = unwrap(Socket.open("ipv4"));
  const { signal } = new AbortController();
  assertCode(await acceptLoop(ctx, socket, () => {}, signal), "EINVAL");
  assertCode(await acceptLoop(ctx, 4000, () => {}, signal), "EBADF");
});

// ---- stopListening() --------------------------------------------------------------

kioTest(
  "stopListening() keeps clients out, not those that wait",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    using early = await connect(ctx, at);
    value(listener.stopListening());
    using late = unwrap(Socket.open("ipv4"));
    const connecting = asyncConnect(ctx, late, at).withTimeout(50);
    assertCode(await connecting, "ETIMEDOUT");
    const accepted: number[] = [];
    const add = (fd: number) => void accepted.push(fd);
    value(await acceptLoop(ctx, listener, add, AbortSignal.abort()));
    assertEquals(accepted.length, 1);
    // The connection works in both directions.
    using served = new Socket(accepted[0]!);
    value(await asyncSend(ctx, early, new Uint8Array(5)));
    assertEquals(value(await asyncRecv(ctx, served, new Uint8Array(9))), 5);
  },
);

kioTest(
  "stopListening() of one leaves other listeners of the port",
  async (ctx) => {
    const { listener, at } = listen();
    using other = unwrap(TcpListener.bind(at));
    value(listener.stopListening());
    await listener.close();
    using _ = await connect(ctx, at);
    const accepted: number[] = [];
    const add = (fd: number) => void accepted.push(fd);
    value(await acceptLoop(ctx, other, add, AbortSignal.abort()));
    assertEquals(accepted.length, 1);
    await new Socket(accepted[0]!).close();
  },
);

kioTest("stopListening() of a unix listener refuses at once", async (ctx) => {
  const at = SocketAddress.unix(`\0kio-stop-${Math.random()}`);
  using listener = unwrap(TcpListener.bind(at));
  using _ = await connect(ctx, at);
  value(listener.stopListening());
  using late = unwrap(Socket.open("unix"));
  assertCode(await asyncConnect(ctx, late, at), "ECONNREFUSED");
  const accepted: number[] = [];
  const add = (fd: number) => void accepted.push(fd);
  value(await acceptLoop(ctx, listener, add, AbortSignal.abort()));
  assertEquals(accepted.length, 1);
  await new Socket(accepted[0]!).close();
});

kioTest("stopListening() of what does not listen is an error", () => {
  using socket = unwrap(Socket.open("ipv4"));
  assertCode(socket.stopListening(), "EINVAL");
});
