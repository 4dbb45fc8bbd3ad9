/**
 * Echo server on kio: the same loop as `echo_deno.ts`, on io_uring.
 * Usage: echo_kio.ts [TIMEOUT_MS], which bounds each receive.
 */

import {
  asyncAccept,
  asyncClose,
  asyncRecv,
  asyncSend,
  IoContext,
  SocketAddress,
  TcpListener,
  unwrap,
} from "../../mod.ts";

const BUFFER_BYTES = 16384;

const timeoutMs = Number(Deno.args[0] ?? 0);

using ctx = new IoContext({ entries: 1024 });

async function serve(fd: number): Promise<void> {
  const buffer = new Uint8Array(BUFFER_BYTES);
  while (true) {
    const receiving = asyncRecv(ctx, fd, buffer);
    const received =
      await (timeoutMs === 0 ? receiving : receiving.withTimeout(timeoutMs));
    if (!received.ok || received.value === 0) break;
    let sent = 0;
    while (sent < received.value) {
      const result = await asyncSend(
        ctx,
        fd,
        buffer.subarray(sent, received.value),
      );
      if (!result.ok) break;
      sent += result.value;
    }
    if (sent < received.value) break;
  }
  await asyncClose(ctx, fd);
}

const address = SocketAddress.v4(0, "127.0.0.1");
using listener = unwrap(TcpListener.bind(address));
console.log(`listening ${listener.localAddress!.port}`);
while (true) {
  serve(unwrap(await asyncAccept(ctx, listener.fd)));
}
