/**
 * Echo server on kio: the same loop as `echo_deno.ts`, on io_uring.
 * Usage: echo_kio.ts [--exclusive] [TIMEOUT_MS [BUFFER_BYTES]]. The timeout
 * bounds each receive; 0 is none.
 */

import {
  asyncAccept,
  IoContext,
  SocketAddress,
  TcpListener,
  unwrap,
} from "../../mod.ts";
import { echo } from "./echo.ts";

const exclusive = Deno.args[0] === "--exclusive";
const [timeoutMs, bufferBytes] = Deno.args.slice(+exclusive).map(Number);

using ctx = new IoContext({ entries: 1024, exclusive });

const address = SocketAddress.v4(0, "127.0.0.1");
using listener = unwrap(TcpListener.bind(address));
console.log(`listening ${listener.localAddress!.port}`);
while (true) {
  const fd = unwrap(await asyncAccept(ctx, listener.fd));
  void echo(ctx, fd, timeoutMs, bufferBytes);
}
