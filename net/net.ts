import { loadShim } from "../ffi/load.ts";
import { checkInteger, checkOptions, checkOwned } from "../lib/check.ts";
import { SHUT_RDWR } from "../lib/constants.ts";
import { offered } from "../lib/ring/offered.ts";
import { SOL_SOCKET } from "../lib/ops/layout.ts";
import { DONE, failure, type Result, success } from "../lib/result.ts";
import { cancelOn } from "../lib/ring/Ring.ts";
import {
  ADDRESS_SIZE,
  type AddressFamily,
  addressFromBytes,
  bytesOfAddress,
  familyNumber,
  SocketAddress,
} from "../lib/SocketAddress.ts";

const SO_REUSEADDR = 2;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_KEEPALIVE = 9;
const SO_REUSEPORT = 15;
const SO_INCOMING_CPU = 49;
/** The kernel has 8192 at most. */
const CPU_MAX = 8191;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const SOCK_NONBLOCK = 0o4000;

/** What a socket carries: a stream of bytes, or messages. */
export type SocketType = "stream" | "datagram" | "seqpacket";

const TYPE_NUMBERS: ReadonlyMap<SocketType, number> = new Map([
  ["stream", 1],
  ["datagram", 2],
  ["seqpacket", 5],
]);

/**
 * Owns the fd of a socket and closes it, once. Operations take it in place of
 * the fd. Stands for `net::Socket`.
 *
 * @example A connection that closes itself
 * ```ts
 * import { asyncAccept, IoContext, Socket, TcpListener, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * using listener = unwrap(TcpListener.bind(0));
 * const accepted = await asyncAccept(ctx, listener).withTimeout(10);
 * if (accepted.ok) {
 *   using client = new Socket(accepted.value);
 *   client.setNodelay(true);
 * }
 * ```
 */
export class Socket implements Disposable, AsyncDisposable {
  #fd: number;

  /**
   * Takes over an fd.
   *
   * @param fd The fd of a socket: from now on this object closes it. It is also
   * closed when the thread ends in whatever way, a worker that is terminated
   * for example: its peers see the end.
   * @throws {RangeError} If it is no integer from 0 to 2^31 - 1; {TypeError} if
   * it is the ring of a context.
   */
  constructor(fd: number) {
    const verb = "own a socket";
    this.#fd = checkOwned(checkInteger(fd, 2 ** 31 - 1, "fd", verb), verb);
    offered.delete(this.#fd);
    loadShim().kio_fd_own(this.#fd);
  }

  /**
   * Makes a new socket, non-blocking and not inherited by other programs.
   * Stands for socket(2).
   *
   * @param family `"ipv4"`, `"ipv6"` or `"unix"`: that of the address it is for.
   * @param type `"stream"` if left out.
   * @returns `EAFNOSUPPORT` where there is no such family, `EMFILE`, `ENFILE`.
   * @throws {TypeError} If `family` or `type` is none of these.
   */
  static open(
    family: AddressFamily,
    type: SocketType = "stream",
  ): Result<Socket> {
    const domain = familyNumber(family);
    if (domain === undefined) {
      throw new TypeError(
        `Cannot open a socket: family must be "ipv4", "ipv6" or "unix", got "${family}"`,
      );
    }
    const fd = loadShim().kio_socket(domain, typeNumber(type) | SOCK_NONBLOCK);
    return fd < 0 ? failure(-fd, "open a socket") : success(new Socket(fd));
  }

  /**
   * Makes two unix sockets that are connected to each other. Stands for
   * socketpair(2).
   *
   * @param type `"stream"` if left out.
   * @returns Both ends. `EMFILE`, `ENFILE`.
   * @throws {TypeError} If `type` is no type of socket.
   */
  static pair(type: SocketType = "stream"): Result<[Socket, Socket]> {
    const fds = new Int32Array(2);
    const number = typeNumber(type) | SOCK_NONBLOCK;
    const status = loadShim().kio_socket_pair(number, fds);
    if (status < 0) return failure(-status, "open a pair of sockets");
    return success([new Socket(fds[0]!), new Socket(fds[1]!)]);
  }

  /** The fd; -1 when it is closed or released. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Gives up the fd without closing it.
   *
   * @returns The fd, which is the caller's to close; -1 if there is none.
   */
  release(): number {
    const fd = this.#take();
    if (fd >= 0) loadShim().kio_fd_disown(fd);
    return fd;
  }

  /** The fd, which is closed with the thread until it is closed. */
  #take(): number {
    const fd = this.#fd;
    this.#fd = -1;
    return fd;
  }

  /**
   * Closes the socket in the order that is safe: ends the connection, so that
   * the peer knows at once, cancels what is pending on it in the contexts of
   * this thread, waits until the kernel is done with that, and only then closes
   * the fd, whose number would else be in use again too early. Does nothing the
   * second time.
   *
   * @returns When it is closed. An error of close(2) says nothing about a
   * socket and is not reported.
   */
  async close(): Promise<void> {
    const fd = this.#take();
    if (fd < 0) return;
    loadShim().kio_socket_shutdown(fd, SHUT_RDWR);
    await cancelOn(fd);
    loadShim().kio_fd_close(fd);
  }

  /**
   * Begins what `close()` does, without waiting: the peer knows at once. The
   * fd is closed at once too if nothing is pending on it.
   */
  [Symbol.dispose](): void {
    const fd = this.#take();
    if (fd < 0) return;
    loadShim().kio_socket_shutdown(fd, SHUT_RDWR);
    const cancelled = cancelOn(fd);
    if (cancelled === undefined) loadShim().kio_fd_close(fd);
    else void cancelled.then(() => loadShim().kio_fd_close(fd));
  }

  /** The same as `close()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Gives the socket its own address. Stands for bind(2).
   *
   * @param address The address; port 0 lets the kernel choose one.
   * @returns `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL` if it has one.
   * @throws {TypeError} If `address` is none, or the socket is closed.
   */
  bind(address: SocketAddress): Result<void> {
    const bytes = bytesOfAddress(checkAddress(address, "bind"));
    return this.#call(
      "bind",
      (fd) => loadShim().kio_socket_bind(fd, bytes, bytes.length),
      address,
    );
  }

