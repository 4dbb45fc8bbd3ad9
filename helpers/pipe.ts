import { loadShim } from "../ffi/load.ts";
import { checkBounds } from "../lib/check.ts";
import { SHUT_WR, SO_ERROR, SOL_SOCKET } from "../lib/constants.ts";
import { ECANCELED, EINVAL } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncRead } from "../lib/ops/read_write.ts";
import { SPLICE_ALL } from "../lib/ops/table.ts";
import { failure, type Result, shortFailure } from "../lib/result.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import { Socket } from "../net/Socket.ts";
import { File } from "./File.ts";
import { asyncSendfile } from "./sendfile.ts";
import { asyncSpliceAll } from "./splice_all.ts";

const VERB = "pipe";

/**
 * Moves all bytes of a connection or a file to a connection by splice(2), and
 * then ends its sending side by shutdown(2). No byte is copied through this
 * process. It is to `readable.pipeTo(writable)` what `relay()` is to two of
 * them.
 *
 * The caller still owns both. A failure resets `to`, as `reset()` does, so that
 * its peer takes no cut for an end.
 *
 * @param ctx The context.
 * @param from A connected stream socket, whose only reader this is, or a regular
 * file: its bytes from its position to its end, which the position moves to.
 * @param to A connected stream socket.
 * @param options `timeoutMs` and `signal` for the whole.
 * @returns The number of bytes. `ECONNRESET` or `EPIPE` if a peer is gone,
 * `ECANCELED` also if a socket is closed here meanwhile, `EINVAL` for a file that
 * is no regular one, `ETIMEDOUT` …; `error.bytesTransferred` tells how many bytes
 * `to` has taken.
 * @throws {RangeError} (as a rejection) If `timeoutMs` is out of range, or a
 * socket is closed.
 * @throws {TypeError} (as a rejection) If an argument has the wrong type, both
 * sockets are the same, or the file or the context is closed.
 *
 * @example A file as an answer
 * ```ts
 * import { File, IoContext, pipe, Socket, UnixStream, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * await using file = unwrap(await File.open(ctx, "/etc/passwd"));
 * const client = new UnixStream(right.release(), ctx);
 * const text = new Response(client.readable).text();
 * unwrap(await pipe(ctx, file, left, { timeoutMs: 5000 }));
 * console.log((await text).startsWith("root"));
 * await Promise.all([left.close(), client.close()]);
 * ```
 */
export async function pipe(
  ctx: IoContext,
  from: Socket | File,
  to: Socket,
  options: BoundOptions = {},
): Promise<Result<number>> {
  ringOf(ctx, { verb: VERB });
  checkBounds(options, VERB);
  const isFile = from instanceof File;
  const isPair = (isFile || from instanceof Socket) && to instanceof Socket;
  if (!isPair || from === to as unknown) {
    throw new TypeError(
      `Cannot ${VERB}: it takes a Socket or a File, and another Socket`,
    );
  }
  const moved = isFile
    ? await sendRest(ctx, from, to, options)
    : endOf(from, await asyncSpliceAll(ctx, from, to, options));
  const ended = moved.ok ? endWrite(to, moved.value) : moved;
  if (!ended.ok) await to.reset();
  return ended;
}

/** Sends a file from its position to its end. */
async function sendRest(
  ctx: IoContext,
  file: File,
  to: Socket,
  options: BoundOptions,
): Promise<Result<number>> {
  const start = await file.seek(0, Deno.SeekMode.Current);
  const size = loadShim().kio_file_size(file.fd);
  const isRegular = size > 0 || size === 0 && await isEmpty(ctx, file);
  if (!isRegular) return failure(EINVAL, `${VERB} (fd ${file.fd})`);
  const count = Math.max(0, size - start);
  const sent = await asyncSendfile(ctx, to, file, start, count, options);
  const moved = sent.ok ? count : sent.error.bytesTransferred ?? 0;
  if (file.fd >= 0) file.seekSync(start + moved, Deno.SeekMode.Start);
  return sent;
}

/** Tells an empty file from one of /proc, which has the size 0 whatever is in
 * it. */
async function isEmpty(ctx: IoContext, file: File): Promise<boolean> {
  const read = await asyncRead(ctx, file, new Uint8Array(1), 0);
  return read.ok && read.value === 0;
}

/** Tells the end of the peer from a reset, and from a close here, which look the
 * same to splice(2). */
function endOf({ fd }: Socket, moved: Result<number>): Result<number> {
  if (!moved.ok) return moved;
  const errno = fd === -1
    ? ECANCELED
    : loadShim().kio_option_get(fd, SOL_SOCKET, SO_ERROR);
  return errno > 0 ? shortFailure(SPLICE_ALL, errno, moved.value) : moved;
}

function endWrite({ fd }: Socket, count: number): Result<number> {
  const status = fd === -1
    ? -ECANCELED
    : loadShim().kio_socket_shutdown(fd, SHUT_WR);
  return status < 0
    ? shortFailure(SPLICE_ALL, -status, count)
    : { ok: true, value: count };
}
