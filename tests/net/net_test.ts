import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncAccept,
  asyncClose,
  asyncConnect,
  asyncOpen,
  asyncPoll,
  asyncRecv,
  asyncSend,
  asyncSleep,
  type IoContext,
  IoContext as Context,
  link,
  MSG_DONTWAIT,
  O_RDONLY,
  POLLIN,
  type Result,
  Socket,
  SocketAddress,
  TcpListener,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  isOpen,
  kioTest,
  listen,
  openFds,
  optionOf,
  pairWithFd,
  procText,
  tcpPair,
  text,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";

const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_DOMAIN = 39;
const SO_ACCEPTCONN = 30;
const SO_INCOMING_CPU = 49;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;

const NOTHING = { ok: true as const, value: undefined };
const buffer = () => new Uint8Array(8);

async function flagsOf(fd: number): Promise<number> {
  const info = await procText(`/proc/self/fdinfo/${fd}`);
  return parseInt(/^flags:\s*([0-7]+)$/m.exec(info ?? "")![1]!, 8);
}

function abstract(): SocketAddress {
  return SocketAddress.unix(`\0kio-test-${crypto.randomUUID()}`);
}

// ---- opening ---------------------------------------------------------------------------

kioTest(
  "Socket.open() makes a socket of the family and type, non-blocking, not inherited",
  async () => {
    const families = { ipv4: 2, ipv6: 10, unix: 1 } as const;
    const types = { stream: 1, datagram: 2 } as const;
    for (const [family, domain] of Object.entries(families)) {
      for (const [type, number] of Object.entries(types)) {
        using socket = unwrap(
          Socket.open(family as keyof typeof families, type as "stream"),
        );
        assertEquals(optionOf(socket.fd, SOL_SOCKET, SO_DOMAIN), domain);
        assertEquals(optionOf(socket.fd, SOL_SOCKET, SO_TYPE), number);
        const flags = await flagsOf(socket.fd);
        assertEquals(flags & O_NONBLOCK, O_NONBLOCK);
        assertEquals(flags & O_CLOEXEC, O_CLOEXEC);
      }
    }
    using stream = unwrap(Socket.open("unix"));
    assertEquals(optionOf(stream.fd, SOL_SOCKET, SO_TYPE), 1);
    using packet = unwrap(Socket.open("unix", "seqpacket"));
    assertEquals(optionOf(packet.fd, SOL_SOCKET, SO_TYPE), 5);
  },
);

kioTest(
  "Socket.open() gives an error for a type that the family has not",
  () => {
    assertCode(
      Socket.open("ipv4", "seqpacket"),
      "ESOCKTNOSUPPORT",
      "EPROTONOSUPPORT",
    );
  },
);

kioTest(
  "Socket.pair() makes two ends of one connection, of each type",
  async (ctx) => {
    for (
      const type of [undefined, "stream", "datagram", "seqpacket"] as const
    ) {
      const [left, right] = unwrap(Socket.pair(type));
      for (const [from, to] of [[left, right], [right, left]] as const) {
        value(await asyncSend(ctx, from, bytes("abc")));
        assertEquals(value(await asyncRecv(ctx, to, buffer())), 3);
        const flags = await flagsOf(from.fd);
        assertEquals(flags & (O_NONBLOCK | O_CLOEXEC), O_NONBLOCK | O_CLOEXEC);
      }
      await left.close();
      await right.close();
    }
  },
);

kioTest("new Socket() owns the fd that it is given", async (ctx) => {
  const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
  {
    using socket = new Socket(fd);
    assertEquals(socket.fd, fd);
  }
  assert(!isOpen(fd));
});

// ---- owning -----------------------------------------------------------------------------

kioTest("release() gives the fd up, once", async (ctx) => {
  using pair = unixPair();
  const { fd } = pair.left;
  assertEquals(pair.left.release(), fd);
  assertEquals([pair.left.fd, pair.left.release()], [-1, -1]);
  pair.left[Symbol.dispose]();
  await pair.left.close();
  assert(isOpen(fd), "it is the caller's now");
  value(await asyncClose(ctx, fd));
});