  /**
   * Lets connections come in. Stands for listen(2).
   *
   * @param backlog How many may wait to be accepted, 1 to 2^31 - 1; the system
   * caps it (`net.core.somaxconn`).
   * @returns `EADDRINUSE`, `EOPNOTSUPP` …
   * @throws {RangeError} If `backlog` is out of range.
   */
  listen(backlog = 4096): Result<void> {
    checkBacklog(backlog);
    return this.#call(
      "listen",
      (fd) => loadShim().kio_socket_listen(fd, backlog),
    );
  }

  /**
   * Has a listener take no new connections, while those that wait can still be
   * accepted: what comes before `close()`, which would reset them. Who connects
   * meanwhile waits, and finds another listener of the address or none. It
   * counts for all threads and processes that have this listener, and cannot be
   * undone.
   *
   * @returns `EINVAL` if it does not listen.
   * @throws {TypeError} If the socket is closed.
   */
  stopListening(): Result<void> {
    return this.#call(
      "stop listening",
      (fd) => loadShim().kio_socket_refuse(fd),
    );
  }

  /**
   * The socket's own address: after `bind` with port 0, the port it got.
   *
   * @throws {TypeError} If the socket is closed.
   */
  get localAddress(): SocketAddress | undefined {
    return this.#address(false);
  }

  /**
   * The address of the other end; undefined if it is not connected.
   *
   * @throws {TypeError} If the socket is closed.
   */
  get peerAddress(): SocketAddress | undefined {
    return this.#address(true);
  }

  #address(peer: boolean): SocketAddress | undefined {
    const bytes = new Uint8Array(ADDRESS_SIZE);
    const fd = this.#open("get an address");
    const length = loadShim().kio_socket_name(fd, peer, bytes);
    return length < 0 ? undefined : addressFromBytes(bytes.subarray(0, length));
  }

  /**
   * Whether plain system calls on it fail with EAGAIN instead of waiting.
   * Operations of a context wait either way.
   *
   * @param on On, if left out.
   */
  setNonBlocking(on = true): Result<void> {
    return this.#call(
      "set O_NONBLOCK",
      (fd) => loadShim().kio_nonblocking_set(fd, on),
    );
  }

  /**
   * Sends small segments at once (`TCP_NODELAY`: Nagle's algorithm is off).
   *
   * @param on On, if left out.
   * @returns `EOPNOTSUPP` if it is no TCP socket.
   */
  setNodelay(on = true): Result<void> {
    return this.#option("TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
  }

  /**
   * Lets a listener use an address again at once (`SO_REUSEADDR`).
   *
   * @param on On, if left out.
   */
  setReuseAddr(on = true): Result<void> {
    return this.#option("SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, on ? 1 : 0);
  }

  /**
   * Lets several sockets listen on one address, between which the kernel
   * spreads connections (`SO_REUSEPORT`).
   *
   * @param on On, if left out.
   */
  setReusePort(on = true): Result<void> {
    return this.#option("SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT, on ? 1 : 0);
  }

  /**
   * Has a listener of several on one address (`setReusePort()`) take the
   * connections whose packets arrive on this CPU (`SO_INCOMING_CPU`). Those
   * that arrive on a CPU that none of the listeners has go to any of them.
   * Before Linux 6.2 all do.
   *
   * @param cpu The CPU, 0 to 8191, as Linux counts them.
   * @throws {RangeError} If `cpu` is out of range.
   */
  setIncomingCpu(cpu: number): Result<void> {
    checkCpu(cpu, "set SO_INCOMING_CPU");
    return this.#option("SO_INCOMING_CPU", SOL_SOCKET, SO_INCOMING_CPU, cpu);
  }

  /**
   * Has the kernel look after a silent peer (`SO_KEEPALIVE`).
   *
   * @param on On, if left out.
   */
  setKeepAlive(on = true): Result<void> {
    return this.#option("SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0);
  }

  /**
   * The size of the send buffer (`SO_SNDBUF`); the kernel doubles it, for its
   * own needs, and caps it (`net.core.wmem_max`).
   *
   * @param size Bytes, 1 to 2^31 - 1.
   */
  setSendBuffer(size: number): Result<void> {
    checkSize(size);
    return this.#option("SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, size);
  }

  /**
   * The size of the receive buffer (`SO_RCVBUF`), as `setSendBuffer()`.
   *
   * @param size Bytes, 1 to 2^31 - 1.
   */
  setRecvBuffer(size: number): Result<void> {
    checkSize(size);
    return this.#option("SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, size);
  }

  /**
   * Whether an IPv6 socket takes IPv6 only (`IPV6_V6ONLY`). Before `bind`.
   *
   * @param on On, if left out.
   */
  setIpv6Only(on = true): Result<void> {
    return this.#option("IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY, on ? 1 : 0);
  }

  #option(
    name: string,
    level: number,
    option: number,
    value: number,
  ): Result<void> {
    return this.#call(
      `set ${name}`,
      (fd) => loadShim().kio_option_set(fd, level, option, value),
    );
  }

  #call(
    verb: string,
    call: (fd: number) => number,
    address?: SocketAddress,
  ): Result<void> {
    const fd = this.#open(verb);
    const status = call(fd);
    if (status >= 0) return DONE;
    const subject = address === undefined ? `(fd ${fd})` : `to ${address}`;
    return failure(-status, `${verb} ${subject}`);
  }

  #open(verb: string): number {
    if (this.#fd >= 0) return this.#fd;
    throw new TypeError(`Cannot ${verb}: the socket is closed or released`);
  }
}

