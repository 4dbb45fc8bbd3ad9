import { assert, assertEquals } from "@std/assert";
import {
  asyncClose,
  asyncConnect,
  asyncOpen,
  asyncRead,
  asyncRecv,
  asyncRecvExact,
  asyncRecvmsg,
  asyncSend,
  asyncSendmsg,
  asyncShutdown,
  asyncWrite,
  IoContext,
  link,
  MSG_DONTWAIT,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  O_RDONLY,
  SHUT_WR,
  Socket,
  SocketAddress,
  unwrap,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  isOpen,
  kioTest,
  overwriteGarbage,
  type Pair,
  pattern,
  procText,
  tcpPair,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** sizeof(struct cmsghdr), and what its data is aligned to. */
const HEADER_SIZE = 16;
const MSG_CTRUNC = 0x8;
const MSG_EOR = 0x80;

/** Ancillary data that carries fds. */
function rightsOf(...fds: number[]): Uint8Array<ArrayBuffer> {
  const length = HEADER_SIZE + 4 * fds.length;
  const control = new Uint8Array(Math.ceil(length / 8) * 8);
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(length), true);
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, SCM_RIGHTS, true);
  fds.forEach((fd, i) => view.setInt32(HEADER_SIZE + 4 * i, fd, true));
  return control;
}

/** The fds in ancillary data that has nothing else. */
function fdsIn(control: Uint8Array): number[] {
  if (control.length === 0) return [];
  const view = new DataView(
    control.buffer,
    control.byteOffset,
    control.byteLength,
  );
  assertEquals(view.getInt32(8, true), SOL_SOCKET);
  assertEquals(view.getInt32(12, true), SCM_RIGHTS);
  const length = Number(view.getBigUint64(0, true));
  const fds: number[] = [];
  for (let at = HEADER_SIZE; at < length; at += 4) {
    fds.push(view.getInt32(at, true));
  }
  return fds;
}

/** A datagram socket on 127.0.0.1, with its address. */
function udp(host = "127.0.0.1"): { socket: Socket; at: SocketAddress } {
  const isIpv6 = host.includes(":");
  const socket = unwrap(Socket.open(isIpv6 ? "ipv6" : "ipv4", "datagram"));
  const address = isIpv6
    ? SocketAddress.v6(0, host)
    : SocketAddress.v4(0, host);
  value(socket.bind(address));
  return { socket, at: socket.localAddress! };
}

// ---- data -------------------------------------------------------------------------

kioTest("asyncSendmsg() sends its buffers as one", async (ctx) => {
  using pair = unixPair();
  const buffers = [
    bytes("ab"),
    new DataView(bytes("xcx").buffer, 1, 1),
    bytes("def"),
  ];
  assertEquals(value(await asyncSendmsg(ctx, pair.left, { buffers })), 6);
  const buffer = new Uint8Array(8);
  assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 6);
  assertEquals(text(buffer.subarray(0, 6)), "abcdef");
});

kioTest("asyncRecvmsg() fills its buffers one after the other", async (ctx) => {
  using pair = unixPair();
  value(await asyncSend(ctx, pair.left, bytes("abcdefg")));
  const buffers = [1, 4, 4].map((length) => new Uint8Array(length).fill(0x2e));
  const message = value(await asyncRecvmsg(ctx, pair.right, { buffers }));
  assertEquals(message.bytes, 7);
  assertEquals(buffers.map(text), ["a", "bcde", "fg.."]);
  assertEquals(message.address, undefined);
  assertEquals(message.control.length, 0);
  assertEquals(message.flags & ~MSG_EOR, 0);
});

kioTest("asyncRecvmsg() waits for a message", async (ctx) => {
  using pair = unixPair();
  const buffer = new Uint8Array(8);
  const receiving = asyncRecvmsg(ctx, pair.right.fd, { buffers: [buffer] });
  await turn();
  assertEquals(ctx.pending, 1);
  value(await asyncSendmsg(ctx, pair.left.fd, { buffers: [bytes("hello")] }));
  assertEquals(value(await receiving).bytes, 5);
});

