import { loadShim } from "../ffi/load.ts";
import { checkBoolean, checkInteger, checkOptions } from "../lib/check.ts";
import {
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_V6ONLY,
  SO_INCOMING_CPU,
  SO_KEEPALIVE,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_SNDBUF,
  SOL_SOCKET,
  TCP_NODELAY,
} from "../lib/constants.ts";
import { failure, type Result, success } from "../lib/result.ts";
import {
  checkOption,
  checkOptionLength,
  checkOptionValue,
} from "../lib/ops/option_value.ts";
import { fdOf } from "./call.ts";
import { setOption, setOptions, type SocketOptions } from "./socket_options.ts";

/** The kernel has 8192 at most. */
const CPU_MAX = 8191;
const INT_MAX = 2 ** 31 - 1;

/** The options of a socket: the part of `Socket` that sets and reads them. */
export abstract class SocketBase {
  /** The fd; -1 when the socket is closed or released. */
  abstract get fd(): number;

  /**
   * Sets options that have a type, by setsockopt(2).
   *
   * @param options The options, each with its range. They are set one after the
   * other, up to the first that fails.
   * @returns The error of that one, which `unwrap()` names: `EOPNOTSUPP` or
   * `ENOPROTOOPT` for an option that such a socket lacks, `EPERM` …
   * @throws {RangeError} If a number is out of its range; nothing is set then.
   * @throws {TypeError} If a value has the wrong type, or the socket is closed.
   *
   * @example A peer that is gone is noticed within a minute
   * ```ts
   * import { Socket, unwrap } from "@kio/kio";
   *
   * await using socket = unwrap(Socket.open("ipv4"));
   * unwrap(socket.setKeepAlive());
   * unwrap(socket.setOptions({
   *   keepAliveIdleSeconds: 30,
   *   keepAliveIntervalSeconds: 10,
   *   keepAliveCount: 3,
   *   userTimeoutMs: 60_000,
   * }));
   * ```
   */
  setOptions(options: SocketOptions): Result<void> {
    checkOptions(options, "set options");
    return setOptions(this, options);
  }

  /**
   * Sets any option, by setsockopt(2).
   *
   * @param level `SOL_SOCKET`, `IPPROTO_TCP` …, 0 to 65535.
   * @param name `SO_MARK`, `TCP_QUICKACK` …, 0 to 65535.
   * @param value An int, -2^31 to 2^31 - 1, or the bytes of another type: 0 to
   * 4096, which are copied.
   * @returns `ENOPROTOOPT` for an unknown option, `EINVAL`, `EPERM` …
   * @throws {RangeError} If a number or the length is out of range.
   * @throws {TypeError} If `value` is of another type or detached, or the socket
   * is closed.
   *
   * @example Bytes as the value
   * ```ts
   * import { SO_BINDTODEVICE, Socket, SOL_SOCKET, unwrap } from "@kio/kio";
   *
   * await using socket = unwrap(Socket.open("ipv4", "datagram"));
   * const device = new TextEncoder().encode("lo");
   * console.log(socket.setOption(SOL_SOCKET, SO_BINDTODEVICE, device).ok);
   * ```
   */
  setOption(
    level: number,
    name: number,
    value: number | Uint8Array,
  ): Result<void> {
    const verb = "set an option";
    checkOption(level, name, verb);
    checkOptionValue(value, verb);
    return setOption(this, [level, name], value, `${verb} (${level}, ${name})`);
  }

