import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  asyncAccept,
  asyncRecv,
  asyncSend,
  BlockingPool,
  type ConnectFailure,
  type ConnectOptions,
  type ConnectResult,
  IoContext,
  offload,
  Socket,
  SocketAddress,
  TcpListener,
  TcpStream,
  unwrap,
} from "@kio/kio";
import { type BoundOptions, Bounds } from "../../lib/ring/bounds.ts";
import { connectAny } from "../../net/TcpStream.ts";
import {
  assertCode,
  bytes,
  fullListener,
  kioTest,
  kioThreadTest,
  listen,
  optionOf,
  text,
  turn,
  value,
  warmUpThreads,
} from "../support.ts";

const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
/** A delay that no test outlasts: a test that waits for it hangs. */
const FOREVER_MS = 600_000;
/** A name of the DNS cannot have a label of 64 bytes: no server is asked. */
const IMPOSSIBLE = `${"a".repeat(64)}.invalid`;

await warmUpThreads();

/** Gives an address without a listener. */
function refusing(host = "127.0.0.1"): SocketAddress {
  const ipv6 = host.includes(":");
  const at = ipv6 ? SocketAddress.v6(0, host) : SocketAddress.v4(0, host);
  using listener = unwrap(TcpListener.bind(at));
  return listener.localAddress!;
}

function listenV6(): { listener: Socket; at: SocketAddress } {
  const listener = unwrap(TcpListener.bind(SocketAddress.v6(0, "::1")));
  return { listener, at: listener.localAddress! };
}

async function connect(
  ctx: IoContext,
  addresses: SocketAddress[],
  attemptDelayMs: number,
  options: BoundOptions = {},
): Promise<ConnectResult> {
  using bounds = new Bounds(options, "connect");
  return await connectAny(ctx, addresses, bounds, attemptDelayMs);
}

/** Lists the attempts, and how they went. */
function attemptsOf(result: ConnectResult): string[] {
  if (result.ok) throw new Error("connected");
  return result.error.attempts.map(({ address, error }) =>
    `${address} ${error.code}`
  );
}

// ---- several addresses --------------------------------------------------------

kioTest("connectAny() connects to the only address", async (ctx) => {
  const { listener, at } = listen();
  using _ = listener;
  using socket = value(await connect(ctx, [at], FOREVER_MS));
  assertEquals(`${socket.peerAddress}`, `${at}`);
  assertEquals(optionOf(socket.fd, IPPROTO_TCP, TCP_NODELAY), 1);
  using peer = new Socket(value(await asyncAccept(ctx, listener)));
  value(await asyncSend(ctx, socket, bytes("hello")));
  const buffer = new Uint8Array(5);
  assertEquals(value(await asyncRecv(ctx, peer, buffer)), 5);
  assertEquals(text(buffer), "hello");
});

kioTest(
  "TcpStream.connect() gives a TcpStream, which is a Socket",
  async (ctx) => {
    using listener = unwrap(TcpListener.bind(0));
    const { port } = listener.localAddress!;
    using made = unwrap(await TcpStream.connect(ctx, "127.0.0.1", port));
    assert(made instanceof TcpStream && made instanceof Socket);
    assertEquals(made.peerAddress!.port, port);
    using adopted = new TcpStream(made.release());
    assertEquals(adopted.peerAddress!.port, port);
  },
);

kioTest("connectAny() tries the next at once when one fails", async (ctx) => {
  const { listener, at } = listenV6();
  using _ = listener;
  // The unix address fails before it is connected, the other by refusal.
  const bad = [SocketAddress.unix("\0kio-nowhere"), refusing(), refusing()];
  using socket = value(await connect(ctx, [...bad, at], FOREVER_MS));
  assertEquals(`${socket.peerAddress}`, `${at}`);
});

kioTest(
  "connectAny() tries the next after the delay, and closes the loser",
  async (ctx) => {
    using full = await fullListener(ctx);
    const { listener, at } = listenV6();
    using _ = listener;
    using socket = value(await connect(ctx, [full.at, full.at, at], 10));
    assertEquals(`${socket.peerAddress}`, `${at}`);
    assertEquals(ctx.pending, 0);
  },
);

