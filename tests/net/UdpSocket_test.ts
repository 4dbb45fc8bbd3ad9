import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncPoll,
  asyncRecv,
  BufferPool,
  type Datagram,
  type DatagramError,
  type DatagramsOptions,
  IoContext,
  IPPROTO_UDP,
  link,
  type MessageLease,
  POLLERR,
  POLLIN,
  type Result,
  Socket,
  SocketAddress,
  UDP_GRO,
  type UdpOptions,
  UdpSocket,
  unwrap,
  type UringStream,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  isOpen,
  kioTest,
  openFds,
  pattern,
  text,
  turn,
  value,
} from "../support.ts";
import { ringOf } from "../../lib/internal.ts";
import { RECVMSG } from "../../lib/ops/table.ts";
import { State } from "../../lib/ring/entry.ts";

const ANY = {
  ipv4: SocketAddress.v4(0, "127.0.0.1"),
  ipv6: SocketAddress.v6(0, "::1"),
};
const FAMILIES = ["ipv4", "ipv6"] as const;
const LO = 1;

/** A socket on the loopback interface. */
function bound(
  family: "ipv4" | "ipv6" = "ipv4",
  options: UdpOptions = {},
): UdpSocket {
  return unwrap(UdpSocket.bind(ANY[family], options));
}

/** A server, and a client that is connected to it. */
function pair(family: "ipv4" | "ipv6" = "ipv4", options: UdpOptions = {}) {
  const server = bound(family, options);
  const client = unwrap(UdpSocket.connect(server.localAddress!, options));
  return {
    server,
    client,
    [Symbol.dispose]() {
      server[Symbol.dispose]();
      client[Symbol.dispose]();
    },
  };
}

/** An address where nothing is. */
function nowhere(family: "ipv4" | "ipv6"): SocketAddress {
  using socket = bound(family);
  return socket.localAddress!;
}

const room = (size = 2048) => new Uint8Array(size);
const textOf = (result: Result<Datagram>) => text(value(result).bytes);

// ---- bind, connect ------------------------------------------------------------

kioTest("UdpSocket.bind() gives a UdpSocket, which is a Socket", () => {
  for (const family of FAMILIES) {
    using socket = bound(family);
    assert(socket instanceof UdpSocket && socket instanceof Socket);
    assertEquals(socket.localAddress!.family, family);
    assert(socket.localAddress!.port > 0);
    assertEquals(socket.peerAddress, undefined);
  }
  using any = unwrap(UdpSocket.bind(0));
  assertEquals(any.localAddress!.host, "0.0.0.0");
});

kioTest("UdpSocket.bind() gives errors, and closes what it opened", () => {
  using first = bound();
  const before = openFds();
  const at = first.localAddress!;
  assertCode(UdpSocket.bind(at), "EADDRINUSE");
  const foreign = SocketAddress.v4(0, "192.0.2.1");
  assertCode(UdpSocket.bind(foreign), "EADDRNOTAVAIL");
  assertCode(UdpSocket.connect(at, { localAddress: foreign }), "EADDRNOTAVAIL");
  const wrong = { congestionControl: "cubic" };
  assertCode(UdpSocket.bind(ANY.ipv4, wrong), "EOPNOTSUPP", "ENOPROTOOPT");
  assertEquals(openFds(), before);
});

kioTest("UdpSocket.bind() and connect() refuse what makes no sense", () => {
  const before = openFds();
  const unix = SocketAddress.unix("/tmp/kio-no-such");
  const at = ANY.ipv4;
  // deno-lint-ignore no-explicit-any
  const wrong: [any, any][] = [
    ["127.0.0.1:80", {}],
    [undefined, {}],
    [unix, {}],
    [at, null],
    [at, 5],
    [at, { reuseAddr: 1 }],
    [at, { reusePort: "yes" }],
    [at, { ipv6Only: null }],
    [at, { broadcast: 1 }],
    [at, { multicastHops: 256 }],
  ];
  for (const [address, options] of wrong) {
    assertThrows(() => UdpSocket.bind(address, options), `Cannot bind`);
    assertThrows(() => UdpSocket.connect(address, options), `Cannot connect`);
  }
  assertThrows(() => UdpSocket.bind(65536), RangeError);
  const localAddress = "127.0.0.1:0" as unknown as SocketAddress;
  assertThrows(() => UdpSocket.connect(at, { localAddress }), TypeError);
  assertEquals(openFds(), before);
});