kioTest("close() closes, once", async () => {
  using pair = unixPair();
  const { fd } = pair.left;
  const closing = pair.left.close();
  assertEquals(pair.left.fd, -1, "nobody may use it from now on");
  await Promise.all([closing, pair.left.close()]);
  assert(!isOpen(fd));
  // The number has another owner: closing again must not hit it.
  using opened = new DisposableStack();
  pairWithFd(opened, fd);
  await pair.left.close();
  pair.left[Symbol.dispose]();
  assert(isOpen(fd));
});

for (const first of ["close", "reset", "dispose"] as const) {
  kioTest(
    `close() waits for the end of a ${first}() before it`,
    async (ctx) => {
      for (const again of ["close", "reset"] as const) {
        using pair = unixPair();
        const { left } = pair;
        const { fd } = left;
        const receiving = asyncRecv(ctx, left, new Uint8Array(8));
        await turn();
        if (first === "dispose") left[Symbol.dispose]();
        else void left[first]();
        assert(isOpen(fd), "the kernel still has it");
        await left[again]();
        assert(!isOpen(fd), `after ${again}()`);
        await receiving;
      }
    },
  );
}

kioTest("using and await using close at the end of their block", async () => {
  const fds: number[] = [];
  {
    using one = unwrap(Socket.open("ipv4"));
    await using two = unwrap(Socket.open("ipv4"));
    fds.push(one.fd, two.fd);
    assert(fds.every(isOpen));
  }
  assert(!fds.some(isOpen));
});

kioTest("[Symbol.dispose]() closes, once", async () => {
  using pair = unixPair();
  const { fd } = pair.left;
  pair.left[Symbol.dispose]();
  assertEquals(pair.left.fd, -1);
  assert(!isOpen(fd));
  using _other = unixPair();
  pair.left[Symbol.dispose]();
  await pair.left[Symbol.asyncDispose]();
  assert(isOpen(fd));
});

kioTest(
  "a closed socket is refused by its methods and by operations",
  async (ctx) => {
    using pair = unixPair();
    const socket = pair.left;
    await socket.close();
    const uses: (() => unknown)[] = [
      () => socket.bind(SocketAddress.v4(0)),
      () => socket.listen(),
      () => socket.localAddress,
      () => socket.peerAddress,
      () => socket.setNonBlocking(),
      () => socket.setNodelay(),
      () => socket.setReuseAddr(),
      () => socket.setReusePort(),
      () => socket.setIncomingCpu(0),
      () => socket.setKeepAlive(),
      () => socket.setSendBuffer(4096),
      () => socket.setRecvBuffer(4096),
      () => socket.setIpv6Only(),
    ];
    for (const use of uses) {
      const { message } = assertThrows(use, TypeError) as Error;
      assert(
        /^Cannot [^:]+: the socket is closed or released$/.test(message),
        message,
      );
    }
    for (
      const use of [
        () => asyncRecv(ctx, socket, buffer()),
        () => asyncSend(ctx, socket, buffer()),
        () => asyncAccept(ctx, socket),
        () => asyncClose(ctx, socket),
        () => ctx.registerFiles([0, socket]),
      ]
    ) {
      assertThrows(use, RangeError, "the socket is closed or released");
    }
  },
);

// ---- closing what is in use -----------------------------------------------------------------

