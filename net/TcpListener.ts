import { loadShim } from "../ffi/load.ts";
import { checkFd, checkOptions } from "../lib/check.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import type { MultishotOptions } from "../lib/io.ts";
import { acceptStream, type Waiting } from "../lib/ops/accept_stream.ts";
import { queueMaxOf } from "../lib/ops/queue_max.ts";
import { ACCEPT_MULTISHOT } from "../lib/ops/table.ts";
import { DONE, failure, type Result, success } from "../lib/result.ts";
import { bytesOfAddress, SocketAddress } from "../lib/SocketAddress.ts";
import type { UringStream } from "../lib/UringStream.ts";
import { adopt, LISTENER } from "./adopt.ts";
import { checkAddress, checkBacklog, openSocket, Socket } from "./Socket.ts";
import { checkCpu } from "./SocketBase.ts";
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
}

/**
 * A socket that listens, on a TCP or a unix address. `bind()` makes one;
 * `new TcpListener(fd)` takes ownership of the fd of one that there is.
 *
 * C++: `net::TcpListener`
 */
export class TcpListener extends Socket {
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
   * @throws {TypeError} If `address` is none, or `incomingCpu` is given for an
   * address that no other listener shares.
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
    const { backlog = 4096, reusePort, ipv6Only = false, incomingCpu } =
      options;
    const at = typeof address === "number"
      ? SocketAddress.v4(address)
      : checkAddress(address, "listen");
    checkBacklog(backlog);
    if (reusePort !== undefined && typeof reusePort !== "boolean") {
      throw new TypeError(
        `Cannot listen: reusePort must be a boolean, got ${typeof reusePort}`,
      );
    }
    if (incomingCpu !== undefined) {
      checkCpu(incomingCpu, "listen");
      checkShares(at, reusePort);
    }
    const action = `listen on ${at}`;
    const fd = openSocket(at.family, "stream");
    if (fd < 0) return failure(-fd, action);
    const listener = new TcpListener(fd);
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
  static override adopt(fd: number): Result<TcpListener> {
    return adopt(TcpListener, fd, LISTENER);
  }

  /**
   * Accepts connections by accept4(2), one after the other, as
   * `asyncAcceptMultishot()` does. `acceptLoop()` does more for a server: at the
   * end it serves the clients that wait.
   *
   * @param ctx The context.
   * @param options The length of the queue.
   * @returns The connections. Who takes one owns it and must close it; those
   * that nobody takes are closed. An error of one connection, or a lack of fds
   * or memory, is a result like any other, and the stream goes on. It ends with
   * this listener: `ECANCELED`.
   * @throws {RangeError} If `queueMax` is out of range, or the listener is
   * closed.
   * @throws {TypeError} If an argument has the wrong type, the context is
   * closed, or it is called within `link()`.
   *
   * @example Greet who connects
   * ```ts
   * import {
   *   asyncSend, IoContext, SocketAddress, TcpListener, unwrap,
   * } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * await using listener = unwrap(TcpListener.bind(SocketAddress.v4(0)));
   * const stop = AbortSignal.timeout(10);
   * for await (const result of listener.incoming(ctx).withSignal(stop)) {
   *   if (!result.ok) continue;
   *   await using connection = result.value;
   *   await asyncSend(ctx, connection, new TextEncoder().encode("hello\n"));
   * }
   * ```
   */
  incoming(
    ctx: IoContext,
    options: MultishotOptions = {},
  ): UringStream<TcpStream> {
    const ring = ringOf(ctx, ACCEPT_MULTISHOT);
    const fd = checkFd(this, ACCEPT_MULTISHOT);
    const queueMax = queueMaxOf(options, ACCEPT_MULTISHOT);
    return acceptStream(ring, fd, queueMax, STREAMS);
  }
}

/** Connections that wait to be taken: each is its fd's owner from the start. */
const STREAMS: Waiting<TcpStream> = {
  of: (fd) => new TcpStream(fd),
  keep: () => {},
  give: () => {},
  discard: (stream) => stream[Symbol.dispose](),
};

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
