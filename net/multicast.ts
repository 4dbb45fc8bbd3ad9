/** Membership of multicast groups. */
import { checkInteger, checkText } from "../lib/check.ts";
import { IPPROTO_IP, IPPROTO_IPV6 } from "../lib/constants.ts";
import type { Result } from "../lib/result.ts";
import { bytesOfAddress, SocketAddress } from "../lib/SocketAddress.ts";
import { ipMreqn, setOption } from "./socket_options.ts";

const INT_MAX = 2 ** 31 - 1;

/** Parts of struct sockaddr_in and struct sockaddr_in6. */
const IPV4_AT = 4;
const IPV6_AT = 8;
/** sizeof(struct ipv6_mreq), and the offset of the interface. */
const MREQ6_SIZE = 20;
const MREQ6_INTERFACE_AT = 16;

/** Joins a group or leaves it: `ipv4` and `ipv6` are the options for that. */
export function setMembership(
  socket: { readonly fd: number },
  group: string,
  interfaceIndex: number,
  verb: string,
  [ipv4, ipv6]: readonly [number, number],
): Result<void> {
  checkText(group, "group", verb);
  checkInteger(interfaceIndex, INT_MAX, "interfaceIndex", verb);
  const isIpv6 = group.includes(":");
  const address = isIpv6
    ? SocketAddress.v6(0, group)
    : SocketAddress.v4(0, group);
  const bytes = bytesOfAddress(address);
  if (!isIpv6) {
    const request = ipMreqn(interfaceIndex, bytes.subarray(IPV4_AT, 8));
    return setOption(socket, [IPPROTO_IP, ipv4], request, verb);
  }
  const request = new Uint8Array(MREQ6_SIZE);
  request.set(bytes.subarray(IPV6_AT, IPV6_AT + 16));
  const view = new DataView(request.buffer);
  view.setUint32(MREQ6_INTERFACE_AT, interfaceIndex, true);
  return setOption(socket, [IPPROTO_IPV6, ipv6], request, verb);
}
