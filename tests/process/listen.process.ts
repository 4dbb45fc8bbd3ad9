/**
 * A port belongs to one process: two programs with the same line must not get
 * half of the clients each. Threads of a process share it as before.
 */
import { assert, assertEquals } from "@std/assert";
import {
  asyncAccept,
  asyncClose,
  asyncConnect,
  IoContext,
  type ListenOptions,
  Socket,
  SocketAddress,
  TcpListener,
  unwrap,
} from "@kio/kio";
import { type Program, runScript, startScript } from "./support.ts";

/** A port that was free a moment ago. */
function freePort(): number {
  using listener = unwrap(TcpListener.bind(SocketAddress.v6(0)));
  return listener.localAddress!.port;
}

/** Listens in this process and gives the outcome; nothing is left of it. */
function tryHere(at: SocketAddress, options?: ListenOptions): string {
  const bound = TcpListener.bind(at, options);
  if (!bound.ok) return bound.error.code;
  bound.value[Symbol.dispose]();
  return "ok";
}

/** The same in another process. */
async function tryThere(
  at: SocketAddress,
  options: ListenOptions = {},
): Promise<string> {
  const { out, err } = await runScript(`
const at = kio.SocketAddress.parse("${at}");
const bound = kio.TcpListener.bind(at, ${JSON.stringify(options)});
console.log(bound.ok ? "ok" : bound.error.code);
if (bound.ok) bound.value[Symbol.dispose]();
`);
  assertEquals(err, "");
  return out.trim();
}

/** Has another process listen until the end of the block. */
async function listenThere(
  at: SocketAddress,
  options: ListenOptions = {},
): Promise<Program> {
  const program = startScript(`
const at = kio.SocketAddress.parse("${at}");
const listener = kio.unwrap(kio.TcpListener.bind(at, ${
    JSON.stringify(options)
  }));
console.log("listening");
setInterval(() => listener, 1000);
`);
  await program.printed(/listening/);
  return program;
}

const { v4, v6 } = SocketAddress;
type At = (port: number) => SocketAddress;
const all4: At = (port) => v4(port);
const all6: At = (port) => v6(port);
const one4: At = (port) => v4(port, "127.0.0.1");
const two4: At = (port) => v4(port, "127.0.0.2");
const one6: At = (port) => v6(port, "::1");
const mapped: At = (port) => v6(port, "::ffff:127.0.0.1");
const shared = { reusePort: true };
const alone = { reusePort: false };
const only6 = { ipv6Only: true };

/** The first listener, the second, and the outcome of the second. */
const cases: [At, ListenOptions, At, ListenOptions, string][] = [
  [all4, {}, all4, {}, "EADDRINUSE"],
  [all4, {}, one4, {}, "EADDRINUSE"],
  [one4, {}, all4, {}, "EADDRINUSE"],
  [one4, {}, one4, {}, "EADDRINUSE"],
  [all6, {}, all4, {}, "EADDRINUSE"],
  [all4, {}, all6, {}, "EADDRINUSE"],
  [one6, {}, one6, {}, "EADDRINUSE"],
  [one4, {}, mapped, {}, "EADDRINUSE"],
  [all4, {}, all4, alone, "EADDRINUSE"],
  [all4, alone, all4, {}, "EADDRINUSE"],
  [all4, alone, all4, shared, "EADDRINUSE"],
  [all4, shared, all4, {}, "EADDRINUSE"],
  [all4, shared, all4, shared, "ok"],
  [one4, {}, two4, {}, "ok"],
  [one4, {}, one6, {}, "ok"],
  [all6, only6, all4, {}, "ok"],
];

Deno.test("TcpListener.bind() is refused where another process listens, unless both share", async () => {
  for (const [first, options, second, others, expected] of cases) {
    const port = freePort();
    await using _ = await listenThere(first(port), options);
    const ended = tryHere(second(port), others);
    const what = `${first(port)} ${JSON.stringify(options)}, then ${
      second(port)
    } ${JSON.stringify(others)}`;
    assertEquals(ended, expected, what);
  }
});

Deno.test("TcpListener.bind() shares within the process only, and a port is free when all are closed", async () => {
  using one = unwrap(TcpListener.bind(v4(0, "127.0.0.1")));
  const at = one.localAddress!;
  using two = unwrap(TcpListener.bind(at));
  using _three = unwrap(TcpListener.bind(v4(at.port)));
  assertEquals(tryHere(at, alone), "EADDRINUSE");
  assertEquals(await tryThere(at), "EADDRINUSE");
  await one.close();
  assertEquals(await tryThere(at), "EADDRINUSE");
  await two.close();
  assertEquals(await tryThere(v4(at.port, "127.0.0.2")), "EADDRINUSE");
  _three[Symbol.dispose]();
  assertEquals(await tryThere(at), "ok");
});

Deno.test("TcpListener.bind() takes no other address of the port for its own", async () => {
  const port = freePort();
  await using _ = await listenThere(one4(port));
  using _other = unwrap(TcpListener.bind(two4(port)));
  using _only6 = unwrap(TcpListener.bind(all6(port), only6));
  assertEquals(tryHere(one4(port)), "EADDRINUSE");
});

