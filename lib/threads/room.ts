import { loadShim } from "../../ffi/load.ts";

/** Fds that an isolate with a context opens, and some for what it loads. */
const FDS_PER_THREAD = 16;

/** Hint for errors of a thread that is refused with EMFILE or ENFILE. */
export const NO_ROOM_HINT =
  `a thread needs up to ${FDS_PER_THREAD} fds; close some or raise the limit of open files (ulimit -n)`;

/**
 * Tells if threads can be started: a negative errno if not. Call it before:
 * Deno ends the whole process if an isolate finds no fd for its event loop.
 */
export function roomForThreads(count: number): number {
  return loadShim().kio_fd_room(count * FDS_PER_THREAD);
}
