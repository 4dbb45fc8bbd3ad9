import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  asyncAccept,
  asyncAcceptFrom,
  asyncClose,
  asyncConnect,
  asyncOpen,
  asyncPoll,
  asyncRecv,
  asyncSend,
  asyncShutdown,
  asyncSleep,
  MSG_DONTWAIT,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  O_RDONLY,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLPRI,
  POLLRDHUP,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  Socket,
  SocketAddress,
  TcpListener,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  fill,
  isOpen,
  kioTest,
  listen,
  Pair,
  pairWithFd,
  pattern,
  procText,
  tcpPair,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

// ---- asyncAccept, asyncAcceptFrom, asyncConnect ---------------------------------

kioTest(
  "asyncAccept() gives the fd of a connection, with O_CLOEXEC",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    using client = unwrap(Socket.open("ipv4"));
    const accepting = asyncAccept(ctx, listener);
    value(await asyncConnect(ctx, client, at));
    using server = new Socket(value(await accepting));
    assertEquals(`${server.peerAddress}`, `${client.localAddress}`);
    const info = await procText(`/proc/self/fdinfo/${server.fd}`);
    const flags = parseInt(/^flags:\s*([0-7]+)$/m.exec(info ?? "")![1]!, 8);
    assertEquals(flags & 0o2000000, 0o2000000);
  },
);

kioTest("asyncAccept() gives what waited already", async (ctx) => {
  const { listener, at } = listen();
  using _ = listener;
  const clients = [0, 1, 2].map(() => unwrap(Socket.open("ipv4")));
  for (const client of clients) value(await asyncConnect(ctx, client, at));
  const ports = new Set(clients.map((client) => client.localAddress!.port));
  for (let i = 0; i < 3; i++) {
    using server = new Socket(value(await asyncAccept(ctx, listener.fd)));
    assert(ports.delete(server.peerAddress!.port));
  }
  for (const client of clients) await client.close();
});

kioTest(
  "asyncAccept() takes several at a time and gives each connection once",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    const accepts = Array.from(
      { length: 100 },
      () => asyncAccept(ctx, listener),
    );
    const clients = accepts.map(() => unwrap(Socket.open("ipv4")));
    for (const client of clients) value(await asyncConnect(ctx, client, at));
    const servers = [];
    for (const accept of accepts) servers.push(new Socket(value(await accept)));
    assertEquals(
      servers.map((server) => server.peerAddress!.port).sort(),
      clients.map((client) => client.localAddress!.port).sort(),
    );
    for (const socket of [...servers, ...clients]) await socket.close();
  },
);

kioTest("asyncAcceptFrom() tells the IPv4 address of the peer", async (ctx) => {
  const { listener, at } = listen();
  using _ = listener;
  using client = unwrap(Socket.open("ipv4"));
  const accepting = asyncAcceptFrom(ctx, listener);
  value(await asyncConnect(ctx, client, at));
  const { fd, address } = value(await accepting);
  using _server = new Socket(fd);
  assertEquals(address.family, "ipv4");
  assertEquals(address.host, "127.0.0.1");
  assertEquals(address.port, client.localAddress!.port);
});

kioTest("asyncAcceptFrom() tells the IPv6 address of the peer", async (ctx) => {
  using listener = unwrap(TcpListener.bind(SocketAddress.v6(0, "::1")));
  using client = unwrap(Socket.open("ipv6"));
  const [connected, accepted] = await Promise.all([
    asyncConnect(ctx, client, listener.localAddress!),
    asyncAcceptFrom(ctx, listener),
  ]);
  value(connected);
  const { fd, address } = value(accepted);
  using _server = new Socket(fd);
  assertEquals(address.family, "ipv6");
  assertEquals(address.host, "::1");
  assertEquals(`${address}`, `${client.localAddress}`);
});

kioTest(
  "asyncAcceptFrom() tells a mapped address on a dual-stack listener",
  async (ctx) => {
    using listener = unwrap(TcpListener.bind(SocketAddress.v6(0)));
    const { port } = listener.localAddress!;
    using client = unwrap(Socket.open("ipv4"));
    const [connected, accepted] = await Promise.all([
      asyncConnect(ctx, client, SocketAddress.v4(port, "127.0.0.1")),
      asyncAcceptFrom(ctx, listener),
    ]);
    value(connected);
    const { fd, address } = value(accepted);
    using _server = new Socket(fd);
    assertEquals(address.host, "::ffff:127.0.0.1");
    assertEquals(address.port, client.localAddress!.port);
  },
);

