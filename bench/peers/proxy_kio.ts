/** Forwards connections to a port, on kio. Usage: proxy_kio.ts PORT */

import {
  acceptLoop,
  IoContext,
  relay,
  Socket,
  SocketAddress,
  TcpListener,
  TcpStream,
  unwrap,
} from "../../mod.ts";

const to = Number(Deno.args[0]);

using ctx = new IoContext({ entries: 1024 });

using listener = unwrap(TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")));
console.log(`listening ${listener.localAddress!.port}`);
await acceptLoop(ctx, listener, async (fd) => {
  const client = new Socket(fd);
  const server = await TcpStream.connect(ctx, "127.0.0.1", to);
  await relay(ctx, client, unwrap(server));
}, new AbortController().signal);