  /**
   * Reads an option that is an int, by getsockopt(2).
   *
   * @param level As for `setOption()`.
   * @param name As for `setOption()`.
   * @returns The value; `ENOPROTOOPT` for an unknown option …
   * @throws {RangeError} If a number is out of range.
   * @throws {TypeError} If the socket is closed.
   */
  getOption(level: number, name: number): Result<number>;
  /**
   * Reads an option of another type, by getsockopt(2).
   *
   * @param level As for `setOption()`.
   * @param name As for `setOption()`.
   * @param length The bytes that it may have, 1 to 4096.
   * @returns Its bytes: as many as the kernel gives, `length` at most;
   * `ENOPROTOOPT` …
   * @throws As above.
   *
   * @example The congestion control of a connection
   * ```ts
   * import { IPPROTO_TCP, Socket, TCP_CONGESTION, unwrap } from "@kio/kio";
   *
   * await using socket = unwrap(Socket.open("ipv4"));
   * const name = unwrap(socket.getOption(IPPROTO_TCP, TCP_CONGESTION, 16));
   * console.log(new TextDecoder().decode(name).replace(/\0.*$/, ""));
   * ```
   */
  getOption(
    level: number,
    name: number,
    length: number,
  ): Result<Uint8Array<ArrayBuffer>>;
  getOption(
    level: number,
    name: number,
    length?: number,
  ): Result<number | Uint8Array<ArrayBuffer>> {
    const verb = "get an option";
    checkOption(level, name, verb);
    const size = checkOptionLength(length, verb);
    const fd = fdOf(this, verb);
    const value = new Uint8Array(size);
    const filled = loadShim()
      .kio_option_get_bytes(fd, level, name, value, size);
    if (filled < 0) {
      return failure(-filled, `${verb} (${level}, ${name}) (fd ${fd})`);
    }
    return success(
      length === undefined
        ? new DataView(value.buffer).getInt32(0, true)
        : value.subarray(0, filled),
    );
  }

  /**
   * Sets `TCP_NODELAY`: small segments are sent at once, as Nagle's algorithm
   * is off.
   *
   * @param on True if left out.
   * @returns `EOPNOTSUPP` if it is no TCP socket.
   * @throws {TypeError} If the socket is closed, or `on` is no boolean.
   */
  setNodelay(on = true): Result<void> {
    return setSwitch(this, [IPPROTO_TCP, TCP_NODELAY], on, "set TCP_NODELAY");
  }

  /**
   * Sets `SO_REUSEADDR`: a listener may have an address again at once.
   *
   * @param on True if left out.
   * @returns An error of setsockopt(2).
   * @throws {TypeError} If the socket is closed, or `on` is no boolean.
   */
  setReuseAddr(on = true): Result<void> {
    return setSwitch(this, [SOL_SOCKET, SO_REUSEADDR], on, "set SO_REUSEADDR");
  }

  /**
   * Sets `SO_REUSEPORT`: several sockets listen on one address, and the kernel
   * spreads connections between them.
   *
   * @param on True if left out.
   * @returns An error of setsockopt(2).
   * @throws {TypeError} If the socket is closed, or `on` is no boolean.
   */
  setReusePort(on = true): Result<void> {
    return setSwitch(this, [SOL_SOCKET, SO_REUSEPORT], on, "set SO_REUSEPORT");
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
    return setOption(
      this,
      [SOL_SOCKET, SO_INCOMING_CPU],
      cpu,
      "set SO_INCOMING_CPU",
    );
  }

  /**
   * Sets `SO_KEEPALIVE`: the kernel looks after a silent peer.
   *
   * @param on True if left out.
   * @returns An error of setsockopt(2).
   * @throws {TypeError} If the socket is closed, or `on` is no boolean.
   */
  setKeepAlive(on = true): Result<void> {
    return setSwitch(this, [SOL_SOCKET, SO_KEEPALIVE], on, "set SO_KEEPALIVE");
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
    return setOption(this, [SOL_SOCKET, SO_SNDBUF], size, "set SO_SNDBUF");
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
    return setOption(this, [SOL_SOCKET, SO_RCVBUF], size, "set SO_RCVBUF");
  }

  /**
   * Sets `IPV6_V6ONLY`: an IPv6 socket takes no IPv4. Call it before `bind()`.
   *
   * @param on True if left out.
   * @returns `EINVAL` if the socket is bound, `ENOPROTOOPT` if it is no IPv6
   * socket.
   * @throws {TypeError} If the socket is closed, or `on` is no boolean.
   */
  setIpv6Only(on = true): Result<void> {
    return setSwitch(this, [IPPROTO_IPV6, IPV6_V6ONLY], on, "set IPV6_V6ONLY");
  }
}

function setSwitch(
  socket: SocketBase,
  option: Parameters<typeof setOption>[1],
  on: boolean,
  verb: string,
): Result<void> {
  return setOption(socket, option, checkBoolean(on, "on", verb) ? 1 : 0, verb);
}

/** Throws unless Linux could have such a CPU. */
export function checkCpu(cpu: number, verb: string): void {
  checkInteger(cpu, CPU_MAX, "CPU", verb);
}

function checkSize(size: number): void {
  checkInteger(size, INT_MAX, "size", "set a buffer size", 1);
}