kioTest(
  "asyncRecvmsg() gives 0 bytes when the peer has closed",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    await pair.left.close();
    const buffers = [new Uint8Array(8)];
    const message = value(await asyncRecvmsg(ctx, pair.right, { buffers }));
    assertEquals(message.bytes, 0);
  },
);

kioTest(
  "asyncRecvmsg() takes MSG_PEEK, MSG_WAITALL and MSG_DONTWAIT",
  async (ctx) => {
    using pair = unixPair();
    const buffers = [new Uint8Array(2), new Uint8Array(2)];
    const receive = async (flags: number) =>
      value(await asyncRecvmsg(ctx, pair.right, { buffers }, flags)).bytes;
    assertCode(
      await asyncRecvmsg(ctx, pair.right, { buffers }, MSG_DONTWAIT),
      "EAGAIN",
    );
    const all = receive(MSG_WAITALL);
    for (const part of ["a", "bc", "def"]) {
      await turn(1);
      value(await asyncSend(ctx, pair.left, bytes(part)));
    }
    assertEquals(await all, 4);
    assertEquals(buffers.map(text), ["ab", "cd"]);
    assertEquals(await receive(MSG_PEEK), 2);
    assertEquals(await receive(MSG_PEEK), 2);
    assertEquals(await receive(0), 2);
  },
);

kioTest("asyncSendmsg() and asyncRecvmsg() take 1024 buffers", async (ctx) => {
  using pair = unixPair();
  const data = pattern(2048);
  const parts = Array.from(
    { length: 1024 },
    (_, i) => data.subarray(2 * i, 2 * i + 2),
  );
  assertEquals(
    value(await asyncSendmsg(ctx, pair.left, { buffers: parts })),
    2048,
  );
  const buffers = parts.map(() => new Uint8Array(2));
  assertEquals(
    value(await asyncRecvmsg(ctx, pair.right, { buffers }, MSG_WAITALL)).bytes,
    2048,
  );
  assertEquals(buffers.flatMap((buffer) => [...buffer]), [...data]);
});

kioTest(
  "asyncSendmsg() keeps its memory while nobody else refers to it",
  async (ctx) => {
    using pair = unixPair("seqpacket");
    // More than the socket holds: most of them wait, in no order. Outside of a
    // chain, what would try again refers to the memory as well.
    const sends = Array.from(
      { length: 200 },
      (_, i) =>
        link(ctx, () =>
          asyncSendmsg(ctx, pair.left, {
            buffers: [bytes(`message ${i} `), new Uint8Array(2000).fill(i)],
          })),
    );
    overwriteGarbage();
    const buffer = new Uint8Array(4096);
    const seen = new Set<number>();
    while (seen.size < 200) {
      const { bytes: count } = value(
        await asyncRecvmsg(ctx, pair.right, { buffers: [buffer] }),
      );
      const head = text(buffer.subarray(0, count - 2000));
      const i = Number(/^message (\d+) $/.exec(head)![1]);
      assert(buffer.subarray(count - 2000, count).every((byte) => byte === i));
      assert(!seen.has(i), `message ${i} came twice`);
      seen.add(i);
    }
    for (const send of sends) assert((await send).ok);
  },
);

/** Fills the way from `left` to `right`, whose peer has shut down its sending
 * side. io_uring takes each poll of such a socket for ready (POLLRDHUP), and
 * stops waiting after 128 of them. */
async function fullPair(ctx: IoContext): Promise<{ pair: Pair; held: number }> {
  const pair = unixPair();
  const data = new Uint8Array(65536);
  let held = 0;
  for (;;) {
    const sent = await asyncSend(ctx, pair.left, data, MSG_DONTWAIT);
    if (!sent.ok) break;
    held += sent.value;
  }
  value(await asyncShutdown(ctx, pair.right, SHUT_WR));
  return { pair, held };
}