kioTest("reuseAddr and reusePort share an address", () => {
  for (const options of [{ reuseAddr: true }, { reusePort: true }]) {
    using first = bound("ipv4", options);
    assert(first.localAddress!.port > 0);
    using second = unwrap(UdpSocket.bind(first.localAddress!, options));
    assertEquals(`${second.localAddress}`, `${first.localAddress}`);
    assertCode(UdpSocket.bind(first.localAddress!), "EADDRINUSE");
  }
});

kioTest("UdpSocket.connect() binds to localAddress before", async (ctx) => {
  using server = bound();
  const localAddress = nowhere("ipv4");
  using client = unwrap(
    UdpSocket.connect(server.localAddress!, { localAddress }),
  );
  assertEquals(`${client.localAddress}`, `${localAddress}`);
  assertEquals(`${client.peerAddress}`, `${server.localAddress}`);
  await client.send(ctx, bytes("x")).orThrow();
  const { address } = value(await server.receive(ctx, room()));
  assertEquals(`${address}`, `${localAddress}`);
});

// ---- send, receive ------------------------------------------------------------

for (const family of FAMILIES) {
  kioTest(
    `send() and receive() to an address and back, ${family}`,
    async (ctx) => {
      using left = bound(family);
      using right = bound(family);
      const sent = left.send(ctx, bytes("hello"), right.localAddress);
      assertEquals(value(await sent), 5);
      const buffer = room();
      const asked = value(await right.receive(ctx, buffer));
      assertEquals(asked.bytes.buffer, buffer.buffer);
      assertEquals(text(asked.bytes), "hello");
      assertEquals(asked.missingBytes, 0);
      assertEquals(asked.segmentSize, undefined);
      assertEquals(`${asked.address}`, `${left.localAddress}`);
      value(await right.send(ctx, asked.bytes, asked.address));
      assertEquals(textOf(await left.receive(ctx, room())), "hello");
    },
  );

  kioTest(
    `send() and receive() of a connected socket, ${family}`,
    async (ctx) => {
      using it = pair(family);
      value(await it.client.send(ctx, bytes("question")));
      const asked = value(await it.server.receive(ctx, room()));
      // Not from the server: it is dropped.
      using stranger = bound(family);
      value(await stranger.send(ctx, bytes("no"), it.client.localAddress));
      value(await it.server.send(ctx, bytes("answer"), asked.address));
      assertEquals(textOf(await it.client.receive(ctx, room())), "answer");
    },
  );
}

kioTest("a socket on :: takes IPv4, unless ipv6Only", async (ctx) => {
  using both = unwrap(UdpSocket.bind(SocketAddress.v6(0)));
  const { port } = both.localAddress!;
  using client = bound();
  const at = SocketAddress.v4(port, "127.0.0.1");
  value(await client.send(ctx, bytes("4"), at));
  const { address } = value(await both.receive(ctx, room()));
  assertEquals(address!.host, "::ffff:127.0.0.1");
  value(await both.send(ctx, bytes("back"), address));
  assertEquals(textOf(await client.receive(ctx, room())), "back");
  const ipv6Only = true;
  using only = unwrap(UdpSocket.bind(SocketAddress.v6(0), { ipv6Only }));
  using connected = unwrap(
    UdpSocket.connect(SocketAddress.v4(only.localAddress!.port, "127.0.0.1")),
  );
  value(await connected.send(ctx, bytes("4")));
  assertCode(await connected.receive(ctx, room()), "ECONNREFUSED");
});

kioTest("send() of an empty datagram is received as one", async (ctx) => {
  using it = pair();
  const empty = [new Uint8Array(0), [], [new Uint8Array(0)]];
  for (const data of empty) {
    assertEquals(value(await it.client.send(ctx, data)), 0);
    const { bytes, missingBytes } = value(await it.server.receive(ctx, room()));
    assertEquals([bytes.length, missingBytes], [0, 0]);
  }
});

