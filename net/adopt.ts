/** Sockets that other processes may have as well. */
import { loadShim } from "../ffi/load.ts";
import { checkInteger, checkOwned } from "../lib/check.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../lib/constants.ts";
import { EAFNOSUPPORT, EINVAL, EPROTOTYPE } from "../lib/errno.ts";
import { ADDRESS_SIZE } from "../lib/SocketAddress.ts";
import { failure, type Result, success } from "../lib/result.ts";

const VERB = "adopt a socket";

/** The sockets that were adopted. */
const adopted = new WeakSet<object>();

/** Tells whether other processes may have a socket as well. To shut it down
 * would end it for them. */
export function isShared(socket: object): boolean {
  return adopted.has(socket);
}

/** Facts that a socket must have for a class. */
export interface Suitable {
  /** `SOCK_STREAM` … */
  readonly type?: number;
  /** `AF_INET` … */
  readonly families?: readonly number[];
  /** Gives a negative errno for a socket in the wrong state. */
  state?(fd: number): number;
}

const STREAM = {
  type: SOCK_STREAM,
  families: [AF_INET, AF_INET6, AF_UNIX],
};

/** A listener. */
export const LISTENER: Suitable = {
  ...STREAM,
  state: (fd) =>
    loadShim().kio_option_get(fd, SOL_SOCKET, SO_ACCEPTCONN) === 1
      ? 0
      : -EINVAL,
};

/** A connection. */
export const CONNECTION: Suitable = {
  ...STREAM,
  state: (fd) => {
    const name = new Uint8Array(ADDRESS_SIZE);
    return Math.min(0, loadShim().kio_socket_name(fd, true, name));
  },
};

/** A listener, and a connection, of a unix socket. */
export const UNIX_LISTENER: Suitable = { ...LISTENER, families: [AF_UNIX] };
export const UNIX_CONNECTION: Suitable = { ...CONNECTION, families: [AF_UNIX] };

/** A socket of UDP. */
export const DATAGRAMS: Suitable = {
  type: SOCK_DGRAM,
  families: [AF_INET, AF_INET6],
};

/**
 * Takes ownership of an fd that other processes may have as well.
 *
 * @param make Makes its owner.
 */
export function adopt<T extends object>(
  make: (fd: number) => T,
  fd: number,
  { type, families, state }: Suitable = {},
): Result<T> {
  checkOwned(checkInteger(fd, 2 ** 31 - 1, "fd", VERB), VERB);
  const { kio_fd_is_owned, kio_option_get, kio_cloexec_set } = loadShim();
  const its = (option: number) => kio_option_get(fd, SOL_SOCKET, option);
  const [itsType, itsFamily] = [its(SO_TYPE), its(SO_DOMAIN)];
  let status = Math.min(itsType, 0);
  if (status === 0 && kio_fd_is_owned(fd)) {
    throw new TypeError(
      `Cannot ${VERB}: fd ${fd} has an owner in this thread; release() it first`,
    );
  }
  if (status === 0 && itsType !== (type ?? itsType)) status = -EPROTOTYPE;
  if (status === 0 && families?.includes(itsFamily) === false) {
    status = -EAFNOSUPPORT;
  }
  if (status === 0) status = state?.(fd) ?? 0;
  if (status === 0) status = kio_cloexec_set(fd);
  if (status < 0) return failure(-status, `adopt fd ${fd}`);
  const owner = make(fd);
  adopted.add(owner);
  return success(owner);
}
