/** Options of sockets that have a type: a row each, with its place and range. */
import { loadShim } from "../ffi/load.ts";
import { checkBoolean, checkInteger, checkText } from "../lib/check.ts";
import {
  AF_INET6,
  IP_MULTICAST_IF,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  IP_RECVERR,
  IP_TOS,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV6_MULTICAST_HOPS,
  IPV6_MULTICAST_IF,
  IPV6_MULTICAST_LOOP,
  IPV6_RECVERR,
  IPV6_TCLASS,
  SO_BROADCAST,
  SO_DOMAIN,
  SO_PRIORITY,
  SOL_SOCKET,
  TCP_CONGESTION,
  TCP_DEFER_ACCEPT,
  TCP_FASTOPEN,
  TCP_FASTOPEN_CONNECT,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_USER_TIMEOUT,
  UDP_GRO,
} from "../lib/constants.ts";
import { DONE, type Result } from "../lib/result.ts";
import { call, fdOf } from "./call.ts";

/** Options for `Socket.setOptions()`. Those that are left out stay as they
 * are. */
export interface SocketOptions {
  /** Seconds of silence before the first probe of `setKeepAlive()`, 1 to 32767
   * (`TCP_KEEPIDLE`). */
  keepAliveIdleSeconds?: number | undefined;
  /** Seconds between its probes, 1 to 32767 (`TCP_KEEPINTVL`). */
  keepAliveIntervalSeconds?: number | undefined;
  /** Probes without an answer that end the connection with `ETIMEDOUT`, 1 to
   * 127 (`TCP_KEEPCNT`). */
  keepAliveCount?: number | undefined;
  /** Milliseconds that sent data may stay without an answer before the
   * connection ends with `ETIMEDOUT`, 0 to 2^31 - 1; 0 leaves it to the system
   * (`TCP_USER_TIMEOUT`). */
  userTimeoutMs?: number | undefined;
  /** Seconds that a listener keeps a connection without data back, 0 to 2^31 - 1
   * (`TCP_DEFER_ACCEPT`). The kernel rounds them up to the times of its own
   * repetitions. */
  deferAcceptSeconds?: number | undefined;
  /** Connections of a listener whose first packet had data and that are not
   * complete, 0 to 2^31 - 1 at most (`TCP_FASTOPEN`). The system has to allow
   * it: `net.ipv4.tcp_fastopen`. */
  fastOpenQueue?: number | undefined;
  /** Lets the first data go with the first packet (`TCP_FASTOPEN_CONNECT`): a
   * connect is done at once, and its errors come with the first send. Set it
   * before. */
  fastOpenConnect?: boolean | undefined;
  /** The congestion control, `"cubic"`, `"bbr"` … (`TCP_CONGESTION`). `ENOENT`
   * if the kernel has no such one, `EPERM` if only the administrator may use
   * it. */
  congestionControl?: string | undefined;
  /** The priority in the queues of this machine, 0 to 2^31 - 1; above 6 it needs
   * CAP_NET_ADMIN (`SO_PRIORITY`). */
  priority?: number | undefined;
  /** The traffic class of packets, 0 to 255: the DSCP times 4, and ECN, which TCP
   * keeps to itself (`IP_TOS`; with IPv6 `IPV6_TCLASS` too). */
  trafficClass?: number | undefined;
  /** Allows datagrams to a broadcast address, which fail with `EACCES` otherwise
   * (`SO_BROADCAST`). */
  broadcast?: boolean | undefined;
  /** Hops of multicast datagrams, 0 to 255; 1, the default, is the local network
   * (`IP_MULTICAST_TTL`, `IPV6_MULTICAST_HOPS`). */
  multicastHops?: number | undefined;
  /** Has this machine receive its own multicast datagrams, as it does by default
   * (`IP_MULTICAST_LOOP`, `IPV6_MULTICAST_LOOP`). */
  multicastLoop?: boolean | undefined;
  /** The number of the interface that multicast datagrams go out by, 0 to
   * 2^31 - 1; 0 lets the kernel choose (`IP_MULTICAST_IF`,
   * `IPV6_MULTICAST_IF`). */
  multicastInterface?: number | undefined;
  /** Has one receive give several datagrams of one sender and one size, where
   * they came together (`UDP_GRO`); `Datagram.segmentSize` tells. */
  gro?: boolean | undefined;
  /** Queues the errors that routers and receivers report, for
   * `UdpSocket.receiveError()` (`IP_RECVERR`, `IPV6_RECVERR`). A socket that is
   * not connected gets no other word of them. */
  queueErrors?: boolean | undefined;
}

/** A level and a name. */
type Option = readonly [level: number, name: number];

interface Row {
  readonly option: Option;
  /** On a socket of IPv6, beside the other: it sends IPv4 as well. */
  readonly ipv6?: Option;
  /** A number from `min`, 0 if left out, to this. */
  readonly max?: number;
  readonly min?: number;
  /** The other kinds. */
  readonly kind?: "boolean" | "text";
  /** The value for `option`, if it is no int. */
  readonly bytes?: (value: number) => Uint8Array<ArrayBuffer>;
}

const INT_MAX = 2 ** 31 - 1;
/** TCP_CA_NAME_MAX, with the NUL. */
const NAME_SIZE = 16;
const KEEP_MAX = 32767;

