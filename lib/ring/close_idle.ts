import { loadShim } from "../../ffi/load.ts";
import { cancelOn } from "./rings.ts";

/** Closes an fd when nothing is pending on it in this isolate: at once, or when
 * all of it is cancelled. */
export function closeIdle(fd: number): Promise<void> {
  const cancelled = cancelOn(fd);
  const close = () => void loadShim().kio_fd_close(fd);
  if (cancelled !== undefined) return cancelled.then(close);
  close();
  return Promise.resolve();
}
