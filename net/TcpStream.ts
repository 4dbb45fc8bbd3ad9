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
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
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
  unwrap,
} from "../lib/result.ts";
import {
  ADDRESS_SIZE,
  resolveFor,
  type SocketAddress,
} from "../lib/SocketAddress.ts";
import type { UringOp } from "../lib/UringOp.ts";
import { adopt, CONNECTION } from "./adopt.ts";
import { netAddr } from "./deno_addr.ts";
import { openSocket, type Socket } from "./Socket.ts";
import { StreamSocket } from "./StreamSocket.ts";

/** Options of `TcpStream.connect()`. */
export interface ConnectOptions extends BoundOptions {
  /**
   * The threads that look the name up. If left out, the library has threads of
   * its own: one a name, at most 64 in the process, which do not keep it alive.
   * Callers that ask for the same name share a thread. The 65th name waits,
   * within its `timeoutMs`, unless it is an address or in `/etc/hosts`.
   */
  pool?: BlockingPool | undefined;
  /**
   * Milliseconds from the start of an attempt to the next one beside it, 0 to
   * 2^53 - 1.
   * @default {250}
   */
  attemptDelayMs?: number | undefined;
}

/**
 * A connected stream socket, with the shape of `Deno.TcpConn`. `connect()` makes
 * one; `new TcpStream(fd, ctx)` takes ownership of the fd of one that there is.
 */
export class TcpStream extends StreamSocket {
  /**
   * Looks a host up and connects to it by connect(2). It tries IPv6 and IPv4 by
   * turns until an address takes the connection (RFC 8305, "Happy Eyeballs").
   * The next attempt starts at once when one fails, and beside one that takes
   * long. Other attempts are closed before this returns.
   *
   * @param ctx The context.
   * @param host A name, or an address, which needs no look-up: see
   * `SocketAddress.resolveAll()`.
   * @param port The port, 0 to 65535.
   * @param options `timeoutMs` and `signal` are for the whole, look-up included.
   * @returns The connection, with `TCP_NODELAY`, non-blocking; the caller has
   * to close it. If no attempt made it before: `ETIMEDOUT` by the `timeoutMs`;
   * `ECANCELED` by the `signal`, or if the context closes, also right after the
   * call. The errors of `SocketAddress.resolveAll()` (`EAI_NONAME`; `EAI_AGAIN`
   * also if the system has no thread to spare …), with a `pool` those of
   * `resolveAllAsync()`. Else the error of the last address (`ECONNREFUSED`,
   * `EHOSTUNREACH` …), if possible of one whose family this machine has.
   * `ECONNREFUSED` also if nothing listens and the kernel has connected the
   * socket to itself. `error.attempts` has all that were tried, and
   * `error.message` names them.
   * @throws {TypeError} (as a rejection) If `host` is empty or has a NUL, an
   * option has the wrong type, or the context or the pool is closed.
   * @throws {RangeError} (as a rejection) If `host` is too long, or `port`,
   * `timeoutMs` or `attemptDelayMs` is out of range.
   *
   * @example Connect
   * ```ts
   * import { IoContext, TcpListener, TcpStream, unwrap } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * using listener = unwrap(TcpListener.bind(0));
   * const { port } = listener.localAddress!;
   * const connected = await TcpStream.connect(ctx, "127.0.0.1", port, {
   *   timeoutMs: 5000,
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
    const { attemptDelayMs = 250, pool } = options;
    checkDelay(attemptDelayMs, "attemptDelayMs", "connect");
    const found = await bounds.of(resolveFor(ctx, pool, host, port));
    const result = found.ok
      ? await connectAny(ctx, found.value, bounds, attemptDelayMs)
      : connectFailure(found.error, []);
    if (!result.ok) about(result.error, `connect to ${host}:${port}`);
    return result;
  }

  /**
   * Takes ownership of a connection that other processes may have as well: one
   * that came by SCM_RIGHTS, or of systemd with `Accept=yes`. It sets FD_CLOEXEC.
   * The peer reads an end when the last process has closed it, or after
   * `asyncShutdown()`.
   *
   * @param fd The fd, of a TCP or a unix stream socket.
   * @param ctx The context of `read()`, `readable` and other members of Deno's.
   * @returns The connection, which the caller has to close. `EBADF`; `ENOTSOCK`;
   * `EPROTOTYPE` if it is no stream socket; `EAFNOSUPPORT` if it is neither IPv4
   * nor IPv6 nor unix; `ENOTCONN`. The fd is the caller's then.
   * @throws As `Socket.adopt()`.
   */
  static override adopt(fd: number, ctx?: IoContext): Result<TcpStream> {
    return adopt((fd) => new TcpStream(fd, ctx), fd, CONNECTION);
  }

