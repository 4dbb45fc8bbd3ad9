import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  acceptLoop,
  asyncConnect,
  asyncRecv,
  asyncSend,
  asyncSleep,
  Connections,
  type IoContext,
  IoContext as Context,
  passFd,
  Socket,
  SocketAddress,
  TcpListener,
  TcpStream,
  unwrap,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  isOpen,
  kioTest,
  listen,
  pairWithFd,
  tcpPair,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";
import { bytesOfAddress } from "../../lib/SocketAddress.ts";

/** connect(2), which a unix listener takes at once. */
const libc = Deno.dlopen("libc.so.6", {
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
});
libc.close();
const connectNow = libc.symbols.connect;

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

/** Collects the messages that are reported while `body` runs. */
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
  await connections.closed;
  assertEquals(connections.size, 0);
  assertEquals(isOpen(fd), false);
});

kioTest(
  "Connections.closed waits for those that come meanwhile, and for those that come later",
  async (ctx) => {
    const pairs = [unixPair(), unixPair(), unixPair()];
    const gates = pairs.map(() => Promise.withResolvers<void>());
    let served = 0;
    const connections = new Connections(ctx, () => gates[served++]!.promise, {
      lingerMs: 0,
    });
    let isClosed = false;
    await connections.closed;
    connections.add(pairs[0]!.right.release());
    const closed = connections.closed.then(() => isClosed = true);
    connections.add(pairs[1]!.right.release());
    gates[0]!.resolve();
    await turn(5);
    assertEquals([isClosed, connections.size], [false, 1]);
    gates[1]!.resolve();
    await closed;
    connections.add(pairs[2]!.right.release());
    gates[2]!.resolve();
    await connections.closed;
    assertEquals(connections.size, 0);
    for (const { left } of pairs) await left.close();
  },
);

kioTest("a handler may close its socket itself", async (ctx) => {
  const { left, right } = unixPair();
  using _ = left;
  const connections = new Connections(ctx, (socket) => socket.close());
  connections.add(right.release());
  await connections.closed;
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
      // All of it is in the kernel, and the client's bytes are not read.
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
    await connections.closed;
  },
);

kioTest(
  "a client that does not close its side is left after lingerMs",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const connections = new Connections(ctx, async () => {}, { lingerMs: 20 });
    connections.add(pair.right.release());
    assertEquals(await drained(ctx, pair.left), 0);
    await within(10_000, connections.closed, "closed");
  },
);

kioTest(
  "a client that never stops sending is left after lingerMs",
  async (ctx) => {
    const connections = new Connections(ctx, async () => {}, { lingerMs: 50 });
    const data = new Uint8Array(1 << 18);
    using pairs = new DisposableStack();
    const flood = async () => {
      const { left, right } = pairs.use(await tcpPair(ctx));
      connections.add(right.release());
      while ((await asyncSend(ctx, left, data)).ok);
    };
    const floods = Array.from({ length: 8 }, flood);
    await turn(5);
    await within(10_000, connections.closed, "closed");
    await Promise.all(floods);
  },
);

kioTest(
  "a context that is full ends what lingers when its time is over",
  async (ctx) => {
    using full = new Context({ entries: 4, operationsMax: 1 });
    const { left, right } = unixPair();
    using _ = left;
    const errors: unknown[] = [];
    const onError = (error: unknown) => void errors.push(error);
    const options = { lingerMs: 30, onError };
    const sleeping = asyncSleep(full, 1e6);
    const connections = new Connections(full, async () => {}, options);
    connections.add(right.release());
    assertEquals(await drained(ctx, left), 0);
    await within(10_000, connections.closed, "closed");
    assertEquals(errors, []);
    sleeping.cancel();
    await sleeping;
  },
);

/** Collects the arguments of `console.error` while `body` runs. */
async function loggedBy(body: () => Promise<void>): Promise<unknown[]> {
  const logged: unknown[] = [];
  const { error } = console;
  console.error = (...args) => void logged.push(...args);
  try {
    assertEquals(await reportsOf(body), [], "nothing ends the program");
  } finally {
    console.error = error;
  }
  return logged;
}

const throwing: [string, (error: Error) => Promise<void>][] = [
  ["throws", (error) => {
    throw error;
  }],
  ["rejects", (error) => Promise.reject(error)],
];

