/**
 * Accepts connections on kio and closes each at once.
 * Usage: accept_kio.ts [multishot]
 */

import {
  asyncAccept,
  asyncAcceptMultishot,
  asyncClose,
  IoContext,
  SocketAddress,
  TcpListener,
  unwrap,
} from "../../mod.ts";

using ctx = new IoContext({ entries: 1024 });

const address = SocketAddress.v4(0, "127.0.0.1");
using listener = unwrap(TcpListener.bind(address));
console.log(`listening ${listener.localAddress!.port}`);
if (Deno.args[0] === "multishot") {
  for await (const fd of asyncAcceptMultishot(ctx, listener).orThrow()) {
    void asyncClose(ctx, fd);
  }
}
while (true) {
  void asyncClose(ctx, unwrap(await asyncAccept(ctx, listener)));
}
