import { loadShim } from "../ffi/load.ts";
import { EINVAL } from "../lib/errno.ts";
import { failure, failureOver, type Result, success } from "../lib/result.ts";

/** The first inherited fd: SD_LISTEN_FDS_START. */
const FIRST = 3;
const FDS_MAX = 2 ** 31 - 1 - FIRST;
/** The name that sd_listen_fds_with_names(3) gives an fd without one. */
const NAMELESS = "unknown";

/** An fd that systemd has passed. */
export interface ListenFd {
  /** The fd, which has no owner yet: `TcpListener.adopt(fd)` makes it one. */
  readonly fd: number;
  /** Its `FileDescriptorName=`, else the name of the socket unit: `web.socket`;
   * `"unknown"` if the variable is missing. */
  readonly name: string;
}

/**
 * Lists the fds that a service manager has passed, as sd_listen_fds(3) does: the
 * protocol of socket activation. It sets FD_CLOEXEC on each by fcntl(2).
 *
 * @param env The environment; `Deno.env` fits, and needs the permission
 * `--allow-env=LISTEN_PID,LISTEN_FDS,LISTEN_FDNAMES`. Nothing else of it is read,
 * and it is not changed. Programs that this one starts are not meant by it.
 * @returns The fds, in the order of the unit; none if `LISTEN_PID` is not this
 * process, or a variable is missing. `EINVAL` for a variable that makes no sense,
 * `EBADF` if an fd is not open.
 *
 * @example A listener of systemd, or one's own
 * ```ts
 * import { listenFds, SocketAddress, TcpListener, unwrap } from "@kio/kio";
 *
 * // In a service: listenFds(Deno.env)
 * const passed = unwrap(listenFds(new Map()));
 * const web = passed.find(({ name }) => name === "web");
 * await using listener = unwrap(
 *   web ? TcpListener.adopt(web.fd) : TcpListener.bind(SocketAddress.v4(0)),
 * );
 * ```
 */
export function listenFds(
  env: { get(name: string): string | undefined },
): Result<ListenFd[]> {
  const action = "list inherited fds";
  const pid = env.get("LISTEN_PID");
  const fds = env.get("LISTEN_FDS");
  if (pid === undefined || fds === undefined) return success([]);
  for (const [name, text] of [["LISTEN_PID", pid], ["LISTEN_FDS", fds]]) {
    if (!/^\d+$/.test(text!) || Number(text) > FDS_MAX) {
      return failureOver(EINVAL, `${name} is "${text}"`, action);
    }
  }
  if (Number(pid) !== Deno.pid) return success([]);
  const count = Number(fds);
  const names = env.get("LISTEN_FDNAMES")?.split(":");
  if (names !== undefined && count > 0 && names.length !== count) {
    const reason = `LISTEN_FDNAMES has ${names.length} names for ${count} fds`;
    return failureOver(EINVAL, reason, action);
  }
  const { kio_cloexec_set } = loadShim();
  const found: ListenFd[] = [];
  for (let fd = FIRST; fd < FIRST + count; fd++) {
    const status = kio_cloexec_set(fd);
    if (status < 0) return failure(-status, `${action} (fd ${fd})`);
    found.push({ fd, name: names?.[fd - FIRST] ?? NAMELESS });
  }
  return success(found);
}