for (const isNonBlocking of [true, false]) {
  kioTest(
    `asyncSendmsg() waits for a peer that only receives, ${
      isNonBlocking ? "non-blocking" : "blocking"
    }`,
    async (ctx) => {
      const { pair, held } = await fullPair(ctx);
      using _ = pair;
      value(pair.left.setNonBlocking(isNonBlocking));
      const data = pattern(1000, 5);
      const buffers = [data.subarray(0, 300), data.subarray(300)];
      const op = asyncSendmsg(ctx, pair.left, { buffers });
      await turn(20);
      assertEquals(ctx.pending, 1);
      value(await asyncRecvExact(ctx, pair.right, new Uint8Array(held)));
      assertEquals(value(await op), 1000);
      const copy = new Uint8Array(1000);
      value(await asyncRecvExact(ctx, pair.right, copy));
      assertEquals(copy, data);
    },
  );
}

kioTest("asyncSendmsg() that waits can be given up", async (ctx) => {
  const { pair } = await fullPair(ctx);
  using _ = pair;
  const message = { buffers: [new Uint8Array(1000)] };
  const cancelled = asyncSendmsg(ctx, pair.left, message);
  await turn(5);
  cancelled.cancel();
  assertCode(await cancelled, "ECANCELED");
  const late = asyncSendmsg(ctx, pair.left, message).withTimeout(5);
  assertCode(await late, "ETIMEDOUT");
  const closed = asyncSendmsg(ctx, pair.left, message);
  await turn(5);
  value(pair.right.setNonBlocking(true));
  await pair.right.close();
  assertCode(await closed, "EPIPE", "ECONNRESET");
});

kioTest("asyncSendmsg() with MSG_DONTWAIT does not wait", async (ctx) => {
  const { pair } = await fullPair(ctx);
  using _ = pair;
  const message = { buffers: [new Uint8Array(1000)] };
  const op = asyncSendmsg(ctx, pair.left, message, MSG_DONTWAIT);
  assertCode(await op, "EAGAIN");
});

kioTest("asyncRecvmsg() waits though others are faster", async (ctx) => {
  using pair = unixPair();
  using other = new IoContext(4);
  const byte = new Uint8Array(1);
  const op = asyncRecvmsg(ctx, pair.right, { buffers: [new Uint8Array(2)] });
  await turn();
  for (let i = 0; i < 200; i++) {
    const [sent, taken] = link(other, () => [
      asyncSend(other, pair.left, byte),
      asyncRecv(other, pair.right, byte, MSG_DONTWAIT),
    ]);
    value(await sent);
    if (!ctx.capabilities.flags.DEFER_TASKRUN) {
      // No reader is faster than the kernel, which goes on at once.
      assertCode(await taken, "EAGAIN");
      assertEquals(value(await op).bytes, 1);
      return;
    }
    value(await taken);
    await turn();
  }
  assertEquals(ctx.pending, 1);
  value(await asyncSend(ctx, pair.left, bytes("ab")));
  assertEquals(value(await op).bytes, 2);
});

kioTest("asyncSendmsg() gives the errors of sendmsg(2)", async (ctx) => {
  const buffers = [new Uint8Array(1)];
  assertCode(await asyncSendmsg(ctx, 4000, { buffers }), "EBADF");
  assertCode(await asyncRecvmsg(ctx, 4000, { buffers }), "EBADF");
  const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
  assertCode(await asyncSendmsg(ctx, fd, { buffers }), "ENOTSOCK");
  assertCode(await asyncRecvmsg(ctx, fd, { buffers }), "ENOTSOCK");
  value(await asyncClose(ctx, fd));
  using tcp = unwrap(Socket.open("ipv4"));
  assertCode(await asyncRecvmsg(ctx, tcp, { buffers }), "ENOTCONN");
  assertCode(await asyncSendmsg(ctx, tcp, { buffers }), "EPIPE", "ENOTCONN");
  const { socket } = udp();
  using _ = socket;
  assertCode(await asyncSendmsg(ctx, socket, { buffers }), "EDESTADDRREQ");
  const large = { buffers: [new Uint8Array(70_000)], address: udpNowhere };
  assertCode(await asyncSendmsg(ctx, socket, large), "EMSGSIZE");
  using pair = unixPair();
  await pair.right.close();
  assertCode(await asyncSendmsg(ctx, pair.left, { buffers }), "EPIPE");
});

