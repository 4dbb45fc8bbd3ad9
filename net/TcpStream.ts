import { BlockingPool } from "../lib/blocking_pool.ts";
import { type BoundOptions, Bounds } from "../lib/bounds.ts";
import { checkDelay } from "../lib/check.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { SocketAddress } from "../lib/SocketAddress.ts";
import { connectAny, connectFailure, type ConnectResult } from "./connect.ts";

/** How `TcpStream.connect()` connects. */
export interface ConnectOptions extends BoundOptions {
  /**
   * The threads that look the name up. If left out, a pool of the library's
   * own: four threads, made when first needed, which do not keep the process
   * alive.
   */
  pool?: BlockingPool;
  /**
   * Milliseconds that an attempt is given before the next address is tried
   * beside it.
   * @default {250}
   */
  attemptDelay?: number;
}

/** Made by the first look-up, for the rest of the process. */
let sharedPool: BlockingPool | undefined;

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
   * or because the context is closing, both only if no attempt made it; the
   * errors of `SocketAddress.resolveAllAsync()` (`EAI_NONAME` …). Else why the
   * last address failed (`ECONNREFUSED`, `EHOSTUNREACH` …), where possible not
   * for want of its family on this machine. `error.attempts` has all that were
   * tried, and `error.message` names them.
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
    const { attemptDelay = 250 } = options;
    checkDelay(attemptDelay, "attemptDelay", "connect");
    const pool = options.pool ?? (sharedPool ??= new BlockingPool(4));
    const found = await bounds.of(
      SocketAddress.resolveAllAsync(ctx, pool, host, port),
    );
    if (!found.ok) return connectFailure(found.error, []);
    return await connectAny(ctx, found.value, bounds, attemptDelay);
  }
}
