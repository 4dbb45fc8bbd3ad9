/**
 * Starts the echo server, talks to it over 300 connections at a time for a few
 * seconds, and checks every byte that comes back.
 *
 *     deno task demo [--seconds 4]
 *
 * Exits with 0 if all was right, else with 1.
 */
import {
  asyncConnect,
  asyncRecvExact,
  asyncSendExact,
  IoContext,
  Socket,
  SocketAddress,
  type Task,
  unwrap,
} from "@kio/kio";
import { millisecondsOf, readArguments } from "./command_line.ts";

const CONNECTIONS = 300;
const SIZE_MAX = 16 * 1024;
/** Messages of a connection at most; then another one takes its place. */
const MESSAGES_MAX = 400;
/** Time for the server to start, and to stop. */
const MARGIN_MS = 15_000;

const runMs = readArguments({
  command: "deno task demo",
  about: "Talks to the echo server and checks every byte that comes back.",
  options: {
    seconds: { value: "N", default: "4", help: "how long it talks" },
  },
}, ({ seconds }) => millisecondsOf("--seconds", seconds));
const isTerminal = Deno.stdout.isTerminal();
/** Messages are cut out of this. */
const noise = crypto.getRandomValues(new Uint8Array(4 * SIZE_MAX));
let connections = 0;
let open = 0;
let messages = 0;
let bytes = 0;
let isOver = false;

const server = new Deno.Command(Deno.execPath(), {
  args: [
    "run",
    "--allow-ffi",
    import.meta.resolve("./echo_server.ts"),
    "--host=127.0.0.1",
    "--port=0",
  ],
  stdout: "piped",
}).spawn();
const lines = linesOf(server.stdout);
const deadline = setTimeout(() => fail("it hangs"), runMs + MARGIN_MS);
Deno.addSignalListener("SIGINT", () => fail("interrupted"));

try {
  const address = SocketAddress.parse(await said(/^listening on (.+)$/));
  const startMs = performance.now();
  await drive(address);
  const seconds = (performance.now() - startMs) / 1000;

  server.kill("SIGINT");
  const counted = await said(/^served (.+)$/);
  const { code } = await server.status;
  const expected = `${connections} connections, ${bytes} bytes`;
  if (counted !== expected || code !== 0) {
    throw new Error(
      `the server counts ${counted} (exit code ${code}), but there were ${expected}`,
    );
  }
  const megabytes = (bytes / 1e6).toLocaleString("en", {
    maximumSignificantDigits: 3,
  });
  console.log(
    `${connections.toLocaleString("en")} connections, ${megabytes} MB, ` +
      `all as sent: ${perSecond(messages, seconds)} requests/s`,
  );
} catch (error) {
  fail((error as Error).message);
}
clearTimeout(deadline);

/** Keeps all connections busy until the time is over. */
async function drive(address: SocketAddress): Task<void> {
  using ctx = new IoContext();
  const stopProgress = showProgress();
  setTimeout(() => isOver = true, runMs);
  await Promise.all(
    Array.from({ length: CONNECTIONS }, () => keepTalking(ctx, address)),
  );
  stopProgress();
}

/** One connection after the other. */
async function keepTalking(ctx: IoContext, address: SocketAddress): Task<void> {
  const buffer = new Uint8Array(SIZE_MAX);
  while (!isOver) {
    await using socket = unwrap(Socket.open(address.family));
    await asyncConnect(ctx, socket, address).orThrow();
    connections++;
    open++;
    let left = Math.ceil(MESSAGES_MAX * Math.random());
    // At least one message, or the server might never see the connection.
    do await exchange(ctx, socket, buffer); while (--left > 0 && !isOver);
    open--;
  }
}

/** Sends a message and checks the answer. */
async function exchange(
  ctx: IoContext,
  socket: Socket,
  buffer: Uint8Array,
): Task<void> {
  // From 1 byte to SIZE_MAX, small ones as often as large ones.
  const size = Math.round(SIZE_MAX ** Math.random());
  const at = Math.floor(Math.random() * (noise.length - size));
  const message = noise.subarray(at, at + size);
  await asyncSendExact(ctx, socket, message).orThrow();
  const answer = buffer.subarray(0, size);
  await asyncRecvExact(ctx, socket, answer).orThrow();
  for (let i = 0; i < size; i++) {
    if (answer[i] !== message[i]) throw new Error(`byte ${i} came back wrong`);
  }
  messages++;
  bytes += size;
}

/** One line that changes on a terminal, else a line each second. */
function showProgress(): () => void {
  const intervalMs = isTerminal ? 200 : 1000;
  let before = messages;
  const timer = setInterval(() => {
    const rate = perSecond(messages - before, intervalMs / 1000);
    before = messages;
    show(`${rate} requests/s, ${open} connections open`);
  }, intervalMs);
  return () => {
    clearInterval(timer);
    if (isTerminal) show("");
  };
}

function show(line: string): void {
  const text = isTerminal ? `\r\x1b[K${line}` : `${line}\n`;
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

function perSecond(count: number, seconds: number): string {
  return Math.round(count / seconds).toLocaleString("en");
}

/** Reads the next line of the server. */
async function said(pattern: RegExp): Task<string> {
  const { value } = await lines.next();
  const match = pattern.exec(value ?? "");
  if (match === null) throw new Error(`the server says "${value ?? ""}"`);
  return match[1]!;
}

async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string, undefined> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

/** Ends the demo, and the server whatever state it is in. */
function fail(why: string): never {
  try {
    server.kill("SIGKILL");
  } catch {
    // It has ended already.
  }
  console.error(`${isTerminal ? "\n" : ""}The demo failed: ${why}`);
  Deno.exit(1);
}
