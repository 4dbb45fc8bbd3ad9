import { ACCEPT_PAUSE_MS } from "../lib/ring/completion.ts";

/** Waits until there may be fds, memory or slots for operations again. It takes
 * none itself: a timer of the context would need a slot. */
export async function pause(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ACCEPT_PAUSE_MS));
}
