import { assert, assertEquals, assertThrows } from "@std/assert";
import * as kio from "@kio/kio";
import {
  asyncAccept,
  asyncBind,
  asyncConnect,
  asyncGetsockopt,
  asyncListen,
  asyncSetsockopt,
  asyncSocket,
  IoContext,
  link,
  Socket,
  SocketAddress,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  isOpen,
  kioTest,
  listen,
  procText,
  turn,
  unixPair,
  value,
} from "../support.ts";

const LOOPBACK = SocketAddress.v4(0, "127.0.0.1");

kioTest(
  "asyncSocket() opens a socket, non-blocking and not inherited",
  async (ctx) => {
    for (const domain of [kio.AF_INET, kio.AF_INET6, kio.AF_UNIX]) {
      for (const type of [kio.SOCK_STREAM, kio.SOCK_DGRAM]) {
        using socket = new Socket(value(await asyncSocket(ctx, domain, type)));
        const { SOL_SOCKET, SO_DOMAIN, SO_TYPE } = kio;
        assertEquals(value(socket.getOption(SOL_SOCKET, SO_DOMAIN)), domain);
        assertEquals(value(socket.getOption(SOL_SOCKET, SO_TYPE)), type);
        const info = await procText(`/proc/self/fdinfo/${socket.fd}`);
        assertEquals(/^flags:\s*(\d+)$/m.exec(info!)![1], "02004002");
      }
    }
    const fd = value(
      await asyncSocket(ctx, kio.AF_INET, kio.SOCK_DGRAM, kio.IPPROTO_UDP),
    );
    using udp = new Socket(fd);
    assertEquals(
      value(udp.getOption(kio.SOL_SOCKET, kio.SO_PROTOCOL)),
      kio.IPPROTO_UDP,
    );
  },
);

kioTest("asyncSocket() gives the errors of socket(2)", async (ctx) => {
  const { AF_INET, IPPROTO_TCP, SOCK_DGRAM, SOCK_STREAM } = kio;
  assertCode(await asyncSocket(ctx, 65535, SOCK_STREAM), "EAFNOSUPPORT");
  assertCode(await asyncSocket(ctx, AF_INET, 0), "EINVAL", "ESOCKTNOSUPPORT");
  assertCode(
    await asyncSocket(ctx, AF_INET, SOCK_DGRAM, IPPROTO_TCP),
    "EPROTONOSUPPORT",
  );
});

kioTest("asyncSocket() is about no fd, whatever its domain", async () => {
  using ctx = new IoContext();
  const opening = asyncSocket(ctx, kio.AF_INET, kio.SOCK_STREAM);
  assertEquals(ctx.inspect().map(({ fd }) => fd), [-1]);
  await new Socket(value(await opening)).close();
});

kioTest(
  "asyncSocket() that nobody waits for is closed with its context",
  async () => {
    const ctx = new IoContext();
    const opening = asyncSocket(ctx, kio.AF_INET, kio.SOCK_STREAM);
    ctx[Symbol.dispose]();
    assertCode(await opening, "ECANCELED");
  },
);

kioTest("asyncBind() and asyncListen() make a listener", async (ctx) => {
  for (const address of [LOOPBACK, SocketAddress.v6(0, "::1")]) {
    using listener = unwrap(Socket.open(address.family));
    assertEquals(value(await asyncBind(ctx, listener, address)), undefined);
    assert(listener.localAddress!.port > 0);
    assertEquals(value(await asyncListen(ctx, listener, 5)), undefined);
    using client = unwrap(Socket.open(address.family));
    value(await asyncConnect(ctx, client, listener.localAddress!));
    using _ = new Socket(value(await asyncAccept(ctx, listener)));
  }
});

kioTest(
  "asyncBind() and asyncListen() give the errors of the system",
  async (ctx) => {
    const { listener, at } = listen();
    using taken = unwrap(Socket.open("ipv4"));
    const result = await asyncBind(ctx, taken, at);
    assertCode(result, "EADDRINUSE");
    assertThrows(() => unwrap(result), `Cannot bind to ${at}`);
    assertCode(await asyncBind(ctx, listener, at), "EINVAL");
    const foreign = SocketAddress.v4(0, "192.0.2.1");
    assertCode(await asyncBind(ctx, taken, foreign), "EADDRNOTAVAIL");
    using datagrams = unwrap(Socket.open("ipv4", "datagram"));
    assertCode(await asyncListen(ctx, datagrams), "EOPNOTSUPP");
    assertCode(await asyncListen(ctx, 4000), "EBADF");
    await listener.close();
  },
);