kioTest("send() of several buffers makes one datagram", async (ctx) => {
  using it = pair();
  const data = [
    bytes("ab"),
    new DataView(bytes("cd").buffer),
    bytes("e").buffer,
  ];
  assertEquals(value(await it.client.send(ctx, data)), 5);
  for (const buffer of [new ArrayBuffer(9), new DataView(new ArrayBuffer(9))]) {
    const receiving = it.server.receive(ctx, buffer);
    assertEquals(textOf(await receiving), "abcde");
    value(await it.client.send(ctx, data));
  }
});

kioTest("receive() tells how much of a datagram did not fit", async (ctx) => {
  using it = pair();
  const memory = pattern(16, 9);
  for (const length of [3, 4, 5, 1000]) {
    value(await it.client.send(ctx, pattern(length)));
    const buffer = memory.subarray(4, 8);
    const datagram = value(await it.server.receive(ctx, buffer));
    assertEquals(datagram.bytes, pattern(length).subarray(0, 4));
    assertEquals(datagram.missingBytes, Math.max(length - 4, 0));
    assertEquals(memory.subarray(8), pattern(16, 9).subarray(8));
  }
  // The rest is gone.
  value(await it.client.send(ctx, bytes("next")));
  assertEquals(textOf(await it.server.receive(ctx, room())), "next");
});

kioTest("receive() and send() of many in flight lose none", async (ctx) => {
  using it = pair();
  for (let round = 0; round < 3; round++) {
    const receiving = Array.from(
      { length: 100 },
      () => it.server.receive(ctx, room(16)),
    );
    await turn();
    const sending = receiving.map((_, i) =>
      it.client.send(ctx, bytes(`${round}.${i}`))
    );
    for (const sent of sending) value(await sent);
    const got = (await Promise.all(receiving)).map(textOf);
    assertEquals(
      got.toSorted(),
      receiving.map((_, i) => `${round}.${i}`).toSorted(),
    );
  }
});

kioTest(
  "receive() ends by a timeout, a signal, a cancel or close()",
  async (ctx) => {
    using it = pair();
    const start = () => it.server.receive(ctx, room());
    assertCode(await start().withTimeout(2), "ETIMEDOUT");
    assertCode(await start().withSignal(AbortSignal.timeout(2)), "ECANCELED");
    const op = start();
    await turn();
    op.cancel();
    assertCode(await op, "ECANCELED");
    const last = start();
    await turn();
    await it.server.close();
    assertCode(await last, "ECANCELED");
    assertThrows(start, RangeError, "the socket is closed");
  },
);

kioTest("send() gives the errors of sendmsg(2)", async (ctx) => {
  using socket = bound();
  const at = socket.localAddress;
  assertCode(await socket.send(ctx, pattern(65508), at), "EMSGSIZE");
  assertEquals(value(await socket.send(ctx, pattern(65507), at)), 65507);
  assertCode(await socket.send(ctx, bytes("x")), "EDESTADDRREQ");
  const all = SocketAddress.v4(9, "255.255.255.255");
  assertCode(await socket.send(ctx, bytes("x"), all), "EACCES", "ENETUNREACH");
});

kioTest(
  "send(), receive() and datagrams() refuse what makes no sense",
  (ctx) => {
    using socket = bound();
    const detached = room();
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    // deno-lint-ignore no-explicit-any
    const it: any = socket;
    for (
      const wrong of [null, undefined, "text", 5, detached, [5], Array(1025)]
    ) {
      assertThrows(() => it.send(ctx, wrong), `Cannot send a message`);
    }
    for (const wrong of [null, "127.0.0.1:80", 80]) {
      assertThrows(() => it.send(ctx, room(), wrong), TypeError);
    }
    for (const segmentSize of [0, 65536, -1, 1.5, "5", null]) {
      assertThrows(
        () => it.send(ctx, room(), undefined, { segmentSize }),
        RangeError,
        "segmentSize",
      );
    }
    for (
      const wrong of [null, undefined, "text", 5, detached, [room()], room(0)]
    ) {
      assertThrows(() => it.receive(ctx, wrong), `Cannot receive a message`);
    }
    for (
      const options of [
        null,
        5,
        { bufferSize: 0 },
        { bufferSize: 65536 },
        { queueMax: 0 },
        { queueMax: "5" },
      ]
    ) {
      assertThrows(
        () => it.datagrams(ctx, options),
        `Cannot receive a message`,
      );
    }
    for (const name of ["send", "receive", "datagrams", "receiveError"]) {
      assertThrows(
        () => it[name]({}, room()),
        TypeError,
        "must be an IoContext",
      );
    }
    assertEquals(ctx.pending, 0);
  },
);