kioTest(
  "asyncAcceptFrom() tells the unix address of the peer, or that it has none",
  async (ctx) => {
    const at = SocketAddress.unix(`\0kio-test-${crypto.randomUUID()}`);
    using listener = unwrap(TcpListener.bind(at));
    using nameless = unwrap(Socket.open("unix"));
    using named = unwrap(Socket.open("unix"));
    const own = SocketAddress.unix(`\0kio-test-${crypto.randomUUID()}`);
    value(named.bind(own));
    for (const [client, host] of [[nameless, ""], [named, own.host]] as const) {
      const [connected, accepted] = await Promise.all([
        asyncConnect(ctx, client, at),
        asyncAcceptFrom(ctx, listener),
      ]);
      value(connected);
      const { fd, address } = value(accepted);
      using _server = new Socket(fd);
      assertEquals([address.family, address.host], ["unix", host]);
    }
  },
);

kioTest(
  "asyncAcceptFrom() keeps the addresses of a batch apart",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    const accepts = Array.from(
      { length: 50 },
      () => asyncAcceptFrom(ctx, listener),
    );
    const clients = accepts.map(() => unwrap(Socket.open("ipv4")));
    value(
      (await Promise.all(
        clients.map((client) => asyncConnect(ctx, client, at)),
      ))[0]!,
    );
    for (const accept of accepts) {
      const { fd, address } = value(await accept);
      using server = new Socket(fd);
      assertEquals(`${address}`, `${server.peerAddress}`);
    }
    for (const client of clients) await client.close();
  },
);

kioTest(
  "asyncAccept() gives EINVAL for a socket that does not listen",
  async (ctx) => {
    using socket = unwrap(Socket.open("ipv4"));
    assertCode(await asyncAccept(ctx, socket), "EINVAL");
    assertCode(await asyncAcceptFrom(ctx, socket), "EINVAL");
  },
);

kioTest(
  "asyncAccept() gives EINVAL when its listener is shut down",
  async (ctx) => {
    const { listener } = listen();
    using _ = listener;
    const accepting = asyncAccept(ctx, listener);
    await turn();
    value(await asyncShutdown(ctx, listener, SHUT_RDWR));
    assertCode(await accepting, "EINVAL");
  },
);

kioTest("asyncAccept() gives the errors of accept(2)", async (ctx) => {
  using pair = unixPair("datagram");
  assertCode(await asyncAccept(ctx, pair.left), "EOPNOTSUPP");
  const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
  assertCode(await asyncAccept(ctx, fd), "ENOTSOCK");
  value(await asyncClose(ctx, fd));
  assertCode(await asyncAccept(ctx, 4000), "EBADF");
  assertCode(await asyncAcceptFrom(ctx, 4000), "EBADF");
});

kioTest(
  "asyncAccept() gives a connection that the peer has reset already",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    const client = unwrap(Socket.open("ipv4"));
    value(await asyncConnect(ctx, client, at));
    value(await asyncSend(ctx, client, bytes("x")));
    await client.close();
    using server = new Socket(value(await asyncAccept(ctx, listener)));
    const buffer = new Uint8Array(8);
    assertEquals(value(await asyncRecv(ctx, server, buffer)), 1);
  },
);

kioTest("asyncConnect() gives nothing, and data flows", async (ctx) => {
  const { listener, at } = listen();
  using _ = listener;
  using client = unwrap(Socket.open("ipv4"));
  const result = await asyncConnect(ctx, client.fd, at);
  assertEquals(result, { ok: true, value: undefined });
  using server = new Socket(value(await asyncAccept(ctx, listener)));
  value(await asyncSend(ctx, client, bytes("hello")));
  const buffer = new Uint8Array(8);
  assertEquals(value(await asyncRecv(ctx, server, buffer)), 5);
  assertEquals(text(buffer.subarray(0, 5)), "hello");
});

