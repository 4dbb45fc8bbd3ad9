import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncConnect } from "../lib/ops/socket.ts";
import { CONNECT } from "../lib/ops/table.ts";
import { failure, type Result, success } from "../lib/result.ts";
import { type BoundOptions, Bounds } from "../lib/ring/bounds.ts";
import { SocketAddress } from "../lib/SocketAddress.ts";
import { adopt, UNIX_CONNECTION } from "./adopt.ts";
import { unixAddr } from "./deno_addr.ts";
import { checkAddress, openSocket } from "./Socket.ts";
import { StreamSocket } from "./StreamSocket.ts";

/**
 * A connected unix stream socket, with the shape of `Deno.UnixConn`. `connect()`
 * makes one; `new UnixStream(fd, ctx)` takes ownership of the fd of one that
 * there is.
 *
 * @example A byte there, and the end back
 * ```ts
 * import { asyncUnlink, IoContext, UnixListener, UnixStream, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const path = `/tmp/kio-${crypto.randomUUID()}.sock`;
 * await using listener = unwrap(UnixListener.bind(path, { ctx }));
 * const conn: Deno.UnixConn = unwrap(await UnixStream.connect(ctx, path));
 * const peer = await listener.accept();
 * await conn.write(new Uint8Array(1));
 * conn.close();
 * console.log(await Array.fromAsync(peer.readable)); // → [ Uint8Array(1) [ 0 ] ]
 * await peer.close();
 * await asyncUnlink(ctx, path).orThrow();
 * ```
 */
export class UnixStream extends StreamSocket {
  /**
   * Connects to a unix stream socket by connect(2).
   *
   * @param ctx The context of its operations.
   * @param path The path, or an address of `SocketAddress.unix()`.
   * @param options `timeoutMs` and `signal`. Give one: where the queue of the
   * listener is full, this waits for room.
   * @returns The connection, which the caller has to close; the errors of
   * `asyncConnect()`: `ENOENT`, `ECONNREFUSED` …
   * @throws {TypeError} (as a rejection) If an argument has the wrong type, or
   * the context is closed.
   * @throws {RangeError} (as a rejection) If the path is too long, or `timeoutMs`
   * is out of range.
   */
  static async connect(
    ctx: IoContext,
    path: string | SocketAddress,
    options: BoundOptions = {},
  ): Promise<Result<UnixStream>> {
    using bounds = new Bounds(options, CONNECT.verb);
    ringOf(ctx, CONNECT);
    const address = checkUnix(path, CONNECT.verb);
    const fd = openSocket("unix", "stream");
    if (fd < 0) return failure(-fd, `${CONNECT.verb} to ${address}`);
    const stream = new UnixStream(fd, ctx);
    let connected: Result<void> | undefined;
    try {
      connected = await bounds.of(asyncConnect(ctx, stream, address));
      return connected.ok ? success(stream) : connected;
    } finally {
      if (connected?.ok !== true) stream[Symbol.dispose]();
    }
  }

  /**
   * Takes ownership of a connection that other processes may have as well, as
   * `TcpStream.adopt()` does.
   *
   * @param fd The fd, of a unix stream socket.
   * @param ctx The context of `read()`, `readable` and other members of Deno's.
   * @returns The connection, which the caller has to close; the errors of
   * `TcpStream.adopt()`, and `EAFNOSUPPORT` if it is no unix socket.
   * @throws As `Socket.adopt()`.
   */
  static override adopt(fd: number, ctx?: IoContext): Result<UnixStream> {
    return adopt((fd) => new UnixStream(fd, ctx), fd, UNIX_CONNECTION);
  }

  /** The socket's own address, by getsockname(2); mostly it has no path.
   *
   * @throws {TypeError} If the socket is closed. */
  get localAddr(): Deno.UnixAddr {
    return unixAddr(this.localAddress);
  }

  /** The address of the other end, by getpeername(2).
   *
   * @throws {Error} If the socket is not connected.
   * @throws {TypeError} If the socket is closed. */
  get remoteAddr(): Deno.UnixAddr {
    return unixAddr(this.peerAddress);
  }
}

/** Gives the address of a unix socket; throws for another one. */
export function checkUnix(
  path: string | SocketAddress,
  verb: string,
): SocketAddress {
  if (typeof path === "string") return SocketAddress.unix(path);
  const address = checkAddress(path, verb);
  if (address.family === "unix") return address;
  throw new TypeError(
    `Cannot ${verb}: expected the address of a unix socket, got ${address}`,
  );
}
