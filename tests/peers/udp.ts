/**
 * UdpSocket against other programs, `deno task test:udp`: socat sends and
 * answers datagrams, and iperf3 measures a relay.
 */
import { assert, assertEquals } from "@std/assert";
import {
  acceptLoop,
  asyncRecv,
  asyncSendExact,
  asyncShutdown,
  type IoContext,
  IoContext as Context,
  SHUT_WR,
  Socket,
  SocketAddress,
  TcpListener,
  TcpStream,
  type UdpOptions,
  UdpSocket,
  unwrap,
} from "@kio/kio";
import { kioTest, turn } from "../support.ts";

const LOOPBACK = {
  ipv4: SocketAddress.v4(0, "127.0.0.1"),
  ipv6: SocketAddress.v6(0, "::1"),
};
const FAMILIES = ["ipv4", "ipv6"] as const;
const HURRY_MS = 10_000;

/** Runs a program with some input; gives its output. */
async function run(
  [program = "", ...args]: string[],
  input = "",
): Promise<string> {
  const child = new Deno.Command(program, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  const out = new TextDecoder().decode(stdout);
  assert(success, `${program}: ${out} ${new TextDecoder().decode(stderr)}`);
  return out;
}

/** A port that nothing has at the moment. */
function freePort(): number {
  using socket = unwrap(UdpSocket.bind(LOOPBACK.ipv4));
  return socket.localAddress!.port;
}

/** Sends all datagrams back, until the signal. */
async function echo(ctx: IoContext, socket: UdpSocket, signal: AbortSignal) {
  for await (const result of socket.datagrams(ctx).withSignal(signal)) {
    if (!result.ok) continue;
    const { bytes, address } = result.value;
    unwrap(await socket.send(ctx, bytes, address));
  }
}

for (const family of FAMILIES) {
  kioTest(`socat gets its datagrams back, ${family}`, async (ctx) => {
    await using socket = unwrap(UdpSocket.bind(LOOPBACK[family]));
    const stop = new AbortController();
    const echoing = echo(ctx, socket, stop.signal);
    const { port } = socket.localAddress!;
    const to = family === "ipv4"
      ? `UDP4:127.0.0.1:${port}`
      : `UDP6:[::1]:${port}`;
    for (const size of [1, 1472, 30_000]) {
      const text = "x".repeat(size);
      const out = await run(["socat", "-b65507", "-t0.5", "-", to], text);
      assertEquals(out.length, size);
    }
    stop.abort();
    await echoing;
  });

  kioTest(`socat answers, ${family}`, async (ctx) => {
    const port = freePort();
    const at = family === "ipv4"
      ? SocketAddress.v4(port, "127.0.0.1")
      : SocketAddress.v6(port, "::1");
    const listen = family === "ipv4"
      ? `UDP4-RECVFROM:${port},bind=127.0.0.1,fork`
      : `UDP6-RECVFROM:${port},bind=[::1],fork`;
    const child = new Deno.Command("socat", {
      args: [listen, "SYSTEM:tr a-z A-Z"],
      stdout: "null",
      stderr: "null",
    }).spawn();
    try {
      await using socket = unwrap(UdpSocket.connect(at));
      const buffer = new Uint8Array(64);
      for (;;) {
        // Until it listens, what comes back is ECONNREFUSED.
        await socket.send(ctx, new TextEncoder().encode("hello"));
        const answer = await socket.receive(ctx, buffer).withTimeout(500);
        if (!answer.ok) {
          await turn(20);
          continue;
        }
        const said = new TextDecoder().decode(answer.value.bytes);
        assertEquals(said, "HELLO");
        break;
      }
    } finally {
      child.kill();
      await child.status;
    }
  });
}

kioTest("socat sends to a multicast group", async (ctx) => {
  const options = { reuseAddr: true };
  await using socket = unwrap(UdpSocket.bind(0, options));
  const group = "239.255.66.77";
  unwrap(socket.joinMulticast(group, 1));
  const { port } = socket.localAddress!;
  const to = `UDP4-DATAGRAM:${group}:${port},ip-multicast-if=127.0.0.1`;
  const receiving = socket.receive(ctx, new Uint8Array(64));
  await run(["socat", "-u", "-", to], "to all");
  const { bytes } = await receiving.withTimeout(HURRY_MS).orThrow();
  assertEquals(new TextDecoder().decode(bytes), "to all");
});

// ---- iperf3 through a relay ------------------------------------------------------

/** Passes bytes on, up to the end. */
async function pass(ctx: IoContext, from: Socket, to: Socket): Promise<void> {
  const buffer = new Uint8Array(65536);
  for (;;) {
    const received = await asyncRecv(ctx, from, buffer);
    if (!received.ok || received.value === 0) break;
    const data = buffer.subarray(0, received.value);
    if (!(await asyncSendExact(ctx, to, data)).ok) break;
  }
  await asyncShutdown(ctx, to, SHUT_WR);
}

/** Relays a port, TCP and UDP, to another. iperf3 has both there. */
async function relay(
  ctx: IoContext,
  listener: TcpListener,
  socket: UdpSocket,
  port: number,
  options: UdpOptions,
  signal: AbortSignal,
): Promise<void> {
  const to = SocketAddress.v4(port, "127.0.0.1");
  const behind = new Map<string, UdpSocket>();
  const jobs: Promise<void>[] = [];
  const back = async (other: UdpSocket, client: SocketAddress) => {
    for await (const result of other.datagrams(ctx).withSignal(signal)) {
      if (!result.ok) continue;
      const { bytes, segmentSize } = result.value;
      await socket.send(ctx, bytes, client, { segmentSize });
    }
  };
  const there = async () => {
    for await (const result of socket.datagrams(ctx).withSignal(signal)) {
      if (!result.ok) continue;
      const { bytes, address, segmentSize } = result.value;
      let other = behind.get(`${address}`);
      if (other === undefined) {
        other = unwrap(UdpSocket.connect(to, options));
        behind.set(`${address}`, other);
        jobs.push(back(other, address!));
      }
      await other.send(ctx, bytes, undefined, { segmentSize });
    }
  };
  jobs.push(there());
  await acceptLoop(ctx, listener, (fd) => {
    jobs.push((async () => {
      await using client = new Socket(fd);
      await using server = unwrap(
        await TcpStream.connect(ctx, "127.0.0.1", port),
      );
      await Promise.all([pass(ctx, client, server), pass(ctx, server, client)]);
    })());
  }, signal);
  await Promise.all(jobs);
  for (const other of behind.values()) await other.close();
}

for (const gro of [false, true]) {
  for (const flags of [[], ["-R"]]) {
    const title = `iperf3 -u ${flags} through a relay${gro ? " with gro" : ""}`;
    kioTest(`${title} comes through`, async () => {
      await using ctx = new Context();
      const options = { gro };
      await using listener = unwrap(TcpListener.bind(LOOPBACK.ipv4));
      const at = listener.localAddress!;
      await using socket = unwrap(UdpSocket.bind(at, options));
      unwrap(socket.setRecvBuffer(1 << 20));
      const port = freePort();
      const server = new Deno.Command("iperf3", {
        args: ["-s", "-1", "-p", `${port}`, "-B", "127.0.0.1"],
        stdout: "null",
        stderr: "null",
      }).spawn();
      const stop = new AbortController();
      while (!isListening(port)) await turn(20);
      const relaying = relay(ctx, listener, socket, port, options, stop.signal);
      const out = await run([
        ...["iperf3", "-c", "127.0.0.1", "-p", `${at.port}`, "-u", "-J"],
        ...["-b", "4M", "-l", "1200", "-n", "1M", ...flags],
      ]);
      stop.abort();
      await relaying;
      await server.status;
      const { end: { sum } } = JSON.parse(out);
      assert(sum.packets > 800, out);
      assert(sum.lost_packets <= sum.packets / 20, out);
    });
  }
}

/** Tells whether a program listens, without a connection: iperf3 takes one. */
function isListening(port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const sockets = Deno.readTextFileSync("/proc/net/tcp");
  return sockets.includes(`:${hex} 00000000:0000 0A`);
}
