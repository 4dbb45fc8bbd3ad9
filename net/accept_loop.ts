import { loadShim } from "../ffi/load.ts";
import { Bounds } from "../lib/ring/bounds.ts";
import {
  checkFd,
  checkFunction,
  checkOptions,
  checkSignal,
  type Fd,
} from "../lib/check.ts";
import { SHUT_RDWR } from "../lib/constants.ts";
import { EAGAIN } from "../lib/errno.ts";
import { type IoContext, ringOf } from "../lib/IoContext.ts";
import { asyncAccept } from "../lib/io.ts";
import { SOL_SOCKET } from "../lib/ops/layout.ts";
import { offered } from "../lib/ring/offered.ts";
import { ACCEPT } from "../lib/ops/table.ts";
import { DONE, errorOf, failure, type Result } from "../lib/result.ts";
import { isShort } from "../lib/ring/completion.ts";
import { Socket } from "./net.ts";
import { logError, type OnError, tell } from "./on_error.ts";
import { pause } from "./pause.ts";

const SO_DETACH_FILTER = 27;

/** Accepting fails with these for good; other errors are those of a client
 * that has left, or of a lack of fds. */
const FATAL = ["EBADF", "EINVAL", "ENOTSOCK", "EOPNOTSUPP"];

/** Connections at most that are accepted after the signal from a listener that
 * goes on: more may come as fast as they are accepted. */
const LAST_MAX = 4096;

/** How `acceptLoop()` deals with errors. */
export interface AcceptLoopOptions {
  /**
   * Gets what `onConnection` has thrown. What this throws is logged by
   * `console.error`; the loop goes on.
   * @default {console.error}
   */
  onError?: (error: unknown) => void;
}

/**
 * Accepts connections until the signal is aborted, and then those that wait to
 * be accepted: no client is lost that the kernel has let in. Stands for
 * `accept_loop` of the C++ document.
 *
 * A listener that is given as a `Socket` belongs to this thread alone, and is
 * told by `stopListening()` to take no more clients before the last ones are
 * accepted. One that is given by its fd is left as it is, as others may share
 * it: who owns it calls that, and closes it when all have stopped. While it goes
 * on, 4096 of those that wait are accepted at most.
 *
 * It waits 10 ms where fds or memory are used up, or the context has as many
 * operations as it may have (`operationsMax`). Clients wait to be accepted
 * meanwhile.
 *
 * @param ctx The context.
 * @param listener The listener.
 * @param onConnection Gets each connection; the fd is its to close. It takes
 * the fd by `new Socket()`, `Connections.add()`, `handOver()` or
 * `asyncClose()`. An exception, or a promise that rejects, goes to `onError`;
 * an fd that was not taken before is closed then.
 * @param signal What ends it.
 * @param options Who hears of exceptions.
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
  options: AcceptLoopOptions = {},
): Promise<Result<void>> {
  checkFunction(onConnection, "onConnection", ACCEPT.verb);
  checkSignal(signal, ACCEPT.verb);
  checkOptions(options, ACCEPT.verb);
  const { onError = logError } = options;
  checkFunction(onError, "onError", ACCEPT.verb);
  const ring = ringOf(ctx, ACCEPT);
  const isClosed = () =>
    ring.closing || typeof listener !== "number" && listener.fd === -1;
  {
    using bounds = new Bounds({ signal }, ACCEPT.verb);
    while (!signal.aborted) {
      if (ring.isFull) {
        await pause();
        if (isClosed()) return DONE;
        continue;
      }
      const accepted = await bounds.of(asyncAccept(ctx, listener));
      if (accepted.ok) void pass(accepted.value, onConnection, onError);
      if (isClosed()) return DONE;
      if (accepted.ok) continue;
      const { code, errno } = accepted.error;
      if (!FATAL.includes(code)) continue;
      return failure(errno, `accept (fd ${checkFd(listener, ACCEPT)})`);
    }
  }
  const isStopped = listener instanceof Socket && listener.stopListening().ok;
  let left = isStopped ? Infinity : LAST_MAX;
  const { kio_accept_now, kio_option_set } = loadShim();
  while (left > 0 && !isClosed()) {
    const fd = kio_accept_now(
      typeof listener === "number" ? listener : listener.fd,
    );
    if (fd >= 0) {
      // The kernel may have made it of a listener with the filter already.
      kio_option_set(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
      void pass(fd, onConnection, onError);
      left--;
      continue;
    }
    if (fd === -EAGAIN || FATAL.includes(errorOf(-fd).code)) break;
    if (isShort(-fd)) await pause();
  }
  return DONE;
}

/** Gives a connection away, and closes it if that fails. */
async function pass(
  fd: number,
  onConnection: (fd: number) => void,
  onError: OnError<[]>,
): Promise<void> {
  const offer = Symbol();
  offered.set(fd, offer);
  try {
    await onConnection(fd);
  } catch (error) {
    if (offered.get(fd) === offer) {
      offered.delete(fd);
      const shim = loadShim();
      shim.kio_socket_shutdown(fd, SHUT_RDWR);
      shim.kio_fd_close(fd);
    }
    await tell(onError, error);
  } finally {
    if (offered.get(fd) === offer) offered.delete(fd);
  }
}
