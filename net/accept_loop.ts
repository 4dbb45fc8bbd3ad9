import { loadShim } from "../ffi/load.ts";
import {
  checkFd,
  checkFunction,
  checkOptions,
  checkSignal,
  type Fd,
} from "../lib/check.ts";
import { SHUT_RDWR, SOL_SOCKET } from "../lib/constants.ts";
import type { DirectFd } from "../lib/DirectFd.ts";
import { EAGAIN } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncAccept } from "../lib/io.ts";
import { acceptStream, newFds } from "../lib/ops/accept_stream.ts";
import { offered } from "../lib/ring/offered.ts";
import { ACCEPT } from "../lib/ops/table.ts";
import {
  DONE,
  errorOf,
  failure,
  type IoError,
  type Result,
} from "../lib/result.ts";
import { isShort } from "../lib/ring/completion.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import { isShared } from "./adopt.ts";
import { Socket } from "./Socket.ts";
import { logError, type OnError, tell } from "./on_error.ts";
import { pause } from "./pause.ts";

const SO_DETACH_FILTER = 27;

/** Errors that accepting fails with for good; others are those of a client that
 * has left, or of a lack of fds. */
const FATAL = ["EBADF", "EINVAL", "ENOTSOCK", "EOPNOTSUPP"];

/** The most connections that are accepted after the signal, of a listener that
 * goes on: more may come as fast as they are accepted. */
const LAST_MAX = 4096;

/** Connections that wait to be given away, as long as the thread is busy. */
const QUEUE_MAX = 64;

const NO_ERROR = { code: "", errno: 0 };

/** Options of `acceptLoop()`. */
export interface AcceptLoopOptions {
  /**
   * Called with what `onConnection` throws. The loop goes on. An exception of
   * this function is logged by `console.error`.
   * @default {console.error}
   */
  onError?: (error: unknown) => void;
}

/**
 * Accepts connections by accept(2) until the signal is aborted. Then it accepts
 * those that wait: no client is lost that the kernel has let in.
 *
 * A listener that is a `Socket` belongs to this thread alone. The loop accepts
 * by a multishot, as `asyncAcceptMultishot()` does, and calls `stopListening()`
 * before it accepts the last clients. Other threads may share a listener that
 * is a number. So the loop accepts one client after the other, to leave some to
 * the others, and does not stop it: its owner calls `stopListening()`, and
 * closes it when all loops have ended. While such a listener goes on, the loop
 * accepts at most 4096 clients after the signal. A listener of
 * `TcpListener.adopt()` is shared in this way with other processes.
 *
 * The loop pauses for 10 ms if fds or memory are used up, or if the context has
 * as many operations as it may have (`operationsMax`). Clients wait to be
 * accepted meanwhile, and those that are accepted wait to be given away. So
 * `onConnection` can start one operation. It may find no room after the signal,
 * as the loop does not wait then.
 *
 * C++: `accept_loop`
 *
 * @param ctx The context.
 * @param listener The listener.
 * @param onConnection Called with the fd of each connection, owns it and must
 * close it. It takes the fd by `new Socket()`, `Connections.add()`,
 * `passFd()` or `asyncClose()`. If it throws or its promise rejects, the
 * error goes to `onError`, and an fd that was not taken is closed.
 * @param signal Ends the loop.
 * @param options The handler of exceptions.
 * @returns When no connection waits any more, or the listener (a `Socket`) or
 * the context is closed. `EBADF`, `EINVAL` and others if it is no listener.
 * @throws {TypeError} If an argument has the wrong type or the context is
 * closed.
 * @throws {RangeError} If `listener` is out of range.
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
 * await connections.closed;
 * ```
 */
export async function acceptLoop(
  ctx: IoContext,
  listener: Exclude<Fd, DirectFd>,
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
  const file = checkFd(listener, ACCEPT);
  const isClosed = () =>
    ring.closing || typeof listener !== "number" && listener.fd === -1;
  const { shim } = ring;
  const give = (fd: number) => void pass(fd, onConnection, onError);
  const held: number[] = [];
  const giveOrHold = (fd: number) => {
    if (!ring.isFull) return give(fd);
    // Others have filled the context since the accept was started.
    shim.kio_fd_own(fd);
    held.push(fd);
  };
  const giveHeld = async () => {
    for (const fd of held.splice(0)) {
      while (ring.isFull && !signal.aborted && !isClosed()) await pause();
      if (isClosed()) shim.kio_fd_close(fd);
      else {
        shim.kio_fd_disown(fd);
        give(fd);
      }
    }
  };
  const isOwn = listener instanceof Socket && !isShared(listener);
  const accept = isOwn
    ? () => acceptMany(ring, file, giveOrHold, held, signal)
    : () => acceptOne(ctx, listener, giveOrHold, signal);
  while (!signal.aborted) {
    if (ring.isFull) await pause();
    else {
      const { code, errno } = await accept() ?? NO_ERROR;
      await giveHeld();
      if (!isClosed() && FATAL.includes(code)) {
        return failure(errno, `accept (fd ${file})`);
      }
    }
    if (isClosed()) return DONE;
  }
  const isStopped = isOwn && listener.stopListening().ok;
  let left = isStopped ? Infinity : LAST_MAX;
  while (left > 0 && !isClosed()) {
    const fd = shim.kio_accept_now(file);
    if (fd >= 0) {
      // It may come from the listener after the filter was attached.
      shim.kio_option_set(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
      give(fd);
      left--;
      continue;
    }
    if (fd === -EAGAIN || FATAL.includes(errorOf(-fd).code)) break;
    if (isShort(-fd)) await pause();
  }
  return DONE;
}

/** Accepts one connection, of a listener that other threads may share. Returns
 * the error, if that failed. */
async function acceptOne(
  ctx: IoContext,
  listener: Fd,
  give: (fd: number) => void,
  signal: AbortSignal,
): Promise<IoError | undefined> {
  const accepted = await asyncAccept(ctx, listener).withSignal(signal);
  if (!accepted.ok) return accepted.error;
  give(accepted.value);
  return undefined;
}

/** Accepts connections by a multishot until it fails, has to stop, or the context
 * is full. Those that have come by then are held. Returns the last error. */
async function acceptMany(
  ring: Ring,
  file: number,
  give: (fd: number) => void,
  held: number[],
  signal: AbortSignal,
): Promise<IoError | undefined> {
  const discard = (fd: number) => void held.push(fd);
  const waiting = { ...newFds(ring), discard };
  const shots = acceptStream(ring, file, QUEUE_MAX, waiting).withSignal(signal);
  let error: IoError | undefined;
  for await (const result of shots) {
    if (result.ok) give(result.value);
    else error = result.error;
    // Its end frees a slot.
    if (ring.isFull) break;
  }
  return error;
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
