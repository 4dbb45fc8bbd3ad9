import { assert, assertEquals, assertThrows } from "@std/assert";
import * as kio from "@kio/kio";
import {
  asyncAccept,
  asyncClose,
  asyncConnect,
  asyncOpen,
  asyncRead,
  asyncRecv,
  asyncSend,
  O_RDONLY,
  type Result,
  Socket,
  SocketAddress,
  type SocketOptions,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  isOpen,
  kioTest,
  listen,
  pattern,
  tcpPair,
  turn,
  unixPair,
  value,
} from "../support.ts";

const SO_PEEK_OFF = 42;

type Place = readonly [level: number, name: number];

/** Each option: a value, how the kernel has it, and values that are refused. */
const OPTIONS: Readonly<
  Record<
    keyof SocketOptions,
    [value: unknown, places: Place[], found: number, bad: unknown[]]
  >
> = {
  keepAliveIdleSeconds: [
    77,
    [[kio.IPPROTO_TCP, kio.TCP_KEEPIDLE]],
    77,
    [0, 32768, 1.5, "1"],
  ],
  keepAliveIntervalSeconds: [
    7,
    [[kio.IPPROTO_TCP, kio.TCP_KEEPINTVL]],
    7,
    [0, 32768, 1n],
  ],
  keepAliveCount: [3, [[kio.IPPROTO_TCP, kio.TCP_KEEPCNT]], 3, [0, 128, NaN]],
  userTimeoutMs: [
    12345,
    [[kio.IPPROTO_TCP, kio.TCP_USER_TIMEOUT]],
    12345,
    [-1, 2 ** 31],
  ],
  deferAcceptSeconds: [
    1,
    [[kio.IPPROTO_TCP, kio.TCP_DEFER_ACCEPT]],
    1,
    [-1, 2 ** 31],
  ],
  fastOpenQueue: [
    5,
    [[kio.IPPROTO_TCP, kio.TCP_FASTOPEN]],
    5,
    [-1, 2 ** 31],
  ],
  fastOpenConnect: [
    true,
    [[kio.IPPROTO_TCP, kio.TCP_FASTOPEN_CONNECT]],
    1,
    [1, "true", null],
  ],
  congestionControl: [
    "reno",
    [[kio.IPPROTO_TCP, kio.TCP_CONGESTION]],
    new DataView(new TextEncoder().encode("reno").buffer).getInt32(0, true),
    ["", "x".repeat(16), "a\0b", 5, null],
  ],
  priority: [4, [[kio.SOL_SOCKET, kio.SO_PRIORITY]], 4, [-1, 2 ** 31]],
  trafficClass: [
    0x28,
    [[kio.IPPROTO_IP, kio.IP_TOS], [kio.IPPROTO_IPV6, kio.IPV6_TCLASS]],
    0x28,
    [-1, 256],
  ],
  broadcast: [
    true,
    [[kio.SOL_SOCKET, kio.SO_BROADCAST]],
    1,
    [0, undefined]
      .filter((it) => it !== undefined),
  ],
  multicastHops: [
    9,
    [
      [kio.IPPROTO_IP, kio.IP_MULTICAST_TTL],
      [kio.IPPROTO_IPV6, kio.IPV6_MULTICAST_HOPS],
    ],
    9,
    [-1, 256],
  ],
  multicastLoop: [
    false,
    [
      [kio.IPPROTO_IP, kio.IP_MULTICAST_LOOP],
      [kio.IPPROTO_IPV6, kio.IPV6_MULTICAST_LOOP],
    ],
    0,
    [0, "no"],
  ],
  multicastInterface: [
    1,
    [[kio.IPPROTO_IPV6, kio.IPV6_MULTICAST_IF]],
    1,
    [-1, 2 ** 31],
  ],
  gro: [true, [[kio.IPPROTO_UDP, kio.UDP_GRO]], 1, [1, null]],
  queueErrors: [
    true,
    [
      [kio.IPPROTO_IP, kio.IP_RECVERR],
      [kio.IPPROTO_IPV6, kio.IPV6_RECVERR],
    ],
    1,
    [1, "yes"],
  ],
};

/** The socket that has an option. */
function socketFor(name: string, family: "ipv4" | "ipv6"): Socket {
  const isForDatagrams = /^(broadcast|multicast|gro|queueErrors)/.test(name);
  return unwrap(Socket.open(family, isForDatagrams ? "datagram" : "stream"));
}

