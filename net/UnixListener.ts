import { checkOptions } from "../lib/check.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { type Result, success } from "../lib/result.ts";
import type { SocketAddress } from "../lib/SocketAddress.ts";
import { adopt, UNIX_LISTENER } from "./adopt.ts";
import { unixAddr } from "./deno_addr.ts";
import { StreamListener } from "./StreamListener.ts";
import { type ListenOptions, TcpListener } from "./TcpListener.ts";
import { checkUnix, UnixStream } from "./UnixStream.ts";

/**
 * A unix stream socket that listens, with the shape of `Deno.UnixListener`.
 * `bind()` makes one; `new UnixListener(fd, ctx)` takes ownership of the fd of
 * one that there is.
 */
export class UnixListener extends StreamListener<UnixStream> {
  /** Takes ownership of an fd, as `Socket` does.
   *
   * @param fd The fd of a unix socket that listens.
   * @param ctx The context of `accept()`. Without it that throws.
   * @throws {RangeError} If `fd` is no integer from 0 to 2^31 - 1.
   * @throws {TypeError} If `fd` is the ring of a context, or `ctx` is no
   * context. */
  constructor(fd: number, ctx?: IoContext) {
    super(fd, ctx, (fd, ctx) => new UnixStream(fd, ctx));
  }

  /**
   * Binds a new unix socket and listens, by bind(2) and listen(2).
   *
   * @param path The path, or an address of `SocketAddress.unix()`. Nothing may
   * be there. It stays when the listener is closed: `asyncUnlink()` removes it.
   * @param options The backlog, and the context of `accept()`.
   * @returns The listener, which the caller has to close. `EADDRINUSE` if there
   * is something at the path; `ENOENT`, `EACCES`, `EMFILE` …
   * @throws {RangeError} If the path is too long, or `backlog` is out of range.
   * @throws {TypeError} If `path` is neither a path nor the address of a unix
   * socket, or `ctx` is no context.
   */
  static override bind(
    path: string | SocketAddress,
    options: Pick<ListenOptions, "backlog" | "ctx"> = {},
  ): Result<UnixListener> {
    checkOptions(options, "listen");
    const { backlog, ctx } = options;
    const address = checkUnix(path, "listen");
    const bound = TcpListener.bind(address, { backlog, ctx });
    if (!bound.ok) return bound;
    return success(new UnixListener(bound.value.release(), ctx));
  }

  /**
   * Takes ownership of a listener that other processes may have as well, as
   * `TcpListener.adopt()` does.
   *
   * @param fd The fd, of a unix stream socket.
   * @param ctx The context of `accept()`. Without it that throws.
   * @returns The listener, which the caller has to close; the errors of
   * `TcpListener.adopt()`, and `EAFNOSUPPORT` if it is no unix socket.
   * @throws As `Socket.adopt()`.
   */
  static override adopt(fd: number, ctx?: IoContext): Result<UnixListener> {
    return adopt((fd) => new UnixListener(fd, ctx), fd, UNIX_LISTENER);
  }

  /** The address that it listens on, by getsockname(2).
   *
   * @throws {TypeError} If the socket is closed. */
  get addr(): Deno.UnixAddr {
    return unixAddr(this.localAddress);
  }
}