const udpNowhere = SocketAddress.v4(9, "127.0.0.1");

// ---- datagrams and addresses ----------------------------------------------------------

kioTest(
  "asyncRecvmsg() tells who sent a datagram, and asyncSendmsg() answers",
  async (ctx) => {
    for (const host of ["127.0.0.1", "::1"]) {
      const { socket: server, at } = udp(host);
      using _server = server;
      const { socket: client, at: clientAt } = udp(host);
      using _client = client;
      value(
        await asyncSendmsg(ctx, client, {
          buffers: [bytes("ping")],
          address: at,
        }),
      );
      const buffer = new Uint8Array(8);
      const message = value(
        await asyncRecvmsg(ctx, server, { buffers: [buffer] }),
      );
      assertEquals(text(buffer.subarray(0, message.bytes)), "ping");
      assertEquals(`${message.address}`, `${clientAt}`);
      value(
        await asyncSendmsg(ctx, server, {
          buffers: [bytes("pong!")],
          address: message.address,
        }),
      );
      const answer = value(
        await asyncRecvmsg(ctx, client, { buffers: [buffer] }),
      );
      assertEquals(text(buffer.subarray(0, answer.bytes)), "pong!");
      assertEquals(`${answer.address}`, `${at}`);
    }
  },
);

kioTest(
  "asyncRecvmsg() tells a mapped address on a dual-stack socket",
  async (ctx) => {
    using server = unwrap(Socket.open("ipv6", "datagram"));
    value(server.bind(SocketAddress.v6(0)));
    const { socket: client, at } = udp();
    using _ = client;
    const address = SocketAddress.v4(server.localAddress!.port, "127.0.0.1");
    value(await asyncSendmsg(ctx, client, { buffers: [bytes("x")], address }));
    const buffers = [new Uint8Array(8)];
    const message = value(await asyncRecvmsg(ctx, server, { buffers }));
    assertEquals(message.address!.host, "::ffff:127.0.0.1");
    assertEquals(message.address!.port, at.port);
  },
);

kioTest(
  "asyncRecvmsg() tells the unix address of a sender, undefined if it has none",
  async (ctx) => {
    const at = SocketAddress.unix(`\0kio-test-${crypto.randomUUID()}`);
    using server = unwrap(Socket.open("unix", "datagram"));
    value(server.bind(at));
    const own = SocketAddress.unix(`\0kio-test-${crypto.randomUUID()}`);
    using named = unwrap(Socket.open("unix", "datagram"));
    value(named.bind(own));
    using nameless = unwrap(Socket.open("unix", "datagram"));
    const buffers = [new Uint8Array(8)];
    for (
      const [client, host] of [[named, own.host], [
        nameless,
        undefined,
      ]] as const
    ) {
      value(
        await asyncSendmsg(ctx, client, { buffers: [bytes("x")], address: at }),
      );
      const message = value(await asyncRecvmsg(ctx, server, { buffers }));
      assertEquals(message.address?.host, host);
    }
  },
);

