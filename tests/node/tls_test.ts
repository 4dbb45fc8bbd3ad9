import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  asyncAccept,
  asyncRecv,
  BufferedReader,
  type IoContext,
  type Result,
  Socket,
  SocketAddress,
  SocketTransport,
  TcpListener,
  type Transport,
  unwrap,
} from "@kio/kio";
import {
  connectTls,
  startTls,
  TlsAcceptor,
  type TlsClientOptions,
  type TlsHandshakeOptions,
  type TlsServerOptions,
  type TlsStream,
} from "@kio/kio/tls";
import { handshakeBounds } from "../../node/tls_options.ts";
import {
  assertCode,
  bytes,
  fill,
  kioTest,
  pattern,
  text,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";
import {
  AUTHORITY,
  CLIENT,
  EXPIRED,
  INTRUDER,
  OTHER,
  SERVER,
} from "./certificates.ts";

const TRUSTING = { ca: AUTHORITY };
/** Deno's name for any certificate that it does not trust, other than those that
 * sign themselves. */
const UNTRUSTED = "UNABLE_TO_VERIFY_LEAF_SIGNATURE";
const TRUNCATED = "ERR_SSL_UNEXPECTED_EOF_WHILE_READING";

// What Node loads when it is first used stays open.
{
  const { IoContext } = await import("@kio/kio");
  await using ctx = new IoContext();
  await closeAll(await handshakes(ctx));
}

interface Handshakes {
  server: Result<TlsStream>;
  client: Result<TlsStream>;
  /** The connections below. */
  below: [server: SocketTransport, client: SocketTransport];
}

async function handshakes(
  ctx: IoContext,
  serverOptions: TlsServerOptions = SERVER,
  clientOptions: TlsClientOptions & TlsHandshakeOptions = TRUSTING,
  name = "localhost",
): Promise<Handshakes> {
  const { left, right } = unixPair();
  const near = new SocketTransport(ctx, left);
  const far = new SocketTransport(ctx, right);
  const acceptor = new TlsAcceptor(serverOptions);
  const [server, client] = await Promise.all([
    acceptor.accept(near),
    startTls(far, name, clientOptions),
  ]);
  return { server, client, below: [near, far] };
}

async function closeAll({ server, client }: Handshakes): Promise<void> {
  for (const it of [server, client]) if (it.ok) await it.value.close();
}

/** Both ends of a connection, which are closed at the end. */
async function pair(
  ctx: IoContext,
  server?: TlsServerOptions,
  client?: TlsClientOptions,
  name?: string,
) {
  const both = await handshakes(ctx, server, client, name);
  return {
    server: value(both.server),
    client: value(both.client),
    below: both.below,
    [Symbol.asyncDispose]: () => closeAll(both),
  };
}

/** Receives up to the end, or an error. */
async function receiveAll(
  from: Transport,
): Promise<{ data: Uint8Array; end: Result<number> }> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const buffer = new Uint8Array(60_000);
  for (;;) {
    const received = await from.recv(buffer);
    if (!received.ok || received.value === 0) {
      const data = new Uint8Array(await new Blob(parts).arrayBuffer());
      return { data, end: received };
    }
    parts.push(buffer.slice(0, received.value));
  }
}

// ---- handshakes -------------------------------------------------------------

kioTest("startTls() and accept() agree, and tell on what", async (ctx) => {
  await using both = await pair(
    ctx,
    { ...SERVER, alpnProtocols: ["h2", "http/1.1"] },
    { ...TRUSTING, alpnProtocols: ["http/1.1", "h2"] },
  );
  for (const side of [both.server, both.client]) {
    assertEquals(side.alpnProtocol, "h2", "the server's first");
    assertEquals(side.serverName, "localhost");
    assertEquals(side.protocol, "TLSv1.3");
  }
  assertEquals(both.client.peerCertificate?.subject, "CN=server");
  assertEquals(both.server.peerCertificate, undefined);
});