for (const [name, [given, places, found]] of Object.entries(OPTIONS)) {
  kioTest(`setOptions() sets ${name}`, () => {
    for (const family of ["ipv4", "ipv6"] as const) {
      using socket = socketFor(name, family);
      assertEquals(value(socket.setOptions({ [name]: given })), undefined);
      for (const [level, option] of places) {
        if (level === kio.IPPROTO_IPV6 && family === "ipv4") continue;
        assertEquals(value(socket.getOption(level, option)), found, family);
      }
    }
  });
}

kioTest("setOptions() refuses each wrong value, and sets nothing", () => {
  using socket = unwrap(Socket.open("ipv4"));
  const { IPPROTO_TCP, TCP_KEEPIDLE } = kio;
  for (const [name, [, , , bad]] of Object.entries(OPTIONS)) {
    for (const wrong of bad) {
      const options = { keepAliveIdleSeconds: 99, [name]: wrong };
      const error = assertThrows(() => socket.setOptions(options));
      assert(error instanceof TypeError || error instanceof RangeError);
      assert(error.message.includes(`Cannot set options: `), error.message);
      assert(error.message.includes(name), error.message);
      const idle = socket.getOption(IPPROTO_TCP, TCP_KEEPIDLE);
      assert(value(idle) !== 99, `${name}: one was set`);
    }
  }
});

kioTest("setOptions() leaves the rest as it is, and takes no options", () => {
  using socket = unwrap(Socket.open("ipv4"));
  const idle = () => value(socket.getOption(kio.IPPROTO_TCP, kio.TCP_KEEPIDLE));
  const before = idle();
  assert(socket.setOptions({}).ok);
  assert(socket.setOptions({ keepAliveIdleSeconds: undefined }).ok);
  assertEquals(idle(), before);
  for (const wrong of [null, 5, "x"]) {
    assertThrows(
      () => socket.setOptions(wrong as SocketOptions),
      TypeError,
      "Cannot set options",
    );
  }
});

kioTest("setOptions() stops at the first that fails, and names it", () => {
  using socket = unwrap(Socket.open("ipv4"));
  const result = socket.setOptions({
    keepAliveCount: 5,
    congestionControl: "no-such",
    priority: 3,
  });
  assertCode(result, "ENOENT");
  assertThrows(() => unwrap(result), Error, "Cannot set congestionControl (fd");
  const { IPPROTO_TCP, SO_PRIORITY, SOL_SOCKET, TCP_KEEPCNT } = kio;
  assertEquals(value(socket.getOption(IPPROTO_TCP, TCP_KEEPCNT)), 5);
  assertEquals(value(socket.getOption(SOL_SOCKET, SO_PRIORITY)), 0);
  using unix = unixPair();
  assertCode(unix.left.setOptions({ keepAliveCount: 5 }), "EOPNOTSUPP");
  assertCode(unix.left.setOptions({ trafficClass: 0 }), "EOPNOTSUPP");
});

kioTest(
  "setOptions() gives the error of each option that a socket lacks",
  () => {
    using unix = unixPair();
    using tcp = unwrap(Socket.open("ipv4"));
    using udp = unwrap(Socket.open("ipv4", "datagram"));
    const ofAny = ["priority", "broadcast"];
    for (const [name, [given, [[level] = []]]] of Object.entries(OPTIONS)) {
      const options = { [name]: given };
      if (ofAny.includes(name)) {
        assert(unix.left.setOptions(options).ok, name);
        continue;
      }
      assertCode(unix.left.setOptions(options), "EOPNOTSUPP");
      const isTcp = level === kio.IPPROTO_TCP;
      const isBoth = name === "trafficClass" || name === "queueErrors" ||
        name === "multicastLoop";
      if (isBoth) continue;
      const stranger = isTcp ? udp : tcp;
      const result = stranger.setOptions(options);
      assertCode(result, "EOPNOTSUPP", "ENOPROTOOPT", "EINVAL");
      assertThrows(() => unwrap(result), Error, `Cannot set ${name} (fd `);
    }
  },
);

kioTest("setOption() and getOption() take ints, below 0 too", () => {
  using pair = unixPair();
  const { SOL_SOCKET, SO_RCVLOWAT } = kio;
  assertEquals(value(pair.left.getOption(SOL_SOCKET, SO_PEEK_OFF)), -1);
  assert(pair.left.setOption(SOL_SOCKET, SO_RCVLOWAT, 77).ok);
  assertEquals(value(pair.left.getOption(SOL_SOCKET, SO_RCVLOWAT)), 77);
});

