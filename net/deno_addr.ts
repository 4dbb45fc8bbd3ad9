/** Addresses in the shape that Deno has for them. */
import { ENOTCONN } from "../lib/errno.ts";
import { errorOf, exceptionOf } from "../lib/result.ts";
import type { SocketAddress } from "../lib/SocketAddress.ts";

const VERB = "get an address";

/** Gives the address of a TCP socket. */
export function netAddr(address: SocketAddress | undefined): Deno.NetAddr {
  const { family, host, port } = checkConnected(address);
  if (family !== "unix") return { transport: "tcp", hostname: host, port };
  throw new TypeError(
    `Cannot ${VERB} of TCP: it is a unix socket; use UnixStream or UnixListener`,
  );
}

/** Gives the address of a unix socket. */
export function unixAddr(address: SocketAddress | undefined): Deno.UnixAddr {
  const { family, host } = checkConnected(address);
  if (family === "unix") return { transport: "unix", path: host };
  throw new TypeError(
    `Cannot ${VERB} of a unix socket: it is another one; use TcpStream or TcpListener`,
  );
}

function checkConnected(address: SocketAddress | undefined): SocketAddress {
  if (address !== undefined) return address;
  throw exceptionOf(errorOf(ENOTCONN), VERB);
}
