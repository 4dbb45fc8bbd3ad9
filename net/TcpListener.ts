import { loadShim } from "../ffi/load.ts";
import { checkBoolean, checkOptions } from "../lib/check.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { DONE, failure, type Result, success } from "../lib/result.ts";
import { bytesOfAddress, SocketAddress } from "../lib/SocketAddress.ts";
import { adopt, LISTENER } from "./adopt.ts";
import { netAddr } from "./deno_addr.ts";
import {
  checkAddress,
  checkBacklog,
  openSocket,
  type Socket,
} from "./Socket.ts";
import { checkCpu } from "./SocketBase.ts";
import { StreamListener } from "./StreamListener.ts";
import { TcpStream } from "./TcpStream.ts";

/** Options of `TcpListener.bind()`. */
export interface ListenOptions {
  /** Connections that may wait to be accepted, 1 to 2^31 - 1.
   * @default {4096} */
  backlog?: number | undefined;
  /**
   * Shares the TCP address with other listeners (`SO_REUSEPORT`); the kernel
   * spreads the connections among them. If left out, with those of this
   * process. With `true`, also with other processes of the same user that set
   * it too: for a program that takes over from its predecessor. With `false`,
   * with none.
   */
  reusePort?: boolean | undefined;
  /**
   * `SO_INCOMING_CPU`, 0 to 8191: of the listeners on one address this one
   * takes the connections whose packets arrive on this CPU. Use it in a thread
   * that stays on that CPU, with the `cpu` of `joinPool()`: then a connection
   * stays on one CPU from its packets to the code that serves it. If left out,
   * and before Linux 6.2, the kernel spreads connections by a hash.
   */
  incomingCpu?: number | undefined;
  /** Takes no IPv4 on an IPv6 address (`IPV6_V6ONLY`).
   * @default {false} */
  ipv6Only?: boolean | undefined;
  /** The context of `accept()` and of `for await`, and of the connections that
   * they give. */
  ctx?: IoContext | undefined;
}

/**
 * A socket that listens, on a TCP or a unix address, with the shape of
 * `Deno.TcpListener`. `bind()` makes one; `new TcpListener(fd)` takes ownership
 * of the fd of one that there is.
 *
 * C++: `net::TcpListener`
 *
 * @example As a program for Deno has it
 * ```ts
 * import { IoContext, SocketAddress, TcpListener, TcpStream, unwrap } from "@kio/kio";
 *
 * async function serve(listener: Deno.Listener): Promise<void> {
 *   for await (const conn of listener) await conn.readable.pipeTo(conn.writable);
 * }
 *
 * using ctx = new IoContext();
 * const address = SocketAddress.v4(0, "127.0.0.1");
 * const listener = unwrap(TcpListener.bind(address, { ctx }));
 * const serving = serve(listener);
 * const { hostname, port } = listener.addr;
 * await using client = unwrap(await TcpStream.connect(ctx, hostname, port));
 * await client.write(new TextEncoder().encode("hello"));
 * await client.closeWrite();
 * console.log(await new Response(client.readable).text()); // → hello
 * await listener.close();
 * await serving;
 * ```
 */
export class TcpListener extends StreamListener<TcpStream> {
  /** Takes ownership of an fd, as `Socket` does.
   *
   * @param fd The fd of a socket that listens.
   * @param ctx The context of `accept()`. Without it that throws.
   * @throws {RangeError} If `fd` is no integer from 0 to 2^31 - 1.
   * @throws {TypeError} If `fd` is the ring of a context, or `ctx` is no
   * context. */
  constructor(fd: number, ctx?: IoContext) {
    super(fd, ctx, (fd, ctx) => new TcpStream(fd, ctx));
  }