kioTest("setOption() and getOption() take bytes", () => {
  using socket = unwrap(Socket.open("ipv4"));
  const { SOL_SOCKET, SO_LINGER, TCP_CONGESTION, IPPROTO_TCP } = kio;
  const linger = new Uint8Array(new Int32Array([1, 3]).buffer);
  assert(socket.setOption(SOL_SOCKET, SO_LINGER, linger).ok);
  assertEquals(value(socket.getOption(SOL_SOCKET, SO_LINGER, 64)), linger);
  const short = value(socket.getOption(IPPROTO_TCP, TCP_CONGESTION, 2));
  assertEquals(short.length, 2);
});

kioTest("setOption() and getOption() give the errors of the system", () => {
  using socket = unwrap(Socket.open("ipv4"));
  const results: Result<unknown>[] = [
    socket.setOption(kio.SOL_SOCKET, 9999, 1),
    socket.getOption(kio.SOL_SOCKET, 9999),
    socket.getOption(kio.SOL_SOCKET, 9999, 8),
  ];
  for (const result of results) {
    assertCode(result, "ENOPROTOOPT");
    assertThrows(() => unwrap(result), Error, "et an option (1, 9999) (fd ");
  }
  assertCode(socket.setOption(1, kio.SO_LINGER, new Uint8Array(0)), "EINVAL");
});

kioTest("setOption() and getOption() refuse what is no option", () => {
  using socket = unwrap(Socket.open("ipv4"));
  const detached = new Uint8Array(8);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  // deno-lint-ignore no-explicit-any
  const [set, get]: any[] = [socket.setOption, socket.getOption];
  for (const place of [-1, 65536, 1.5, "1", undefined, null, 1n]) {
    assertThrows(() => set.call(socket, place, 1, 1), RangeError);
    assertThrows(() => set.call(socket, 1, place, 1), RangeError);
    assertThrows(() => get.call(socket, place, 1), RangeError);
    assertThrows(() => get.call(socket, 1, place), RangeError);
  }
  for (const given of [undefined, null, "1", true, 1n, [1], detached]) {
    assertThrows(() => set.call(socket, 1, 2, given), TypeError);
  }
  const numbers = [2 ** 31, -(2 ** 31) - 1, 0.5, new Uint8Array(4097)];
  for (const given of numbers) {
    assertThrows(() => set.call(socket, 1, 2, given), RangeError);
  }
  for (const length of [0, 4097, -1, 1.5, "8", null]) {
    assertThrows(() => get.call(socket, 1, 2, length), RangeError);
  }
});

kioTest("options of a closed socket are refused", async () => {
  const socket = unwrap(Socket.open("ipv4"));
  await socket.close();
  const calls: (() => unknown)[] = [
    () => socket.setOptions({ priority: 1 }),
    () => socket.setOption(1, 2, 1),
    () => socket.setOption(1, 2, new Uint8Array(4)),
    () => socket.getOption(1, 2),
    () => socket.getOption(1, 2, 4),
    () => socket.peerCredentials,
    () => socket.unreadBytes(),
    () => socket.unsentBytes(),
  ];
  for (const call of calls) {
    assertThrows(call, TypeError, "the socket is closed or released");
  }
  await socket.reset();
});

kioTest("reset() resets a TCP connection", async (ctx) => {
  for (let i = 0; i < 3; i++) {
    using pair = await tcpPair(ctx);
    const receiving = asyncRecv(ctx, pair.right, new Uint8Array(8));
    await turn();
    await pair.left.reset();
    assertCode(await receiving, "ECONNRESET");
  }
});

kioTest(
  "reset() drops what was not sent, and resets all the same",
  async (ctx) => {
    using pair = await tcpPair(ctx);
    while (
      (await asyncSend(ctx, pair.left, pattern(65536), kio.MSG_DONTWAIT)).ok
    );
    await pair.left.reset();
    const buffer = new Uint8Array(1 << 20);
    let last: Result<number>;
    do last = await asyncRecv(ctx, pair.right, buffer); while (
      last.ok && last.value > 0
    );
    assertCode(last, "ECONNRESET");
  },
);