kioTest(
  "startTls() without ALPN has no protocol, and an address no name",
  async (ctx) => {
    for (const address of ["127.0.0.1", "::1"]) {
      await using both = await pair(ctx, SERVER, TRUSTING, address);
      for (const side of [both.server, both.client]) {
        assertEquals([side.alpnProtocol, side.serverName], [
          undefined,
          undefined,
        ]);
      }
    }
  },
);

kioTest(
  "TlsAcceptor() shows the certificate of the name that is asked for",
  async (ctx) => {
    const options = { ...SERVER, serverNames: { "Other.test": OTHER } };
    for (
      const [name, subject] of [
        ["other.test", "CN=other"],
        ["OTHER.test", "CN=other"],
        ["localhost", "CN=server"],
        ["127.0.0.1", "CN=server"],
      ] as const
    ) {
      await using both = await pair(ctx, options, TRUSTING, name);
      assertEquals(both.client.peerCertificate?.subject, subject, name);
    }
  },
);

for (
  const [what, server, client, name, code] of [
    [
      "another name",
      SERVER,
      TRUSTING,
      "other.test",
      "ERR_TLS_CERT_ALTNAME_INVALID",
    ],
    [
      "another address",
      SERVER,
      TRUSTING,
      "127.0.0.2",
      "ERR_TLS_CERT_ALTNAME_INVALID",
    ],
    [
      "an authority that is not trusted",
      SERVER,
      {},
      "localhost",
      UNTRUSTED,
    ],
    ["a time that has passed", EXPIRED, TRUSTING, "localhost", UNTRUSTED],
  ] as const
) {
  kioTest(`startTls() refuses a certificate of ${what}`, async (ctx) => {
    const both = await handshakes(ctx, server, client, name);
    assertCode(both.client, code);
    assertThrows(() => unwrap(both.client), Error, "Cannot start TLS: ");
    await closeAll(both);
    for (const { socket } of both.below) assertEquals(socket.fd, -1);
  });
}

kioTest("startTls() trusts nobody more by the environment", async (ctx) => {
  const { default: process } = await import("node:process");
  const { state } = Deno.permissions.querySync({ name: "env" });
  if (state === "granted") process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  const both = await handshakes(ctx, EXPIRED);
  if (state === "granted") delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  assertCode(both.client, UNTRUSTED);
  await closeAll(both);
});

const ASKING = { ...SERVER, ca: AUTHORITY, clientCertificate: true };

kioTest("accept() takes the certificate of a client", async (ctx) => {
  await using both = await pair(ctx, ASKING, { ...TRUSTING, identity: CLIENT });
  assertEquals(both.server.peerCertificate?.subject, "CN=client");
});

for (
  const [who, identity, code] of [
    ["has none", undefined, "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE"],
    [
      "has one of another authority",
      INTRUDER,
      UNTRUSTED,
    ],
    ["has one that has expired", EXPIRED, UNTRUSTED],
  ] as const
) {
  kioTest(`accept() refuses a client that ${who}`, async (ctx) => {
    const both = await handshakes(ctx, ASKING, { ...TRUSTING, identity });
    assertCode(both.server, code);
    // TLS 1.3: the client is done before the server has looked.
    const client = value(both.client);
    const { data, end } = await receiveAll(client);
    assertEquals(data.length, 0);
    assert(!end.ok);
    await closeAll(both);
  });
}

kioTest(
  "accept() and startTls() without a common protocol fail",
  async (ctx) => {
    const both = await handshakes(
      ctx,
      { ...SERVER, alpnProtocols: ["h2"] },
      { ...TRUSTING, alpnProtocols: ["http/1.1"] },
    );
    assertCode(both.server, "ERR_SSL_NO_APPLICATION_PROTOCOL");
    assert(!both.client.ok);
    await closeAll(both);
  },
);

kioTest("accept() that fails does not wait for its alert", async (ctx) => {
  const { left, right } = unixPair();
  await using peer = new SocketTransport(ctx, right);
  // There is no room for it.
  await fill(ctx, left);
  await peer.send(bytes("GET / HTTP/1.1\r\n\r\n"));
  const accepting = new TlsAcceptor(SERVER)
    .accept(new SocketTransport(ctx, left));
  const accepted = await within(2000, accepting, "the handshake");
  assertCode(accepted, "ERR_SSL_WRONG_VERSION_NUMBER");
  assertEquals(left.fd, -1);
});

