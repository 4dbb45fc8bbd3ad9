import { loadShim } from "../ffi/load.ts";
import { checkInteger, checkOwned } from "../lib/check.ts";
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

/** The kind of a socket: a stream of bytes, or messages; see socket(2). */
export type SocketType = "stream" | "datagram" | "seqpacket";

const TYPE_NUMBERS: ReadonlyMap<SocketType, number> = new Map([
  ["stream", 1],
  ["datagram", 2],
  ["seqpacket", 5],
]);

/**
 * Owns the fd of a socket and closes it, once. Operations take a `Socket`
 * wherever they take an fd.
 *
 * C++: `net::Socket`
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
   * Takes ownership of an fd. This object closes it from now on, at the latest
   * when the thread ends: the peer of a worker that is terminated sees the end.
   *
   * @param fd The fd of a socket.
   * @throws {RangeError} If `fd` is no integer from 0 to 2^31 - 1.
   * @throws {TypeError} If `fd` is the ring of a context.
   */
  constructor(fd: number) {
    const verb = "own a socket";
    this.#fd = checkOwned(checkInteger(fd, 2 ** 31 - 1, "fd", verb), verb);
    offered.delete(this.#fd);
    loadShim().kio_fd_own(this.#fd);
  }

  /**
   * Opens a socket by socket(2), non-blocking and not inherited by other
   * programs.
   *
   * @param family `"ipv4"`, `"ipv6"` or `"unix"`: that of the address it is for.
   * @param type `"stream"` if left out.
   * @returns The socket, which the caller has to close. `EAFNOSUPPORT` if this
   * machine has no such family, `EMFILE`, `ENFILE`.
   * @throws {TypeError} If `family` or `type` is none of these.
   */
  static open(
    family: AddressFamily,
    type: SocketType = "stream",
  ): Result<Socket> {
    const fd = openSocket(family, type);
    return fd < 0 ? failure(-fd, "open a socket") : success(new Socket(fd));
  }

  /**
   * Opens two unix sockets that are connected to each other, by socketpair(2).
   *
   * @param type `"stream"` if left out.
   * @returns Both ends, which the caller has to close. `EMFILE`, `ENFILE`.
   * @throws {TypeError} If `type` is no type of socket.
   */
  static pair(type: SocketType = "stream"): Result<[Socket, Socket]> {
    const fds = new Int32Array(2);
    const number = typeNumber(type) | SOCK_NONBLOCK;
    const status = loadShim().kio_socket_pair(number, fds);
    if (status < 0) return failure(-status, "open a pair of sockets");
    return success([new Socket(fds[0]!), new Socket(fds[1]!)]);
  }

  /** The fd; -1 when the socket is closed or released. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Gives up the fd without closing it.
   *
   * @returns The fd, which the caller has to close; -1 if there is none.
   */
  release(): number {
    const fd = this.#take();
    if (fd >= 0) loadShim().kio_fd_disown(fd);
    return fd;
  }

  /** Gives the fd to the caller, who closes it; until then the thread's end
   * does. */
  #take(): number {
    const fd = this.#fd;
    this.#fd = -1;
    return fd;
  }

  /**
   * Closes the socket in the order that is safe. It ends the connection, so
   * that the peer knows at once. It cancels what is pending on the socket in
   * the contexts of this thread, and waits until the kernel has let go. Only
   * then it closes the fd, as its number may be in use again at once. Does
   * nothing the second time.
   *
   * @returns When the fd is closed. An error of close(2) says nothing about a
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
   * Begins what `close()` does, and does not wait: the peer knows at once. The
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

  /** Closes the socket as `close()` does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Gives the socket its own address, by bind(2).
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
   * Lets connections come in, by listen(2).
   *
   * @param backlog Connections that may wait to be accepted, 1 to 2^31 - 1; the
   * system caps it (`net.core.somaxconn`).
   * @returns `EADDRINUSE`, `EOPNOTSUPP` …
   * @throws {RangeError} If `backlog` is out of range.
   * @throws {TypeError} If the socket is closed.
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
   * accepted: `close()` alone would reset them. A client that connects
   * meanwhile waits, and finds another listener of the address or none. It
   * counts for all threads and processes that have this listener, and cannot be
   * undone.
   *
   * @returns `EINVAL` if the socket does not listen.
   * @throws {TypeError} If the socket is closed.
   */
  stopListening(): Result<void> {
    return this.#call(
      "stop listening",
      (fd) => loadShim().kio_socket_refuse(fd),
    );
  }

  /**
   * The socket's own address, by getsockname(2): after `bind()` with port 0
   * the port that the kernel has chosen.
   *
   * @throws {TypeError} If the socket is closed.
   */
  get localAddress(): SocketAddress | undefined {
    return this.#address(false);
  }

  /**
   * The address of the other end, by getpeername(2); undefined if the socket
   * is not connected.
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
   * Sets `O_NONBLOCK`: plain system calls fail with `EAGAIN` instead of
   * waiting. Operations of a context wait either way.
   *
   * @param on True if left out.
   * @returns An error of fcntl(2).
   * @throws {TypeError} If the socket is closed.
   */
  setNonBlocking(on = true): Result<void> {
    return this.#call(
      "set O_NONBLOCK",
      (fd) => loadShim().kio_nonblocking_set(fd, on),
    );
  }

  /**
   * Sets `TCP_NODELAY`: small segments are sent at once, as Nagle's algorithm
   * is off.
   *
   * @param on True if left out.
   * @returns `EOPNOTSUPP` if it is no TCP socket.
   * @throws {TypeError} If the socket is closed.
   */
  setNodelay(on = true): Result<void> {
    return this.#option("TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
  }

  /**
   * Sets `SO_REUSEADDR`: a listener may have an address again at once.
   *
   * @param on True if left out.
   * @returns An error of setsockopt(2).
   * @throws {TypeError} If the socket is closed.
   */
  setReuseAddr(on = true): Result<void> {
    return this.#option("SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, on ? 1 : 0);
  }

  /**
   * Sets `SO_REUSEPORT`: several sockets listen on one address, and the kernel
   * spreads connections between them.
   *
   * @param on True if left out.
   * @returns An error of setsockopt(2).
   * @throws {TypeError} If the socket is closed.
   */
  setReusePort(on = true): Result<void> {
    return this.#option("SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT, on ? 1 : 0);
  }

  /**
   * Sets `SO_INCOMING_CPU`: of several listeners on one address
   * (`setReusePort()`) this one takes the connections whose packets arrive on
   * this CPU. Any of them takes those of a CPU that none of them has. Before
   * Linux 6.2 the option does nothing.
   *
   * @param cpu The CPU, 0 to 8191, as Linux counts them.
   * @returns An error of setsockopt(2).
   * @throws {RangeError} If `cpu` is out of range.
   * @throws {TypeError} If the socket is closed.
   */
  setIncomingCpu(cpu: number): Result<void> {
    checkCpu(cpu, "set SO_INCOMING_CPU");
    return this.#option("SO_INCOMING_CPU", SOL_SOCKET, SO_INCOMING_CPU, cpu);
  }

  /**
   * Sets `SO_KEEPALIVE`: the kernel looks after a silent peer.
   *
   * @param on True if left out.
   * @returns An error of setsockopt(2).
   * @throws {TypeError} If the socket is closed.
   */
  setKeepAlive(on = true): Result<void> {
    return this.#option("SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0);
  }

  /**
   * Sets the size of the send buffer (`SO_SNDBUF`). The kernel doubles it, for
   * its own needs, and caps it (`net.core.wmem_max`).
   *
   * @param size Bytes, 1 to 2^31 - 1.
   * @returns An error of setsockopt(2).
   * @throws {RangeError} If `size` is out of range.
   * @throws {TypeError} If the socket is closed.
   */
  setSendBuffer(size: number): Result<void> {
    checkSize(size);
    return this.#option("SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, size);
  }

  /**
   * Sets the size of the receive buffer (`SO_RCVBUF`), as `setSendBuffer()`
   * does that of the other (`net.core.rmem_max`).
   *
   * @param size Bytes, 1 to 2^31 - 1.
   * @returns An error of setsockopt(2).
   * @throws {RangeError} If `size` is out of range.
   * @throws {TypeError} If the socket is closed.
   */
  setRecvBuffer(size: number): Result<void> {
    checkSize(size);
    return this.#option("SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, size);
  }

  /**
   * Sets `IPV6_V6ONLY`: an IPv6 socket takes no IPv4. Call it before `bind()`.
   *
   * @param on True if left out.
   * @returns `EINVAL` if the socket is bound, `ENOPROTOOPT` if it is no IPv6
   * socket.
   * @throws {TypeError} If the socket is closed.
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

/** Opens a socket, non-blocking; gives its fd, which the caller owns, or a
 * negative errno. */