kioTest("asyncConnect() gives the errors of connect(2)", async (ctx) => {
  // A port that was free a moment ago.
  const { listener, at } = listen();
  await listener.close();
  using tcp = unwrap(Socket.open("ipv4"));
  assertCode(await asyncConnect(ctx, tcp, at), "ECONNREFUSED");
  assertCode(
    await asyncConnect(ctx, tcp, SocketAddress.v6(1, "::1")),
    "EAFNOSUPPORT",
  );
  using unix = unwrap(Socket.open("unix"));
  assertCode(
    await asyncConnect(ctx, unix, SocketAddress.unix("/no/such")),
    "ENOENT",
  );
  assertCode(
    await asyncConnect(ctx, unix, SocketAddress.unix("/proc/version")),
    "ECONNREFUSED",
  );
  assertCode(
    await asyncConnect(
      ctx,
      unix,
      SocketAddress.unix(`\0kio-test-${crypto.randomUUID()}`),
    ),
    "ECONNREFUSED",
  );
  assertCode(await asyncConnect(ctx, 4000, at), "EBADF");
});

kioTest("asyncConnect() gives EISCONN the second time", async (ctx) => {
  const { listener, at } = listen();
  using _ = listener;
  using client = unwrap(Socket.open("ipv4"));
  value(await asyncConnect(ctx, client, at));
  assertCode(await asyncConnect(ctx, client, at), "EISCONN");
});

kioTest(
  "asyncConnect() keeps its address while nobody else refers to it",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    const clients = Array.from(
      { length: 200 },
      () => unwrap(Socket.open("ipv4")),
    );
    const connects = clients.map((client) =>
      asyncConnect(ctx, client, SocketAddress.v4(at.port, at.host))
    );
    for (let i = 0; i < 100; i++) new Uint8Array(65536).fill(0xff);
    for (const connect of connects) value(await connect);
    for (const client of clients) await client.close();
  },
);

kioTest(
  "asyncConnect() and asyncAccept() work on an abstract unix socket",
  async (ctx) => {
    const at = SocketAddress.unix(`\0kio-test-${crypto.randomUUID()}`);
    using listener = unwrap(TcpListener.bind(at));
    using client = unwrap(Socket.open("unix"));
    value(await asyncConnect(ctx, client, at));
    using server = new Socket(value(await asyncAccept(ctx, listener)));
    assertEquals(client.peerAddress!.host, at.host);
    value(await asyncSend(ctx, server, bytes("hello")));
    const buffer = new Uint8Array(8);
    assertEquals(value(await asyncRecv(ctx, client, buffer)), 5);
  },
);

// ---- asyncRecv and asyncSend ------------------------------------------------------

