/** Options of sockets, as operations. */
import { checkFd, type Fd } from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import type { Ring } from "../ring/Ring.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import {
  checkOption,
  checkOptionLength,
  checkOptionValue,
  INT_SIZE,
} from "./option_value.ts";
import { GETSOCKOPT, type Row, SETSOCKOPT } from "./table.ts";

/** SOCKET_URING_OP_*. */
const GET = 2;
const SET = 3;

/** Half of the field that has the level and the name. */
const NAME = 2 ** 32;

/** Makes the submission of a command. The memory is that of the value. */
function optionSqe(
  ring: Ring,
  row: Row,
  command: number,
  fd: Fd,
  level: number,
  name: number,
): Sqe {
  const sqe = new Sqe(row.opcode);
  sqe.fd = checkFd(fd, row, ring);
  checkOption(level, name, row.verb);
  sqe.at = level + name * NAME;
  sqe.off = command;
  return sqe;
}

/**
 * Sets an option of a socket by setsockopt(2). Before Linux 6.7, and on some
 * kernels after it, the calling thread does it, at once, and it is refused
 * within `link()` and for a direct descriptor (`EOPNOTSUPP`). Without a ring
 * `Socket.setOption()` does it.
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param level `SOL_SOCKET`, `IPPROTO_TCP` …, 0 to 65535.
 * @param name `SO_KEEPALIVE`, `TCP_NODELAY` …, 0 to 65535.
 * @param value An int, -2^31 to 2^31 - 1, or the bytes of another type: 0 to
 * 4096, which are copied.
 * @returns `ENOPROTOOPT` for an unknown option, `EINVAL`, `EPERM`, `ENOTSOCK` …
 * @throws {RangeError} If a number or the length is out of range.
 * @throws {TypeError} If an argument has the wrong type, `value` is detached, or
 * the context is closed.
 *
 * @example An option, then what depends on it, as a chain
 * ```ts
 * import {
 *   asyncBind, asyncSetsockopt, IoContext, link, SO_REUSEADDR, Socket,
 *   SocketAddress, SOL_SOCKET, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * await using socket = unwrap(Socket.open("ipv4"));
 * const [option, bound] = link(ctx, () => [
 *   asyncSetsockopt(ctx, socket, SOL_SOCKET, SO_REUSEADDR, 1),
 *   asyncBind(ctx, socket, SocketAddress.v4(0, "127.0.0.1")),
 * ]);
 * console.log((await option).ok, (await bound).ok);
 * ```
 */
export function asyncSetsockopt(
  ctx: IoContext,
  fd: Fd,
  level: number,
  name: number,
  value: number | Uint8Array,
): UringOp<void> {
  const ring = ringOf(ctx, SETSOCKOPT);
  const sqe = optionSqe(ring, SETSOCKOPT, SET, fd, level, name);
  const bytes = checkOptionValue(value, SETSOCKOPT.verb);
  sqe.addr3 = typeof bytes === "number"
    ? new Int32Array([bytes])
    : bytes.slice();
  sqe.extra = sqe.addr3.byteLength;
  return start(ring, SETSOCKOPT, sqe);
}

/**
 * Reads an option of a socket that is an int, by getsockopt(2). The ring does
 * it from Linux 6.7 on for `SOL_SOCKET`. Else the calling thread does it, at
 * once, and it is refused within `link()` and for a direct descriptor
 * (`EOPNOTSUPP`).
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param level As for `asyncSetsockopt()`.
 * @param name As for `asyncSetsockopt()`.
 * @returns The value; `ENOPROTOOPT` for an unknown option, `ENOTSOCK` …
 * @throws {RangeError} If a number is out of range.
 * @throws {TypeError} If an argument has the wrong type, or the context is
 * closed.
 *
 * @example The error that a socket has had
 * ```ts
 * import {
 *   asyncGetsockopt, IoContext, SO_ERROR, Socket, SOL_SOCKET, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * await using socket = unwrap(Socket.open("ipv4"));
 * console.log(await asyncGetsockopt(ctx, socket, SOL_SOCKET, SO_ERROR));
 * ```
 */
export function asyncGetsockopt(
  ctx: IoContext,
  fd: Fd,
  level: number,
  name: number,
): UringOp<number>;
/**
 * Reads an option of another type, by getsockopt(2).
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param level As for `asyncSetsockopt()`.
 * @param name As for `asyncSetsockopt()`.
 * @param length The bytes that it may have, 1 to 4096.
 * @returns Its bytes: as many as the kernel gives, `length` at most.
 * @throws As above.
 */
export function asyncGetsockopt(
  ctx: IoContext,
  fd: Fd,
  level: number,
  name: number,
  length: number,
): UringOp<Uint8Array<ArrayBuffer>>;
export function asyncGetsockopt(
  ctx: IoContext,
  fd: Fd,
  level: number,
  name: number,
  length?: number,
): UringOp<number> | UringOp<Uint8Array<ArrayBuffer>> {
  const ring = ringOf(ctx, GETSOCKOPT);
  const sqe = optionSqe(ring, GETSOCKOPT, GET, fd, level, name);
  const size = checkOptionLength(length, GETSOCKOPT.verb);
  // The shim puts the length behind it that a system call has given.
  const value = new Uint8Array(size + INT_SIZE);
  const view = new DataView(value.buffer);
  sqe.addr3 = value;
  sqe.extra = size;
  if (length === undefined) {
    const decode = () => view.getInt32(0, true);
    return start<number>(ring, GETSOCKOPT, sqe, { decode });
  }
  return start<Uint8Array<ArrayBuffer>>(ring, GETSOCKOPT, sqe, {
    decode: (filled) => value.subarray(0, filled || view.getInt32(size, true)),
  });
}
