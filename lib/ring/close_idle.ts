import { loadShim } from "../../ffi/load.ts";
import { ECANCELED } from "../errno.ts";
import { failure, unwrap } from "../result.ts";
import { cancelOn } from "./rings.ts";

/**
 * Closes an fd when nothing is pending on it in this isolate: at once, or when
 * all of it is cancelled. `end` ends a connection: after the cancels, or what
 * waits would take that for the peer's end; and before the close.
 */
export function closeIdle(fd: number, end?: () => void): Promise<void> {
  const cancelled = cancelOn(fd);
  end?.();
  const close = () => void loadShim().kio_fd_close(fd);
  if (cancelled !== undefined) return cancelled.then(close);
  close();
  return Promise.resolve();
}

/** Ends what a stream of the Web has begun before its owner was closed, and asks
 * for only now. */
export function checkNotClosed(
  { fd }: { readonly fd: number },
  verb: string,
): void {
  if (fd === -1) unwrap(failure(ECANCELED, verb));
}
