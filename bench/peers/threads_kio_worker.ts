/** A worker of `threads_kio.ts`. */

import {
  asyncAccept,
  asyncClose,
  asyncRecv,
  asyncSend,
  type IoContext,
  joinPool,
  unwrap,
} from "../../mod.ts";

const BUFFER_BYTES = 16384;

async function serve(ctx: IoContext, fd: number): Promise<void> {
  const buffer = new Uint8Array(BUFFER_BYTES);
  while (true) {
    const received = await asyncRecv(ctx, fd, buffer);
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

await joinPool<{ listener: number }>(async ({ ctx, data, pool }) => {
  pool.ready();
  while (true) void serve(ctx, unwrap(await asyncAccept(ctx, data.listener)));
});