  /** The socket's own address, by getsockname(2), in Deno's shape.
   *
   * @throws {TypeError} If the socket is closed, or is a unix one: that of a
   * `UnixStream` has a path. */
  get localAddr(): Deno.NetAddr {
    return netAddr(this.localAddress);
  }

  /** The address of the other end, by getpeername(2), in Deno's shape.
   *
   * @throws {Error} `ENOTCONN` if the peer has reset the connection.
   * @throws {TypeError} As `localAddr`. */
  get remoteAddr(): Deno.NetAddr {
    return netAddr(this.peerAddress);
  }

  /**
   * Sets `TCP_NODELAY`, as `setNodelay()` does, and throws for an error.
   *
   * @param on True if left out.
   * @throws {Error} `EOPNOTSUPP` if it is no TCP socket.
   * @throws {TypeError} If the socket is closed.
   */
  setNoDelay(on = true): void {
    unwrap(this.setNodelay(on));
  }
}

/** An address that was tried, and its error. */
export interface ConnectAttempt {
  /** The address. */
  readonly address: SocketAddress;
  /** Why it failed: `ECONNREFUSED` … */
  readonly error: IoError;
}

/** Tells why there is no connection; `message` names each address that was
 * tried. */
export interface ConnectError extends IoError {
  /** In the order in which they failed; none if there was no address. */
  readonly attempts: readonly ConnectAttempt[];
}

/** The result of a `TcpStream.connect()` that failed. */
export interface ConnectFailure extends Failure {
  /** Why it failed. */
  readonly error: ConnectError;
}

/** The result of `TcpStream.connect()`. */
export type ConnectResult = Success<TcpStream> | ConnectFailure;

/** Errors that tell more of this machine than of the one to be reached. */
const LOCAL_ERRORS = [EADDRNOTAVAIL, EAFNOSUPPORT, ENETUNREACH];

/** An attempt to connect. */
interface Attempt {
  readonly address: SocketAddress;
  readonly socket: TcpStream;
  readonly op: UringOp<void>;
  /** Undefined until the operation is complete. */
  result: Result<void> | undefined;
}

/**
 * Connects to the first of several addresses that takes it, as RFC 8305 says:
 * the families alternate, an attempt gets some time before the next starts
 * beside it, and the next starts at once when one fails. When it returns no
 * operation and no socket of the others is left.
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
  let winner: TcpStream | undefined;
  /** Why the whole ends: the time limit, the signal, a closing context. */
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

/** Starts an attempt, which owns its socket. */
function begin(ctx: IoContext, address: SocketAddress): Result<Attempt> {
  const fd = openSocket(address.family, "stream");
  if (fd < 0) return failure(-fd, "open a socket");
  const socket = new TcpStream(fd, ctx);
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

/** Filled with the address of a socket. */
const ownName = new Uint8Array(ADDRESS_SIZE);

/**
 * Tells if a socket is connected to itself. That happens if nothing listens and
 * the kernel gives the socket the port that it connects to. Almost always a
 * look at the port is enough to exclude it.
 */
function isItsOwnPeer(socket: Socket, { port }: SocketAddress): boolean {
  loadShim().kio_socket_name(socket.fd, false, ownName);
  if ((ownName[2]! << 8 | ownName[3]!) !== port) return false;
  return `${socket.localAddress}` === `${socket.peerAddress}`;
}

/** Orders addresses by turns of family, the family of the first one first. */
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

/** Picks the last error that is about the other machine, else the last. */
function tellingOf(failed: readonly ConnectAttempt[]): IoError {
  const { error } =
    failed.findLast(({ error }) => !LOCAL_ERRORS.includes(error.errno)) ??
      failed.at(-1)!;
  return error;
}