for (const kind of ["close", "dispose"] as const) {
  const close = async (socket: Socket) => {
    if (kind === "close") await socket.close();
    else socket[Symbol.dispose]();
  };

  kioTest(`${kind}: the peer reads the end at once`, async (ctx) => {
    for (const pair of [unixPair(), await tcpPair(ctx)]) {
      using _ = pair;
      const receiving = asyncRecv(ctx, pair.right, buffer());
      await turn();
      await close(pair.left);
      assertEquals(value(await within(5000, receiving, "the end")), 0);
    }
  });

  kioTest(
    `${kind}: the peer reads the end though the kernel keeps the socket`,
    async (ctx) => {
      using pair = unixPair();
      // As if another program had inherited it: close(2) alone says nothing.
      value(ctx.registerFiles([pair.left]));
      const receiving = asyncRecv(ctx, pair.right, buffer());
      await turn();
      await close(pair.left);
      assertEquals(value(await within(5000, receiving, "the end")), 0);
    },
  );

  kioTest(
    `${kind}: what is pending on it ends, of all kinds and contexts`,
    async (ctx) => {
      using other = new Context(8);
      const { listener } = listen();
      using pair = unixPair("datagram");
      using stream = await tcpPair(ctx);
      const ends: [Socket, Promise<Result<unknown>>[]][] = [
        [listener, [
          asyncAccept(ctx, listener),
          asyncAccept(other, listener),
          asyncPoll(ctx, listener, POLLIN),
        ]],
        [pair.left, [
          asyncRecv(ctx, pair.left, buffer()),
          asyncRecv(other, pair.left, buffer()),
          asyncPoll(other, pair.left, POLLIN),
        ]],
        [stream.left, [
          asyncRecv(ctx, stream.left, buffer()),
          asyncRecv(other, stream.left, buffer()).withTimeout(60_000),
        ]],
      ];
      await turn(2);
      for (const [socket, ops] of ends) {
        await close(socket);
        const results = await within(5000, Promise.all(ops), "what is pending");
        for (const result of results) {
          if (result.ok) continue;
          assertCode(result, "ECANCELED", "EINVAL", "ECONNRESET");
        }
      }
      assertEquals([ctx.pending, other.pending], [0, 0]);
    },
  );

  kioTest(
    `${kind}: what was queued on it in the same turn never happens`,
    async (ctx) => {
      using pair = unixPair("datagram");
      const ops = [
        asyncSend(ctx, pair.left, bytes("x")),
        asyncRecv(ctx, pair.left, buffer()),
        asyncPoll(ctx, pair.left, POLLIN),
      ];
      const closing = close(pair.left);
      // They leave the new owner of the number alone.
      using stranger = unixPair("datagram");
      for (const op of ops) assertCode(await op, "ECANCELED");
      await closing;
      for (const socket of [pair.right, stranger.right]) {
        assertCode(
          await asyncRecv(ctx, socket, buffer(), MSG_DONTWAIT),
          "EAGAIN",
        );
      }
    },
  );

  kioTest(
    `${kind}: what others do with a socket of their own goes on`,
    async (ctx) => {
      using pair = unixPair();
      using other = unixPair();
      const receiving = asyncRecv(ctx, other.left, buffer());
      const sleeping = asyncSleep(ctx, 5);
      await turn();
      await close(pair.left);
      value(await sleeping);
      value(await asyncSend(ctx, other.right, bytes("abc")));
      assertEquals(value(await receiving), 3);
    },
  );

  kioTest(
    `${kind}: the number is used again a hundred times without a mix-up`,
    async (ctx) => {
      const fds = new Set<number>();
      for (let i = 0; i < 100; i++) {
        const pair = unixPair();
        fds.add(pair.left.fd);
        const memory = buffer();
        const doomed = asyncRecv(ctx, pair.left, memory);
        if (i % 2 === 0) await turn();
        await close(pair.left);
        using next = unixPair();
        value(await asyncSend(ctx, next.right, bytes("private")));
        assertEquals(value(await asyncRecv(ctx, next.left, buffer())), 7);
        const result = await doomed;
        assert(!result.ok || result.value === 0);
        assertEquals(memory, buffer());
        await close(pair.right);
      }
      assert(fds.size < 20, "the numbers were not used again");
    },
  );

  kioTest(`${kind}: a loop that accepts ends`, async (ctx) => {
    const { listener, at } = listen();
    let accepted = 0;
    const serving = (async () => {
      for (;;) {
        const result = await asyncAccept(ctx, listener);
        if (!result.ok) return result;
        accepted++;
        new Socket(result.value)[Symbol.dispose]();
      }
    })();
    for (let i = 0; i < 3; i++) {
      using client = unwrap(Socket.open("ipv4"));
      value(await asyncConnect(ctx, client, at));
      assertEquals(value(await asyncRecv(ctx, client, buffer())), 0);
    }
    await close(listener);
    assertCode(await within(5000, serving, "the loop"), "ECANCELED", "EINVAL");
    assertEquals(accepted, 3);
  });
}

