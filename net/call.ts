/** Calls on the fd of a socket, with errors that name it. */
import { DONE, failure, type Result } from "../lib/result.ts";
import type { SocketAddress } from "../lib/SocketAddress.ts";

/** Gives the fd of a socket; throws if it is closed or released. */
export function fdOf({ fd }: { readonly fd: number }, verb: string): number {
  if (fd >= 0) return fd;
  throw new TypeError(`Cannot ${verb}: the socket is closed or released`);
}

/** Makes a call of the shim, which gives a negative errno if it fails. */
export function call(
  socket: { readonly fd: number },
  verb: string,
  make: (fd: number) => number,
  address?: SocketAddress,
): Result<void> {
  const fd = fdOf(socket, verb);
  const status = make(fd);
  if (status >= 0) return DONE;
  const subject = address === undefined ? `(fd ${fd})` : `to ${address}`;
  return failure(-status, `${verb} ${subject}`);
}
