/** Calls on the fd of a socket, with errors that name it. */
import { DONE, failure, type Result } from "../lib/result.ts";
import type { IoContext } from "../lib/IoContext.ts";
import type { SocketAddress } from "../lib/SocketAddress.ts";

/** Gives the fd of a socket; throws if it is closed or released. */
export function fdOf({ fd }: { readonly fd: number }, verb: string): number {
  if (fd >= 0) return fd;
  throw new TypeError(`Cannot ${verb}: the socket is closed or released`);
}

/** Gives the context of a socket for a member of Deno's; throws without one, or
 * if the socket is closed. */
export function contextOf(
  socket: { readonly fd: number },
  ctx: IoContext | undefined,
  verb: string,
  lack: string,
): IoContext {
  fdOf(socket, verb);
  if (ctx !== undefined) return ctx;
  throw new TypeError(`Cannot ${verb}: ${lack}`);
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