kioTest(
  "close() by the code that waits for an operation on it",
  async (ctx) => {
    using pair = unixPair();
    const tasks = [0, 1, 2].map(async () => {
      const result = await asyncRecv(ctx, pair.left, new Uint8Array(1));
      await pair.left.close();
      return result;
    });
    await turn();
    value(await asyncSend(ctx, pair.right, bytes("x")));
    const results = await within(5000, Promise.all(tasks), "close()");
    assertEquals(
      results.filter((result) => result.ok && result.value === 1).length,
      1,
    );
  },
);

kioTest("close() of a socket in a full queue and a chain", async () => {
  using ctx = new Context(2);
  using pair = unixPair();
  using other = unixPair();
  const ops = [
    ...link(ctx, () => [
      asyncRecv(ctx, pair.left, buffer()),
      asyncSend(ctx, pair.left, bytes("x")),
    ]),
    asyncRecv(ctx, other.left, buffer()),
    asyncRecv(ctx, pair.left, buffer()),
    asyncPoll(ctx, pair.left, POLLIN),
  ];
  await within(5000, pair.left.close(), "close()");
  assertEquals(ctx.pending, 1);
  for (const i of [0, 1, 3, 4]) await ops[i];
  ops[2]!.cancel();
  assertCode(await ops[2]!, "ECANCELED");
});

kioTest(
  "close() keeps the number while a link may still use it",
  async (ctx) => {
    using pair = unixPair();
    using other = unixPair();
    const number = pair.left.fd;
    const [received, sent] = link(ctx, () => [
      asyncRecv(ctx, other.right, new Uint8Array(1)),
      asyncSend(ctx, pair.left, bytes("for nobody else")),
    ]);
    await turn(5);
    const closing = pair.left.close();
    // One of them would be the next file with that number.
    const strangers = [unixPair(), unixPair(), unixPair(), unixPair()];
    const taken = strangers.some(({ left, right }) =>
      left.fd === number || right.fd === number
    );
    for (const stranger of strangers) stranger[Symbol.dispose]();
    other.left[Symbol.dispose]();
    await Promise.all([received, sent, closing]);
    assert(!taken, "its number was in use again");
  },
);

kioTest("close() of many at a time", async (ctx) => {
  const pairs = Array.from({ length: 200 }, () => unixPair());
  const ops = pairs.flatMap(({ left, right }) => [
    asyncRecv(ctx, left, buffer()),
    asyncRecv(ctx, right, buffer()),
  ]);
  await turn();
  const before = openFds().length;
  await Promise.all(
    pairs.flatMap(({ left, right }) => [left.close(), right.close()]),
  );
  assertEquals(openFds().length, before - 400);
  await Promise.all(ops);
});

// ---- addresses --------------------------------------------------------------------------

kioTest(
  "localAddress and peerAddress tell both ends of a connection",
  async (ctx) => {
    using listener = unwrap(TcpListener.bind(SocketAddress.v6(0, "::1")));
    using pair = await tcpPair(ctx);
    assertEquals(`${pair.left.localAddress}`, `${pair.right.peerAddress}`);
    assertEquals(`${pair.left.peerAddress}`, `${pair.right.localAddress}`);
    assertEquals(pair.left.localAddress!.host, "127.0.0.1");
    using client = unwrap(Socket.open("ipv6"));
    value(await asyncConnect(ctx, client, listener.localAddress!));
    using server = new Socket(value(await asyncAccept(ctx, listener)));
    assertEquals(`${client.localAddress}`, `${server.peerAddress}`);
    assertEquals(`${client.peerAddress}`, `${listener.localAddress}`);
  },
);

kioTest("peerAddress is undefined while it is not connected", () => {
  using socket = unwrap(Socket.open("ipv4"));
  assertEquals(socket.peerAddress, undefined);
  assertEquals(`${socket.localAddress}`, "0.0.0.0:0");
  using unix = unwrap(Socket.open("unix"));
  assertEquals(unix.peerAddress, undefined);
  assertEquals(unix.localAddress!.host, "");
});

