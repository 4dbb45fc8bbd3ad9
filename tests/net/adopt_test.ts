import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  acceptLoop,
  asyncAccept,
  asyncClose,
  asyncConnect,
  asyncPipe,
  asyncRecv,
  asyncSend,
  asyncShutdown,
  dup,
  type IoContext,
  listenFds,
  MSG_DONTWAIT,
  type Result,
  SHUT_WR,
  Socket,
  SocketAddress,
  TcpListener,
  TcpStream,
  UdpSocket,
  UnixListener,
  UnixStream,
  unwrap,
} from "@kio/kio";
import { assertCode, isOpen, kioTest, tcpPair, value } from "../support.ts";

const LOCAL = SocketAddress.v4(0, "127.0.0.1");

/** A duplicate of an fd, as another process would have it. */
function copyOf(fd: { readonly fd: number }): number {
  return value(dup(fd));
}

async function clientOf(ctx: IoContext, listener: Socket): Promise<Socket> {
  const client = unwrap(Socket.open("ipv4"));
  value(await asyncConnect(ctx, client, listener.localAddress!));
  return client;
}

for (
  const [how, end] of [
    ["close()", (socket: Socket) => socket.close()],
    ["dispose", (socket: Socket) => socket[Symbol.dispose]()],
    ["asyncDispose", (socket: Socket) => socket[Symbol.asyncDispose]()],
  ] as const
) {
  kioTest(
    `adopt() ${how} leaves a connection to its other owner`,
    async (ctx) => {
      using pair = await tcpPair(ctx);
      const copy = value(TcpStream.adopt(copyOf(pair.left)));
      assert(copy instanceof TcpStream);
      await end(copy);
      value(await asyncSend(ctx, pair.left, new Uint8Array(3)));
      const buffer = new Uint8Array(8);
      assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 3);
    },
  );

  kioTest(
    `adopt() ${how} leaves the clients of a listener waiting`,
    async (ctx) => {
      await using listener = unwrap(TcpListener.bind(LOCAL));
      await using client = await clientOf(ctx, listener);
      await end(value(TcpListener.adopt(copyOf(listener))));
      await using late = await clientOf(ctx, listener);
      for (const it of [client, late]) {
        const fd = value(await asyncAccept(ctx, listener));
        await using stream = new TcpStream(fd);
        value(await asyncSend(ctx, stream, new Uint8Array(1)));
        assertEquals(value(await asyncRecv(ctx, it, new Uint8Array(8))), 1);
      }
    },
  );
}

kioTest("adopt() close() cancels what this process waits for", async (ctx) => {
  using pair = await tcpPair(ctx);
  const copy = value(Socket.adopt(copyOf(pair.left)));
  const receiving = asyncRecv(ctx, copy, new Uint8Array(8));
  await copy.close();
  assertCode(await receiving, "ECANCELED");
  assertEquals(copy.fd, -1);
});

kioTest("adopt() of a connection ends by asyncShutdown()", async (ctx) => {
  using pair = await tcpPair(ctx);
  await using copy = value(TcpStream.adopt(copyOf(pair.left)));
  value(await asyncShutdown(ctx, copy, SHUT_WR));
  assertEquals(value(await asyncRecv(ctx, pair.right, new Uint8Array(8))), 0);
});

kioTest("adopt() of datagrams leaves the socket receiving", async (ctx) => {
  await using socket = unwrap(UdpSocket.bind(LOCAL));
  const copy = value(UdpSocket.adopt(copyOf(socket)));
  assert(copy instanceof UdpSocket);
  await copy.close();
  const to = socket.localAddress!;
  value(await socket.send(ctx, new Uint8Array(5), to));
  const got = value(await socket.receive(ctx, new Uint8Array(64)));
  assertEquals(got.bytes.length, 5);
});

kioTest("acceptLoop() of an adopted listener does not stop it", async (ctx) => {
  await using listener = unwrap(TcpListener.bind(LOCAL));
  const shared = value(TcpListener.adopt(copyOf(listener)));
  const waiting = await clientOf(ctx, listener);
  const fds: number[] = [];
  const stop = new AbortController();
  const looping = acceptLoop(ctx, shared, (fd) => {
    fds.push(fd);
    stop.abort();
  }, stop.signal);
  value(await looping);
  await shared.close();
  const late = await clientOf(ctx, listener);
  value(
    await acceptLoop(
      ctx,
      listener,
      (fd) => void fds.push(fd),
      AbortSignal.abort(),
    ),
  );
  assertEquals(fds.length, 2);
  for (const fd of fds) await new Socket(fd).close();
  await Promise.all([waiting.close(), late.close()]);
});

