import { loadShim } from "../ffi/load.ts";
import type { BlockingPool } from "../lib/threads/blocking_pool.ts";
import { type BoundOptions, Bounds } from "../lib/ring/bounds.ts";
import { checkDelay } from "../lib/check.ts";
import {
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  ECANCELED,
  ECONNREFUSED,
  ENETUNREACH,
} from "../lib/errno.ts";
import { type IoContext, ringOf } from "../lib/IoContext.ts";
import { asyncConnect, asyncSleep } from "../lib/io.ts";
import { CONNECT } from "../lib/ops/table.ts";
import {
  about,
  errorOf,
  type Failure,
  failure,
  type IoError,
  type Result,
  type Success,
} from "../lib/result.ts";
import {
  ADDRESS_SIZE,
  resolveFor,
  type SocketAddress,
} from "../lib/SocketAddress.ts";
import type { UringOp } from "../lib/UringOp.ts";
import { Socket } from "./net.ts";

/** How `TcpStream.connect()` connects. */
export interface ConnectOptions extends BoundOptions {
  /**
   * The threads that look the name up. If left out, threads of the library's
   * own: one a name, 64 at most in the process, which do not keep it alive.
   * Callers that ask for one name share them. Beyond 64 a name waits, within
   * its `timeout`, but not if it is an address or in `/etc/hosts`.
   */
  pool?: BlockingPool | undefined;
  /**
   * Milliseconds that an attempt is given before the next address is tried
   * beside it.
   * @default {250}
   */
  attemptDelay?: number | undefined;
}

/** Makes connections, as `TcpListener` takes them. */
export class TcpStream {
  /**
   * Connects to a host: looks its addresses up, and tries IPv6 and IPv4 by
   * turns until one takes the connection (RFC 8305, "Happy Eyeballs"). An
   * attempt that fails gives way to the next at once, one that takes long is
   * joined by it. What the others have begun is closed before this returns.
   *
   * @param ctx The context.
   * @param host A name, or an address (which needs no look-up): see
   * `SocketAddress.resolveAll()`.
   * @param port The port, 0 to 65535.
   * @param options `timeout` and `signal` are for the whole, look-up included.
   * @returns The connected socket, with `TCP_NODELAY`, non-blocking; the caller
   * has to close it. `ETIMEDOUT` by the `timeout`, `ECANCELED` by the `signal`
   * or because the context closes, also right after the call, both only if no
   * attempt made it; the errors of `SocketAddress.resolveAll()` (`EAI_NONAME`,
   * `EAI_AGAIN` also if the system has no thread to spare …), with a `pool` those
   * of `resolveAllAsync()`. Else why the last address failed (`ECONNREFUSED`,
   * `EHOSTUNREACH` …), where possible not for want of its family on this
   * machine. `ECONNREFUSED` also where nobody listens and the kernel has
   * connected the socket to itself. `error.attempts` has all that were tried,
   * and `error.message` names them.
   * @throws {TypeError} (as a rejection) If `host` is empty or has a NUL, an
   * option has the wrong type, or the context or the pool is closed.
   * @throws {RangeError} If `host` is too long, or `port`, `timeout` or
   * `attemptDelay` is out of range.
   *
   * @example Connect
   * ```ts
   * import { IoContext, TcpListener, TcpStream, unwrap } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * using listener = unwrap(TcpListener.bind(0));
   * const { port } = listener.localAddress!;
   * const connected = await TcpStream.connect(ctx, "127.0.0.1", port, {
   *   timeout: 5000,
   * });
   * if (!connected.ok) throw new Error(connected.error.message);
   * await connected.value.close();
   * ```
   */
  static async connect(
    ctx: IoContext,
    host: string,
    port: number,
    options: ConnectOptions = {},
  ): Promise<ConnectResult> {
    using bounds = new Bounds(options, "connect");
    const { attemptDelay = 250, pool } = options;
    checkDelay(attemptDelay, "attemptDelay", "connect");
    const found = await bounds.of(resolveFor(ctx, pool, host, port));
    const result = found.ok
      ? await connectAny(ctx, found.value, bounds, attemptDelay)
      : connectFailure(found.error, []);
    if (!result.ok) about(result.error, `connect to ${host}:${port}`);
    return result;
  }
}

/** An address that was tried, and why it did not work. */
export interface ConnectAttempt {
  /** Where to. */
  readonly address: SocketAddress;
  /** `ECONNREFUSED` … */
  readonly error: IoError;
}

/** Why there is no connection; `message` names each address that was tried. */
export interface ConnectError extends IoError {
  /** In the order in which they failed; none if there was no address. */
  readonly attempts: readonly ConnectAttempt[];
}

/** What a failed connect gives. */
export interface ConnectFailure extends Failure {
  /** Why it failed. */
  readonly error: ConnectError;
}

/** How connecting ends. */
export type ConnectResult = Success<Socket> | ConnectFailure;

/** What says more of this machine than of the one to be reached. */
const LOCAL_ERRORS = [EADDRNOTAVAIL, EAFNOSUPPORT, ENETUNREACH];

/** A connection in the making. */
interface Attempt {
  readonly address: SocketAddress;
  readonly socket: Socket;
  readonly op: UringOp<void>;
  /** Undefined until the operation is complete. */
  result: Result<void> | undefined;
}