/** sizeof(struct ip_mreqn), and the offset of the interface. */
const MREQN_SIZE = 12;
const MREQN_INTERFACE_AT = 8;

/** Makes a struct ip_mreqn: a group, if there is one, on an interface. */
export function ipMreqn(
  interfaceIndex: number,
  group?: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(MREQN_SIZE);
  if (group !== undefined) bytes.set(group);
  const view = new DataView(bytes.buffer);
  view.setInt32(MREQN_INTERFACE_AT, interfaceIndex, true);
  return bytes;
}

/** In this order they are set. */
const TABLE: Readonly<Record<keyof SocketOptions, Row>> = {
  keepAliveIdleSeconds: {
    option: [IPPROTO_TCP, TCP_KEEPIDLE],
    min: 1,
    max: KEEP_MAX,
  },
  keepAliveIntervalSeconds: {
    option: [IPPROTO_TCP, TCP_KEEPINTVL],
    min: 1,
    max: KEEP_MAX,
  },
  keepAliveCount: { option: [IPPROTO_TCP, TCP_KEEPCNT], min: 1, max: 127 },
  userTimeoutMs: { option: [IPPROTO_TCP, TCP_USER_TIMEOUT], max: INT_MAX },
  deferAcceptSeconds: { option: [IPPROTO_TCP, TCP_DEFER_ACCEPT], max: INT_MAX },
  fastOpenQueue: { option: [IPPROTO_TCP, TCP_FASTOPEN], max: INT_MAX },
  fastOpenConnect: {
    option: [IPPROTO_TCP, TCP_FASTOPEN_CONNECT],
    kind: "boolean",
  },
  congestionControl: { option: [IPPROTO_TCP, TCP_CONGESTION], kind: "text" },
  priority: { option: [SOL_SOCKET, SO_PRIORITY], max: INT_MAX },
  trafficClass: {
    option: [IPPROTO_IP, IP_TOS],
    ipv6: [IPPROTO_IPV6, IPV6_TCLASS],
    max: 255,
  },
  broadcast: { option: [SOL_SOCKET, SO_BROADCAST], kind: "boolean" },
  multicastHops: {
    option: [IPPROTO_IP, IP_MULTICAST_TTL],
    ipv6: [IPPROTO_IPV6, IPV6_MULTICAST_HOPS],
    max: 255,
  },
  multicastLoop: {
    option: [IPPROTO_IP, IP_MULTICAST_LOOP],
    ipv6: [IPPROTO_IPV6, IPV6_MULTICAST_LOOP],
    kind: "boolean",
  },
  multicastInterface: {
    option: [IPPROTO_IP, IP_MULTICAST_IF],
    ipv6: [IPPROTO_IPV6, IPV6_MULTICAST_IF],
    max: INT_MAX,
    bytes: ipMreqn,
  },
  gro: { option: [IPPROTO_UDP, UDP_GRO], kind: "boolean" },
  queueErrors: {
    option: [IPPROTO_IP, IP_RECVERR],
    ipv6: [IPPROTO_IPV6, IPV6_RECVERR],
    kind: "boolean",
  },
};

type Value = number | Uint8Array;

/** Makes what the kernel takes of a value of the user; throws if it is none. */
function valueOf(
  { kind, min = 0, max = 0 }: Row,
  value: unknown,
  name: string,
  verb: string,
): Value {
  if (kind === undefined) {
    return checkInteger(value as number, max, name, verb, min);
  }
  if (kind === "text") {
    checkText(value as string, name, verb);
    const bytes = new TextEncoder().encode(value as string);
    checkInteger(bytes.length, NAME_SIZE - 1, `bytes of ${name}`, verb, 1);
    return bytes;
  }
  return checkBoolean(value, name, verb) ? 1 : 0;
}

/** Sets one option by setsockopt(2). */
export function setOption(
  socket: { readonly fd: number },
  [level, option]: Option,
  value: Value,
  verb: string,
): Result<void> {
  const { kio_option_set, kio_option_set_bytes } = loadShim();
  return call(
    socket,
    verb,
    (fd) =>
      typeof value === "number"
        ? kio_option_set(fd, level, option, value)
        : kio_option_set_bytes(fd, level, option, value, value.length),
  );
}

/** Sets the options that are given, and stops at the first that fails. Checks
 * all before. */
export function setOptions(
  socket: { readonly fd: number },
  options: SocketOptions,
): Result<void> {
  const verb = "set options";
  const fd = fdOf(socket, verb);
  const given = Object.entries(TABLE).flatMap(([name, row]) => {
    const value: unknown = options[name as keyof SocketOptions];
    if (value === undefined) return [];
    return [{ name, row, value: valueOf(row, value, name, verb) }];
  });
  const domain = loadShim().kio_option_get(fd, SOL_SOCKET, SO_DOMAIN);
  for (const { name, row: { option, ipv6, bytes }, value } of given) {
    const first = bytes?.(value as number) ?? value;
    const result = setOption(socket, option, first, `set ${name}`);
    if (!result.ok) return result;
    if (ipv6 === undefined || domain !== AF_INET6) continue;
    const second = setOption(socket, ipv6, value, `set ${name}`);
    if (!second.ok) return second;
  }
  return DONE;
}