kioTest("bind() gives the socket its address, 0 a free port", () => {
  using one = unwrap(Socket.open("ipv4"));
  assertEquals(one.bind(SocketAddress.v4(0, "127.0.0.1")), NOTHING);
  const { port, host } = one.localAddress!;
  assert(port > 0);
  assertEquals(host, "127.0.0.1");
  assertCode(one.bind(SocketAddress.v4(0, "127.0.0.1")), "EINVAL");
  using two = unwrap(Socket.open("ipv4"));
  assertCode(two.bind(SocketAddress.v4(port, "127.0.0.1")), "EADDRINUSE");
  // An address for documentation: no machine has it.
  assertCode(two.bind(SocketAddress.v4(0, "192.0.2.1")), "EADDRNOTAVAIL");
  assertCode(two.bind(SocketAddress.v6(0)), "EAFNOSUPPORT");
  using unix = unwrap(Socket.open("unix"));
  assertCode(unix.bind(SocketAddress.unix("/proc/version")), "EADDRINUSE");
  assertCode(unix.bind(SocketAddress.unix("/no/such/folder/x")), "ENOENT");
});

kioTest(
  "bind() and listen() make a listener of an abstract unix name",
  async (ctx) => {
    const at = abstract();
    using listener = unwrap(Socket.open("unix"));
    assertEquals(listener.bind(at), NOTHING);
    assertEquals(listener.listen(1), NOTHING);
    assertEquals(listener.localAddress!.host, at.host);
    using second = unwrap(Socket.open("unix"));
    assertCode(second.bind(at), "EADDRINUSE");
    value(await asyncConnect(ctx, second, at));
  },
);

kioTest("listen() gives EOPNOTSUPP for datagrams", () => {
  using socket = unwrap(Socket.open("ipv4", "datagram"));
  assertCode(socket.listen(), "EOPNOTSUPP");
});

// ---- options ------------------------------------------------------------------------------

kioTest("the setters switch their option on, and off again", () => {
  const SO_REUSEADDR = 2;
  const SO_KEEPALIVE = 9;
  const SO_REUSEPORT = 15;
  using socket = unwrap(Socket.open("ipv6"));
  const setters: [(on?: boolean) => Result<void>, number, number][] = [
    [(on) => socket.setNodelay(on), IPPROTO_TCP, TCP_NODELAY],
    [(on) => socket.setReuseAddr(on), SOL_SOCKET, SO_REUSEADDR],
    [(on) => socket.setReusePort(on), SOL_SOCKET, SO_REUSEPORT],
    [(on) => socket.setKeepAlive(on), SOL_SOCKET, SO_KEEPALIVE],
    [(on) => socket.setIpv6Only(on), IPPROTO_IPV6, IPV6_V6ONLY],
  ];
  for (const [set, level, name] of setters) {
    const read = () => optionOf(socket.fd, level, name);
    for (
      const [on, expected] of [[undefined, 1], [false, 0], [true, 1]] as const
    ) {
      assertEquals(set(on), NOTHING);
      assertEquals(read(), expected, `${level} ${name}`);
    }
  }
});

kioTest("setNonBlocking() switches O_NONBLOCK and nothing else", async () => {
  using socket = unwrap(Socket.open("ipv4"));
  const flags = await flagsOf(socket.fd);
  assertEquals(socket.setNonBlocking(false), NOTHING);
  assertEquals(await flagsOf(socket.fd), flags & ~O_NONBLOCK);
  assertEquals(socket.setNonBlocking(), NOTHING);
  assertEquals(await flagsOf(socket.fd), flags);
});

kioTest(
  "operations wait on a socket that blocks as on one that does not",
  async (ctx) => {
    for (const on of [true, false]) {
      using pair = unixPair();
      value(pair.left.setNonBlocking(on));
      const receiving = asyncRecv(ctx, pair.left, buffer());
      await turn(5);
      assertEquals(ctx.pending, 1);
      value(await asyncSend(ctx, pair.right, bytes("x")));
      assertEquals(value(await receiving), 1);
      assertCode(
        await asyncRecv(ctx, pair.left, buffer()).withTimeout(5),
        "ETIMEDOUT",
      );
    }
  },
);

kioTest(
  "setSendBuffer() and setRecvBuffer() set a size, which the kernel doubles",
  () => {
    const SO_SNDBUF = 7;
    const SO_RCVBUF = 8;
    using socket = unwrap(Socket.open("ipv4"));
    assertEquals(socket.setSendBuffer(20_000), NOTHING);
    assertEquals(optionOf(socket.fd, SOL_SOCKET, SO_SNDBUF), 40_000);
    assertEquals(socket.setRecvBuffer(30_000), NOTHING);
    assertEquals(optionOf(socket.fd, SOL_SOCKET, SO_RCVBUF), 60_000);
    // Capped, not refused.
    assertEquals(socket.setSendBuffer(2 ** 31 - 1), NOTHING);
    assertEquals(socket.setRecvBuffer(1), NOTHING);
  },
);