// ---- for await ----------------------------------------------------------------

kioTest("datagrams() gives each datagram, in order", async (ctx) => {
  using it = pair();
  const count = 200;
  const sending = (async () => {
    for (let i = 0; i < count; i++) {
      value(await it.client.send(ctx, bytes(`${i}`)));
      if (i % 20 === 19) await turn();
    }
  })();
  const got: string[] = [];
  for await (const result of it.server.datagrams(ctx)) {
    assertEquals(`${value(result).address}`, `${it.client.localAddress}`);
    got.push(textOf(result));
    if (got.length === count) break;
  }
  await sending;
  assertEquals(got, Array.from({ length: count }, (_, i) => `${i}`));
  assertEquals(ctx.pending, 0);
});

kioTest(
  "datagrams() gives bytes of the consumer's own, each with its sender",
  async (ctx) => {
    using server = bound();
    using first = bound();
    using second = unwrap(UdpSocket.bind(SocketAddress.v4(0, "127.0.0.2")));
    await using stream = server.datagrams(ctx, { bufferSize: 4 });
    for (const from of [first, second, first]) {
      value(await from.send(ctx, bytes("abcdef"), server.localAddress));
    }
    const got: Datagram[] = [];
    for await (const datagram of stream.orThrow()) {
      got.push(datagram);
      if (got.length === 3) break;
    }
    assertEquals(
      got.map(({ address }) => `${address}`),
      [first, second, first].map(({ localAddress }) => `${localAddress}`),
    );
    for (const { bytes, missingBytes } of got) {
      assertEquals([text(bytes), missingBytes], ["abcd", 2]);
    }
    assertEquals(new Set(got.map(({ bytes }) => bytes.buffer)).size, 3);
  },
);

kioTest(
  "datagrams() takes no more than queueMax before they are wanted",
  async (ctx) => {
    using it = pair();
    const stream = it.server.datagrams(ctx, { queueMax: 2 });
    for (let i = 0; i < 6; i++) value(await it.client.send(ctx, bytes(`${i}`)));
    for (let i = 0; i < 5; i++) await turn();
    assertEquals(value(it.server.unreadBytes()), 1);
    const got: string[] = [];
    for await (const result of stream) {
      got.push(textOf(result));
      if (got.length === 6) break;
    }
    assertEquals(got, ["0", "1", "2", "3", "4", "5"]);
  },
);

kioTest("datagrams() does not pause where many come", async (ctx) => {
  using it = pair();
  const stream = it.server.datagrams(ctx);
  const iterator = stream[Symbol.asyncIterator]();
  for (let i = 0; i < 10; i++) {
    value(await it.client.send(ctx, bytes("x")));
    value((await iterator.next()).value!);
    const [entry] = ringOf(ctx, RECVMSG).table.live();
    assertEquals(entry!.state, State.SUBMITTED, `after ${i + 1}`);
  }
  await stream[Symbol.asyncDispose]();
});

kioTest("datagrams() goes on after an error that came back", async (ctx) => {
  using it = pair();
  const stream = it.client.datagrams(ctx);
  const iterator = stream[Symbol.asyncIterator]();
  const at = it.server.localAddress!;
  await it.server.close();
  value(await it.client.send(ctx, bytes("lost")));
  assertCode((await iterator.next()).value!, "ECONNREFUSED");
  using again = unwrap(UdpSocket.bind(at));
  value(await again.send(ctx, bytes("here"), it.client.localAddress));
  assertEquals(textOf((await iterator.next()).value!), "here");
  await stream[Symbol.asyncDispose]();
});

