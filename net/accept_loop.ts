import { loadShim } from "../ffi/load.ts";
import { Bounds } from "../lib/bounds.ts";
import { checkFunction, checkSignal, type Fd } from "../lib/check.ts";
import { type IoContext, ringOf } from "../lib/IoContext.ts";
import { asyncAccept, asyncSleep } from "../lib/io.ts";
import { SOL_SOCKET } from "../lib/layout.ts";
import { ACCEPT } from "../lib/operations.ts";
import { DONE, failure, type Result } from "../lib/result.ts";
import { ACCEPT_PAUSE_MS, isShort } from "../lib/ring.ts";
import { Socket } from "./net.ts";

const SO_DETACH_FILTER = 27;

/** Accepting fails with these for good; other errors are those of a client
 * that has left, or of a lack of fds. */
const FATAL = ["EBADF", "EINVAL", "ENOTSOCK", "EOPNOTSUPP"];

/**
 * Accepts connections until the signal is aborted, and then those that wait to
 * be accepted: no client is lost that the kernel has let in. Stands for
 * `accept_loop` of the C++ document.
 *
 * A listener that is given as a `Socket` belongs to this thread alone, and is
 * told by `stopListening()` to take no more clients before the last ones are
 * accepted. One that is given by its fd is left as it is, as others may share
 * it: who owns it calls that, and closes it when all have stopped.
 *
 * @param ctx The context.
 * @param listener The listener.
 * @param onConnection Gets each connection; the fd is its to close. An
 * exception is reported like one of an event listener.
 * @param signal What ends it.
 * @returns When no connection waits any more, or the listener (a `Socket`) or
 * the context is closed. `EBADF`, `EINVAL` and others if it is no listener.
 * @throws {TypeError} If an argument has the wrong type or the context is
 * closed; {RangeError} if `listener` is out of range.
 *
 * @example Serve for a while
 * ```ts
 * import {
 *   acceptLoop, Connections, IoContext, SocketAddress, TcpListener, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * await using listener = unwrap(TcpListener.bind(SocketAddress.v4(0)));
 * const connections = new Connections(ctx, async (socket) => {
 *   await socket.close();
 * });
 * const stop = AbortSignal.timeout(10);
 * await acceptLoop(ctx, listener, (fd) => connections.add(fd), stop);
 * await connections.finished();
 * ```
 */
export async function acceptLoop(
  ctx: IoContext,
  listener: Fd,
  onConnection: (fd: number) => void,
  signal: AbortSignal,
): Promise<Result<void>> {
  checkFunction(onConnection, "onConnection", ACCEPT.verb);
  checkSignal(signal, ACCEPT.verb);
  const ring = ringOf(ctx, ACCEPT);
  const isClosed = () =>
    ring.closing || typeof listener !== "number" && listener.fd === -1;
  {
    using bounds = new Bounds({ signal }, ACCEPT.verb);
    while (!signal.aborted) {
      const accepted = await bounds.of(asyncAccept(ctx, listener));
      if (accepted.ok) pass(accepted.value, onConnection);
      if (isClosed()) return DONE;
      if (!accepted.ok && FATAL.includes(accepted.error.code)) return accepted;
    }
  }
  if (listener instanceof Socket) listener.stopListening();
  const { kio_accept_now, kio_option_set } = loadShim();
  while (!isClosed()) {
    const fd = kio_accept_now(
      typeof listener === "number" ? listener : listener.fd,
    );
    if (fd >= 0) {
      // The kernel may have made it of a listener with the filter already.
      kio_option_set(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
      pass(fd, onConnection);
      continue;
    }
    const { code } = failure(-fd).error;
    if (code === "EAGAIN" || FATAL.includes(code)) break;
    if (isShort(-fd)) await asyncSleep(ctx, ACCEPT_PAUSE_MS);
  }
  return DONE;
}

function pass(fd: number, onConnection: (fd: number) => void): void {
  try {
    onConnection(fd);
  } catch (error) {
    reportError(error);
  }
}
