import { checkFunction } from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { LINK } from "./table.ts";

/**
 * Queues operations as a chain by IOSQE_IO_LINK of io_uring_enter(2): each
 * starts when the one before it has succeeded.
 *
 * When one fails, or a read or write is short, those behind it complete with
 * `ECANCELED`. The kernel runs the whole chain for one system call.
 *
 * The kernel goes on after a failed `asyncFallocate()`, `asyncFdatasync()`,
 * `asyncFstat()`, `asyncFsync()`, `asyncFtruncate()`, `asyncGetxattr()`,
 * `asyncLink()`, `asyncLstat()`, `asyncMkdir()`, `asyncRename()`,
 * `asyncSetxattr()`, `asyncShutdown()`, `asyncStat()`, `asyncSymlink()`,
 * `asyncSyncFileRange()` or `asyncUnlink()`.
 *
 * It refuses the whole chain for an operation that it does not even try. Its
 * path may be empty or too long, or the flags of an `asyncSplice()` or
 * `asyncUnlink()` unknown. Then not even the operations before that one run.
 *
 * A link that is cancelled, aborted or timed out before it starts never runs.
 * For that the library takes the operation under way back, and queues it and
 * those up to the cancelled link again. A `MSG_WAITALL` transfer that has moved
 * a part by then gives that part, and ends the chain.
 *
 * The kernel cannot cancel some operations, like a write to a file. Such a one
 * goes on: a link behind it that completes at once may still run.
 *
 * @typeParam T The type that `queue` returns, usually a list of operations.
 * @param ctx The context.
 * @param queue Queues operations of this context, synchronously: as many as the
 * context has entries at most, those beyond complete with `E2BIG`. A sleep is
 * no part of the chain, as the kernel does not know of it.
 * @returns The value that `queue` returned. If `queue` throws, the exception is
 * passed on. What it had queued is then cancelled, and runs only if it was
 * submitted before. An `asyncClose()` closes its fd all the same, and a new fd
 * is closed.
 * @throws {TypeError} If called within another `link()` of the context, or the
 * context is closed.
 *
 * @example A durable write
 * ```ts
 * import {
 *   asyncClose, asyncFdatasync, asyncOpen, asyncWrite, IoContext, link, O_RDWR,
 *   O_TMPFILE,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600).orThrow();
 * const [written, synced] = link(ctx, () => [
 *   asyncWrite(ctx, fd, new TextEncoder().encode("record")),
 *   asyncFdatasync(ctx, fd),
 * ]);
 * console.log(await written, await synced);
 * await asyncClose(ctx, fd);
 * ```
 */
export function link<const T>(ctx: IoContext, queue: () => T): T {
  const ring = ringOf(ctx, LINK);
  checkFunction(queue, "queue", LINK.verb);
  ring.beginChain();
  try {
    return queue();
  } catch (error) {
    ring.abandonChain();
    throw error;
  } finally {
    ring.endChain();
  }
}