kioTest(
  "datagrams() ends by cancel(), a signal, a timeout, its socket or context",
  async (ctx) => {
    const last = async (
      end: (
        stream: ReturnType<UdpSocket["datagrams"]>,
        socket: UdpSocket,
      ) => void,
    ) => {
      using socket = bound();
      const stream = socket.datagrams(ctx);
      await turn();
      end(stream, socket);
      const results = await Array.fromAsync(stream);
      assertEquals(results.length, 1);
      assertEquals(ctx.pending, 0);
      return results[0]!;
    };
    assertCode(await last((stream) => stream.cancel()), "ECANCELED");
    assertCode(
      await last((stream) => void stream.withSignal(AbortSignal.timeout(2))),
      "ECANCELED",
    );
    assertCode(await last((stream) => void stream.withTimeout(2)), "ETIMEDOUT");
    assertCode(
      await last((_, socket) => void socket[Symbol.dispose]()),
      "ECANCELED",
    );
    using socket = bound();
    const own = new IoContext();
    const stream = socket.datagrams(own);
    own[Symbol.dispose]();
    assertCode((await Array.fromAsync(stream))[0]!, "ECANCELED");
  },
);

// ---- datagrams() with a pool ----------------------------------------------------

async function next(stream: UringStream<MessageLease>): Promise<MessageLease> {
  const step = await stream[Symbol.asyncIterator]().next();
  assert(step.done !== true, "the stream is over");
  return value(step.value);
}

for (const family of FAMILIES) {
  kioTest(
    `datagrams() with a pool lends each datagram: ${family}`,
    async (ctx) => {
      using it = pair(family);
      using pool = new BufferPool(ctx, { count: 4, size: 208 });
      const leasesMax = 3;
      const stream = it.server.datagrams(ctx, { pool, leasesMax });
      for (const data of ["one", "", "longer than 8"]) {
        value(await it.client.send(ctx, data === "" ? [] : bytes(data)));
        const datagram = await next(stream);
        assertEquals(text(datagram.bytes), data.slice(0, 8));
        assertEquals(datagram.missingBytes, Math.max(0, data.length - 8));
        assertEquals(`${datagram.address}`, `${it.client.localAddress}`);
        // The send holds it longer than its turn.
        const sent = it.server.send(ctx, datagram, datagram.address);
        datagram.release();
        if (datagram.length > 0) assertEquals(pool.stats().leased, 1);
        value(await sent);
        assertEquals(pool.stats().leased, 0);
        assertEquals(
          textOf(await it.client.receive(ctx, room())),
          data.slice(0, 8),
        );
      }
      await stream[Symbol.asyncDispose]();
    },
  );
}

kioTest("datagrams() with a pool tells of gro", async (ctx) => {
  using it = pair();
  value(it.server.setOptions({ gro: true }));
  using pool = new BufferPool(ctx, { count: 4, size: 8192 });
  await using stream = it.server.datagrams(ctx, { pool });
  const data = pattern(3500);
  value(await it.client.send(ctx, data, undefined, { segmentSize: 1000 }));
  const { bytes: received, segmentSize } = await next(stream);
  assertEquals([received.length, segmentSize], [3500, 1000]);
});

kioTest("datagrams() refuses a pool that makes no sense", (ctx) => {
  using socket = bound();
  using small = new BufferPool(ctx, { count: 1, size: 200 });
  assertThrows(
    () => socket.datagrams(ctx, { pool: small }),
    RangeError,
    "buffers of 200 bytes have no room behind a head of 200",
  );
  for (const pool of [null, 5, {}]) {
    assertThrows(
      () => socket.datagrams(ctx, { pool: pool as never }),
      TypeError,
      "Cannot receive messages",
    );
  }
});

kioTest("datagrams() is refused in link()", (ctx) => {
  using socket = bound();
  assertThrows(
    () => link(ctx, () => socket.datagrams(ctx, {} as DatagramsOptions)),
    TypeError,
    "in link()",
  );
  assertEquals(ctx.pending, 0);
});

// ---- errors -------------------------------------------------------------------

