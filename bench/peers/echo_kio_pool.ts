/**
 * Echo server on kio with a pool of buffers in place of one a connection.
 * Usage: echo_kio_pool.ts SHAPE BUFFERS SIZE
 */

import {
  asyncAccept,
  asyncClose,
  asyncRecvMultishot,
  asyncSend,
  type BufferLease,
  BufferPool,
  IoContext,
  MSG_WAITALL,
  SocketAddress,
  TcpListener,
  unwrap,
} from "../../mod.ts";

const [shape, count, size] = Deno.args;

using ctx = new IoContext({ entries: 1024 });
using pool = new BufferPool(ctx, { count: Number(count), size: Number(size) });

/** The loops of a connection. */
const SHAPES: Record<string, (fd: number) => unknown> = {
  async awaitedSend(fd) {
    for await (const received of asyncRecvMultishot(ctx, fd, pool)) {
      if (!received.ok) break;
      const sent = await asyncSend(ctx, fd, received.value, MSG_WAITALL);
      if (!sent.ok || sent.value < received.value.length) break;
    }
    await asyncClose(ctx, fd);
  },
  async sendTo(fd) {
    for await (const received of asyncRecvMultishot(ctx, fd, pool)) {
      if (!received.ok) break;
      received.value.sendTo(fd);
    }
    await asyncClose(ctx, fd);
  },
  onChunk(fd) {
    const onChunk = (chunk: BufferLease) => chunk.sendTo(fd);
    const stream = asyncRecvMultishot(ctx, fd, pool, { onChunk });
    return stream.closed.then(() => asyncClose(ctx, fd));
  },
};
const serve = SHAPES[shape!]!;

const address = SocketAddress.v4(0, "127.0.0.1");
using listener = unwrap(TcpListener.bind(address));
console.log(`listening ${listener.localAddress!.port}`);
while (true) void serve(unwrap(await asyncAccept(ctx, listener.fd)));