  /**
   * Binds a new socket and listens, by bind(2) and listen(2). It sets what
   * servers want: `SO_REUSEADDR`, `TCP_NODELAY` (which its connections
   * inherit), `O_NONBLOCK`. Several listeners of this process may share an
   * address, as `reusePort` says.
   *
   * @param address A `SocketAddress`, or a port on all interfaces, IPv4.
   * `SocketAddress.v6(port)` takes IPv4 as well. On a unix address a unix
   * stream socket listens. Its path must not exist, and stays when the socket
   * is closed: `asyncUnlink()` removes it.
   * @param options Deviations from that.
   * @returns The listener, which the caller has to close. `EADDRINUSE` if
   * another process has the address, or a socket of this process that does not
   * share it; `EACCES` for a port below 1024, `EADDRNOTAVAIL`, `EMFILE`.
   * @throws {RangeError} If the port, `backlog` or `incomingCpu` is out of
   * range.
   * @throws {TypeError} If `address` is none, `ctx` is no context, or
   * `incomingCpu` is given for an address that no other listener shares.
   *
   * @example Listen
   * ```ts
   * import { SocketAddress, TcpListener, unwrap } from "@kio/kio";
   *
   * using listener = unwrap(TcpListener.bind(SocketAddress.v6(0)));
   * console.log(`listening on ${listener.localAddress}`);
   * ```
   */
  static override bind(
    address: number | SocketAddress,
    options: ListenOptions = {},
  ): Result<TcpListener> {
    checkOptions(options, "listen");
    const { backlog = 4096, reusePort, ipv6Only = false, incomingCpu, ctx } =
      options;
    const at = typeof address === "number"
      ? SocketAddress.v4(address)
      : checkAddress(address, "listen");
    checkBacklog(backlog);
    if (reusePort !== undefined) checkBoolean(reusePort, "reusePort", "listen");
    checkBoolean(ipv6Only, "ipv6Only", "listen");
    if (ctx !== undefined) ringOf(ctx, { verb: "listen" });
    if (incomingCpu !== undefined) {
      checkCpu(incomingCpu, "listen");
      checkShares(at, reusePort);
    }
    const action = `listen on ${at}`;
    const fd = openSocket(at.family, "stream");
    if (fd < 0) return failure(-fd, action);
    const listener = new TcpListener(fd, ctx);
    const isUnix = at.family === "unix";
    const steps: (() => Result<void>)[] = isUnix || reusePort !== undefined
      ? [() => listener.bind(at), () => listener.listen(backlog)]
      : [() => listenHere(listener, at, backlog)];
    if (!isUnix) {
      steps.unshift(
        () => listener.setReuseAddr(),
        () => listener.setReusePort(reusePort === true),
        () => listener.setNodelay(),
      );
    }
    if (incomingCpu !== undefined) {
      steps.unshift(() => listener.setIncomingCpu(incomingCpu));
    }
    if (at.family === "ipv6") {
      steps.unshift(() => listener.setIpv6Only(ipv6Only));
    }
    for (const step of steps) {
      const result = step();
      if (!result.ok) {
        listener[Symbol.dispose]();
        return failure(result.error.errno, action);
      }
    }
    return success(listener);
  }

  /**
   * Takes ownership of a listener that other processes may have as well: one of
   * systemd, or of a predecessor. It sets FD_CLOEXEC. Clients that wait are
   * common to all of them, and stay when this one is closed. So `acceptLoop()`
   * does not stop it at the end.
   *
   * @param fd The fd, of a TCP or a unix stream socket.
   * @param ctx The context of `accept()`. Without it that throws.
   * @returns The listener, which the caller has to close. `EBADF`; `ENOTSOCK`;
   * `EPROTOTYPE` if it is no stream socket; `EAFNOSUPPORT` if it is neither IPv4
   * nor IPv6 nor unix; `EINVAL` if it does not listen. The fd is the caller's
   * then.
   * @throws As `Socket.adopt()`.
   *
   * @example A listener that is to be given on
   * ```ts
   * import { SocketAddress, TcpListener, unwrap } from "@kio/kio";
   *
   * const bound = unwrap(TcpListener.bind(SocketAddress.v4(0)));
   * await using listener = unwrap(TcpListener.adopt(bound.release()));
   * console.log(`listening on ${listener.localAddress}`);
   * ```
   */
  static override adopt(fd: number, ctx?: IoContext): Result<TcpListener> {
    return adopt((fd) => new TcpListener(fd, ctx), fd, LISTENER);
  }

  /** The address that it listens on, by getsockname(2), in Deno's shape.
   *
   * @throws {TypeError} If the socket is closed, or is a unix one: that of a
   * `UnixListener` has a path. */
  get addr(): Deno.NetAddr {
    return netAddr(this.localAddress);
  }
}

/** Binds and listens at an address that only this process shares. */
function listenHere(
  { fd }: Socket,
  at: SocketAddress,
  backlog: number,
): Result<void> {
  const bytes = bytesOfAddress(at);
  const status = loadShim().kio_listen(fd, bytes, bytes.length, backlog);
  return status < 0 ? failure(-status, "listen") : DONE;
}

/** Throws if no other listener could have the address: then the CPU would
 * decide nothing. */
function checkShares({ family }: SocketAddress, reusePort?: boolean): void {
  if (family !== "unix" && reusePort !== false) return;
  throw new TypeError(
    "Cannot listen: incomingCpu chooses among listeners that share a TCP address; leave it out, or give such an address without reusePort: false",
  );
}
