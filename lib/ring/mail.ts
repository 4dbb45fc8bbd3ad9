/** Messages and fds from other threads, on their way to the user's handlers. An
 * exception of a handler is reported like one of an event listener. */
import type { Core } from "./core.ts";
import { offered } from "./offered.ts";

/** The handlers of a ring. */
interface Handlers extends Core {
  readonly onMessage: ((result: number, userData: number) => void) | null;
  readonly onFd: ((fd: number, tag: number) => void) | null;
}

/** Gives messages to the handler: result and userData by turns. */
export function giveMessages(
  ring: Handlers,
  messages: readonly number[],
): void {
  for (let at = 0; at < messages.length; at += 2) {
    try {
      ring.onMessage?.(messages[at]!, messages[at + 1]!);
    } catch (error) {
      reportError(error);
    }
  }
}

/** Gives the fds that other threads have passed to the handler. Without one they
 * stay where they are, and are closed with the context. */
export function giveFds(ring: Handlers): void {
  const tag = new Float64Array(1);
  while (ring.onFd !== null && !ring.closing) {
    const fd = ring.shim.kio_fd_take(ring.handle, tag);
    if (fd < 0) return;
    const offer = Symbol();
    offered.set(fd, offer);
    try {
      ring.onFd(fd, tag[0]!);
    } catch (error) {
      if (offered.get(fd) === offer) ring.shim.kio_fd_close(fd);
      reportError(error);
    } finally {
      if (offered.get(fd) === offer) offered.delete(fd);
    }
  }
}