/**
 * Connects to the first of several addresses that takes it, in the manner of
 * RFC 8305: the families alternate, an attempt gets some time before the next
 * is made beside it, and one that fails gives way at once. When it returns
 * nothing of the others is left, no operation and no socket.
 */
export async function connectAny(
  ctx: IoContext,
  addresses: readonly SocketAddress[],
  bounds: Bounds,
  attemptDelayMs: number,
): Promise<ConnectResult> {
  const ring = ringOf(ctx, CONNECT);
  const waiting = interleaved(addresses);
  const failed: ConnectAttempt[] = [];
  let running: Attempt[] = [];
  let pause: UringOp<void> | undefined;
  let winner: Socket | undefined;
  /** What ends the whole: the time limit, the signal, a closing context. */
  let end: IoError | undefined;

  /** Takes over the attempts that are complete. */
  const collect = () => {
    const done = running.filter(({ result }) => result !== undefined);
    running = running.filter(({ result }) => result === undefined);
    for (const { address, socket, result } of done) {
      if (result!.ok && winner === undefined) {
        winner = socket;
        continue;
      }
      socket[Symbol.dispose]();
      if (result!.ok) continue;
      const { error } = result!;
      const isCancelled = error.errno === ECANCELED;
      if (isCancelled || bounds.remainingMs === 0) end ??= error;
      // The others are cancelled for the same reason as the first.
      failed.push({ address, error: isCancelled ? end! : error });
    }
    return done.length > 0;
  };

  try {
    let isDue = true;
    while (winner === undefined && end === undefined) {
      if (ring.closing) {
        end = errorOf(ECANCELED);
        break;
      }
      if (isDue && waiting.length > 0) {
        pause?.cancel();
        pause = undefined;
        const address = waiting.shift()!;
        const begun = begin(ctx, address);
        if (!begun.ok) {
          failed.push({ address, error: begun.error });
          continue;
        }
        running.push(begun.value);
        if (waiting.length > 0) pause = asyncSleep(ctx, attemptDelayMs);
        isDue = false;
      }
      if (running.length === 0) break;
      const ops = running.map(({ op }) => op);
      if (pause !== undefined) ops.push(pause);
      bounds.ofAll(ops);
      let paused: Result<void> | undefined;
      void pause?.then((result) => paused = result);
      await Promise.race(ops);
      isDue = collect() || paused !== undefined;
      if (paused?.ok === false) end ??= paused.error;
    }
  } finally {
    const ops = running.map(({ op }) => op);
    if (pause !== undefined) ops.push(pause);
    for (const op of ops) op.cancel();
    await Promise.all(ops);
    // One that has made it after all is the winner, if there is none yet.
    collect();
  }
  if (winner !== undefined) return { ok: true, value: winner };
  return connectFailure(end ?? tellingOf(failed), failed);
}

/** The failure with what was tried. */
export function connectFailure(
  { errno, code, message }: IoError,
  attempts: readonly ConnectAttempt[],
): ConnectFailure {
  const list = attempts.map(({ address, error }) =>
    `${address} (${error.code})`
  );
  return {
    ok: false,
    error: {
      errno,
      code,
      message: [message, list.join(", ")].filter(Boolean).join(": "),
      attempts,
    },
  };
}

/** Starts to connect; the socket belongs to the attempt. */
function begin(ctx: IoContext, address: SocketAddress): Result<Attempt> {
  const opened = Socket.open(address.family);
  if (!opened.ok) return opened;
  const socket = opened.value;
  const nodelay = socket.setNodelay();
  if (!nodelay.ok) {
    socket[Symbol.dispose]();
    return nodelay;
  }
  try {
    const op = asyncConnect(ctx, socket, address);
    const attempt: Attempt = { address, socket, op, result: undefined };
    void op.then((result) => {
      const isSelf = result.ok && isItsOwnPeer(socket, address);
      attempt.result = isSelf
        ? failure(ECONNREFUSED, `connect to ${address}`)
        : result;
    });
    return { ok: true, value: attempt };
  } catch (error) {
    // The context is full.
    socket[Symbol.dispose]();
    throw error;
  }
}

/** Room for the address of a socket. */
const ownName = new Uint8Array(ADDRESS_SIZE);

/**
 * Whether a socket is connected to itself: that happens where nobody listens, if
 * the kernel gives it the port that it connects to. Almost always the port
 * tells that it is not.
 */
function isItsOwnPeer(socket: Socket, { port }: SocketAddress): boolean {
  loadShim().kio_socket_name(socket.fd, false, ownName);
  if ((ownName[2]! << 8 | ownName[3]!) !== port) return false;
  return `${socket.localAddress}` === `${socket.peerAddress}`;
}

/** The families by turns, beginning with that of the first address. */
function interleaved(addresses: readonly SocketAddress[]): SocketAddress[] {
  const first = addresses[0]?.family;
  const own = addresses.filter(({ family }) => family === first);
  const other = addresses.filter(({ family }) => family !== first);
  const order: SocketAddress[] = [];
  while (own.length + other.length > 0) {
    order.push(...own.splice(0, 1), ...other.splice(0, 1));
  }
  return order;
}

/** The last error that is about the other machine, else the last. */
function tellingOf(failed: readonly ConnectAttempt[]): IoError {
  const { error } =
    failed.findLast(({ error }) => !LOCAL_ERRORS.includes(error.errno)) ??
      failed.at(-1)!;
  return error;
}