kioTest("asyncRecvmsg() keeps the addresses of a batch apart", async (ctx) => {
  const { socket: server, at } = udp();
  using _ = server;
  const clients = Array.from({ length: 50 }, () => udp());
  const receives = clients.map(() => {
    const buffer = new Uint8Array(8);
    const op = asyncRecvmsg(ctx, server, { buffers: [buffer] });
    return { buffer, op };
  });
  for (const { socket, at: { port } } of clients) {
    const buffers = [bytes(`${port}`)];
    value(await asyncSendmsg(ctx, socket, { buffers, address: at }));
  }
  for (const { buffer, op } of receives) {
    const message = value(await op);
    assertEquals(
      text(buffer.subarray(0, message.bytes)),
      `${message.address!.port}`,
    );
  }
  for (const { socket } of clients) await socket.close();
});

kioTest(
  "asyncRecvmsg() sets MSG_TRUNC for a datagram that did not fit",
  async (ctx) => {
    const { socket: server, at } = udp();
    using _server = server;
    const { socket: client } = udp();
    using _client = client;
    const send = async () =>
      value(
        await asyncSendmsg(ctx, client, {
          buffers: [bytes("0123456789")],
          address: at,
        }),
      );
    const buffers = [new Uint8Array(2), new Uint8Array(2)];
    await send();
    const cut = value(await asyncRecvmsg(ctx, server, { buffers }));
    assertEquals([cut.bytes, cut.flags & MSG_TRUNC], [4, MSG_TRUNC]);
    assertEquals(buffers.map(text), ["01", "23"]);
    await send();
    const real = value(await asyncRecvmsg(ctx, server, { buffers }, MSG_TRUNC));
    assertEquals([real.bytes, real.flags & MSG_TRUNC], [10, MSG_TRUNC]);
  },
);

kioTest(
  "asyncSendmsg() without buffers sends an empty datagram",
  async (ctx) => {
    const { socket: server, at } = udp();
    using _server = server;
    const { socket: client, at: clientAt } = udp();
    using _client = client;
    const none = new Uint8Array(0);
    for (const empty of [[], [none], [none, none]]) {
      const outgoing = { buffers: empty, address: at };
      assertEquals(value(await asyncSendmsg(ctx, client, outgoing)), 0);
      const buffers = [new Uint8Array(8), none];
      const message = value(await asyncRecvmsg(ctx, server, { buffers }));
      assertEquals(message.bytes, 0);
      assertEquals(`${message.address}`, `${clientAt}`);
    }
  },
);

kioTest(
  "asyncRecvmsg() without buffers takes a datagram and tells its sender",
  async (ctx) => {
    const { socket: server, at } = udp();
    using _server = server;
    const { socket: client, at: clientAt } = udp();
    using _client = client;
    value(
      await asyncSendmsg(ctx, client, { buffers: [bytes("abc")], address: at }),
    );
    const message = value(await asyncRecvmsg(ctx, server, { buffers: [] }));
    assertEquals([message.bytes, message.flags & MSG_TRUNC], [0, MSG_TRUNC]);
    assertEquals(`${message.address}`, `${clientAt}`);
  },
);

kioTest(
  "asyncSendmsg() to a connected datagram socket needs no address",
  async (ctx) => {
    const { socket: server, at } = udp();
    using _server = server;
    using client = unwrap(Socket.open("ipv4", "datagram"));
    value(await asyncConnect(ctx, client, at));
    value(await asyncSendmsg(ctx, client, { buffers: [bytes("abc")] }));
    const buffer = new Uint8Array(8);
    assertEquals(value(await asyncRecv(ctx, server, buffer)), 3);
  },
);

kioTest(
  "asyncSendmsg() tells of a port where nobody listens by the next operation",
  async (ctx) => {
    const { socket: closed, at } = udp();
    await closed.close();
    using client = unwrap(Socket.open("ipv4", "datagram"));
    value(await asyncConnect(ctx, client, at));
    value(await asyncSendmsg(ctx, client, { buffers: [bytes("x")] }));
    const buffers = [new Uint8Array(8)];
    assertCode(await asyncRecvmsg(ctx, client, { buffers }), "ECONNREFUSED");
  },
);

