/** The end of a context. Closing a ring does not stop the kernel: cancel, then
 * wait for all that is in it. */
import { cancel } from "./cancel.ts";
import type { Core } from "./core.ts";

/** Time until the end of a context resets connections whose peers do not take
 * the data of zero-copy sends. */
const RESET_MS = 1000;

/** A ring that ends. */
export interface Ending extends Core {
  /** Operations that are not complete. */
  readonly pending: number;
  step(wait: boolean): number;
  cancelAll(): Promise<void>;
}

/** Ends all operations without leaving the thread. */
export function drainNow(ring: Ending): void {
  const { shim, handle } = ring;
  for (const entry of ring.table.live()) cancel(ring, entry);
  const startMs = shim.kio_now_ms();
  while (ring.pending > 0) {
    const count = ring.step(true);
    // A link of a chain may have started since. The kernel walks all pending
    // requests for this, so it is asked only when nothing came.
    if (count <= 0 && ring.pending > 0) {
      shim.kio_cancel_all(handle);
      if (shim.kio_now_ms() - startMs > RESET_MS) {
        shim.kio_zero_copy_reset(handle);
      }
    }
  }
}

/** Ends all operations while the event loop goes on. */
export async function drain(ring: Ending): Promise<void> {
  const reset = () => ring.shim.kio_zero_copy_reset(ring.handle);
  const timer = ring.pending > 0 ? setTimeout(reset, RESET_MS) : undefined;
  await ring.cancelAll();
  clearTimeout(timer);
}