kioTest("asyncSetsockopt() and asyncGetsockopt() take ints", async (ctx) => {
  const { IPPROTO_TCP, SO_KEEPALIVE, SO_RCVLOWAT, SOL_SOCKET } = kio;
  using tcp = unwrap(Socket.open("ipv4"));
  using unix = unixPair();
  for (const socket of [tcp, unix.left]) {
    for (const number of [1, 77]) {
      value(
        await asyncSetsockopt(ctx, socket, SOL_SOCKET, SO_RCVLOWAT, number),
      );
      const got = asyncGetsockopt(ctx, socket, SOL_SOCKET, SO_RCVLOWAT);
      assertEquals(value(await got), number);
    }
  }
  // Of another level; the ring reads one only.
  value(await asyncSetsockopt(ctx, tcp, IPPROTO_TCP, kio.TCP_KEEPIDLE, 55));
  const idle = asyncGetsockopt(ctx, tcp, IPPROTO_TCP, kio.TCP_KEEPIDLE);
  assertEquals(value(await idle), 55);
  const SO_PEEK_OFF = 42;
  const below = asyncGetsockopt(ctx, unix.left, SOL_SOCKET, SO_PEEK_OFF);
  assertEquals(value(await below), -1);
  value(await asyncSetsockopt(ctx, tcp, SOL_SOCKET, SO_KEEPALIVE, -1));
});

kioTest("asyncSetsockopt() and asyncGetsockopt() take bytes", async (ctx) => {
  const { IPPROTO_TCP, SO_LINGER, SOL_SOCKET, TCP_CONGESTION } = kio;
  using tcp = unwrap(Socket.open("ipv4"));
  using unix = unixPair();
  for (const socket of [tcp, unix.left]) {
    const given = new Uint8Array(new Int32Array([1, 3]).buffer);
    const linger = given.slice();
    const setting = asyncSetsockopt(ctx, socket, SOL_SOCKET, SO_LINGER, linger);
    // The value was copied.
    linger.fill(0);
    value(await setting);
    const got = asyncGetsockopt(ctx, socket, SOL_SOCKET, SO_LINGER, 64);
    assertEquals(value(await got), given);
  }
  const reno = new TextEncoder().encode("reno");
  value(await asyncSetsockopt(ctx, tcp, IPPROTO_TCP, TCP_CONGESTION, reno));
  for (const length of [2, 16, 64]) {
    const got = asyncGetsockopt(ctx, tcp, IPPROTO_TCP, TCP_CONGESTION, length);
    const bytes = value(await got);
    assertEquals(bytes.length, Math.min(length, 16));
    assertEquals(bytes.subarray(0, 2), reno.subarray(0, 2));
  }
});

kioTest(
  "asyncSetsockopt() and asyncGetsockopt() give the errors of the system",
  async (ctx) => {
    const { SO_LINGER, SOL_SOCKET } = kio;
    using socket = unwrap(Socket.open("ipv4"));
    assertCode(
      await asyncSetsockopt(ctx, socket, SOL_SOCKET, 9999, 1),
      "ENOPROTOOPT",
    );
    assertCode(
      await asyncGetsockopt(ctx, socket, SOL_SOCKET, 9999),
      "ENOPROTOOPT",
    );
    assertCode(
      await asyncSetsockopt(
        ctx,
        socket,
        SOL_SOCKET,
        SO_LINGER,
        new Uint8Array(0),
      ),
      "EINVAL",
    );
    assertCode(await asyncGetsockopt(ctx, 4000, SOL_SOCKET, 3), "EBADF");
  },
);

kioTest(
  "asyncBind() and asyncListen() are links where the ring has them",
  async (ctx) => {
    const { operations } = ctx.capabilities;
    using listener = unwrap(Socket.open("ipv4"));
    const ops = link(ctx, () => [
      asyncSetsockopt(ctx, listener, kio.SOL_SOCKET, kio.SO_REUSEADDR, 1),
      asyncBind(ctx, listener, LOOPBACK),
      asyncListen(ctx, listener),
    ]);
    const results = await Promise.all(ops);
    const names = ["asyncSetsockopt", "asyncBind", "asyncListen"];
    const lacking = names.findIndex((name) => operations[name] !== "ring");
    for (const [i, result] of results.entries()) {
      if (lacking < 0) value(result);
      else if (i >= lacking) {
        assertCode(result, i === lacking ? "EOPNOTSUPP" : "ECANCELED");
      }
    }
  },
);

kioTest(
  "a socket option in a chain that ends before is not set",
  async (ctx) => {
    using pair = unixPair();
    const { SO_RCVLOWAT, SOL_SOCKET } = kio;
    const [head, option] = link(ctx, () => [
      asyncBind(ctx, 4000, LOOPBACK),
      asyncSetsockopt(ctx, pair.left, SOL_SOCKET, SO_RCVLOWAT, 9),
    ]);
    assert(!(await head).ok);
    assertCode(await option, "ECANCELED");
    assertEquals(value(pair.left.getOption(SOL_SOCKET, SO_RCVLOWAT)), 1);
  },
);

kioTest(
  "operations that set sockets up leave nothing when they are given up",
  async (ctx) => {
    const opening = asyncSocket(ctx, kio.AF_INET, kio.SOCK_STREAM);
    await turn();
    opening.cancel();
    const result = await opening;
    if (!result.ok) return assertCode(result, "ECANCELED");
    assert(isOpen(result.value));
    await new Socket(result.value).close();
  },
);