for (const kind of ["unix", "tcp"] as const) {
  const pairOf = (ctx: Parameters<typeof tcpPair>[0]) =>
    kind === "tcp" ? tcpPair(ctx) : Promise.resolve(unixPair());

  kioTest(
    `asyncRecv() waits for what asyncSend() sends (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      const buffer = new Uint8Array(8);
      const receiving = asyncRecv(ctx, pair.right, buffer);
      await turn();
      assertEquals(value(await asyncSend(ctx, pair.left, bytes("hello"))), 5);
      assertEquals(value(await receiving), 5);
      assertEquals(text(buffer), "hello\0\0\0");
    },
  );

  kioTest(
    `asyncRecv() gives 0 when the peer has closed (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      const buffer = new Uint8Array(8);
      value(await asyncSend(ctx, pair.left, bytes("end")));
      await pair.left.close();
      assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 3);
      assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 0);
      assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 0);
    },
  );

  kioTest(
    `asyncRecv() gives 0 after asyncShutdown() of the other side (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      const buffer = new Uint8Array(8);
      const receiving = asyncRecv(ctx, pair.right, buffer);
      await turn();
      const result = await asyncShutdown(ctx, pair.left, SHUT_WR);
      assertEquals(result, { ok: true, value: undefined });
      assertEquals(value(await receiving), 0);
      // The other direction is still open.
      value(await asyncSend(ctx, pair.right, bytes("x")));
      assertEquals(value(await asyncRecv(ctx, pair.left, buffer)), 1);
      assertCode(await asyncSend(ctx, pair.left, bytes("x")), "EPIPE");
    },
  );

  kioTest(
    `asyncRecv() with MSG_PEEK leaves the bytes there (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      value(await asyncSend(ctx, pair.left, bytes("hello")));
      const buffer = new Uint8Array(3);
      for (const flags of [MSG_PEEK, MSG_PEEK, 0]) {
        assertEquals(value(await asyncRecv(ctx, pair.right, buffer, flags)), 3);
        assertEquals(text(buffer), "hel");
      }
      assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 2);
    },
  );

  kioTest(
    `asyncRecv() with MSG_WAITALL waits until its buffer is full (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      const buffer = new Uint8Array(8);
      const receiving = asyncRecv(ctx, pair.right, buffer, MSG_WAITALL);
      for (const part of ["abc", "de", "fgh", "i"]) {
        await turn(1);
        value(await asyncSend(ctx, pair.left, bytes(part)));
      }
      assertEquals(value(await receiving), 8);
      assertEquals(text(buffer), "abcdefgh");
      assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 1);
    },
  );

  kioTest(
    `asyncRecv() with MSG_WAITALL gives what came before the end (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      const buffer = new Uint8Array(8);
      const receiving = asyncRecv(ctx, pair.right, buffer, MSG_WAITALL);
      await turn();
      value(await asyncSend(ctx, pair.left, bytes("abc")));
      await turn();
      value(await asyncShutdown(ctx, pair.left, SHUT_WR));
      assertEquals(value(await receiving), 3);
      assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 0);
    },
  );

  kioTest(
    `asyncRecv() with MSG_DONTWAIT gives EAGAIN when there is nothing (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      const buffer = new Uint8Array(8);
      assertCode(
        await asyncRecv(ctx, pair.right, buffer, MSG_DONTWAIT),
        "EAGAIN",
      );
    },
  );

  kioTest(
    `asyncSend() takes a part of what does not fit, and MSG_WAITALL all of it (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      value(pair.left.setSendBuffer(16384));
      value(pair.right.setRecvBuffer(16384));
      const data = pattern(2 ** 20);
      const first = value(await asyncSend(ctx, pair.left, data));
      assert(first > 0 && first < data.length, `sent ${first} at once`);
      const sending = asyncSend(
        ctx,
        pair.left,
        data.subarray(first),
        MSG_WAITALL,
      );
      const received = new Uint8Array(data.length);
      let at = 0;
      while (at < received.length) {
        const rest = received.subarray(at);
        const count = value(await asyncRecv(ctx, pair.right, rest));
        assert(count > 0);
        at += count;
      }
      assertEquals(value(await sending), data.length - first);
      assert(received.every((byte, i) => byte === data[i]));
    },
  );

  kioTest(
    `asyncSend() waits while the peer reads nothing (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      await fill(ctx, pair.left);
      const sending = asyncSend(ctx, pair.left, new Uint8Array(65536));
      await turn(20);
      assertEquals(ctx.pending, 1);
      const buffer = new Uint8Array(2 ** 20);
      while (ctx.pending > 0) {
        await asyncRecv(ctx, pair.right, buffer, MSG_DONTWAIT);
      }
      assert(value(await sending) > 0);
    },
  );

  kioTest(
    `asyncSend() gives EPIPE when the peer is gone, and no signal (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      await pair.right.close();
      let result = await asyncSend(ctx, pair.left, bytes("x"));
      // TCP learns it by the answer to the first segment.
      for (let i = 0; i < 100 && result.ok; i++) {
        await turn(1);
        result = await asyncSend(ctx, pair.left, bytes("x"));
      }
      assertCode(result, "EPIPE", "ECONNRESET");
    },
  );

  kioTest(
    `asyncRecv() gives ECONNRESET when the peer closes with unread data (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      value(await asyncSend(ctx, pair.left, bytes("unread")));
      const receiving = asyncRecv(ctx, pair.left, new Uint8Array(8));
      await turn(2);
      // Not Socket.close(), which says goodbye first.
      value(await asyncClose(ctx, pair.right));
      assertCode(await receiving, "ECONNRESET");
    },
  );

  kioTest(
    `asyncShutdown() with SHUT_RD ends a pending receive (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      const receiving = asyncRecv(ctx, pair.left, new Uint8Array(8));
      await turn();
      value(await asyncShutdown(ctx, pair.left, SHUT_RD));
      assertEquals(value(await receiving), 0);
    },
  );

  kioTest(
    `asyncSend() and asyncRecv() move a megabyte in both directions at once (${kind})`,
    async (ctx) => {
      using pair = await pairOf(ctx);
      const move = async (from: Socket, to: Socket, seed: number) => {
        const data = pattern(2 ** 20, seed);
        const buffer = new Uint8Array(4096);
        let sent = 0;
        const send = async () => {
          while (sent < data.length) {
            sent += value(await asyncSend(ctx, from, data.subarray(sent)));
          }
        };
        const sending = send();
        for (let at = 0; at < data.length;) {
          const count = value(await asyncRecv(ctx, to, buffer));
          assert(buffer.subarray(0, count).every((b, i) => b === data[at + i]));
          at += count;
        }
        await sending;
      };
      const { left, right } = pair;
      await Promise.all([move(left, right, 1), move(right, left, 2)]);
    },
  );
}