for (
  const [what, act, code] of [
    [
      "does not speak TLS",
      async (it) => void await it.send(bytes("GET / HTTP/1.1\r\n\r\n")),
      "ERR_SSL_WRONG_VERSION_NUMBER",
    ],
    ["leaves", (it) => it.close(), "ECONNRESET"],
    [
      "stops in the middle",
      async (it) => void await it.send(new Uint8Array([22, 3, 1, 2, 0, 1])),
      "ETIMEDOUT",
    ],
    ["never speaks", () => Promise.resolve(), "ETIMEDOUT"],
  ] as [string, (it: Transport) => Promise<void>, string][]
) {
  for (const when of ["before", "after"] as const) {
    kioTest(
      `accept() of a peer that ${what}, ${when} it starts`,
      async (ctx) => {
        const { left, right } = unixPair();
        await using peer = new SocketTransport(ctx, right);
        if (when === "before") await act(peer);
        const accepting = new TlsAcceptor(SERVER)
          .accept(new SocketTransport(ctx, left), { timeoutMs: 50 });
        if (when === "after") {
          await turn(5);
          await act(peer);
        }
        assertCode(await accepting, code);
        assertEquals(left.fd, -1);
      },
    );
  }

  kioTest(`startTls() to a peer that ${what}`, async (ctx) => {
    const { left, right } = unixPair();
    await using peer = new SocketTransport(ctx, right);
    const starting = startTls(new SocketTransport(ctx, left), "localhost", {
      timeoutMs: 50,
    });
    await act(peer);
    // Which of them depends on whether it was sending or receiving.
    const also = code === "ECONNRESET" ? "EPIPE" : code;
    assertCode(await starting, code, also);
    assertEquals(left.fd, -1);
  });
}

kioTest("accept() ends by its signal", async (ctx) => {
  const acceptor = new TlsAcceptor(SERVER);
  for (const abortFirst of [true, false]) {
    using both = unixPair();
    const { left, right: _ } = both;
    const stop = new AbortController();
    if (abortFirst) stop.abort();
    const accepting = acceptor.accept(new SocketTransport(ctx, left), {
      signal: stop.signal,
    });
    stop.abort();
    assertCode(await accepting, "ECANCELED");
    assertEquals(left.fd, -1);
  }
});

kioTest(
  "accept() and startTls() throw what the connection throws",
  async (ctx) => {
    const acceptor = new TlsAcceptor(SERVER);
    using both = unixPair();
    const below = new SocketTransport(ctx, both.left);
    await below.close();
    await assertRejects(() => acceptor.accept(below), RangeError, "is closed");
    await assertRejects(() => startTls(below, "x"), RangeError, "is closed");
    // One that throws when it sends, as a client does first.
    using others = unixPair();
    const mute = new SocketTransport(ctx, others.left);
    mute.send = () => {
      throw new SyntaxError("no sends");
    };
    await assertRejects(() => startTls(mute, "x"), SyntaxError, "no sends");
    assertEquals(others.left.fd, -1);
  },
);

kioTest("accept() gives a peer 10 seconds, unless told otherwise", () => {
  assertEquals(handshakeBounds({}).timeoutMs, 10_000);
  assertEquals(handshakeBounds({ timeoutMs: 5 }).timeoutMs, 5);
});

// ---- data -------------------------------------------------------------------

kioTest(
  "TlsStream carries bytes both ways, and the end of each",
  async (ctx) => {
    await using both = await pair(ctx);
    const [question, answer] = [pattern(3_000_001), pattern(2_000_003, 2)];
    const asked = receiveAll(both.server);
    assertEquals(value(await both.client.send(question)), question.length);
    value(await both.client.shutdown());
    const got = await asked;
    assertEquals([got.data.length, value(got.end)], [question.length, 0]);
    assertEquals(got.data, question);
    // The other direction goes on.
    const answered = receiveAll(both.client);
    value(await both.server.send(answer));
    value(await both.server.shutdown());
    assertEquals((await answered).data, answer);
    assertCode(await both.client.send(bytes("late")), "EPIPE");
    value(await both.client.shutdown());
  },
);

