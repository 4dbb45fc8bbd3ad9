/** HTTPS server on kio. Usage: tls_kio.ts CERT KEY */
import {
  acceptLoop,
  Connections,
  IoContext,
  readTextFile,
  SocketAddress,
  SocketTransport,
  TcpListener,
  unwrap,
} from "@kio/kio";
import { TlsAcceptor } from "@kio/kio/tls";
import { answerTo } from "./tls_answers.mjs";

const ctx = new IoContext();
const [cert, key] = await Promise.all(
  Deno.args.map(async (path) => unwrap(await readTextFile(ctx, path))),
);
const acceptor = new TlsAcceptor({ cert: cert!, key: key! });
const listener = unwrap(TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")));
const connections = new Connections(ctx, async (socket) => {
  const accepted = await acceptor.accept(new SocketTransport(ctx, socket));
  if (!accepted.ok) return;
  await using client = accepted.value;
  const buffer = new Uint8Array(16384);
  for (let isOver = false; !isOver;) {
    const received = await client.recv(buffer);
    if (!received.ok || received.value === 0) return;
    const { answer, isLast } = answerTo(buffer);
    const sent = await client.send(answer);
    isOver = isLast || !sent.ok;
  }
});
console.log(`listening ${listener.localAddress!.port}`);
const { signal } = new AbortController();
await acceptLoop(ctx, listener, (fd) => connections.add(fd), signal);