for (const [how, fail] of throwing) {
  const error = new SyntaxError("of the callback");

  kioTest(
    `a handler that ${how} is told to onError, and ends no other connection`,
    async (ctx) => {
      using one = unixPair();
      using two = unixPair();
      const told: unknown[] = [];
      const onError = (error: unknown, socket: Socket) => {
        told.push(error, isOpen(socket.fd));
      };
      const bad = one.right.release();
      const connections = new Connections(ctx, async (socket) => {
        if (socket.fd === bad) return await fail(error);
        value(await asyncRecv(ctx, socket, new Uint8Array(9)));
        value(await asyncSend(ctx, socket, new Uint8Array(7)));
      }, { onError });
      connections.add(two.right.release());
      connections.add(bad);
      assertEquals(await drained(ctx, one.left), 0);
      await turn();
      assertEquals(told, [error, true]);
      assertEquals(isOpen(bad), false);
      value(await asyncSend(ctx, two.left, new Uint8Array(5)));
      assertEquals(await drained(ctx, two.left), 7);
      await two.left.close();
      await connections.closed;
    },
  );

  kioTest(`a handler that ${how} is logged without onError`, async (ctx) => {
    const { left, right } = unixPair();
    using _ = left;
    const logged = await loggedBy(async () => {
      const connections = new Connections(ctx, () => fail(error));
      connections.add(right.release());
      await connections.closed;
      assertEquals(await drained(ctx, left), 0);
    });
    assertEquals(logged, [error]);
  });

  kioTest(`an onError that ${how} is logged, and all goes on`, async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    using pair = unixPair();
    const again = new Error("of onError");
    const options = { onError: () => fail(again) };
    const stop = new AbortController();
    const logged = await loggedBy(async () => {
      const connections = new Connections(ctx, () => fail(error), options);
      connections.add(pair.right.release());
      await connections.closed;
      assertEquals(await drained(ctx, pair.left), 0);
      const refuse = () => fail(error);
      const { signal } = stop;
      const accepting = acceptLoop(ctx, listener, refuse, signal, options);
      for (let i = 0; i < 2; i++) {
        using client = await connect(ctx, at);
        assertEquals(await drained(ctx, client), 0);
      }
      stop.abort();
      value(await accepting);
    });
    assertEquals(logged, [again, again, again]);
  });

  kioTest(
    `acceptLoop() goes on when onConnection ${how}, and closes what was not taken`,
    async (ctx) => {
      const { listener, at } = listen();
      using _ = listener;
      const told: unknown[] = [];
      const fds: number[] = [];
      const stop = new AbortController();
      const refuse = (fd: number) => {
        fds.push(fd);
        return fail(error);
      };
      const accepting = acceptLoop(ctx, listener, refuse, stop.signal, {
        onError: (error) => void told.push(error),
      });
      for (let i = 0; i < 3; i++) {
        using client = await connect(ctx, at);
        assertEquals(await drained(ctx, client), 0);
      }
      stop.abort();
      value(await accepting);
      assertEquals(told, [error, error, error]);
      assertEquals(fds.map(isOpen), [false, false, false]);
    },
  );
}

const takers: [string, (ctx: IoContext, fd: number) => unknown][] = [
  ["new Socket()", (_, fd) => new Socket(fd)],
  ["Connections.add()", (ctx, fd) => {
    new Connections(ctx, async (socket) => {
      await asyncRecv(ctx, socket, new Uint8Array(1));
    }).add(fd);
  }],
  ["passFd()", (ctx, fd) => {
    ctx.onFd = (fd) => void new Socket(fd);
    return unwrap(passFd(ctx.ringFd, fd));
  }],
];

for (const [how, take] of takers) {
  kioTest(
    `acceptLoop() leaves a connection that was taken by ${how} to its owner`,
    async (ctx) => {
      const { listener, at } = listen();
      using _ = listener;
      let fd = -1;
      const { promise: told, resolve } = Promise.withResolvers<void>();
      const onError = () => resolve();
      const stop = new AbortController();
      const takeAndThrow = (accepted: number) => {
        take(ctx, fd = accepted);
        throw new Error("afterwards");
      };
      const { signal } = stop;
      const accepting = acceptLoop(ctx, listener, takeAndThrow, signal, {
        onError,
      });
      using _client = await connect(ctx, at);
      await told;
      await turn();
      assertEquals(isOpen(fd), true);
      stop.abort();
      value(await accepting);
      await new Socket(fd).close();
    },
  );
}

kioTest(
  "acceptLoop() does not close the number of a connection that was closed",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    const stop = new AbortController();
    using others = new DisposableStack();
    const fds: number[] = [];
    const { promise: told, resolve } = Promise.withResolvers<void>();
    const closeAndThrow = (fd: number) => {
      new Socket(fd)[Symbol.dispose]();
      // Takes its number.
      pairWithFd(others, fd);
      fds.push(fd);
      throw new Error("afterwards");
    };
    const { signal } = stop;
    const accepting = acceptLoop(ctx, listener, closeAndThrow, signal, {
      onError: () => resolve(),
    });
    using _client = await connect(ctx, at);
    await told;
    assertEquals(fds.map(isOpen), [true]);
    stop.abort();
    value(await accepting);
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
      await within(10_000, connections.closed, "closed");
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
  await within(10_000, connections.closed, "closed");
});