kioTest(
  "send() keeps the order of sends, in both directions at once",
  async (ctx) => {
    await using both = await pair(ctx);
    const sizes = [1, 200_000, 49_152, 49_153, 3, 1_000_000];
    const whole = pattern(sizes.reduce((sum, size) => sum + size));
    const sides = [both.server, both.client].map(async (it) => {
      let at = 0;
      const sends = sizes.map((size) => it.send(whole.slice(at, at += size)));
      const received = receiveAll(it);
      for (const [i, sent] of (await Promise.all(sends)).entries()) {
        assertEquals(value(sent), sizes[i]);
      }
      value(await it.shutdown());
      assertEquals((await received).data, whole);
    });
    await Promise.all(sides);
  },
);

kioTest(
  "TlsStream tells the peer of bytes that are none of TLS",
  async (ctx) => {
    await using both = await pair(ctx);
    value(await both.below[1].send(bytes("neither a record nor an alert")));
    const refused = await both.server.recv(new Uint8Array(8));
    assert(!refused.ok);
    await both.server.close();
    const { end } = await receiveAll(both.client);
    assert(!end.ok && end.error.code !== TRUNCATED, "an alert");
  },
);

kioTest("TlsStream is a Transport for a BufferedReader", async (ctx) => {
  await using both = await pair(ctx);
  value(await both.client.send(bytes("first\nsecond\n")));
  await both.client.close();
  const lines: string[] = [];
  for await (const line of new BufferedReader(both.server).lines()) {
    lines.push(value(line));
  }
  assertEquals(lines, ["first", "second"]);
});

kioTest("recv() tells a cut from an end", async (ctx) => {
  {
    await using both = await pair(ctx);
    value(await both.server.send(bytes("all")));
    await both.server.close();
    const { data, end } = await receiveAll(both.client);
    assertEquals([text(data), value(end)], ["all", 0]);
  }
  await using both = await pair(ctx);
  value(await both.server.send(bytes("a part")));
  await both.below[0].close();
  const { data, end } = await receiveAll(both.client);
  assertEquals(text(data), "a part");
  assertCode(end, TRUNCATED);
  // It stays so.
  assertCode(await both.client.recv(new Uint8Array(8)), TRUNCATED);
});

kioTest("close() right after send() loses nothing", async (ctx) => {
  await using listener = unwrap(
    TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")),
  );
  const { port } = listener.localAddress!;
  const acceptor = new TlsAcceptor(SERVER);
  for (const size of [1, 50, 5_000_000]) {
    const connecting = connectTls(ctx, "127.0.0.1", port, TRUSTING);
    const socket = new Socket(value(await asyncAccept(ctx, listener)));
    const below = new SocketTransport(ctx, socket);
    const server = value(await acceptor.accept(below));
    const data = pattern(size);
    const sending = server.send(data).then(async (sent) => {
      await server.close();
      return sent;
    });
    await using peer = value(await connecting);
    // The peer is late: buffers are full meanwhile.
    await turn(50);
    const got = await receiveAll(peer);
    assertEquals(value(await sending), size);
    assertEquals(got.data, data);
    assertEquals(value(got.end), 0);
  }
});

kioTest("send() and close() wait for a slow connection below", async (ctx) => {
  const { left, right } = unixPair();
  const fast = new SocketTransport(ctx, left);
  let pending = 0;
  const slow: Transport = {
    recv: (buffer) => fast.recv(buffer),
    async send(data) {
      pending++;
      await turn(20);
      pending--;
      return await fast.send(data);
    },
    shutdown: () => fast.shutdown(),
    close: () => fast.close(),
    [Symbol.asyncDispose]: () => fast.close(),
  };
  const far = new SocketTransport(ctx, right);
  const [accepted, started] = await Promise.all([
    new TlsAcceptor(SERVER).accept(slow),
    startTls(far, "localhost", TRUSTING),
  ]);
  await using server = value(accepted);
  await using client = value(started);
  value(await server.send(bytes("hello")));
  assertEquals(pending, 0);
  await server.close();
  const { data, end } = await receiveAll(client);
  assertEquals([text(data), value(end)], ["hello", 0]);
});