kioTest("setIncomingCpu() sets the CPU, also one that is not there", () => {
  using socket = unwrap(Socket.open("ipv4"));
  for (const cpu of [0, 1, 8191]) {
    assertEquals(socket.setIncomingCpu(cpu), NOTHING);
    assertEquals(optionOf(socket.fd, SOL_SOCKET, SO_INCOMING_CPU), cpu);
  }
});

kioTest("the setters give the errors of setsockopt(2)", async (ctx) => {
  using pair = unixPair();
  assertCode(pair.left.setNodelay(), "EOPNOTSUPP");
  assertCode(pair.left.setIpv6Only(), "EOPNOTSUPP");
  const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
  using file = new Socket(fd);
  assertCode(file.setReuseAddr(), "ENOTSOCK");
  assertCode(file.setIncomingCpu(0), "ENOTSOCK");
  assertCode(file.listen(), "ENOTSOCK");
  assertCode(file.bind(SocketAddress.v4(0)), "ENOTSOCK");
});

// ---- TcpListener ----------------------------------------------------------------------------

kioTest("TcpListener.bind() gives a TcpListener, which is a Socket", () => {
  using listener = unwrap(TcpListener.bind(0));
  assert(listener instanceof TcpListener && listener instanceof Socket);
  using adopted = new TcpListener(listener.release());
  assertEquals(optionOf(adopted.fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
  assertEquals(listener.fd, -1);
});

kioTest("TcpListener.bind() listens with what servers want", async (ctx) => {
  using listener = unwrap(TcpListener.bind(0));
  const { fd } = listener;
  assertEquals(listener.localAddress!.host, "0.0.0.0");
  assertEquals(optionOf(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
  for (const option of [2, 15]) {
    assertEquals(optionOf(fd, SOL_SOCKET, option), 1);
  }
  assertEquals(await flagsOf(fd) & O_NONBLOCK, O_NONBLOCK);
  using client = unwrap(Socket.open("ipv4"));
  const at = SocketAddress.v4(listener.localAddress!.port, "127.0.0.1");
  value(await asyncConnect(ctx, client, at));
  using server = new Socket(value(await asyncAccept(ctx, listener)));
  assertEquals(optionOf(server.fd, IPPROTO_TCP, TCP_NODELAY), 1, "inherited");
});

kioTest(
  "TcpListener.bind() sets incomingCpu, and none if it is undefined",
  () => {
    for (const incomingCpu of [1, 0, undefined]) {
      using listener = unwrap(TcpListener.bind(0, { incomingCpu }));
      const cpu = optionOf(listener.fd, SOL_SOCKET, SO_INCOMING_CPU);
      assertEquals(cpu, incomingCpu ?? -1);
    }
  },
);

kioTest(
  "TcpListener.bind() refuses incomingCpu where no address is shared",
  () => {
    const before = openFds();
    const alone = { incomingCpu: 0, reusePort: false };
    const unix = SocketAddress.unix("\0kio-test-incoming-cpu");
    const refused = "incomingCpu chooses among listeners";
    assertThrows(() => TcpListener.bind(0, alone), TypeError, refused);
    const bind = () => TcpListener.bind(unix, { incomingCpu: 0 });
    assertThrows(bind, TypeError, refused);
    assertEquals(openFds(), before);
  },
);

kioTest(
  "TcpListener.bind() shares an address with reusePort, and refuses without",
  async (ctx) => {
    const at = SocketAddress.v4(0, "127.0.0.1");
    using one = unwrap(TcpListener.bind(at));
    using two = unwrap(TcpListener.bind(one.localAddress!));
    const before = openFds();
    const alone = TcpListener.bind(one.localAddress!, { reusePort: false });
    assertCode(alone, "EADDRINUSE");
    assertEquals(openFds(), before, "what failed is closed");
    // Each connection comes to one of them.
    const clients = Array.from(
      { length: 40 },
      () => unwrap(Socket.open("ipv4")),
    );
    for (const client of clients) {
      value(await asyncConnect(ctx, client, one.localAddress!));
    }
    let accepted = 0;
    for (const listener of [one, two]) {
      for (;;) {
        const result = await asyncAccept(ctx, listener).withTimeout(0);
        if (!result.ok) break;
        accepted++;
        new Socket(result.value)[Symbol.dispose]();
      }
    }
    assertEquals(accepted, 40);
    for (const client of clients) await client.close();
  },
);

kioTest(
  "TcpListener.bind() on an address takes it again at once",
  async (ctx) => {
    const at = SocketAddress.v4(0, "127.0.0.1");
    const first = unwrap(TcpListener.bind(at, { reusePort: false }));
    const { localAddress } = first;
    using client = unwrap(Socket.open("ipv4"));
    value(await asyncConnect(ctx, client, localAddress!));
    // The side that closes first keeps the address for a while.
    await new Socket(value(await asyncAccept(ctx, first))).close();
    await first.close();
    using _again = unwrap(
      TcpListener.bind(localAddress!, { reusePort: false }),
    );
  },
);

kioTest(
  "TcpListener.bind() on IPv6 takes IPv4 as well, unless told otherwise",
  async (ctx) => {
    for (const ipv6Only of [false, true]) {
      using listener = unwrap(
        TcpListener.bind(SocketAddress.v6(0), { ipv6Only }),
      );
      const v6Only = optionOf(listener.fd, IPPROTO_IPV6, IPV6_V6ONLY);
      assertEquals(v6Only, ipv6Only ? 1 : 0);
      const { port } = listener.localAddress!;
      using four = unwrap(Socket.open("ipv4"));
      const result = await asyncConnect(
        ctx,
        four,
        SocketAddress.v4(port, "127.0.0.1"),
      );
      if (ipv6Only) assertCode(result, "ECONNREFUSED");
      else value(result);
      using six = unwrap(Socket.open("ipv6"));
      value(await asyncConnect(ctx, six, SocketAddress.v6(port, "::1")));
    }
  },
);

kioTest("TcpListener.bind() takes a unix address", async (ctx) => {
  const at = abstract();
  using listener = unwrap(TcpListener.bind(at));
  using client = unwrap(Socket.open("unix"));
  value(await asyncConnect(ctx, client, at));
  using server = new Socket(value(await asyncAccept(ctx, listener)));
  value(await asyncSend(ctx, client, bytes("hello")));
  const memory = buffer();
  assertEquals(value(await asyncRecv(ctx, server, memory)), 5);
  assertEquals(text(memory.subarray(0, 5)), "hello");
  assertCode(TcpListener.bind(at), "EADDRINUSE");
});

kioTest("TcpListener.bind() gives errors, and closes what it opened", () => {
  const before = openFds();
  assertCode(
    TcpListener.bind(SocketAddress.v4(0, "192.0.2.1")),
    "EADDRNOTAVAIL",
  );
  assertCode(
    TcpListener.bind(SocketAddress.v6(0, "2001:db8::1")),
    "EADDRNOTAVAIL",
  );
  assertCode(
    TcpListener.bind(SocketAddress.unix("/no/such/folder/x")),
    "ENOENT",
  );
  assertCode(TcpListener.bind(SocketAddress.unix("/tmp")), "EADDRINUSE");
  assertEquals(openFds(), before);
});

kioTest(
  "TcpListener.bind() with a backlog keeps more than that waiting outside",
  async (ctx) => {
    using listener = unwrap(
      TcpListener.bind(SocketAddress.v4(0, "127.0.0.1"), { backlog: 1 }),
    );
    const clients: Socket[] = [];
    let connected = 0;
    const connect = async (ctx: IoContext) => {
      const client = unwrap(Socket.open("ipv4"));
      clients.push(client);
      const op = asyncConnect(ctx, client, listener.localAddress!);
      if ((await op.withTimeout(100)).ok) connected++;
    };
    for (let i = 0; i < 5; i++) await connect(ctx);
    assert(connected >= 1 && connected < 5, `${connected} of 5`);
    for (const client of clients) await client.close();
  },
);
