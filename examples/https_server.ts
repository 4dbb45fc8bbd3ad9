/**
 * An HTTPS server that greets: HTTP/1.1 with keep-alive, written for any
 * `Transport`, and run on TLS. Ctrl-C stops it when each request is answered.
 *
 *     deno task https --cert cert.pem --key key.pem [--port 8443]
 */
import {
  acceptLoop,
  BufferedReader,
  Connections,
  IoContext,
  readTextFile,
  type Socket,
  SocketTransport,
  type Task,
  TcpListener,
  type Transport,
} from "@kio/kio";
import { TlsAcceptor, type TlsIdentity } from "@kio/kio/tls";
import { readArguments } from "./command_line.ts";
import { addressOf, listenOptions } from "./listen_options.ts";

const IDLE_MS = 60_000;
const LINE_MAX = 8192;
const HEADERS_MAX = 100;

const { address, files } = readArguments({
  command: "deno task https",
  about: "Greets over HTTPS, until Ctrl-C stops it.",
  options: {
    cert: {
      value: "FILE",
      isRequired: true,
      help: "certificate in PEM, with those that lead to its authority",
    },
    key: { value: "FILE", isRequired: true, help: "its private key in PEM" },
    ...listenOptions("127.0.0.1"),
  },
}, ({ cert, key, ...listen }) => ({
  address: addressOf(listen),
  files: { cert, key },
}));

using ctx = new IoContext();
const acceptor = acceptorOf(await identityOf(files));
const bound = TcpListener.bind(address);
if (!bound.ok) fail(`Cannot listen on ${address}: ${bound.error.message}`);
await using listener = bound.value;
const stop = new AbortController();
const { signal } = stop;
let answered = 0;

for (const name of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(name, () => stop.abort());
}
const connections = new Connections(ctx, serveTls);
console.log(`listening on https://${listener.localAddress}`);
await acceptLoop(ctx, listener, (fd) => connections.add(fd), signal);
await connections.closed;
console.log(`answered ${answered} requests`);
Deno.exit();

async function serveTls(socket: Socket): Task<void> {
  const tcp = new SocketTransport(ctx, socket);
  const peer = await acceptor.accept(tcp, { signal });
  // A client that does not trust the certificate, or does not speak TLS.
  if (!peer.ok) return;
  await using client = peer.value;
  await serve(client);
}

/** Answers requests: with TLS below or without. */
async function serve(client: Transport): Promise<void> {
  const reader = new BufferedReader(client);
  const limits = { max: LINE_MAX, timeoutMs: IDLE_MS };
  for (let isOver = false; !isOver;) {
    const first = await reader.line({ ...limits, signal });
    if (!first.ok || first.value === undefined) return;
    const request = /^(\S+) (\S+) HTTP\/1\.[01]$/.exec(first.value);
    let headers = 0;
    let line = await reader.line(limits);
    for (; line.ok && line.value !== ""; line = await reader.line(limits)) {
      const [name = "", value = ""] = line.value?.split(/:\s*/, 2) ?? [];
      isOver ||= /^connection$/i.test(name) && /close/i.test(value);
      // No request of this server has a body.
      isOver ||= /^(content-length|transfer-encoding)$/i.test(name);
      if (++headers > HEADERS_MAX || line.value === undefined) return;
    }
    if (!line.ok) return;
    isOver ||= request === null || signal.aborted;
    const [status, text] = request === null
      ? ["400 Bad Request", "This is no request.\n"]
      : request[1] !== "GET"
      ? ["405 Method Not Allowed", "Only GET is allowed.\n"]
      : ["200 OK", `Hello, you asked for ${request[2]}\n`];
    const body = new TextEncoder().encode(text);
    const head = [
      `HTTP/1.1 ${status}`,
      "content-type: text/plain; charset=utf-8",
      `content-length: ${body.length}`,
      ...(isOver ? ["connection: close"] : []),
    ].join("\r\n");
    const answer = new TextEncoder().encode(`${head}\r\n\r\n${text}`);
    const sent = await client.send(answer, { timeoutMs: IDLE_MS });
    if (!sent.ok) return;
    answered++;
  }
}

async function identityOf(
  files: { cert: string; key: string },
): Promise<TlsIdentity> {
  const read = async (path: string) => {
    const text = await readTextFile(ctx, path);
    if (!text.ok) fail(`Cannot read ${path}: ${text.error.message}`);
    return text.value;
  };
  return { cert: await read(files.cert), key: await read(files.key) };
}

function acceptorOf(identity: TlsIdentity): TlsAcceptor {
  try {
    return new TlsAcceptor({ ...identity, alpnProtocols: ["http/1.1"] });
  } catch (error) {
    // The files have no certificate or no key.
    fail((error as Error).message);
  }
}

function fail(message: string): never {
  console.error(message);
  Deno.exit(1);
}