for (const what of ["an end", "bytes", "a cut"]) {
  kioTest(`recv() after close() and ${what} is cancelled`, async (ctx) => {
    await using both = await pair(ctx);
    const { client, server, below } = both;
    if (what === "an end") await client.close();
    if (what === "bytes") value(await client.send(bytes("unread")));
    if (what === "a cut") await below[1].close();
    await turn(5);
    await server.close();
    const buffer = new Uint8Array(8);
    assertCode(await server.recv(buffer), "ECANCELED");
    assertCode(await server.recv(buffer), "ECANCELED");
  });
}

kioTest("recv() gives what fits, and the rest later", async (ctx) => {
  await using both = await pair(ctx);
  const data = pattern(100_000);
  value(await both.client.send(data));
  value(await both.client.shutdown());
  const got: number[] = [];
  const small = new Uint8Array(777);
  for (;;) {
    const count = value(await both.server.recv(small));
    if (count === 0) break;
    got.push(...small.subarray(0, count));
  }
  assertEquals(new Uint8Array(got), data);
});

kioTest("recv() with a timeout or a signal loses no byte", async (ctx) => {
  await using both = await pair(ctx);
  const buffer = new Uint8Array(64);
  assertCode(await both.server.recv(buffer, { timeoutMs: 1 }), "ETIMEDOUT");
  const stop = new AbortController();
  const receiving = both.server.recv(buffer, { signal: stop.signal });
  stop.abort();
  assertCode(await receiving, "ECANCELED");
  value(await both.client.send(bytes("hello")));
  assertEquals(value(await both.server.recv(buffer)), 5);
});

kioTest("TlsStream that nobody receives from stops its peer", async (ctx) => {
  await using both = await pair(ctx);
  const chunk = pattern(200_000);
  let sent = 0;
  // As much as the buffers of both sides take.
  for (;;) {
    const sending = await both.client.send(chunk, { timeoutMs: 200 });
    if (!sending.ok) {
      assertCode(sending, "ETIMEDOUT");
      break;
    }
    sent += chunk.length;
    assert(sent < 20_000_000, "it has no bound");
  }
  const { data, end } = await receiveAll(both.server);
  assert(data.length >= sent);
  for (let at = 0; at < data.length; at += chunk.length) {
    const part = data.subarray(at, at + chunk.length);
    assertEquals(part, chunk.subarray(0, part.length));
  }
  // The send that was given up has cut the connection.
  assertCode(end, TRUNCATED);
  assertCode(await both.client.send(chunk), "ECANCELED", "EPIPE");
});

kioTest(
  "TlsStream that is full goes on when it is received from",
  async (ctx) => {
    await using both = await pair(ctx);
    const data = pattern(2_000_000);
    const sending = both.client.send(data);
    await turn(50);
    const receiving = receiveAll(both.server);
    value(await sending);
    value(await both.client.shutdown());
    assertEquals((await receiving).data, data);
  },
);

kioTest(
  "close() ends what is pending, and comes back from a silent peer",
  async (ctx) => {
    const both = await pair(ctx);
    const receiving = both.server.recv(new Uint8Array(8));
    const sending = both.server.send(new Uint8Array(5_000_000));
    await turn(20);
    await Promise.all([both.server.close(), both.server.close()]);
    assertCode(await receiving, "ECANCELED");
    assert(!(await sending).ok);
    assertCode(await both.server.recv(new Uint8Array(8)), "ECANCELED");
    assertEquals(both.below[0].socket.fd, -1);
    await both.client.close();
  },
);

