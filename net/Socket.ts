import { loadShim } from "../ffi/load.ts";
import { checkInteger, checkOwned } from "../lib/check.ts";
import {
  SHUT_RDWR,
  SO_LINGER,
  SO_PEERCRED,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../lib/constants.ts";
import { closeIdle } from "../lib/ring/close_idle.ts";
import { offered } from "../lib/ring/offered.ts";
import { failure, type Result, success } from "../lib/result.ts";
import {
  ADDRESS_SIZE,
  type AddressFamily,
  addressFromBytes,
  bytesOfAddress,
  familyNumber,
  SocketAddress,
} from "../lib/SocketAddress.ts";
import { adopt, isShared } from "./adopt.ts";
import { call, fdOf } from "./call.ts";
import { SocketBase } from "./SocketBase.ts";

const SOCK_NONBLOCK = 0o4000;

/** sizeof(struct linger), and one that is on, of 0 seconds. */
const LINGER_SIZE = 8;
const AT_ONCE = new Int32Array([1, 0]);

/** The kind of a socket: a stream of bytes, or messages; see socket(2). */
export type SocketType = "stream" | "datagram" | "seqpacket";

const TYPE_NUMBERS: ReadonlyMap<SocketType, number> = new Map([
  ["stream", SOCK_STREAM],
  ["datagram", SOCK_DGRAM],
  ["seqpacket", SOCK_SEQPACKET],
]);

/** The process at the other end of a unix socket. */
export interface PeerCredentials {
  /** Its number; 0 if it is in a PID namespace that is not seen from here. */
  readonly pid: number;
  /** Its effective user. */
  readonly uid: number;
  /** Its effective group. */
  readonly gid: number;
}

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
export class Socket extends SocketBase implements Disposable, AsyncDisposable {
  #fd: number;
  /** The close that has begun: its end. */
  #closing: Promise<void> | undefined;

  /**
   * Takes ownership of an fd. This object closes it from now on, at the latest
   * when the thread ends: the peer of a worker that is terminated sees the end.
   *
   * @param fd The fd of a socket.
   * @throws {RangeError} If `fd` is no integer from 0 to 2^31 - 1.
   * @throws {TypeError} If `fd` is the ring of a context.
   */
  constructor(fd: number) {
    super();
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

  /**
   * Takes ownership of a socket that other processes may have as well: an
   * inherited one, one that came by SCM_RIGHTS, or one that is to be given on.
   * It sets FD_CLOEXEC. Closing it closes the fd, and does not shut it down: the
   * socket lives on in the other processes.
   *
   * @param fd The fd.
   * @returns Its owner. `EBADF` if it is not open, `ENOTSOCK` if it is no socket;
   * the fd is the caller's then.
   * @throws {RangeError} If `fd` is no integer from 0 to 2^31 - 1.
   * @throws {TypeError} If an object of this thread owns it already, or it is
   * the ring of a context.
   *
   * @example A copy of a socket lives on
   * ```ts
   * import { asyncSend, dup, IoContext, Socket, unwrap } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * const [left, right] = unwrap(Socket.pair());
   * const copy = unwrap(Socket.adopt(unwrap(dup(left))));
   * await copy.close();
   * await asyncSend(ctx, left, new Uint8Array(1)).orThrow();
   * await Promise.all([left.close(), right.close()]);
   * ```
   */
  static adopt(fd: number): Result<Socket> {
    return adopt((fd) => new Socket(fd), fd);
  }

  /** The fd; -1 when the socket is closed or released. */
  override get fd(): number {
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
   * Closes the socket in the order that is safe. It cancels what is pending on
   * the socket in the contexts of this thread. It ends the connection, so that
   * the peer knows at once, and waits until the kernel has let go. Only then it
   * closes the fd, as its number may be in use again at once. The second time it
   * only waits. A socket of `adopt()` may go on in other processes.
   *
   * @returns When the fd is closed. An error of close(2) says nothing about a
   * socket and is not reported.
   */
  close(): Promise<void> {
    const fd = this.#take();
    if (fd >= 0) {
      const end = () => void loadShim().kio_socket_shutdown(fd, SHUT_RDWR);
      this.#closing = closeIdle(fd, isShared(this) ? undefined : end);
    }
    return this.#closing ?? Promise.resolve();
  }

  /**
   * Begins what `close()` does, and does not wait: the peer knows at once. The
   * fd is closed at once too if nothing is pending on it.
   */
  [Symbol.dispose](): void {
    void this.close();
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
    return call(
      this,
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
    return call(
      this,
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
    return call(
      this,
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
    const fd = fdOf(this, "get an address");
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
    return call(
      this,
      "set O_NONBLOCK",
      (fd) => loadShim().kio_nonblocking_set(fd, on),
    );
  }

  /**
   * Closes the socket and resets the connection, by SO_LINGER and close(2): the
   * peer gets `ECONNRESET`, and no end. What was not sent yet is lost. A proxy
   * passes a reset on by it. What is pending on the socket is cancelled, as
   * `close()` does.
   *
   * Other sockets than TCP are only closed. The reset goes out with the last fd
   * of the socket: a copy of it in another process holds it back.
   *
   * @returns When the fd is closed.
   *
   * @example The peer sees a reset
   * ```ts
   * import {
   *   asyncAccept, asyncRecv, IoContext, Socket, SocketAddress, TcpListener,
   *   TcpStream, unwrap,
   * } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * const address = SocketAddress.v4(0, "127.0.0.1");
   * await using listener = unwrap(TcpListener.bind(address));
   * const { port } = listener.localAddress!;
   * await using client = unwrap(await TcpStream.connect(ctx, "127.0.0.1", port));
   * const server = new Socket(await asyncAccept(ctx, listener).orThrow());
   * await server.reset();
   * const received = await asyncRecv(ctx, client, new Uint8Array(64));
   * console.log(received.ok ? "an end" : received.error.code);
   * ```
   */
  reset(): Promise<void> {
    const fd = this.#take();
    if (fd >= 0) {
      const { kio_option_set_bytes } = loadShim();
      kio_option_set_bytes(fd, SOL_SOCKET, SO_LINGER, AT_ONCE, LINGER_SIZE);
      this.#closing = closeIdle(fd);
    }
    return this.close();
  }

  /**
   * The process at the other end of a unix socket, as it was when it connected,
   * by SO_PEERCRED; undefined if the socket is no connected unix socket.
   *
   * @throws {TypeError} If the socket is closed.
   */
  get peerCredentials(): PeerCredentials | undefined {
    const fd = fdOf(this, "get the peer's credentials");
    const ucred = new Int32Array(3).fill(-1);
    const { kio_option_get_bytes } = loadShim();
    kio_option_get_bytes(fd, SOL_SOCKET, SO_PEERCRED, ucred, ucred.byteLength);
    const [pid = 0, uid = 0, gid = 0] = ucred;
    if (uid === -1) return undefined;
    return { pid, uid: uid >>> 0, gid: gid >>> 0 };
  }

  /**
   * Tells how many bytes can be received at once, by ioctl(2) with SIOCINQ. Of
   * a datagram socket it is the length of the next datagram.
   *
   * @returns The number; `EINVAL` for a listener.
   * @throws {TypeError} If the socket is closed.
   */
  unreadBytes(): Result<number> {
    return this.#queued("count unread bytes", false);
  }

  /**
   * Tells how many bytes of those sent are still here, by ioctl(2) with
   * SIOCOUTQ. With TCP the peer has acknowledged all others. With other
   * sockets it counts memory, and 0 says that none is left.
   *
   * @returns The number; `EINVAL` for a listener.
   * @throws {TypeError} If the socket is closed.
   */
  unsentBytes(): Result<number> {
    return this.#queued("count unsent bytes", true);
  }

  #queued(verb: string, unsent: boolean): Result<number> {
    const fd = fdOf(this, verb);
    const count = loadShim().kio_socket_queued(fd, unsent);
    return count < 0 ? failure(-count, `${verb} (fd ${fd})`) : success(count);
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