kioTest(
  "connectAny() gives a slow attempt its chance beside later ones",
  async (ctx) => {
    const full = await fullListener(ctx);
    const result = connect(ctx, [full.at, refusing(), refusing("::1")], 10, {
      timeoutMs: 20_000,
    });
    await turn(50);
    // Only the first is left; making it fail shows that it was not given up.
    assertEquals(ctx.pending, 1);
    full[Symbol.dispose]();
    assertCode(await result, "ECONNREFUSED", "ECONNRESET");
  },
);

kioTest(
  "connectAny() gives one connection when several are made, and closes the others",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    for (let round = 0; round < 20; round++) {
      const count = 4;
      using socket = value(await connect(ctx, Array(count).fill(at), 0));
      assertEquals(ctx.pending, 0);
      // All other accepted sockets have been closed.
      let open = 0;
      for (;;) {
        const accepted = await asyncAccept(ctx, listener).withTimeout(0);
        if (!accepted.ok) break;
        using peer = new Socket(accepted.value);
        const isOurs = `${peer.peerAddress}` === `${socket.localAddress}`;
        if (isOurs) open++;
        else {
          const received = await asyncRecv(ctx, peer, new Uint8Array(1));
          assert(!received.ok || received.value === 0);
        }
      }
      assertEquals(open, 1);
    }
  },
);

kioTest(
  "connectAny() alternates the families, and names all that failed",
  async (ctx) => {
    const [a, b, c] = [refusing("::1"), refusing("::1"), refusing("::1")];
    const [x, y] = [refusing(), refusing("127.0.0.2")];
    const result = await connect(ctx, [a, b, c, x, y], FOREVER_MS);
    const order = [a, x, b, y, c].map((at) => `${at} ECONNREFUSED`);
    assertEquals(attemptsOf(result), order);
    const { error } = result as ConnectFailure;
    assertEquals([error.code, error.errno], [
      "ECONNREFUSED",
      111,
    ]);
    assertEquals(
      error.message,
      "Connection refused: " +
        [a, x, b, y, c].map((at) => `${at} (ECONNREFUSED)`).join(", "),
    );
  },
);

kioTest(
  "connectAny() gives the error that is about the other machine",
  async (ctx) => {
    const at = refusing();
    // No socket can be sent from there to here.
    const unreachable = SocketAddress.v6(1, "ff0e::1");
    const [local = ""] = attemptsOf(await connect(ctx, [unreachable], 0));
    for (const order of [[at, unreachable], [unreachable, at]]) {
      const result = await connect(ctx, order, FOREVER_MS);
      assertEquals(attemptsOf(result).length, 2);
      if (/ENETUNREACH|EADDRNOTAVAIL/.test(local)) {
        assertCode(result, "ECONNREFUSED");
      }
    }
  },
);

// ---- bounds -----------------------------------------------------------------------

kioTest(
  "connectAny() ends with ETIMEDOUT when the time is over",
  async (ctx) => {
    using full = await fullListener(ctx);
    const at = refusing("::1");
    for (const delayMs of [0, FOREVER_MS]) {
      const addresses = [full.at, at, full.at];
      const result = await connect(ctx, addresses, delayMs, { timeoutMs: 50 });
      assertCode(result, "ETIMEDOUT");
      assertEquals(ctx.pending, 0);
      const attempts = attemptsOf(result).sort();
      const all = [`${full.at} ETIMEDOUT`, `${at} ECONNREFUSED`];
      assertEquals(
        attempts,
        delayMs === 0 ? [all[0], ...all].sort() : [all[0]],
      );
    }
  },
);

kioTest(
  "connectAny() ends with ECANCELED when the signal is aborted",
  async (ctx) => {
    using full = await fullListener(ctx);
    const { listener, at } = listen();
    using _ = listener;
    const early = await connect(ctx, [at], 0, { signal: AbortSignal.abort() });
    assertCode(early, "ECANCELED");
    for (const delayMs of [0, FOREVER_MS]) {
      const controller = new AbortController();
      const { signal } = controller;
      const result = connect(ctx, [full.at, full.at], delayMs, { signal });
      await turn(20);
      controller.abort();
      assertCode(await result, "ECANCELED");
      assertEquals(
        attemptsOf(await result),
        Array(delayMs === 0 ? 2 : 1).fill(`${full.at} ECANCELED`),
      );
      assertEquals(ctx.pending, 0);
    }
  },
);