kioTest("asyncSend() with MSG_MORE joins small segments", async (ctx) => {
  using pair = await tcpPair(ctx);
  const buffer = new Uint8Array(16);
  value(await asyncSend(ctx, pair.left, bytes("ab"), MSG_MORE));
  assertCode(await asyncRecv(ctx, pair.right, buffer, MSG_DONTWAIT), "EAGAIN");
  value(await asyncSend(ctx, pair.left, bytes("cd")));
  assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 4);
});

kioTest(
  "asyncSend() with MSG_OOB makes POLLPRI, and asyncRecv() gets it apart",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    value(await asyncSend(ctx, pair.left, bytes("!"), MSG_OOB));
    const events = value(await asyncPoll(ctx, pair.right, POLLPRI));
    assertEquals(events & POLLPRI, POLLPRI);
    const buffer = new Uint8Array(4);
    assertEquals(value(await asyncRecv(ctx, pair.right, buffer, MSG_OOB)), 1);
    assertEquals(text(buffer.subarray(0, 1)), "!");
  },
);

kioTest("asyncRecv() fills only the range of a view", async (ctx) => {
  using pair = unixPair();
  const memory = new ArrayBuffer(16);
  value(await asyncSend(ctx, pair.left, bytes("abcdefgh")));
  value(await asyncRecv(ctx, pair.right, new DataView(memory, 3, 2)));
  value(await asyncRecv(ctx, pair.right, new Uint16Array(memory, 8, 2)));
  assertEquals(
    text(new Uint8Array(memory)).replaceAll("\0", "."),
    "...ab...cdef....",
  );
});

kioTest(
  "asyncSend() and asyncRecv() take views of a SharedArrayBuffer, and fds",
  async (ctx) => {
    using pair = unixPair();
    const view = new Uint8Array(new SharedArrayBuffer(8), 4);
    view.set(bytes("abcd"));
    value(await asyncSend(ctx, pair.left.fd, view));
    view.fill(0);
    assertEquals(value(await asyncRecv(ctx, pair.right.fd, view)), 4);
    assertEquals(text(view.slice()), "abcd");
  },
);

kioTest(
  "asyncRecv() of many operations on one socket loses no byte",
  async (ctx) => {
    using pair = unixPair();
    const buffers = Array.from({ length: 200 }, () => new Uint8Array(1));
    const ops = buffers.map((buffer) => asyncRecv(ctx, pair.right, buffer));
    await turn();
    const data = pattern(200);
    for (let at = 0; at < 200; at += 10) {
      value(await asyncSend(ctx, pair.left, data.subarray(at, at + 10)));
    }
    for (const op of ops) assertEquals(value(await op), 1);
    // Nothing is lost; which operation gets which byte is the kernel's choice.
    assertEquals(
      buffers.map((buffer) => buffer[0]!).sort((a, b) => a - b),
      [...data].sort((a, b) => a - b),
    );
  },
);

kioTest(
  "asyncRecv() keeps the boundaries of datagrams and of seqpackets",
  async (ctx) => {
    for (const type of ["datagram", "seqpacket"] as const) {
      using pair = unixPair(type);
      const buffer = new Uint8Array(8);
      value(await asyncSend(ctx, pair.left, bytes("one")));
      value(await asyncSend(ctx, pair.left, bytes("second")));
      assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 3);
      assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 6);
    }
  },
);