export function openSocket(family: AddressFamily, type: SocketType): number {
  const domain = familyNumber(family);
  if (domain === undefined) {
    throw new TypeError(
      `Cannot open a socket: family must be "ipv4", "ipv6" or "unix", got "${family}"`,
    );
  }
  return loadShim().kio_socket(domain, typeNumber(type) | SOCK_NONBLOCK);
}

function typeNumber(type: SocketType): number {
  const number = TYPE_NUMBERS.get(type);
  if (number !== undefined) return number;
  throw new TypeError(
    `Cannot open a socket: type must be "stream", "datagram" or "seqpacket", got "${type}"`,
  );
}

/** Throws unless it is a `SocketAddress`. */
export function checkAddress(
  address: SocketAddress,
  verb: string,
): SocketAddress {
  if (address instanceof SocketAddress) return address;
  const hint = typeof address === "string"
    ? "; SocketAddress.parse() makes one of it"
    : "";
  throw new TypeError(
    `Cannot ${verb}: expected a SocketAddress, got ${typeof address}${hint}`,
  );
}

/** Throws unless listen(2) can take it. */
export function checkBacklog(backlog: number): void {
  checkInteger(backlog, 2 ** 31 - 1, "backlog", "listen", 1);
}

/** Throws unless Linux could have such a CPU. */
export function checkCpu(cpu: number, verb: string): void {
  checkInteger(cpu, CPU_MAX, "CPU", verb);
}

function checkSize(size: number): void {
  checkInteger(size, 2 ** 31 - 1, "size", "set a buffer size", 1);
}
