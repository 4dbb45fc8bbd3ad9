/**
 * Addresses of sockets: a value that is a struct sockaddr, with its text. It
 * imports the classes of threads as types only. A pool brings the function that
 * starts its jobs (see `internal.ts`), so operations on sockets need no
 * threads.
 */
import { checkText } from "./check.ts";
import { AF_INET, AF_INET6, AF_UNIX } from "./constants.ts";
import { BYTES, DECODE, ringOf, startJobOf } from "./internal.ts";
import type { IoContext } from "./IoContext.ts";
import { decimal, parseIpv4, parseIpv6, printIpv6 } from "./ip_text.ts";
import { checkHost, joinLookUp, lookUp, startLookUp } from "./names.ts";
import { RESOLVE, RESOLVE_ALL } from "./ops/table.ts";
import type { Operation } from "./ring/operation.ts";
import { type Result, success } from "./result.ts";
import type { BlockingPool } from "./threads/blocking_pool.ts";
import type { UringOp } from "./UringOp.ts";

/** The family of an address: IPv4, IPv6 or a name of a unix socket. */
export type AddressFamily = "ipv4" | "ipv6" | "unix";

/** Numbers of the families, and offsets of the parts of struct sockaddr_*. */
const NUMBER_OF: ReadonlyMap<AddressFamily, number> = new Map([
  ["unix", AF_UNIX],
  ["ipv4", AF_INET],
  ["ipv6", AF_INET6],
]);
const PORT_AT = 2;
const IPV4_AT = 4;
const IPV4_SIZE = 16;
const IPV6_AT = 8;
const IPV6_SCOPE_AT = 24;
const IPV6_SIZE = 28;
const SCOPE_MAX = 2 ** 32 - 1;
const PATH_AT = 2;
/** Bytes of sun_path, with the NUL that ends it. */
const PATH_SIZE = 108;

/** sizeof(struct sockaddr_storage). */
export const ADDRESS_SIZE = 128;

/**
 * The address of a socket: an IPv4 or IPv6 address with a port, or the name of
 * a unix socket. Immutable. See ip(7), ipv6(7) and unix(7).
 *
 * C++: `net::SocketAddress`
 *
 * @example Make, print, parse
 * ```ts
 * import { SocketAddress } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(`${SocketAddress.v4(8080)}`, "0.0.0.0:8080");
 * assertEquals(SocketAddress.parse("[::1]:80").host, "::1");
 * ```
 */
export class SocketAddress {
  /** The family. */
  readonly family: AddressFamily;
  /**
   * The numeric IP address without brackets; one with a scope has `%` and the
   * number of the interface. For a unix socket its path, its abstract name
   * after a NUL, or the empty string without a name.
   */
  readonly host: string;
  /** The port; 0 for a unix socket. */
  readonly port: number;
  readonly #bytes: Uint8Array<ArrayBuffer>;

  private constructor(
    family: AddressFamily,
    host: string,
    port: number,
    bytes: Uint8Array<ArrayBuffer>,
  ) {
    this.family = family;
    this.host = host;
    this.port = port;
    this.#bytes = bytes;
  }

