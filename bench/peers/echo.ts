/** Serves a connection of the echo servers on kio. */

import { asyncClose, asyncRecv, asyncSend, type IoContext } from "../../mod.ts";

const BUFFER_BYTES = 16384;

/** Sends bytes back until the client closes; with a timeout above 0 each
 * receive is bounded. */
export async function echo(
  ctx: IoContext,
  fd: number,
  timeoutMs = 0,
  bufferBytes = BUFFER_BYTES,
): Promise<void> {
  const buffer = new Uint8Array(bufferBytes);
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