kioTest("close() ends a send that the connection below keeps", async (ctx) => {
  const { left, right } = unixPair();
  const below = new SocketTransport(ctx, left);
  const far = new SocketTransport(ctx, right);
  const [accepted, started] = await Promise.all([
    new TlsAcceptor(SERVER).accept(below),
    startTls(far, "localhost", TRUSTING),
  ]);
  await using client = value(started);
  const server = value(accepted);
  below.send = () => new Promise(() => {}) as never;
  const sending = server.send(bytes("hello"));
  await server.close();
  assertCode(await sending, "ECANCELED");
  assertCode(await client.recv(new Uint8Array(8)), TRUNCATED);
});

kioTest("TlsStream after a reset gives its error", async (ctx) => {
  await using listener = unwrap(
    TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")),
  );
  const { port } = listener.localAddress!;
  const connecting = connectTls(ctx, "127.0.0.1", port, TRUSTING);
  const socket = new Socket(value(await asyncAccept(ctx, listener)));
  const below = new SocketTransport(ctx, socket);
  await using server = value(await new TlsAcceptor(SERVER).accept(below));
  await using client = value(await connecting);
  await socket.reset();
  assertCode(await client.recv(new Uint8Array(8)), "ECONNRESET");
  assertCode(await client.send(bytes("x")), "ECONNRESET", "EPIPE");
  await server.close();
});

// ---- connectTls() -----------------------------------------------------------

kioTest(
  "connectTls() connects and makes the handshake, 1000 times",
  async (ctx) => {
    await using listener = unwrap(
      TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")),
    );
    const { port } = listener.localAddress!;
    const acceptor = new TlsAcceptor(SERVER);
    const client = async (count: number) => {
      for (let i = 0; i < count; i++) {
        await using it = value(
          await connectTls(ctx, "127.0.0.1", port, TRUSTING),
        );
        const data = bytes(`hello ${i}`);
        value(await it.send(data));
        const buffer = new Uint8Array(64);
        const count = value(await it.recv(buffer));
        assertEquals(buffer.subarray(0, count), data);
      }
    };
    const serve = async (fd: number) => {
      const below = new SocketTransport(ctx, new Socket(fd));
      await using it = value(await acceptor.accept(below));
      const buffer = new Uint8Array(64);
      for (;;) {
        const count = value(await it.recv(buffer));
        if (count === 0) return;
        value(await it.send(buffer.subarray(0, count)));
      }
    };
    const clients = Promise.all(Array.from({ length: 20 }, () => client(50)));
    const served: Promise<void>[] = [];
    for (let i = 0; i < 1000; i++) {
      served.push(serve(value(await asyncAccept(ctx, listener))));
    }
    await Promise.all([clients, ...served]);
  },
  { entries: 256 },
);

kioTest("connectTls() has one timeout for the whole", async (ctx) => {
  await using listener = unwrap(
    TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")),
  );
  const { port } = listener.localAddress!;
  const options = { ...TRUSTING, timeoutMs: 50 };
  const connecting = connectTls(ctx, "127.0.0.1", port, options);
  await using peer = new Socket(value(await asyncAccept(ctx, listener)));
  const failed = await connecting;
  assertCode(failed, "ETIMEDOUT");
  assertThrows(
    () => unwrap(failed),
    Deno.errors.TimedOut,
    `Cannot connect to 127.0.0.1:${port} by TLS: `,
  );
  // It has left.
  const scrap = new Uint8Array(4096);
  for (;;) {
    if (value(await asyncRecv(ctx, peer, scrap)) === 0) break;
  }
});