// ---- ancillary data -----------------------------------------------------------------

kioTest("asyncSendmsg() passes an fd that really works", async (ctx) => {
  using pair = unixPair();
  await using file = await tempFile(ctx, bytes("secret"));
  value(
    await asyncSendmsg(ctx, pair.left, {
      buffers: [bytes("x")],
      control: rightsOf(file.fd),
    }),
  );
  const control = new Uint8Array(64);
  const message = value(
    await asyncRecvmsg(ctx, pair.right, {
      buffers: [new Uint8Array(8)],
      control,
    }),
  );
  assertEquals(message.bytes, 1);
  const [fd = -1, ...rest] = fdsIn(message.control);
  assertEquals(rest, []);
  assert(fd !== file.fd && isOpen(fd));
  const buffer = new Uint8Array(8);
  assertEquals(value(await asyncRead(ctx, fd, buffer)), 6);
  assertEquals(text(buffer.subarray(0, 6)), "secret");
  // The same file, not a copy of it.
  value(await asyncWrite(ctx, fd, bytes("SEC")));
  value(await asyncRead(ctx, file, buffer));
  assertEquals(text(buffer.subarray(0, 6)), "SECret");
  value(await asyncClose(ctx, fd));
});

kioTest("asyncRecvmsg() gives fds with O_CLOEXEC", async (ctx) => {
  using pair = unixPair();
  await using file = await tempFile(ctx);
  value(
    await asyncSendmsg(ctx, pair.left, {
      buffers: [bytes("x")],
      control: rightsOf(file.fd),
    }),
  );
  const message = value(
    await asyncRecvmsg(ctx, pair.right, {
      buffers: [new Uint8Array(1)],
      control: new Uint8Array(24),
    }),
  );
  const [fd = -1] = fdsIn(message.control);
  const info = await procText(`/proc/self/fdinfo/${fd}`);
  const flags = parseInt(/^flags:\s*([0-7]+)$/m.exec(info ?? "")![1]!, 8);
  assertEquals(flags & 0o2000000, 0o2000000);
  value(await asyncClose(ctx, fd));
});

kioTest("asyncRecvmsg() gives several fds, of sockets as well", async (ctx) => {
  using pair = unixPair();
  using other = unixPair();
  value(
    await asyncSendmsg(ctx, pair.left, {
      buffers: [bytes("x")],
      control: rightsOf(other.left.fd, other.right.fd, other.left.fd),
    }),
  );
  const message = value(
    await asyncRecvmsg(ctx, pair.right, {
      buffers: [new Uint8Array(1)],
      control: new Uint8Array(32),
    }),
  );
  const fds = fdsIn(message.control);
  assertEquals(fds.length, 3);
  value(await asyncSend(ctx, fds[0]!, bytes("through")));
  assertEquals(value(await asyncRecv(ctx, fds[1]!, new Uint8Array(8))), 7);
  for (const fd of fds) value(await asyncClose(ctx, fd));
});

kioTest(
  "asyncRecvmsg() leaks no fd when there is no room for it",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx);
    for (const control of [undefined, new Uint8Array(16)]) {
      value(
        await asyncSendmsg(ctx, pair.left, {
          buffers: [bytes("x")],
          control: rightsOf(file.fd),
        }),
      );
      const message = value(
        await asyncRecvmsg(ctx, pair.right, {
          buffers: [new Uint8Array(1)],
          control,
        }),
      );
      assertEquals(message.flags & MSG_CTRUNC, MSG_CTRUNC);
      assertEquals(fdsIn(message.control), []);
    }
  },
);