  /**
   * Makes an IPv4 address.
   *
   * @param port The port, 0 to 65535; 0 lets the kernel choose when bound.
   * @param host Four numbers with dots; all interfaces if left out. A name is
   * no address: see `resolve()`.
   * @returns The address.
   * @throws {RangeError} If `port` is out of range.
   * @throws {TypeError} If `host` is not an IPv4 address.
   */
  static v4(port: number, host = "0.0.0.0"): SocketAddress {
    checkPort(port);
    const parts = parseIpv4(host);
    if (parts === undefined) {
      throw badAddress(host, "an IPv4 address; resolve() looks names up");
    }
    const bytes = new Uint8Array(IPV4_SIZE);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, AF_INET, true);
    view.setUint16(PORT_AT, port);
    bytes.set(parts, IPV4_AT);
    return new SocketAddress("ipv4", parts.join("."), port, bytes);
  }

  /**
   * Makes an IPv6 address. A socket bound to `::` takes IPv4 connections too,
   * unless `IPV6_V6ONLY` is set. Their addresses are written
   * `::ffff:1.2.3.4`.
   *
   * @param port The port, 0 to 65535; 0 lets the kernel choose when bound.
   * @param host The address without brackets; all interfaces if left out. A
   * link-local one has `%` and the number of its interface. A name is no
   * address: see `resolve()`.
   * @returns The address; `host` is in the shortest form (RFC 5952).
   * @throws {RangeError} If `port` is out of range.
   * @throws {TypeError} If `host` is not an IPv6 address.
   */
  static v6(port: number, host = "::"): SocketAddress {
    checkPort(port);
    const [ip = "", scopeText, ...rest] = String(host).split("%");
    const groups = parseIpv6(ip);
    const scope = scopeText === undefined ? 0 : decimal(scopeText, SCOPE_MAX);
    if (groups === undefined || rest.length > 0) {
      throw badAddress(host, "an IPv6 address; resolve() looks names up");
    }
    if (scope === undefined) {
      throw badAddress(host, "the number of an interface after the %");
    }
    const bytes = new Uint8Array(IPV6_SIZE);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, AF_INET6, true);
    view.setUint16(PORT_AT, port);
    groups.forEach((group, i) => view.setUint16(IPV6_AT + 2 * i, group));
    view.setUint32(IPV6_SCOPE_AT, scope, true);
    const printed = printIpv6(groups) + (scope === 0 ? "" : `%${scope}`);
    return new SocketAddress("ipv6", printed, port, bytes);
  }

  /**
   * Makes the address of a unix socket.
   *
   * @param path The path, 1 to 107 bytes; or NUL and an abstract name, which is
   * in no file system.
   * @returns The address.
   * @throws {TypeError} If `path` is empty or has a NUL that is not its first
   * character.
   * @throws {RangeError} If it is too long.
   */
  static unix(path: string): SocketAddress {
    if (typeof path !== "string" || path === "" || path.indexOf("\0", 1) > 0) {
      throw badAddress(path, "a path without NUL, or NUL and an abstract name");
    }
    const text = path.startsWith("\0") ? path.slice(1) : path;
    checkText(text, "path", "use the address of a unix socket");
    const name = new TextEncoder().encode(path);
    if (name.length >= PATH_SIZE) {
      throw new RangeError(
        `Cannot use "${path}" as the address of a unix socket: it may have ${
          PATH_SIZE - 1
        } bytes, got ${name.length}`,
      );
    }
    // A path ends with NUL; an abstract name is as long as the address says.
    const end = PATH_AT + name.length + (path[0] === "\0" ? 0 : 1);
    const bytes = new Uint8Array(end);
    new DataView(bytes.buffer).setUint16(0, AF_UNIX, true);
    bytes.set(name, PATH_AT);
    return new SocketAddress("unix", path, 0, bytes);
  }

  /**
   * Reads what `toString()` writes: `127.0.0.1:80`, `[::1]:80`,
   * `unix:/run/socket`, `unix:@abstract`.
   *
   * @param text The address with its port.
   * @returns The address.
   * @throws {TypeError} If `text` is no address; a name is none.
   * @throws {RangeError} If the port is out of range.
   */
  static parse(text: string): SocketAddress {
    if (typeof text !== "string") throw badAddress(text, "a string");
    if (text.startsWith("unix:")) {
      const path = text.slice(5);
      return SocketAddress.unix(path[0] === "@" ? `\0${path.slice(1)}` : path);
    }
    const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text);
    if (match === null) {
      throw badAddress(text, "1.2.3.4:80, [::1]:80 or unix:/path");
    }
    const [, ipv6, ipv4, port] = match;
    return ipv6 === undefined
      ? SocketAddress.v4(Number(port), ipv4)
      : SocketAddress.v6(Number(port), ipv6);
  }

  /**
   * Looks a host up and gives its first address, as `resolveAll()` does.
   *
   * C++: `Resolve`
   *
   * @param host An address, or a name.
   * @param port The port, 0 to 65535.
   * @returns The address, or an error of `resolveAll()`.
   * @throws {TypeError} If `host` is empty or has a NUL.
   * @throws {RangeError} If `host` is too long or `port` out of range.
   *
   * @example Resolve at startup
   * ```ts
   * import { SocketAddress, unwrap } from "@kio/kio";
   *
   * const address = unwrap(SocketAddress.resolve("localhost", 8080));
   * console.log(`${address}`);
   * ```
   */
  static resolve(host: string, port: number): Result<SocketAddress> {
    const all = SocketAddress.resolveAll(host, port);
    return all.ok ? success(all.value[0]!) : all;
  }

  /**
   * Looks a host up by getaddrinfo(3): in `/etc/hosts`, the DNS or wherever
   * `/etc/nsswitch.conf` says. It blocks the thread and everything in it, for
   * seconds if a server does not answer: use it at startup. A numeric address
   * needs no look-up.
   *
   * @param host An address, or a name of up to 254 bytes, in ASCII (else in its
   * form `xn--…`). A link-local address may have `%` and the name or number of
   * its interface. getaddrinfo(3) takes more for addresses, such as `127.1`.
   * @param port The port, 0 to 65535.
   * @returns 1 to 64 addresses, in the order of RFC 6724. `EAI_NONAME` if there
   * is no such name or it has no address; `EAI_AGAIN` if there is no answer
   * now, `EAI_FAIL` if there will be none. Other errors of getaddrinfo(3),
   * `EMFILE` …
   * @throws {TypeError} If `host` is empty or has a NUL.
   * @throws {RangeError} If `host` is too long or `port` out of range.
   */
  static resolveAll(host: string, port: number): Result<SocketAddress[]> {
    const name = checkHost(host);
    const literal = literalAddress(host, port);
    if (literal !== undefined) return success([literal]);
    const found = lookUp(name, port);
    return found.ok ? success(distinct(found.value)) : found;
  }

  /**
   * Looks a host up and gives its first address, as `resolveAllAsync()` does.
   *
   * C++: `ResolveAsync`
   *
   * @param ctx The context.
   * @param pool The threads that look it up.
   * @param host An address, or a name.
   * @param port The port, 0 to 65535.
   * @returns The address, or an error of `resolveAllAsync()`.
   * @throws {TypeError} If `host` is empty or has a NUL, or the context or the
   * pool is closed.
   * @throws {RangeError} If `host` is too long or `port` out of range.
   *
   * @example Resolve beside the event loop, for at most two seconds
   * ```ts
   * import { BlockingPool, IoContext, SocketAddress } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * await using pool = new BlockingPool(1);
   * const found = await SocketAddress.resolveAsync(ctx, pool, "localhost", 80)
   *   .withTimeout(2000);
   * console.log(found.ok ? `${found.value}` : found.error.code);
   * ```
   */
  static resolveAsync(
    ctx: IoContext,
    pool: BlockingPool,
    host: string,
    port: number,
  ): UringOp<SocketAddress> {
    const first = (all: SocketAddress[]) => all[0]!;
    return startResolving(RESOLVE, ctx, pool, host, port, first);
  }

  /**
   * Looks a host up by getaddrinfo(3) in a thread of a pool, as `resolveAll()`
   * does in this one; a numeric address needs no thread. A look-up that was
   * cancelled keeps its thread until getaddrinfo(3) returns, which can take
   * half a minute.
   *
   * @param ctx The context.
   * @param pool The threads that look it up.
   * @param host An address, or a name.
   * @param port The port, 0 to 65535.
   * @returns 1 to 64 addresses. The errors of `resolveAll()`; `EAGAIN` if all
   * threads are busy and the queue of the pool is full; `ECANCELED`. `EAI_FAIL`
   * also if there is no thread, an earlier job has ended it, or `--allow-ffi`
   * was revoked: the message names the reason.
   * @throws {TypeError} If `host` is empty or has a NUL, or the context or the
   * pool is closed.
   * @throws {RangeError} If `host` is too long or `port` out of range.
   */
  static resolveAllAsync(
    ctx: IoContext,
    pool: BlockingPool,
    host: string,
    port: number,
  ): UringOp<SocketAddress[]> {
    return resolveFor(ctx, pool, host, port);
  }

  /** Writes the address with its port, in the form that `parse()` reads. */
  toString(): string {
    if (this.family === "ipv4") return `${this.host}:${this.port}`;
    if (this.family === "ipv6") return `[${this.host}]:${this.port}`;
    if (this.host[0] === "\0") return `unix:@${this.host.slice(1)}`;
    // "@" begins an abstract name, so a path must not begin with it.
    return this.host[0] === "@" ? `unix:./${this.host}` : `unix:${this.host}`;
  }

  /** Gives the struct sockaddr. Throws for an object that is no address and
   * only has its shape. */
  private get [BYTES](): Uint8Array<ArrayBuffer> {
    return this.#bytes;
  }

  /** Makes an address of a struct sockaddr of the kernel. */
  private static [DECODE](bytes: Uint8Array): SocketAddress {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const family = bytes.length < 2 ? 0 : view.getUint16(0, true);
    if (family === AF_INET) {
      // Not by v4(): each datagram that is received has one.
      const [a, b, c, d] = bytes.subarray(IPV4_AT, IPV4_AT + 4);
      const port = view.getUint16(PORT_AT);
      const own = bytes.slice(0, IPV4_SIZE);
      return new SocketAddress("ipv4", `${a}.${b}.${c}.${d}`, port, own);
    }
    if (family === AF_INET6) {
      const groups = Array.from(
        { length: 8 },
        (_, i) => view.getUint16(IPV6_AT + 2 * i),
      );
      const scope = view.getUint32(IPV6_SCOPE_AT, true);
      return SocketAddress.v6(
        view.getUint16(PORT_AT),
        `${printIpv6(groups)}%${scope}`,
      );
    }
    // A path may come without its NUL. A socket that connects mostly has no
    // name.
    let end = bytes.length;
    if (bytes[PATH_AT] !== 0 && bytes[end - 1] === 0) end--;
    // A byte order mark is part of a name like any other character.
    const path = new TextDecoder("utf-8", { ignoreBOM: true })
      .decode(bytes.subarray(PATH_AT, end));
    return new SocketAddress("unix", path, 0, bytes.slice());
  }
}