kioTest("new Connections() refuses what makes no sense", (ctx) => {
  const make = (...args: unknown[]) =>
    new Connections(...args as ConstructorParameters<typeof Connections>);
  assertThrows(() => make({}, () => {}), TypeError, "must be an IoContext");
  assertThrows(() => make(ctx), TypeError, "handler must be a function");
  const handler = async () => {};
  assertThrows(() => make(ctx, handler, { lingerMs: -1 }), RangeError);
  const onError = "no function";
  assertThrows(() => make(ctx, handler, { onError }), TypeError, "onError");
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

for (const acceptMultishot of [true, false]) {
  const features = { acceptMultishot };
  const how = acceptMultishot ? "" : ", without acceptMultishot";

  kioTest(
    `acceptLoop() waits while its context is full, and goes on${how}`,
    async (ctx) => {
      using small = new Context({ entries: 4, operationsMax: 2, features });
      const { listener, at } = listen();
      using _ = listener;
      const stop = new AbortController();
      const buffer = new Uint8Array(1);
      const served: Socket[] = [];
      const accepting = acceptLoop(small, listener, (fd) => {
        const socket = new Socket(fd);
        served.push(socket);
        void asyncRecv(small, socket, buffer).then(() => socket.close());
      }, stop.signal);
      const clients: Socket[] = [];
      for (let i = 0; i < 5; i++) clients.push(await connect(ctx, at));
      await turn(30);
      assertEquals(served.length, 2, "it has no place for more");
      for (const client of clients) {
        value(await asyncSend(ctx, client, new Uint8Array(1)));
        assertEquals(await within(10_000, drained(ctx, client), "serving"), 0);
      }
      stop.abort();
      value(await accepting);
      for (const client of clients) await client.close();
    },
  );

  for (const isShared of [false, true]) {
    kioTest(
      `acceptLoop() gives a client to a full context when it has room${how}${
        isShared ? ", of a listener that others share" : ""
      }`,
      async (ctx) => {
        await using small = new Context({ operationsMax: 3, features });
        using pair = unixPair();
        const { listener, at } = listen();
        using _ = listener;
        using client = unwrap(Socket.open(at.family));
        const stop = new AbortController();
        const errors: unknown[] = [];
        let fd = -1;
        const accepting = acceptLoop(
          small,
          isShared ? listener.fd : listener,
          (accepted) => {
            void asyncSleep(small, 1);
            fd = accepted;
          },
          stop.signal,
          { onError: (error) => void errors.push(error) },
        );
        const others: UringOp<void>[] = [asyncSleep(small, 1e6)];
        const received = asyncRecv(small, pair.left, new Uint8Array(1));
        const filled = received.then(() => {
          while (small.pending < 3) others.push(asyncSleep(small, 1e6));
        });
        await turn(5);
        // Both come at once.
        const sent = asyncSend(ctx, pair.right, new Uint8Array(1));
        value(await asyncConnect(ctx, client, at));
        value(await sent);
        await filled;
        await turn(5);
        for (const other of others) {
          other.cancel();
          await other;
        }
        while (fd === -1 && errors.length === 0) await turn();
        assertEquals(errors, []);
        stop.abort();
        value(await accepting);
        await new Socket(fd).close();
        assertEquals(await drained(ctx, client), 0);
      },
    );
  }

  for (const isFull of [false, true]) {
    kioTest(
      `acceptLoop() gives away all that it has accepted when it ${
        isFull ? "has no room" : "ends"
      }${how}`,
      async (ctx) => {
        const operationsMax = isFull ? 2 : 64;
        await using small = new Context({
          entries: 64,
          operationsMax,
          features,
        });
        const { listener, at } = listen();
        using _ = listener;
        // All of them wait: the kernel accepts them in one go.
        const clients = await Promise.all(
          Array.from({ length: 40 }, () => connect(ctx, at)),
        );
        const stop = new AbortController();
        const accepted: number[] = [];
        const errors: unknown[] = [];
        const accepting = acceptLoop(
          small,
          listener,
          (fd) => {
            void asyncSleep(small, 1);
            accepted.push(fd);
            if (accepted.length === (isFull ? 40 : 1)) stop.abort();
          },
          stop.signal,
          { onError: (error) => void errors.push(error) },
        );
        value(await within(10_000, accepting, "acceptLoop()"));
        assertEquals([accepted.length, errors], [40, []]);
        for (const fd of accepted) await new Socket(fd).close();
        for (const client of clients) {
          assertEquals(await drained(ctx, client), 0);
          await client.close();
        }
      },
    );
  }
}

for (const isShared of [false, true]) {
  kioTest(
    `acceptLoop() accepts ${
      isShared
        ? "one by one where others share the listener"
        : "by a multishot where the kernel has it"
    }`,
    async (ctx) => {
      const { listener, at } = listen();
      using _ = listener;
      await using server = new Context({ entries: 4 });
      const stop = new AbortController();
      const accepted: number[] = [];
      const accepting = acceptLoop(
        server,
        isShared ? listener.fd : listener,
        (fd) => void accepted.push(fd),
        stop.signal,
      );
      for (let i = 0; i < 30; i++) {
        using _client = await connect(ctx, at);
        while (accepted.length <= i) await turn();
      }
      // The driver has some of its own, for its timer and its waits.
      const { submissions } = server.stats();
      const { support } = server.capabilities.features.acceptMultishot;
      const isOnce = !isShared && support === "native";
      assertEquals(submissions < 30, isOnce, `${submissions} submissions`);
      stop.abort();
      value(await accepting);
      for (const fd of accepted) await new Socket(fd).close();
    },
  );
}

kioTest("acceptLoop() in a full context ends with it", async (ctx) => {
  const small = new Context({ entries: 4, operationsMax: 1 });
  const { listener } = listen();
  using _ = listener;
  void asyncSleep(small, 1e6);
  const { signal } = new AbortController();
  const accepting = acceptLoop(small, listener, () => {}, signal);
  await turn();
  await small[Symbol.asyncDispose]();
  value(await within(10_000, accepting, "acceptLoop()"));
  assertEquals(ctx.pending, 0);
});

kioTest(
  "acceptLoop() ends though a listener that others share goes on",
  async (ctx) => {
    const at = SocketAddress.unix(`\0kio-endless-${Math.random()}`);
    using listener = unwrap(TcpListener.bind(at));
    const TOO_MANY = 10_000;
    let accepted = 0;
    // One goes, the next comes.
    const connectNext = () => {
      using client = unwrap(Socket.open("unix"));
      const bytes = bytesOfAddress(at);
      const status = connectNow(client.fd, bytes, bytes.length);
      assertEquals(status, 0);
    };
    const onConnection = (fd: number) => {
      new Socket(fd)[Symbol.dispose]();
      if (++accepted < TOO_MANY) connectNext();
    };
    connectNext();
    const stopped = AbortSignal.abort();
    value(await acceptLoop(ctx, listener.fd, onConnection, stopped));
    assert(accepted < TOO_MANY, "it accepted all that came");
  },
);

kioTest("acceptLoop() refuses what makes no sense", async (ctx) => {
  const { listener } = listen();
  using _ = listener;
  const { signal } = new AbortController();
  const start = (...args: unknown[]) => () =>
    acceptLoop(...args as Parameters<typeof acceptLoop>);
  const add = () => {};
  const cases: [unknown[], string][] = [
    [[ctx, listener], "onConnection must be a function"],
    [[ctx, listener, add], "expected an AbortSignal"],
    [[ctx, listener, add, signal, null], "options must be an object"],
    [
      [ctx, listener, add, signal, { onError: 1 }],
      "onError must be a function",
    ],
  ];
  for (const [args, message] of cases) {
    await assertRejects(start(...args), TypeError, message);
  }
  const gone = unwrap(Socket.open("ipv4"));
  await gone.close();
  await assertRejects(start(ctx, gone, add, signal), RangeError, "is closed");
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

kioTest(
  "acceptLoop() tells connections apart that have the same number in turn",
  async (ctx) => {
    const { listener, at } = listen();
    // Both wait before the first is accepted: no other file takes its number.
    const first = unwrap(await TcpStream.connect(ctx, at.host, at.port));
    const second = unwrap(await TcpStream.connect(ctx, at.host, at.port));
    const byte = new Uint8Array(1);
    const stop = new AbortController();
    const later = Promise.withResolvers<void>();
    const told = Promise.withResolvers<void>();
    const numbers: number[] = [];
    const running = acceptLoop(
      ctx,
      // By its number: they are accepted one by one.
      listener.fd,
      async (fd) => {
        numbers.push(fd);
        if (numbers.length === 1) {
          // Taken, and its number is free again.
          new Socket(fd)[Symbol.dispose]();
          await later.promise;
        } else await told.promise;
        throw new Error("failed");
      },
      stop.signal,
      { onError: () => told.resolve() },
    );
    while (numbers.length < 2) await turn();
    assertEquals(numbers[0], numbers[1], "the number is not used again");
    const ends = asyncRecv(ctx, second, byte);
    later.resolve();
    // The first fails now. That does not close the socket that has its number.
    await told.promise;
    assert(isOpen(numbers[1]!));
    // The second fails, and is closed for that.
    const end = await within(5000, ends, "the end of the second");
    assert(end.ok || end.error.code === "ECONNRESET");
    stop.abort();
    value(await running);
    await Promise.all([first.close(), second.close(), listener.close()]);
  },
);