kioTest(
  "asyncRecvmsg() gives the filled part of a control buffer that is a view",
  async (ctx) => {
    using pair = unixPair();
    const memory = new Uint8Array(100);
    const message = value(
      await asyncSend(ctx, pair.left, bytes("x")).then(() =>
        asyncRecvmsg(ctx, pair.right, {
          buffers: [new Uint8Array(1)],
          control: memory.subarray(8, 72),
        })
      ),
    );
    assertEquals(message.control.length, 0);
    await using file = await tempFile(ctx);
    value(
      await asyncSendmsg(ctx, pair.left, {
        buffers: [bytes("x")],
        control: rightsOf(file.fd),
      }),
    );
    const { control } = value(
      await asyncRecvmsg(ctx, pair.right, {
        buffers: [new Uint8Array(1)],
        control: memory.subarray(8, 72),
      }),
    );
    assertEquals([control.byteOffset, control.buffer], [8, memory.buffer]);
    const [fd = -1] = fdsIn(control);
    value(await asyncClose(ctx, fd));
  },
);

kioTest(
  "asyncRecvmsg() goes by the message that it was given, not by what became of it",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx);
    const message: { buffers: Uint8Array[]; control?: Uint8Array } = {
      buffers: [new Uint8Array(1)],
      control: new Uint8Array(64),
    };
    const receiving = asyncRecvmsg(ctx, pair.right, message);
    const { control } = message;
    message.buffers = [];
    delete message.control;
    value(
      await asyncSendmsg(ctx, pair.left, {
        buffers: [bytes("x")],
        control: rightsOf(file.fd),
      }),
    );
    const received = value(await receiving);
    // Closed before anything is asserted, as the kernel did make an fd.
    for (const fd of fdsIn(control!)) value(await asyncClose(ctx, fd));
    assertEquals(received.bytes, 1);
    assertEquals(received.control.length, HEADER_SIZE + 8);
  },
);

kioTest(
  "asyncSendmsg() gives EBADF and EINVAL for bad ancillary data",
  async (ctx) => {
    using pair = unixPair();
    const buffers = [bytes("x")];
    assertCode(
      await asyncSendmsg(ctx, pair.left, { buffers, control: rightsOf(4000) }),
      "EBADF",
    );
    const tooLong = rightsOf(pair.left.fd);
    new DataView(tooLong.buffer).setBigUint64(0, 1000n, true);
    assertCode(
      await asyncSendmsg(ctx, pair.left, { buffers, control: tooLong }),
      "EINVAL",
    );
    const nothing = asyncRecv(ctx, pair.right, new Uint8Array(1), MSG_DONTWAIT);
    assertCode(await nothing, "EAGAIN");
  },
);

kioTest(
  "asyncSendmsg() in flight when its receiver is closed leaks no fd",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx);
    for (let i = 0; i < 20; i++) {
      const message = { buffers: [bytes("x")], control: rightsOf(file.fd) };
      value(await asyncSendmsg(ctx, pair.left, message));
    }
    // The twenty in the queue go with it.
    await pair.right.close();
  },
);

// ---- waiting by the clock -------------------------------------------------------

/** Submissions that a wait by the clock may take in `PAUSE_MS`: one for each
 * millisecond would be twice as many, and spinning thousands. */
const SUBMISSIONS_MAX = 60;
const PAUSE_MS = 120;

/** Something that waits though its socket is ready: no event tells when it can
 * complete. */
interface Unready extends Disposable {
  socket: Socket;
  start(): UringOp<unknown>;
  /** Lets it be done; undefined if only an error could. */
  makeReady?(): Promise<void>;
}

function unixDatagrams(at?: SocketAddress): Socket {
  const socket = unwrap(Socket.open("unix", "datagram"));
  if (at !== undefined) unwrap(socket.bind(at));
  return socket;
}