kioTest(
  "connectAny() can be aborted at every stage without a leak",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    let connected = 0;
    for (let hops = 0; hops < 40; hops++) {
      const controller = new AbortController();
      const { signal } = controller;
      const result = connect(ctx, [refusing(), at, at], 0, { signal });
      for (let i = 0; i < hops; i++) await null;
      if (hops >= 30) await turn();
      controller.abort();
      const made = await result;
      assertEquals(ctx.pending, 0);
      if (!made.ok) assertCode(made, "ECANCELED");
      else {
        connected++;
        await made.value.close();
      }
    }
    assert(connected < 40, "never aborted in time");
  },
);

kioTest(
  "connectAny() ends with ECANCELED when the context closes or cancels all",
  async (ctx) => {
    using full = await fullListener(ctx);
    for (
      const how of ["dispose", "asyncDispose", "cancelAllPending"] as const
    ) {
      const other = new IoContext(8);
      const result = connect(other, [full.at, full.at], FOREVER_MS);
      await turn(10);
      if (how === "dispose") other[Symbol.dispose]();
      else if (how === "asyncDispose") await other[Symbol.asyncDispose]();
      else await other.cancelAllPending();
      assertCode(await result, "ECANCELED");
      assertEquals(attemptsOf(await result).length, 1, how);
      other[Symbol.dispose]();
    }
  },
);

kioThreadTest(
  "TcpStream.connect() ends with ECANCELED when its context closes right after the call",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    await using pool = new BlockingPool(1);
    for (const how of ["dispose", "asyncDispose"] as const) {
      for (
        const [host, options] of [
          ["127.0.0.1", {}],
          ["localhost", {}],
          ["localhost", { pool }],
        ] as const
      ) {
        for (let hops = 0; hops < 8; hops++) {
          const other = new IoContext(8);
          const result = TcpStream.connect(other, host, at.port, options);
          for (let i = 0; i < hops; i++) await null;
          if (how === "dispose") other[Symbol.dispose]();
          else await other[Symbol.asyncDispose]();
          const made = await result;
          // The caller owns a socket that was made before the close.
          if (made.ok) await made.value.close();
          else assertCode(made, "ECANCELED");
          if (hops === 0) assert(!made.ok, `${how} ${host}`);
        }
      }
    }
    assertEquals(ctx.pending, 0);
  },
);

// ---- hosts ------------------------------------------------------------------------

kioThreadTest(
  "TcpStream.connect() connects to a name, and to an address",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    await using pool = new BlockingPool(1);
    const own: ConnectOptions = { pool, timeoutMs: 20_000 };
    for (
      const [host, options] of [
        ["localhost", {}],
        ["localhost", own],
        ["127.0.0.1", {}],
        ["127.0.0.1", own],
      ] as const
    ) {
      const result = await TcpStream.connect(ctx, host, at.port, options);
      using socket = value(result);
      assertEquals(`${socket.peerAddress}`, `${at}`);
      assertEquals(optionOf(socket.fd, IPPROTO_TCP, TCP_NODELAY), 1);
    }
  },
);

kioThreadTest(
  "TcpStream.connect() connects to an IPv6 address",
  async (ctx) => {
    const { listener, at } = listenV6();
    using _ = listener;
    using socket = value(await TcpStream.connect(ctx, "::1", at.port));
    assertEquals(`${socket.peerAddress}`, `${at}`);
  },
);

kioThreadTest("TcpStream.connect() names what it has tried", async (ctx) => {
  const at = refusing();
  const result = await TcpStream.connect(ctx, "127.0.0.1", at.port);
  assertCode(result, "ECONNREFUSED");
  assertEquals(attemptsOf(result), [`${at} ECONNREFUSED`]);
});