kioTest("connectTls() where nothing listens", async (ctx) => {
  const listener = unwrap(TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")));
  const { port } = listener.localAddress!;
  await listener.close();
  const failed = await connectTls(ctx, "127.0.0.1", port, TRUSTING);
  assertCode(failed, "ECONNREFUSED");
});

// ---- misuse -----------------------------------------------------------------

kioTest("TlsAcceptor() refuses what makes no sense", () => {
  const { cert, key } = SERVER;
  type Wrong = [unknown, new (message: string) => Error, string];
  const wrong: Wrong[] = [
    [undefined, TypeError, "options must be an object"],
    [{ cert }, TypeError, "key must be a string"],
    [{ cert: "no certificate", key }, TypeError, "cert is no certificate"],
    [{ cert, key: "no key" }, TypeError, "key is no private key"],
    [{ cert, key: OTHER.key }, TypeError, "key is not that of cert"],
    [{ cert, key, ca: ["x"] }, TypeError, "ca is no certificate"],
    [{ cert, key, alpnProtocols: "h2" }, TypeError, "an array"],
    [{ cert, key, alpnProtocols: [""] }, RangeError, "1 to 255 bytes"],
    [
      { cert, key, clientCertificate: true },
      TypeError,
      "needs the authorities",
    ],
    [{ cert, key, clientCertificate: 1 }, TypeError, "must be a boolean"],
    [{ cert, key, serverNames: { a: { cert } } }, TypeError, "key must be"],
  ];
  for (const [options, Class, message] of wrong) {
    const make = () => new TlsAcceptor(options as TlsServerOptions);
    assertInstanceOf(assertThrows(make, Class, message), Class);
  }
});

kioTest(
  "TlsStream refuses wrong arguments, and a second receive",
  async (ctx) => {
    await using both = await pair(ctx);
    const { server } = both;
    assertThrows(() => server.recv(new Uint8Array(0)), RangeError);
    assertThrows(
      () => server.recv(new Uint8Array(1), { timeoutMs: -1 }),
      RangeError,
    );
    assertThrows(() => server.recv("x" as never), TypeError);
    assertThrows(() => server.recv(new Uint16Array(2) as never), TypeError);
    assertThrows(() => server.send(new Uint8Array(0)), RangeError);
    assertThrows(() => server.send("x" as never), TypeError);
    assertThrows(() => server.send(new Uint16Array(2) as never), TypeError);
    const receiving = server.recv(new Uint8Array(8));
    assertThrows(
      () => server.recv(new Uint8Array(8)),
      TypeError,
      "another receive is pending",
    );
    value(await both.client.send(bytes("hello")));
    assertEquals(value(await receiving), 5);
  },
);

kioTest(
  "a TlsStream outlives a signal that is aborted already",
  async (ctx) => {
    await using both = await pair(ctx);
    const { client, server } = both;
    const options = { signal: AbortSignal.abort() };
    const buffer = new Uint8Array(8);
    assertCode(await client.send(bytes("no"), options), "ECANCELED");
    value(await client.send(bytes("hello")));
    assertEquals(value(await server.recv(buffer.subarray(0, 1))), 1);
    assertCode(await server.recv(buffer, options), "ECANCELED");
    assertEquals(value(await server.recv(buffer.subarray(1))), 4);
    assertEquals(text(buffer.subarray(0, 5)), "hello");
  },
);

kioTest(
  "TlsStream takes a buffer that is taken away for no end",
  async (ctx) => {
    await using both = await pair(ctx);
    const { client, server } = both;
    const taken = new Uint8Array(8);
    const receiving = server.recv(taken);
    taken.buffer.transfer();
    value(await client.send(bytes("hello")));
    assertCode(await receiving, "EFAULT");
    const buffer = new Uint8Array(8);
    assertEquals(
      text(buffer.subarray(0, value(await server.recv(buffer)))),
      "hello",
    );
  },
);

kioTest(
  "startTls() refuses wrong arguments, and leaves the connection",
  async (ctx) => {
    using both = unixPair();
    const below = new SocketTransport(ctx, both.left);
    const acceptor = new TlsAcceptor(SERVER);
    await assertRejects(() => startTls(below, "a\0b"), TypeError);
    await assertRejects(() => startTls(below, ""), TypeError, "is empty");
    await assertRejects(
      () => startTls(below, "a", { timeoutMs: -1 }),
      RangeError,
    );
    await assertRejects(() => startTls(below, "a", { ca: "x" }), TypeError);
    await assertRejects(() => startTls({} as Transport, "a"), TypeError);
    await assertRejects(() => acceptor.accept({} as Transport), TypeError);
    await assertRejects(
      () => acceptor.accept(below, { timeoutMs: NaN }),
      RangeError,
    );
    assert(both.left.fd >= 0);
  },
);