/** Gives the struct sockaddr of an address, which must not be changed. */
export function bytesOfAddress(
  address: SocketAddress,
): Uint8Array<ArrayBuffer> {
  return address[BYTES];
}

/** Makes an address of a struct sockaddr of the kernel. */
export function addressFromBytes(bytes: Uint8Array): SocketAddress {
  return SocketAddress[DECODE](bytes);
}

/** Gives AF_INET … of a family; undefined if there is no such family. */
export function familyNumber(family: AddressFamily): number | undefined {
  return NUMBER_OF.get(family);
}

/** Looks a host up as `resolveAllAsync()` does; without a pool, in threads of
 * the shim. */
export function resolveFor(
  ctx: IoContext,
  pool: BlockingPool | undefined,
  host: string,
  port: number,
): UringOp<SocketAddress[]> {
  return startResolving(RESOLVE_ALL, ctx, pool, host, port, (all) => all);
}

function startResolving<T>(
  operation: Operation,
  ctx: IoContext,
  pool: BlockingPool | undefined,
  host: string,
  port: number,
  pick: (all: SocketAddress[]) => T,
): UringOp<T> {
  const ring = ringOf(ctx, operation);
  const startJob = pool && startJobOf(pool, operation);
  const name = checkHost(host);
  const literal = literalAddress(host, port);
  if (literal === undefined) {
    const decode = (found: Iterable<Uint8Array>) => pick(distinct(found));
    return startJob === undefined
      ? joinLookUp(ring, operation, host, name, port, decode)
      : startLookUp(startJob, ring, operation, name, port, decode);
  }
  const entry = ring.take(operation);
  const { op, settle } = ring.external<T>(entry, () => {});
  settle(success(pick([literal])));
  return op;
}

/** Reads a host that is an address; undefined if it is a name. */
function literalAddress(host: string, port: number): SocketAddress | undefined {
  checkPort(port);
  if (parseIpv4(host) !== undefined) return SocketAddress.v4(port, host);
  const [ip = "", scope = "0", ...rest] = host.split("%");
  const isIpv6 = parseIpv6(ip) !== undefined && rest.length === 0 &&
    decimal(scope, SCOPE_MAX) !== undefined;
  return isIpv6 ? SocketAddress.v6(port, host) : undefined;
}

/** Makes addresses, each once: `/etc/hosts` may name one in several lines. */
function distinct(found: Iterable<Uint8Array>): SocketAddress[] {
  const addresses = Array.from(found, addressFromBytes);
  return [...new Map(addresses.map((it) => [`${it}`, it])).values()];
}

function badAddress(given: unknown, expected: string): TypeError {
  return new TypeError(
    `Cannot make a socket address of "${given}": expected ${expected}`,
  );
}

function checkPort(port: number): void {
  if (!(Number.isInteger(port) && port >= 0 && port <= 65535)) {
    throw new RangeError(
      `Cannot make a socket address: port must be an integer from 0 to 65535, got ${port}`,
    );
  }
}
