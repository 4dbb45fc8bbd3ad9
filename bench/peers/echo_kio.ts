/**
 * Echo server on kio: the same loop as `echo_deno.ts`, on io_uring.
 * Usage: echo_kio.ts [TIMEOUT_MS], which bounds each receive.
 */

import {
  asyncAccept,
  IoContext,
  SocketAddress,
  TcpListener,
  unwrap,
} from "../../mod.ts";
import { echo } from "./echo.ts";

const timeoutMs = Number(Deno.args[0] ?? 0);

using ctx = new IoContext({ entries: 1024 });

const address = SocketAddress.v4(0, "127.0.0.1");
using listener = unwrap(TcpListener.bind(address));
console.log(`listening ${listener.localAddress!.port}`);
while (true) {
  void echo(ctx, unwrap(await asyncAccept(ctx, listener.fd)), timeoutMs);
}