kioTest(
  "adopt() refuses what does not suit, and leaves it open",
  async (ctx) => {
    await using listener = unwrap(TcpListener.bind(LOCAL));
    await using open = unwrap(Socket.open("ipv4"));
    await using datagrams = unwrap(UdpSocket.bind(LOCAL));
    await using unixDatagrams = unwrap(Socket.open("unix", "datagram"));
    await using unixListener = unwrap(
      TcpListener.bind(SocketAddress.unix(`\0kio-adopt-${Math.random()}`)),
    );
    const { readFd: reads, writeFd: writes } = value(await asyncPipe(ctx));
    type Adopt = (fd: number) => Result<Socket>;
    const cases: [Adopt, number, string][] = [
      [Socket.adopt, reads, "ENOTSOCK"],
      [TcpListener.adopt, reads, "ENOTSOCK"],
      [TcpListener.adopt, copyOf(open), "EINVAL"],
      [TcpListener.adopt, copyOf(datagrams), "EPROTOTYPE"],
      [TcpStream.adopt, copyOf(open), "ENOTCONN"],
      [TcpStream.adopt, copyOf(listener), "ENOTCONN"],
      [TcpStream.adopt, copyOf(unixListener), "ENOTCONN"],
      [TcpStream.adopt, copyOf(datagrams), "EPROTOTYPE"],
      [UdpSocket.adopt, copyOf(open), "EPROTOTYPE"],
      [UdpSocket.adopt, copyOf(unixDatagrams), "EAFNOSUPPORT"],
    ];
    for (const [adopt, fd, code] of cases) {
      const result = adopt(fd);
      assertCode(result, code);
      assertThrows(() => unwrap(result), Error, `Cannot adopt fd ${fd}: `);
      assert(isOpen(fd));
      // It has no owner: it may still be adopted as what it is.
      if (fd !== reads) await value(Socket.adopt(fd)).close();
    }
    const copy = copyOf(unixListener);
    await value(TcpListener.adopt(copy)).close();
    assertCode(TcpListener.adopt(copy), "EBADF");
    for (const fd of [reads, writes]) value(await asyncClose(ctx, fd));
  },
);

kioTest("adopt() refuses an fd that has an owner", async (ctx) => {
  using pair = await tcpPair(ctx);
  const { fd } = pair.left;
  assertThrows(() => TcpStream.adopt(fd), TypeError, "release() it first");
  assertThrows(() => Socket.adopt(ctx.ringFd), TypeError, "the ring");
  for (const wrong of [-1, 2 ** 31, 0.5, NaN, "3"]) {
    assertThrows(() => Socket.adopt(wrong as number), RangeError);
  }
  const socket = value(Socket.adopt(pair.left.release()));
  await socket.close();
  assertEquals(
    value(await asyncRecv(ctx, pair.right, new Uint8Array(1), MSG_DONTWAIT)),
    0,
  );
});

// ---- listenFds() ------------------------------------------------------------

function envOf(env: Record<string, string>): Map<string, string> {
  return new Map(Object.entries(env));
}

const LISTEN_PID = `${Deno.pid}`;

kioTest(
  "listenFds() is empty for another process, and without variables",
  () => {
    const LISTEN_FDS = "1";
    for (
      const env of [
        {},
        { LISTEN_FDS },
        { LISTEN_PID },
        { LISTEN_PID: `${Deno.pid + 1}`, LISTEN_FDS },
        { LISTEN_PID, LISTEN_FDS: "0" },
        { LISTEN_PID, LISTEN_FDS: "0", LISTEN_FDNAMES: "" },
      ]
    ) assertEquals(value(listenFds(envOf(env as Record<string, string>))), []);
  },
);

kioTest("listenFds() refuses variables that make no sense", () => {
  for (
    const env of [
      { LISTEN_PID: "me", LISTEN_FDS: "1" },
      { LISTEN_PID: "", LISTEN_FDS: "1" },
      { LISTEN_PID, LISTEN_FDS: "-1" },
      { LISTEN_PID, LISTEN_FDS: "1.5" },
      { LISTEN_PID, LISTEN_FDS: "99999999999" },
      { LISTEN_PID, LISTEN_FDS: "2", LISTEN_FDNAMES: "a" },
      { LISTEN_PID, LISTEN_FDS: "1", LISTEN_FDNAMES: "a:b" },
    ]
  ) assertCode(listenFds(envOf(env)), "EINVAL");
  // It stops at the first that is not open.
  const many = { LISTEN_PID, LISTEN_FDS: "2147483000" };
  assertCode(listenFds(envOf(many)), "EBADF");
});

kioTest("adopt() gives an owner its context", async (ctx) => {
  await using bound = unwrap(TcpListener.bind(LOCAL));
  await using listener = value(TcpListener.adopt(copyOf(bound), ctx));
  await using client = await clientOf(ctx, bound);
  await using stream = await listener.accept();
  await using copy = value(TcpStream.adopt(copyOf(client), ctx));
  assertEquals(await copy.write(new Uint8Array(2)), 2);
  assertEquals(await stream.read(new Uint8Array(8)), 2);
});

kioTest("adopt() of a unix class takes unix sockets only", async (ctx) => {
  const [left, right] = unwrap(Socket.pair());
  await using _ = left;
  await using stream = value(UnixStream.adopt(right.release(), ctx));
  value(await asyncSend(ctx, left, new Uint8Array(3)));
  assertEquals(await stream.read(new Uint8Array(8)), 3);
  await using bound = unwrap(TcpListener.bind(LOCAL));
  using client = await clientOf(ctx, bound);
  const fds = [copyOf(bound), copyOf(client)];
  assertCode(UnixListener.adopt(fds[0]!, ctx), "EAFNOSUPPORT");
  assertCode(UnixStream.adopt(fds[1]!, ctx), "EAFNOSUPPORT");
  for (const fd of fds) value(await asyncClose(ctx, fd));
});