kioTest("reset() cancels what is pending, then closes, once", async (ctx) => {
  using pair = await tcpPair(ctx);
  const { fd } = pair.left;
  const pending = asyncRecv(ctx, pair.left, new Uint8Array(8));
  await turn();
  const reset = pair.left.reset();
  assertEquals(pair.left.fd, -1);
  assert(isOpen(fd), "it is closed before the kernel let go");
  await reset;
  assert(!isOpen(fd));
  assertCode(await pending, "ECANCELED");
  const other = unwrap(Socket.open("ipv4"));
  await pair.left.reset();
  assert(isOpen(other.fd));
  await other.close();
});

kioTest("reset() of a unix socket closes it", async (ctx) => {
  using pair = unixPair();
  await pair.left.reset();
  assertEquals(await asyncRecv(ctx, pair.right, new Uint8Array(8)), {
    ok: true,
    value: 0,
  });
});

kioTest("peerCredentials is the process at the other end", async (ctx) => {
  using pair = unixPair();
  const { pid, uid, gid } = pair.left.peerCredentials!;
  const fd = await asyncOpen(ctx, "/proc/self/status", O_RDONLY).orThrow();
  const buffer = new Uint8Array(8192);
  const length = await asyncRead(ctx, fd, buffer).orThrow();
  await asyncClose(ctx, fd);
  const status = new TextDecoder().decode(buffer.subarray(0, length));
  const numberOf = (name: string) =>
    Number(
      new RegExp(`^${name}:\\s+(?:\\d+\\s+)?(\\d+)`, "m").exec(status)![1],
    );
  assertEquals(pid, Number(/^Pid:\s+(\d+)/m.exec(status)![1]));
  assertEquals([uid, gid], [numberOf("Uid"), numberOf("Gid")]);
});

kioTest("peerCredentials is undefined where there is no peer", async (ctx) => {
  using unix = unwrap(Socket.open("unix"));
  assertEquals(unix.peerCredentials, undefined);
  using pair = await tcpPair(ctx);
  assertEquals(pair.left.peerCredentials, undefined);
});

kioTest("unreadBytes() and unsentBytes() count", async (ctx) => {
  using pair = await tcpPair(ctx);
  assertEquals(value(pair.right.unreadBytes()), 0);
  assertEquals(value(pair.left.unsentBytes()), 0);
  await asyncSend(ctx, pair.left, pattern(1234)).orThrow();
  for (let i = 0; i < 1000 && value(pair.right.unreadBytes()) < 1234; i++) {
    await turn();
  }
  assertEquals(value(pair.right.unreadBytes()), 1234);
  while (
    (await asyncSend(ctx, pair.left, pattern(65536), kio.MSG_DONTWAIT)).ok
  );
  assert(value(pair.left.unsentBytes()) > 0);
  using datagrams = unixPair("datagram");
  await asyncSend(ctx, datagrams.left, pattern(5)).orThrow();
  await asyncSend(ctx, datagrams.left, pattern(7)).orThrow();
  assertEquals(value(datagrams.right.unreadBytes()), 5);
});

kioTest("unreadBytes() and unsentBytes() of a listener give EINVAL", () => {
  const { listener } = listen();
  assertCode(listener.unreadBytes(), "EINVAL");
  assertCode(listener.unsentBytes(), "EINVAL");
  listener[Symbol.dispose]();
});

kioTest(
  "deferAcceptSeconds holds a connection back until it has data",
  async (ctx) => {
    const { listener, at } = listen();
    unwrap(listener.setOptions({ deferAcceptSeconds: 60 }));
    using client = unwrap(Socket.open("ipv4"));
    const accepting = asyncAccept(ctx, listener);
    await asyncConnect(ctx, client, at).orThrow();
    for (let i = 0; i < 3; i++) await turn();
    assertEquals(ctx.pending, 1);
    await asyncSend(ctx, client, pattern(3)).orThrow();
    using server = new Socket(await accepting.orThrow());
    assertEquals(value(server.unreadBytes()), 3);
    await listener.close();
  },
);

kioTest("fastOpenConnect has a connect done at once", async (ctx) => {
  const { listener, at } = listen();
  await listener.close();
  using client = unwrap(Socket.open("ipv4"));
  unwrap(client.setOptions({ fastOpenConnect: true }));
  const { host, port } = at;
  const connected = await asyncConnect(
    ctx,
    client,
    SocketAddress.v4(port, host),
  );
  // Where the system does not allow it, the kernel connects as ever.
  if (!connected.ok) return assertCode(connected, "ECONNREFUSED");
  assertCode(await asyncSend(ctx, client, pattern(3)), "ECONNREFUSED");
});