kioTest(
  "asyncRecv() with MSG_TRUNC gives the real length of a datagram",
  async (ctx) => {
    using pair = unixPair("datagram");
    const buffer = new Uint8Array(4);
    for (const [flags, count] of [[0, 4], [MSG_TRUNC, 10]]) {
      value(await asyncSend(ctx, pair.left, bytes("0123456789")));
      assertEquals(
        value(await asyncRecv(ctx, pair.right, buffer, flags)),
        count,
      );
      assertEquals(text(buffer), "0123");
    }
  },
);

kioTest(
  "asyncSend() gives EMSGSIZE for a datagram that is too long",
  async (ctx) => {
    using pair = unixPair("datagram");
    const result = await asyncSend(ctx, pair.left, new Uint8Array(2 ** 24));
    assertCode(result, "EMSGSIZE", "ENOBUFS");
  },
);

kioTest(
  "asyncRecv() and asyncSend() give the errors of recv(2) and send(2)",
  async (ctx) => {
    const buffer = new Uint8Array(1);
    using socket = unwrap(Socket.open("ipv4"));
    assertCode(await asyncRecv(ctx, socket, buffer), "ENOTCONN");
    assertCode(await asyncSend(ctx, socket, buffer), "EPIPE", "ENOTCONN");
    using datagram = unwrap(Socket.open("ipv4", "datagram"));
    assertCode(await asyncSend(ctx, datagram, buffer), "EDESTADDRREQ");
    const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
    assertCode(await asyncRecv(ctx, fd, buffer), "ENOTSOCK");
    assertCode(await asyncSend(ctx, fd, buffer), "ENOTSOCK");
    value(await asyncClose(ctx, fd));
    assertCode(await asyncRecv(ctx, 4000, buffer), "EBADF");
    assertCode(await asyncSend(ctx, 4000, buffer), "EBADF");
  },
);

// ---- asyncShutdown -----------------------------------------------------------------

kioTest(
  "asyncShutdown() gives ENOTCONN if it is not connected",
  async (ctx) => {
    using socket = unwrap(Socket.open("ipv4"));
    assertCode(await asyncShutdown(ctx, socket, SHUT_WR), "ENOTCONN");
    assertCode(await asyncShutdown(ctx, 4000, SHUT_WR), "EBADF");
  },
);

kioTest(
  "asyncShutdown() lets the peer read all that was sent before",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const data = pattern(100_000);
    const reading = (async () => {
      const buffer = new Uint8Array(65536);
      let sum = 0;
      for (;;) {
        const count = value(await asyncRecv(ctx, pair.right, buffer));
        if (count === 0) return sum;
        sum += count;
      }
    })();
    let sent = 0;
    while (sent < data.length) {
      sent += value(await asyncSend(ctx, pair.left, data.subarray(sent)));
    }
    value(await asyncShutdown(ctx, pair.left, SHUT_RDWR));
    assertEquals(await reading, data.length);
  },
);

// ---- asyncPoll ------------------------------------------------------------------------

kioTest(
  "asyncPoll() gives POLLOUT at once and POLLIN when there is something",
  async (ctx) => {
    using pair = unixPair();
    assertEquals(value(await asyncPoll(ctx, pair.left, POLLOUT)), POLLOUT);
    const polling = asyncPoll(ctx, pair.left, POLLIN);
    await turn(5);
    assertEquals(ctx.pending, 1);
    value(await asyncSend(ctx, pair.right, bytes("x")));
    assertEquals(value(await polling), POLLIN);
    assertEquals(
      value(await asyncPoll(ctx, pair.left.fd, POLLIN | POLLOUT)),
      POLLIN | POLLOUT,
    );
  },
);

kioTest("asyncPoll() takes nothing out of the queue", async (ctx) => {
  using pair = unixPair();
  value(await asyncSend(ctx, pair.right, bytes("x")));
  for (let i = 0; i < 3; i++) value(await asyncPoll(ctx, pair.left, POLLIN));
  assertEquals(value(await asyncRecv(ctx, pair.left, new Uint8Array(8))), 1);
});

kioTest(
  "asyncPoll() gives POLLIN on a listener with a connection",
  async (ctx) => {
    const { listener, at } = listen();
    using _ = listener;
    using client = unwrap(Socket.open("ipv4"));
    const polling = asyncPoll(ctx, listener, POLLIN);
    await turn();
    value(await asyncConnect(ctx, client, at));
    assertEquals(value(await polling), POLLIN);
    using _server = new Socket(value(await asyncAccept(ctx, listener)));
  },
);

