import type { DirectFd } from "../DirectFd.ts";
import { errnoNamed } from "../errno.ts";
import type { Ring } from "../ring/Ring.ts";
import { Sqe } from "../ring/sqe.ts";
import { startStream } from "../ring/start.ts";
import type { Values } from "../ring/stream.ts";
import type { UringStream } from "../UringStream.ts";
import { newDirects } from "./direct.ts";
import { ACCEPT_MULTISHOT, ACCEPT_MULTISHOT_DIRECT } from "./table.ts";

const IORING_ACCEPT_MULTISHOT = 1;

/** Errors of one connection, or of the system for a while; see accept(2). */
const GOES_ON: ReadonlySet<number> = new Set([
  "EAGAIN",
  "ECONNABORTED",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EINTR",
  "EMFILE",
  "ENETDOWN",
  "ENETUNREACH",
  "ENFILE",
  "ENOBUFS",
  "ENOMEM",
  "ENONET",
  "ENOPROTOOPT",
  "EPERM",
  "EPROTO",
].map((code) => errnoNamed(code)!));

/** Who owns connections that wait to be taken. */
export type Waiting<T> = Omit<Values<T>, "transient">;

/** New fds: those that wait are closed with the isolate. */
export function newFds({ shim }: Ring): Waiting<number> {
  return {
    of: (fd) => fd,
    keep: (fd) => shim.kio_fd_own(fd),
    give: (fd) => shim.kio_fd_disown(fd),
    discard: (fd) => void shim.kio_fd_close(fd),
  };
}

/** Starts accepting connections, with `asyncAcceptMultishot()` or for it. */
export function acceptStream<T>(
  ring: Ring,
  fd: number,
  queueMax: number,
  waiting: Waiting<T>,
): UringStream<T> {
  const sqe = sqeFor(ring, fd);
  const values = valuesOf(sqe, waiting);
  return startStream(ring, ACCEPT_MULTISHOT, sqe, values, queueMax);
}

/** Starts accepting connections as direct descriptors. */
export function acceptDirectStream(
  ring: Ring,
  fd: number,
  queueMax: number,
): UringStream<DirectFd> {
  const row = ACCEPT_MULTISHOT_DIRECT;
  const sqe = sqeFor(ring, fd);
  const values = valuesOf(sqe, newDirects(ring, sqe, row));
  return startStream(ring, row, sqe, values, queueMax);
}

/** Makes the submission, a multishot where that can be trusted. */
function sqeFor({ features }: Ring, fd: number): Sqe {
  const sqe = new Sqe(ACCEPT_MULTISHOT.opcode);
  sqe.fd = fd;
  if (features.uses("acceptMultishot")) sqe.ioprio = IORING_ACCEPT_MULTISHOT;
  return sqe;
}

function valuesOf<T>({ ioprio }: Sqe, waiting: Waiting<T>): Values<T> {
  return { ...waiting, transient: GOES_ON, isSingle: ioprio === 0 };
}