kioThreadTest(
  "TcpStream.connect() gives the error of the look-up",
  async (ctx) => {
    const result = await TcpStream.connect(ctx, IMPOSSIBLE, 80);
    assertCode(result, "EAI_NONAME");
    assertEquals(attemptsOf(result), []);
    const { error } = result as ConnectFailure;
    assertEquals(error.message, "Name or service not known");
  },
);

kioThreadTest("TcpStream.connect() bounds the look-up too", async (ctx) => {
  await using pool = new BlockingPool({ threads: 1, queueMax: 1 });
  const cells = new Int32Array(new SharedArrayBuffer(8));
  const busy = offload(ctx, pool, (cells) => {
    Atomics.store(cells, 0, 1);
    Atomics.wait(cells, 1, 0);
  }, cells).orThrow();
  while (Atomics.load(cells, 0) === 0) await turn(1);
  const to = (options: ConnectOptions) =>
    TcpStream.connect(ctx, "localhost", 1, { pool, ...options });
  const timed = await to({ timeoutMs: 5 });
  assertCode(timed, "ETIMEDOUT");
  assertEquals(attemptsOf(timed), []);
  const controller = new AbortController();
  const aborted = to({ signal: controller.signal });
  assertCode(await to({}), "EAGAIN");
  controller.abort();
  assertCode(await aborted, "ECANCELED");
  Atomics.store(cells, 1, 1);
  Atomics.notify(cells, 1);
  await busy;
});

kioTest(
  "TcpStream.connect() to one name by many gives each its own end",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    const to = (options: ConnectOptions) =>
      TcpStream.connect(ctx, "localhost", at.port, options);
    for (let round = 0; round < 20; round++) {
      const controller = new AbortController();
      const { signal } = controller;
      const early = to({ signal: AbortSignal.abort() });
      const aborted = to({ signal });
      const made = [to({}), to({ timeoutMs: 20_000 })];
      for (let i = 0; i < round; i++) await null;
      controller.abort();
      assertCode(await early, "ECANCELED");
      const late = await aborted;
      if (late.ok) late.value[Symbol.dispose]();
      else assertCode(late, "ECANCELED");
      for (const result of made) value(await result)[Symbol.dispose]();
    }
  },
);

kioTest(
  "TcpStream.connect() to more names at once than there may be threads fails for none",
  async (ctx) => {
    // No server is asked for a name with a label that is too long.
    const names = Array.from({ length: 200 }, (_, i) => `${i}-${IMPOSSIBLE}`);
    const made = names.map((name) => TcpStream.connect(ctx, name, 1));
    for (const result of await Promise.all(made)) {
      assertCode(result, "EAI_NONAME");
    }
  },
  { entries: 512 },
);

kioThreadTest(
  "TcpStream.connect() refuses what makes no sense",
  async (ctx) => {
    const pool = new BlockingPool(1);
    await pool.close();
    const closed = new IoContext(8);
    closed[Symbol.dispose]();
    const any = TcpStream.connect as (...args: unknown[]) => Promise<unknown>;
    for (
      const [args, Class, message] of [
        [[{}, "localhost", 1], TypeError, "IoContext"],
        [[closed, "127.0.0.1", 1], TypeError, "closed"],
        [[ctx, "", 1], TypeError, "host must be a string"],
        [[ctx, "a\0b", 1], TypeError, "without NUL"],
        [[ctx, "localhost", 65536], RangeError, "port"],
        [[ctx, "localhost", 1, null], TypeError, "options must be an object"],
        [[ctx, "localhost", 1, { timeoutMs: -1 }], RangeError, "timeoutMs"],
        [[ctx, "localhost", 1, { signal: {} }], TypeError, "AbortSignal"],
        [
          [ctx, "localhost", 1, { attemptDelayMs: NaN }],
          RangeError,
          "attemptDelayMs",
        ],
        [[ctx, "localhost", 1, { pool }], TypeError, "BlockingPool is closed"],
        [[ctx, "localhost", 1, { pool: {} }], TypeError, "a BlockingPool"],
      ] as const
    ) {
      await assertRejects(() => any(...args), Class, message);
    }
    assertEquals(ctx.pending, 0);
  },
);
