import { checkFunction } from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { LINK } from "./table.ts";

/**
 * Queues operations as a chain: each starts when the one before it has
 * succeeded. When one fails, or a read or write is short, those behind it
 * complete with `ECANCELED`. The kernel runs the whole chain for one call. See
 * IOSQE_IO_LINK in io_uring_enter(2).
 *
 * The kernel goes on after a failed `asyncFallocate()`, `asyncFdatasync()`,
 * `asyncFstat()`, `asyncFsync()`, `asyncFtruncate()`, `asyncGetxattr()`,
 * `asyncLink()`, `asyncLstat()`, `asyncMkdir()`, `asyncRename()`,
 * `asyncSetxattr()`, `asyncShutdown()`, `asyncStat()`, `asyncSymlink()`,
 * `asyncSyncFileRange()` or `asyncUnlink()`.
 *
 * It refuses the whole chain, what is before it too, for an operation that it
 * does not even try: a path that is empty or too long, or flags of
 * `asyncSplice()` and `asyncUnlink()` that it does not know.
 *
 * A link that is cancelled, aborted or timed out before it starts never runs.
 * For that the library takes the operation under way back, and queues it and
 * those up to the cancelled link again. A `MSG_WAITALL` transfer that has moved
 * a part by then gives that part, and ends the chain. What the kernel cannot
 * cancel, like a write to a file, goes on: a link behind it that completes at
 * once may still run.
 *
 * @typeParam T What `queue` returns, as a rule the operations.
 * @param ctx The context.
 * @param queue Queues operations of this context, synchronously. Up to as many
 * as the context has entries, those beyond complete with `E2BIG`. Sleeps, which
 * are not the kernel's, are no part of the chain.
 * @returns What `queue` returned. If `queue` throws, the exception is passed on
 * and what it had queued is cancelled: nothing of it happens that was not
 * submitted before, an `asyncClose()` closes its fd, and a new fd is closed.
 * @throws {TypeError} If called within another `link()` of the context, or the
 * context is closed.
 *
 * @example A durable write
 * ```ts
 * import {
 *   asyncFdatasync, asyncOpen, asyncWrite, IoContext, link, O_RDWR, O_TMPFILE,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600).orThrow();
 * const [written, synced] = link(ctx, () => [
 *   asyncWrite(ctx, fd, new TextEncoder().encode("record")),
 *   asyncFdatasync(ctx, fd),
 * ]);
 * console.log(await written, await synced);
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