for (const family of FAMILIES) {
  kioTest(`receiveError() tells what came back, ${family}`, async (ctx) => {
    using socket = bound(family, { queueErrors: true });
    assertCode(await socket.receiveError(ctx), "EAGAIN");
    const address = nowhere(family);
    value(await socket.send(ctx, bytes("lost"), address));
    const events = value(await asyncPoll(ctx, socket, 0));
    assertEquals(events & POLLERR, POLLERR);
    const told: DatagramError = value(await socket.receiveError(ctx));
    assertEquals(told.error.code, "ECONNREFUSED");
    assertEquals(`${told.address}`, `${address}`);
    assertEquals(told.offender?.host, family === "ipv4" ? "127.0.0.1" : "::1");
    const unreachable = family === "ipv4" ? [3, 3] : [1, 4];
    assertEquals([told.icmpType, told.icmpCode], unreachable);
    assertEquals(text(told.bytes), "lost");
    assertCode(await socket.receiveError(ctx), "EAGAIN");
  });
}

kioTest(
  "receiveError() tells the MTU of a datagram that is too long",
  async (ctx) => {
    using it = pair("ipv4", { queueErrors: true });
    const [IP_MTU_DISCOVER, IP_PMTUDISC_DO] = [10, 2];
    value(it.client.setOption(0, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
    // Nothing of lo is longer than its MTU of 65536, so a segment is.
    const sent = await it.client.send(ctx, pattern(65508));
    assertCode(sent, "EMSGSIZE");
    const told = await it.client.receiveError(ctx);
    // The kernel queues it for what its path cannot carry.
    if (!told.ok) return assertCode(told, "EAGAIN");
    assertEquals(told.value.error.code, "EMSGSIZE");
    assertEquals(told.value.offender, undefined);
    assert(told.value.info > 0);
  },
);

kioTest(
  "a connected socket gets the error of an earlier datagram, once",
  async (ctx) => {
    for (const family of FAMILIES) {
      using socket = unwrap(UdpSocket.connect(nowhere(family)));
      value(await socket.send(ctx, bytes("lost")));
      assertCode(await socket.receive(ctx, room()), "ECONNREFUSED");
      assertCode(await socket.receive(ctx, room()).withTimeout(2), "ETIMEDOUT");
      value(await socket.send(ctx, bytes("lost")));
      assertEquals(
        value(await asyncPoll(ctx, socket, POLLIN)) & POLLERR,
        POLLERR,
      );
      assertCode(await socket.send(ctx, bytes("not sent")), "ECONNREFUSED");
    }
  },
);

// ---- GSO, GRO -----------------------------------------------------------------

kioTest("send() with segmentSize makes datagrams of that size", async (ctx) => {
  for (const family of FAMILIES) {
    using it = pair(family);
    const data = pattern(10 * 100 + 7);
    const sent = it.client.send(ctx, data, undefined, { segmentSize: 100 });
    assertEquals(value(await sent), data.length);
    for (let at = 0; at < data.length; at += 100) {
      const { bytes } = value(await it.server.receive(ctx, room()));
      assertEquals(bytes, data.subarray(at, at + 100));
    }
  }
});

kioTest("send() with segmentSize goes to an address too", async (ctx) => {
  using left = bound();
  using right = bound();
  const to = right.localAddress;
  const sent = left.send(ctx, [pattern(3), pattern(3)], to, { segmentSize: 4 });
  assertEquals(value(await sent), 6);
  const sizes = [0, 0];
  for (const i of sizes.keys()) {
    sizes[i] = value(await right.receive(ctx, room())).bytes.length;
  }
  assertEquals(sizes, [4, 2]);
});

kioTest(
  "send() of more segments than the kernel makes gives EINVAL",
  async (ctx) => {
    using it = pair();
    const sent = it.client.send(ctx, pattern(2000), undefined, {
      segmentSize: 1,
    });
    assertCode(await sent, "EINVAL");
  },
);

kioTest(
  "receive() with gro gives several datagrams, and their size",
  async (ctx) => {
    for (const family of FAMILIES) {
      using it = pair(family, { gro: true });
      const data = pattern(10 * 100 + 7);
      const segments = { segmentSize: 100 };
      value(await it.client.send(ctx, data, undefined, segments));
      const got: number[] = [];
      let at = 0;
      while (at < data.length) {
        const received = await it.server.receive(ctx, room(65535));
        const { bytes, segmentSize, address } = value(received);
        assertEquals(bytes, data.subarray(at, at + bytes.length));
        assertEquals(`${address}`, `${it.client.localAddress}`);
        if (bytes.length > 100) assertEquals(segmentSize, 100);
        got.push(bytes.length);
        at += bytes.length;
      }
      assertEquals(Math.max(...got), data.length);
      value(await it.client.send(ctx, bytes("one")));
      const { segmentSize } = value(await it.server.receive(ctx, room()));
      assertEquals(segmentSize, undefined);
    }
  },
);

kioTest(
  "datagrams() tells of gro, set by setOption() on a socket that was taken over",
  async (ctx) => {
    using it = pair();
    value(it.server.setOption(IPPROTO_UDP, UDP_GRO, 1));
    using copy = new UdpSocket(it.server.release());
    await using stream = copy.datagrams(ctx);
    const segments = { segmentSize: 5 };
    value(await it.client.send(ctx, bytes("one")));
    value(await it.client.send(ctx, pattern(12), undefined, segments));
    const got: unknown[] = [];
    for await (const { bytes, segmentSize } of stream.orThrow()) {
      got.push([bytes.length, segmentSize]);
      if (got.length === 2) break;
    }
    assertEquals(got, [[3, undefined], [12, 5]]);
  },
);

// ---- multicast ----------------------------------------------------------------

const GROUPS = { ipv4: "239.255.77.88", ipv6: "ff01::7788" };

for (const family of FAMILIES) {
  kioTest(`joinMulticast() and leaveMulticast(), ${family}`, async (ctx) => {
    const any = family === "ipv4" ? SocketAddress.v4(0) : SocketAddress.v6(0);
    using receiver = unwrap(UdpSocket.bind(any, { reuseAddr: true }));
    using sender = unwrap(
      UdpSocket.bind(any, { multicastInterface: LO, multicastHops: 0 }),
    );
    const group = GROUPS[family];
    const joined = receiver.joinMulticast(group, LO);
    // An interface without multicast.
    if (!joined.ok) return assertCode(joined, "ENODEV", "EADDRNOTAVAIL");
    assertCode(receiver.joinMulticast(group, LO), "EADDRINUSE");
    const { port } = receiver.localAddress!;
    const to = family === "ipv4"
      ? SocketAddress.v4(port, group)
      : SocketAddress.v6(port, `${group}%${LO}`);
    const sent = await sender.send(ctx, bytes("all"), to);
    // Linux has no route of IPv6 there unless it was made by hand.
    const isRouted = sent.ok || family === "ipv4";
    if (isRouted) {
      value(sent);
      assertEquals(textOf(await receiver.receive(ctx, room())), "all");
    } else assertCode(sent, "ENETUNREACH");
    value(receiver.leaveMulticast(group, LO));
    assertCode(receiver.leaveMulticast(group, LO), "EADDRNOTAVAIL");
    if (isRouted) value(await sender.send(ctx, bytes("late"), to));
    const nothing = receiver.receive(ctx, room()).withTimeout(5);
    assertCode(await nothing, "ETIMEDOUT");
  });
}

kioTest("joinMulticast() refuses what is no group", () => {
  using socket = bound();
  assertCode(socket.joinMulticast("127.0.0.1"), "EINVAL");
  assertCode(socket.joinMulticast("239.1.2.3", 999_999), "ENODEV");
  // deno-lint-ignore no-explicit-any
  const it: any = socket;
  for (const wrong of [undefined, null, 5, "localhost", "239.1.2", "::g"]) {
    assertThrows(() => it.joinMulticast(wrong), TypeError);
    assertThrows(() => it.leaveMulticast(wrong), TypeError);
  }
  for (const index of [-1, 1.5, 2 ** 31, "lo", null]) {
    assertThrows(() => it.joinMulticast("239.1.2.3", index), RangeError);
  }
});

// ---- ownership ----------------------------------------------------------------

kioTest(
  "using closes a UdpSocket, and operations of other kinds take it",
  async (ctx) => {
    let fd = -1;
    {
      using it = pair();
      fd = it.server.fd;
      value(await it.client.send(ctx, bytes("plain")));
      assertEquals(value(await asyncRecv(ctx, it.server, room())), 5);
    }
    assert(!isOpen(fd));
  },
);