Deno.test("TcpListener.bind() takes no connection for a listener of its own", async () => {
  using ctx = new IoContext();
  using listener = unwrap(TcpListener.bind(v4(0, "127.0.0.1")));
  const at = listener.localAddress!;
  using client = unwrap(Socket.open("ipv4"));
  const [, fd] = await Promise.all([
    asyncConnect(ctx, client, at).orThrow(),
    asyncAccept(ctx, listener).orThrow(),
  ]);
  using _connection = new Socket(fd);
  await listener.close();
  await using _ = await listenThere(at);
  assertEquals(tryHere(at), "EADDRINUSE");
});

Deno.test("TcpListener.bind() is not misled by listeners that were closed by number or died with their thread", async () => {
  using ctx = new IoContext();
  const listener = unwrap(TcpListener.bind(v4(0, "127.0.0.1")));
  const at = listener.localAddress!;
  await asyncClose(ctx, listener.release()).orThrow();
  await using _closed = await listenThere(at);
  assertEquals(tryHere(at), "EADDRINUSE");

  const source = `
import { IoContext, SocketAddress, TcpListener, unwrap } from "${
    import.meta.resolve("../../mod.ts")
  }";
using ctx = new IoContext();
const listener = unwrap(TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")));
postMessage(String(listener.localAddress));
setInterval(() => listener, 1000);`;
  const url = `data:application/javascript,${encodeURIComponent(source)}`;
  const worker = new Worker(url, { type: "module" });
  const { promise, resolve } = Promise.withResolvers<string>();
  worker.onmessage = ({ data }) => resolve(data);
  const of = SocketAddress.parse(await promise);
  assertEquals(tryHere(of), "ok", "a thread shares with all others");
  assertEquals(await tryThere(of), "EADDRINUSE");
  worker.terminate();
  while (tryHere(of, alone) !== "ok") {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await using _died = await listenThere(of);
  assertEquals(tryHere(of), "EADDRINUSE");
});

Deno.test("TcpListener.bind() of a port that a socket of this process keeps", async () => {
  const ways: ((socket: Socket) => unknown)[] = [
    (socket) => unwrap(socket.setReusePort()),
    (socket) => unwrap(socket.setReuseAddr()),
  ];
  for (const prepare of ways) {
    using kept = unwrap(Socket.open("ipv4"));
    prepare(kept);
    unwrap(kept.bind(v4(0, "127.0.0.1")));
    const at = kept.localAddress!;
    using _one = unwrap(TcpListener.bind(at));
    using _two = unwrap(TcpListener.bind(at));
    assertEquals(await tryThere(at), "EADDRINUSE");
  }
});

Deno.test("TcpListener.bind() lets no other process in though a socket of this one keeps the port", async () => {
  using kept = unwrap(Socket.open("ipv4"));
  unwrap(kept.setReuseAddr());
  unwrap(kept.bind(v4(0, "127.0.0.1")));
  const at = kept.localAddress!;
  // It does not listen, so another process can.
  await using _ = await listenThere(at);
  assertEquals(tryHere(at), "EADDRINUSE");
});

Deno.test("TcpListener.bind() of two processes at once gives each port to one of them", async () => {
  const ports = Array.from({ length: 40 }, freePort);
  const startMs = Date.now() + 3000;
  const script = `
const ports = ${JSON.stringify(ports)};
while (Date.now() < ${startMs});
const got = ports.filter((port) =>
  kio.TcpListener.bind(kio.SocketAddress.v4(port, "127.0.0.1")).ok
);
console.log(JSON.stringify(got));
setInterval(() => {}, 1000);`;
  await using one = startScript(script);
  await using two = startScript(script);
  const [ones = [], twos = []] = await Promise.all(
    [one, two].map(async (program) => {
      const [line] = await program.printed(/^\[.*\]$/m);
      return JSON.parse(line) as number[];
    }),
  );
  assertEquals(
    [...ones, ...twos].toSorted((a, b) => a - b),
    ports.toSorted((a, b) => a - b),
  );
});

Deno.test("a handler that throws does not end the program", async () => {
  const { code, out, err } = await runScript(`
await using ctx = new kio.IoContext();
await using listener = kio.unwrap(
  kio.TcpListener.bind(kio.SocketAddress.v4(0, "127.0.0.1")),
);
const connections = new kio.Connections(ctx, async (socket) => {
  const buffer = new Uint8Array(100);
  const n = await kio.asyncRecv(ctx, socket, buffer).orThrow();
  JSON.parse(new TextDecoder().decode(buffer.subarray(0, n)));
  await kio.asyncSend(ctx, socket, buffer.subarray(0, n)).orThrow();
});
const stop = new AbortController();
const add = (fd) => connections.add(fd);
const accepting = kio.acceptLoop(ctx, listener, add, stop.signal);
const { port } = listener.localAddress;
for (const text of ["{", "[1]"]) {
  await using client = kio.unwrap(
    await kio.TcpStream.connect(ctx, "127.0.0.1", port),
  );
  const buffer = new TextEncoder().encode(text);
  await kio.asyncSend(ctx, client, buffer).orThrow();
  const got = await kio.asyncRecv(ctx, client, buffer).orThrow();
  console.log(text, got);
}
stop.abort();
await accepting;
await connections.closed;
`);
  assertEquals([code, out], [0, "{ 0\n[1] 3\n"]);
  assert(err.startsWith("SyntaxError: "), err);
});