kioTest(
  "asyncPoll() gives POLLHUP and POLLRDHUP when the peer is gone",
  async (ctx) => {
    using pair = unixPair();
    const polling = asyncPoll(ctx, pair.left, 0);
    await turn();
    await pair.right.close();
    const hung = value(await polling);
    assertEquals(hung & POLLHUP, POLLHUP, "without being asked for");
    const events = value(await asyncPoll(ctx, pair.left, POLLIN | POLLRDHUP));
    assertEquals(
      events & (POLLIN | POLLRDHUP | POLLHUP),
      POLLIN | POLLRDHUP | POLLHUP,
    );
  },
);

kioTest(
  "asyncPoll() gives POLLRDHUP alone when the peer only stops sending",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    const polling = asyncPoll(ctx, pair.left, POLLRDHUP);
    await turn();
    value(await asyncShutdown(ctx, pair.right, SHUT_WR));
    assertEquals(value(await polling), POLLRDHUP);
  },
);

kioTest("asyncPoll() gives POLLERR after a reset", async (ctx) => {
  using pair = await tcpPair(ctx);
  value(await asyncSend(ctx, pair.left, bytes("unread")));
  await turn(2);
  value(await asyncClose(ctx, pair.right));
  const events = value(await asyncPoll(ctx, pair.left, 0));
  assertEquals(events & (POLLERR | POLLHUP), POLLERR | POLLHUP);
  assertCode(await asyncRecv(ctx, pair.left, new Uint8Array(1)), "ECONNRESET");
});

kioTest("asyncPoll() gives EBADF for an fd that is not open", async (ctx) => {
  assertCode(await asyncPoll(ctx, 4000, POLLIN), "EBADF");
});

kioTest("asyncPoll() gives all waiters of one fd the news", async (ctx) => {
  using pair = unixPair();
  const polls = Array.from(
    { length: 100 },
    () => asyncPoll(ctx, pair.left, POLLIN),
  );
  await turn();
  value(await asyncSend(ctx, pair.right, bytes("x")));
  for (const poll of polls) assertEquals(value(await poll), POLLIN);
});

// ---- what an fd number means -------------------------------------------------------

kioTest("asyncClose() does not end what is pending on the fd", async (ctx) => {
  using pair = unixPair();
  const buffer = new Uint8Array(8);
  const receiving = asyncRecv(ctx, pair.left, buffer);
  await turn();
  const { fd } = pair.left;
  value(await asyncClose(ctx, pair.left));
  assert(!isOpen(fd));
  assertEquals(ctx.pending, 1);
  value(await asyncSend(ctx, pair.right, bytes("late")));
  assertEquals(value(await receiving), 4);
});

kioTest(
  "Socket.close() ends what is pending before the number is free",
  async (ctx) => {
    using pair = unixPair("datagram");
    const buffer = new Uint8Array(8).fill(0x2e);
    const receiving = asyncRecv(ctx, pair.left, buffer);
    await turn();
    const { fd } = pair.left;
    await pair.left.close();
    assertEquals(ctx.pending, 0);
    const result = await receiving;
    assert(!result.ok || result.value === 0, "cancelled or told the end");
    // The new owner of the number has its bytes for itself.
    using opened = new DisposableStack();
    const other = pairWithFd(opened, fd, "datagram");
    value(await asyncSend(ctx, other.right, bytes("private")));
    await asyncSleep(ctx, 2);
    assertEquals(text(buffer), "........");
    assertEquals(value(await asyncRecv(ctx, other.left, new Uint8Array(8))), 7);
  },
);

kioTest("Socket.close() leaves other sockets alone", async (ctx) => {
  using pair = new Pair(unwrap(Socket.pair()));
  using other = new Pair(unwrap(Socket.pair()));
  const receiving = asyncRecv(ctx, other.left, new Uint8Array(8));
  await turn();
  await pair.left.close();
  assertEquals(ctx.pending, 1);
  assertNotEquals(pair.right.fd, -1);
  value(await asyncSend(ctx, other.right, bytes("x")));
  assertEquals(value(await receiving), 1);
});
