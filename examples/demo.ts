/**
 * Measures echo servers on kio and on Deno's own sockets, live, by one client
 * that checks every byte:
 *
 *     deno task demo [--seconds 10] [--connections 64]
 *
 * Each server is a process of its own. Both have the same connections and the
 * same messages, in turn for a quarter of a second each, so that they share the
 * moods of the machine. Exits with 0 if all bytes came back as they were sent.
 */
import { BufferPool, IoContext, SocketAddress, type Task } from "@kio/kio";
import { millisecondsOf, readArguments, wholeNumber } from "./command_line.ts";
import { Client } from "./demo_client.ts";
import { Screen } from "./demo_screen.ts";
import { EchoServer } from "./demo_servers.ts";

/** Bytes of a message. */
const SIZE_MAX = 4096;
/** How long one server has the client for itself. */
const TURN_MS = 250;
/** Turns of each server before it counts: V8 compiles. */
const WARM_UP_TURNS = 2;
/** Time for the servers to start and to stop. */
const MARGIN_MS = 15_000;

const { runMs, connections } = readArguments({
  command: "deno task demo",
  about: "Measures echo servers on kio and on Deno's own sockets, live, and " +
    "checks every byte.",
  options: {
    seconds: { value: "SECONDS", default: "10", help: "how long it measures" },
    connections: { value: "N", default: "64", help: "to each server" },
  },
}, ({ seconds, connections }) => ({
  runMs: millisecondsOf("--seconds", seconds),
  connections: wholeNumber("--connections", connections, 1, 400),
}));

/** Messages are parts of this. */
const noise = crypto.getRandomValues(new Uint8Array(16 * SIZE_MAX));
const screen = new Screen(connections, SIZE_MAX);
const servers = [
  new EchoServer("kio", "demo_kio.ts", "--allow-ffi"),
  new EchoServer("Deno", "demo_deno.ts", "--allow-net=127.0.0.1"),
];
for (const [signal, number] of [["SIGINT", 2], ["SIGTERM", 15]] as const) {
  Deno.addSignalListener(signal, () => end(128 + number));
}
setTimeout(() => end(1, "it hangs"), runMs + MARGIN_MS);

try {
  using ctx = new IoContext();
  using pool = new BufferPool(ctx, { count: 1024, size: SIZE_MAX });
  const clients = new Map<EchoServer, Client[]>();
  for (const server of servers) {
    const address = SocketAddress.parse(await server.listening());
    const connecting = Array.from(
      { length: connections },
      () =>
        Client.connect(
          ctx,
          address,
          pool,
          (bytes, ms) => server.count(bytes, ms),
        ),
    );
    clients.set(server, await Promise.all(connecting));
  }
  await measure(clients);
  for (const client of [...clients.values()].flat()) {
    await client[Symbol.asyncDispose]();
  }
  for (const server of servers) await server.stop(connections);
  screen.summarize(servers);
} catch (error) {
  end(1, (error as Error).message);
}
Deno.exit();

/** Gives the servers their turns until the time is over. */
async function measure(clients: Map<EchoServer, Client[]>): Task<void> {
  const startMs = performance.now();
  for (let turn = 0; performance.now() - startMs < runMs; turn++) {
    // Each begins as often as the other.
    const order = turn % 2 === 0 ? servers : servers.toReversed();
    const messages = Array.from({ length: connections }, anyMessage);
    for (const server of order) {
      server.begin();
      const endMs = performance.now() + TURN_MS;
      await Promise.all(
        clients.get(server)!.map((it, i) => it.talk(messages[i]!, endMs)),
      );
      server.finish();
    }
    if (turn < WARM_UP_TURNS) { for (const server of servers) server.forget(); }
    else screen.show(servers, (runMs - performance.now() + startMs) / 1000);
  }
}

/** A part of the noise. Small ones are as frequent as large ones. */
function anyMessage(): Uint8Array<ArrayBuffer> {
  const size = Math.round(SIZE_MAX ** Math.random());
  const at = Math.floor(Math.random() * (noise.length - size));
  return noise.subarray(at, at + size);
}

/** Ends the demo, and the servers whatever state they are in. */
function end(code: number, why?: string): never {
  for (const server of servers) server.kill();
  screen.leave();
  if (why !== undefined) console.error(`The demo failed: ${why}`);
  Deno.exit(code);
}