/** How `TcpListener.bind()` makes a listener. */
export interface ListenOptions {
  /** How many connections may wait to be accepted.
   * @default {4096} */
  backlog?: number | undefined;
  /**
   * Who may listen on the same TCP address (`SO_REUSEPORT`); the kernel spreads
   * the connections among them. If left out, other threads and listeners of
   * this process. With `true`, other processes of the same user too, if they
   * say so as well: for a program that takes over from its predecessor. With
   * `false`, nobody.
   */
  reusePort?: boolean | undefined;
  /**
   * `SO_INCOMING_CPU`, 0 to 8191: of the listeners on one address this one
   * takes the connections whose packets arrive on this CPU. For a thread that
   * is pinned to it, as `cpu` of `joinPool()` says: then a connection stays on
   * one CPU from its packets to the code that serves it. If left out, and before
   * Linux 6.2, the kernel spreads connections by a hash.
   */
  incomingCpu?: number | undefined;
  /** For an IPv6 address: refuse IPv4.
   * @default {false} */
  ipv6Only?: boolean | undefined;
}

/** Makes listening sockets. Stands for `net::TcpListener`. */
export class TcpListener {
  /**
   * Binds a socket and listens, by bind(2) and listen(2), with what servers
   * want: `SO_REUSEADDR`, `TCP_NODELAY` (which its connections inherit),
   * non-blocking. Several listeners of this process share an address, as
   * `reusePort` says.
   *
   * @param address Where: a `SocketAddress`, or a port on all interfaces, IPv4.
   * `SocketAddress.v6(port)` takes IPv4 as well. With a unix address a unix
   * stream socket listens; its path must not exist, and stays when the socket
   * is closed: `asyncUnlink()` removes it.
   * @param options What is different from that.
   * @returns The listener. `EADDRINUSE` if another process has the address, or
   * a socket of this process that does not share it; `EACCES` for a port below
   * 1024, `EADDRNOTAVAIL`, `EMFILE`.
   * @throws {RangeError} If the port, `backlog` or `incomingCpu` is out of
   * range, {TypeError} if `address` is none, or `incomingCpu` is given for a
   * listener that shares its address with none.
   *
   * @example Listen
   * ```ts
   * import { SocketAddress, TcpListener, unwrap } from "@kio/kio";
   *
   * using listener = unwrap(TcpListener.bind(SocketAddress.v6(0)));
   * console.log(`listening on ${listener.localAddress}`);
   * ```
   */
  static bind(
    address: number | SocketAddress,
    options: ListenOptions = {},
  ): Result<Socket> {
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
    const opened = Socket.open(at.family);
    if (!opened.ok) return failure(opened.error.errno, action);
    const socket = opened.value;
    const isUnix = at.family === "unix";
    const steps: (() => Result<void>)[] = isUnix || reusePort !== undefined
      ? [() => socket.bind(at), () => socket.listen(backlog)]
      : [() => listenHere(socket, at, backlog)];
    if (!isUnix) {
      steps.unshift(
        () => socket.setReuseAddr(),
        () => socket.setReusePort(reusePort === true),
        () => socket.setNodelay(),
      );
    }
    if (incomingCpu !== undefined) {
      steps.unshift(() => socket.setIncomingCpu(incomingCpu));
    }
    if (at.family === "ipv6") {
      steps.unshift(() => socket.setIpv6Only(ipv6Only));
    }
    for (const step of steps) {
      const result = step();
      if (!result.ok) {
        socket[Symbol.dispose]();
        return failure(result.error.errno, action);
      }
    }
    return opened;
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

function typeNumber(type: SocketType): number {
  const number = TYPE_NUMBERS.get(type);
  if (number !== undefined) return number;
  throw new TypeError(
    `Cannot open a socket: type must be "stream", "datagram" or "seqpacket", got "${type}"`,
  );
}

function checkAddress(address: SocketAddress, verb: string): SocketAddress {
  if (address instanceof SocketAddress) return address;
  const hint = typeof address === "string"
    ? "; SocketAddress.parse() makes one of it"
    : "";
  throw new TypeError(
    `Cannot ${verb}: expected a SocketAddress, got ${typeof address}${hint}`,
  );
}

function checkBacklog(backlog: number): void {
  checkInteger(backlog, 2 ** 31 - 1, "backlog", "listen", 1);
}

function checkCpu(cpu: number, verb: string): void {
  checkInteger(cpu, CPU_MAX, "CPU", verb);
}

/** The CPU decides between listeners; alone, it would decide nothing. */
function checkShares({ family }: SocketAddress, reusePort?: boolean): void {
  if (family !== "unix" && reusePort !== false) return;
  throw new TypeError(
    "Cannot listen: incomingCpu chooses among listeners that share a TCP address; leave it out, or give such an address without reusePort: false",
  );
}

function checkSize(size: number): void {
  checkInteger(size, 2 ** 31 - 1, "size", "set a buffer size", 1);
}

export { type AddressFamily, SocketAddress } from "../lib/SocketAddress.ts";
export {
  type ConnectAttempt,
  type ConnectError,
  type ConnectFailure,
  type ConnectOptions,
  type ConnectResult,
  TcpStream,
} from "./TcpStream.ts";
export { acceptLoop, type AcceptLoopOptions } from "./accept_loop.ts";
export { Connections, type ConnectionsOptions } from "./connections.ts";
