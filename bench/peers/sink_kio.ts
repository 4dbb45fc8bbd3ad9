/**
 * `sink_liburing.c` on kio. Usage: sink_kio.ts single|iterator|onChunk
 */

import {
  asyncAccept,
  asyncClose,
  asyncRecv,
  asyncRecvMultishot,
  asyncSendExact,
  BufferPool,
  IoContext,
  SocketAddress,
  TcpListener,
  unwrap,
} from "../../mod.ts";

const BUFFER_BYTES = 65536;
const BUFFERS = 64;

using ctx = new IoContext();
using pool = new BufferPool(ctx, { count: BUFFERS, size: BUFFER_BYTES });

/** Receives all that comes; gives the number of bytes. */
const SHAPES: Record<string, (fd: number) => Promise<number>> = {
  async single(fd) {
    const buffer = new Uint8Array(BUFFER_BYTES);
    let total = 0;
    while (true) {
      const count = await asyncRecv(ctx, fd, buffer).orThrow();
      if (count === 0) return total;
      total += count;
    }
  },
  async iterator(fd) {
    let total = 0;
    for await (const chunk of asyncRecvMultishot(ctx, fd, pool).orThrow()) {
      total += chunk.length;
    }
    return total;
  },
  async onChunk(fd) {
    let total = 0;
    const stream = asyncRecvMultishot(ctx, fd, pool, {
      onChunk: ({ length }) => total += length,
    });
    for await (const _ of stream.orThrow());
    return total;
  },
};
const receive = SHAPES[Deno.args[0]!]!;

async function serve(fd: number): Promise<void> {
  const total = BigInt(await receive(fd));
  await asyncSendExact(ctx, fd, new BigUint64Array([total])).orThrow();
  await asyncClose(ctx, fd);
}

const address = SocketAddress.v4(0, "127.0.0.1");
using listener = unwrap(TcpListener.bind(address));
console.log(`listening ${listener.localAddress!.port}`);
while (true) void serve(unwrap(await asyncAccept(ctx, listener.fd)));