/** Sends to an address whose queue is full, connected elsewhere or not. */
async function fullQueue(
  ctx: IoContext,
  isConnected: boolean,
): Promise<Unready> {
  const opened = new DisposableStack();
  const name = (part: string) =>
    SocketAddress.unix(`\0kio-${part}-${Deno.pid}-${crypto.randomUUID()}`);
  const at = name("full");
  const receiver = opened.use(unixDatagrams(at));
  const socket = opened.use(unixDatagrams());
  if (isConnected) {
    const elsewhere = name("elsewhere");
    opened.use(unixDatagrams(elsewhere));
    value(await asyncConnect(ctx, socket, elsewhere));
  }
  const message = { buffers: [bytes("x")], address: at };
  const send = (flags = 0) => asyncSendmsg(ctx, socket, message, flags);
  while ((await send(MSG_DONTWAIT)).ok);
  return {
    socket,
    start: () => send(),
    async makeReady() {
      value(await asyncRecv(ctx, receiver, new Uint8Array(1)));
    },
    [Symbol.dispose]: () => opened.dispose(),
  };
}

const MSG_ERRQUEUE = 0x2000;

/** Waits for an error while there is data. */
async function errorQueue(ctx: IoContext): Promise<Unready> {
  const socket = unwrap(Socket.open("ipv4", "datagram"));
  unwrap(socket.bind(SocketAddress.v4(0, "127.0.0.1")));
  const message = { buffers: [bytes("x")] };
  const address = socket.localAddress!;
  value(await asyncSendmsg(ctx, socket, { ...message, address }));
  return {
    socket,
    start: () => asyncRecvmsg(ctx, socket, message, MSG_ERRQUEUE),
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  };
}

const unready: Record<string, (ctx: IoContext) => Promise<Unready>> = {
  "asyncSendmsg() to a full queue": (ctx) => fullQueue(ctx, false),
  "asyncSendmsg() to a full queue from who is connected elsewhere": (ctx) =>
    fullQueue(ctx, true),
  "asyncRecvmsg() of the error queue while there is data": errorQueue,
};

for (const [name, open] of Object.entries(unready)) {
  kioTest(`${name} waits without spinning`, async (ctx) => {
    using it = await open(ctx);
    const op = it.start();
    for (let i = 0; i < 3; i++) {
      const before = ctx.stats().submissions;
      const startMs = performance.now();
      await turn(PAUSE_MS);
      const count = ctx.stats().submissions - before;
      // A machine that is busy gives it more time.
      const pauses = Math.ceil((performance.now() - startMs) / PAUSE_MS);
      assert(count < SUBMISSIONS_MAX * pauses, `${count} submissions`);
      assertEquals(ctx.pending, 1);
    }
    await it.makeReady?.();
    if (it.makeReady === undefined) op.cancel();
    const result = await op;
    if (it.makeReady === undefined) assertCode(result, "ECANCELED");
    else value(result);
  });

  kioTest(`${name} can be given up during a pause`, async (ctx) => {
    using it = await open(ctx);
    const cancelled = it.start();
    await turn(30);
    cancelled.cancel();
    assertCode(await cancelled, "ECANCELED");
    const controller = new AbortController();
    const aborted = it.start().withSignal(controller.signal);
    await turn(30);
    controller.abort();
    assertCode(await aborted, "ECANCELED");
    assertCode(await it.start().withTimeout(40), "ETIMEDOUT");
    const late = it.start();
    await turn(30);
    assertCode(await late.withTimeout(10_000).withTimeout(5), "ETIMEDOUT");
    const atOnce = it.start();
    await turn(30);
    assertCode(await atOnce.withTimeout(0), "ETIMEDOUT");
  });

  kioTest(`${name} ends with its socket`, async (ctx) => {
    using it = await open(ctx);
    const op = it.start();
    await turn(30);
    await it.socket.close();
    assertCode(await op, "ECANCELED");
  });

  kioTest(`${name} ends with its context`, async (ctx) => {
    using it = await open(ctx);
    const op = it.start();
    await turn(30);
    ctx[Symbol.dispose]();
    assertCode(await op, "ECANCELED");
  });
}
