/** The streams of the Web for a file. */
import { CURRENT_POSITION, isDetached } from "../lib/check.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { READ, WRITE } from "../lib/ops/table.ts";
import { checkNotClosed } from "../lib/ring/close_idle.ts";
import { Blocks, checkBlocks } from "./blocks.ts";
import { asyncWriteExact } from "./write_exact.ts";

type Close = () => Promise<void>;

interface Owner {
  readonly fd: number;
}

/** Gives a file from its position on, and closes it at its end. */
export function readableOf(
  ctx: IoContext,
  file: Owner,
  close: Close,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  // The stream takes the memory of a chunk away.
  const blocks = new Blocks(ctx, file, checkBlocks({}), "given");
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      checkNotClosed(file, READ.verb);
      const step = await orClose(blocks.next(), close);
      if (step.done !== true) return controller.enqueue(step.value);
      await close();
      controller.close();
      controller.byobRequest?.respond(0);
    },
    async cancel() {
      await blocks.return();
      await close();
    },
  });
}

/** Writes chunks at a file's position, and closes it at the end. */
export function writableOf(
  ctx: IoContext,
  file: Owner,
  close: Close,
): WritableStream<Uint8Array<ArrayBufferLike>> {
  // A chunk that cannot be written is a rejection, as an error of the system is.
  const writeAll = async (chunk: Uint8Array) => {
    await asyncWriteExact(ctx, file, chunk, CURRENT_POSITION).orThrow();
  };
  return new WritableStream({
    async write(chunk) {
      checkNotClosed(file, WRITE.verb);
      const isView = chunk instanceof Uint8Array;
      if (isView && chunk.length === 0 && !isDetached(chunk)) return;
      await orClose(writeAll(chunk), close);
    },
    close,
    abort: close,
  });
}

/** Closes the file if a part of its stream fails: the stream ends there, and
 * calls nothing of it any more. */
async function orClose<T>(part: Promise<T>, close: Close): Promise<T> {
  try {
    return await part;
  } catch (error) {
    await close();
    throw error;
  }
}
