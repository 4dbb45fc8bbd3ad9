/**
 * Reading a file from front to back with several reads in flight. Waiting for
 * each block before the next is asked for would leave the disk idle meanwhile.
 */
import { loadShim } from "../ffi/load.ts";
import { checkInteger, checkOptions, CURRENT_POSITION } from "../lib/check.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncRead } from "../lib/ops/read_write.ts";
import type { UringOp } from "../lib/UringOp.ts";

const SIZE = 2 ** 18;
const SIZE_MAX = 2 ** 30;
const IN_FLIGHT = 4;
const IN_FLIGHT_MAX = 256;

const SEEK_SET = 0;
const SEEK_CUR = 1;

/** Options of `File.blocks()`. */
export interface BlocksOptions {
  /** Bytes of a block, 1 to 2^30. With `O_DIRECT` a multiple of the block size of
   * the file system.
   * @default {262144} */
  size?: number | undefined;
  /** Reads that the kernel has at a time, 1 to 256. They use as many blocks of
   * memory, and the block that was given out is one more.
   * @default {4} */
  inFlight?: number | undefined;
}

/** Checks the options, and fills those in that are left out. */
export function checkBlocks(
  options: BlocksOptions,
): { size: number; inFlight: number } {
  const verb = "read blocks";
  checkOptions(options, verb);
  const { size = SIZE, inFlight = IN_FLIGHT } = options;
  return {
    size: checkInteger(size, SIZE_MAX, "size", verb, 1),
    inFlight: checkInteger(inFlight, IN_FLIGHT_MAX, "inFlight", verb, 1),
  };
}

/** A read that is under way. */
interface Pending {
  readonly op: UringOp<number>;
  readonly buffer: Uint8Array<ArrayBuffer>;
  /** The place of the block; unused where there is no position. */
  readonly at: number;
}

type Block = Uint8Array<ArrayBuffer>;
type Step = IteratorResult<Block, undefined>;

/** The memory that blocks are read into. */
interface BlockMemory {
  /** Gives memory for the next read. */
  take(): Block;
  /** Takes back the block that the consumer had last. */
  give(block: Block): void;
}

/** The blocks of a file, from its position to its end. The position is behind
 * the last block that was given out. */
export class Blocks implements AsyncIterator<Block, undefined> {
  readonly #ctx: IoContext;
  readonly #fd: number;
  readonly #memory: BlockMemory;
  readonly #inFlight: number;
  readonly #pending: Pending[] = [];
  /** The place that is read next; -1 for a file without positions, which gives
   * its blocks one after the other. */
  #ahead: number;
  /** The end of the file, when it was last looked at. */
  #end = 0;
  /** The block that the consumer has. */
  #lent: Block | undefined;
  #isOver = false;
  /** The step before: steps come one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    ctx: IoContext,
    fd: number,
    inFlight: number,
    size: number,
    memory: "lent" | "given",
  ) {
    this.#ctx = ctx;
    this.#fd = fd;
    this.#memory = memory === "lent"
      ? lentMemory(ctx, size, inFlight + 1)
      : givenMemory(size);
    this.#inFlight = inFlight;
    const shim = loadShim();
    // A file of /proc has the size 0, and an end that only a read finds.
    this.#ahead = shim.kio_file_size(fd) > 0
      ? shim.kio_file_seek(fd, 0n, SEEK_CUR)
      : -1;
  }

  next(): Promise<Step> {
    const step = this.#last.then(() => this.#step());
    this.#last = step.catch(() => {});
    return step;
  }

  /** Ends the reads that are under way. */
  return(): Promise<IteratorReturnResult<undefined>> {
    const end = this.#last.then(() => this.#finish());
    this.#last = end;
    return end;
  }

  async #step(): Promise<Step> {
    if (this.#lent !== undefined) this.#memory.give(this.#lent);
    this.#lent = undefined;
    if (this.#isOver) return { done: true, value: undefined };
    try {
      this.#fill();
      const first = this.#pending.shift();
      if (first === undefined) return await this.#finish();
      // The consumer works on this one meanwhile.
      if (this.#ahead >= 0) this.#fill();
      const count = await this.#countOf(first);
      if (count === 0) return await this.#finish();
      this.#lent = first.buffer;
      return { done: false, value: first.buffer.subarray(0, count) };
    } catch (error) {
      await this.#finish();
      throw error;
    }
  }

  /** Starts as many reads as may be in flight. */
  #fill(): void {
    const { length } = this.#pending;
    if (this.#ahead < 0) {
      if (length === 0) this.#start(CURRENT_POSITION);
      return;
    }
    if (length === 0) this.#end = loadShim().kio_file_size(this.#fd);
    while (
      this.#ahead < this.#end && this.#pending.length < this.#inFlight
    ) this.#ahead += this.#start(this.#ahead);
  }

  /** Starts a read; returns the bytes that it asks for. */
  #start(offset: number | typeof CURRENT_POSITION): number {
    const buffer = this.#memory.take();
    const op = asyncRead(this.#ctx, this.#fd, buffer, offset);
    const at = offset === CURRENT_POSITION ? -1 : offset;
    this.#pending.push({ op, buffer, at });
    return buffer.length;
  }

  /** Waits for a read, and moves the position behind it. */
  async #countOf({ op, buffer, at }: Pending): Promise<number> {
    let count = await op.orThrow();
    if (at < 0) return count;
    const size = Math.min(buffer.length, this.#end - at);
    while (count > 0 && count < size) {
      const rest = buffer.subarray(count);
      const more = await asyncRead(this.#ctx, this.#fd, rest, at + count)
        .orThrow();
      if (more === 0) break; // the file was cut off meanwhile
      count += more;
    }
    if (count < buffer.length) {
      // Nothing behind it is the next block.
      await this.#drop();
      this.#ahead = at + count;
      if (count < size) this.#isOver = true;
    }
    loadShim().kio_file_seek(this.#fd, BigInt(at + count), SEEK_SET);
    return count;
  }

  async #finish(): Promise<IteratorReturnResult<undefined>> {
    this.#isOver = true;
    await this.#drop();
    return { done: true, value: undefined };
  }

  /** Ends the reads that are under way. */
  async #drop(): Promise<void> {
    const dropped = this.#pending.splice(0);
    for (const { op } of dropped) op.cancel();
    for (const { op, buffer } of dropped) {
      await op;
      this.#memory.give(buffer);
    }
  }
}

/** Memory for blocks that the consumer keeps. */
function givenMemory(size: number): BlockMemory {
  return { take: () => new Uint8Array(size), give() {} };
}

/** Memory for blocks that the consumer gives back: as many as that. */
function lentMemory(ctx: IoContext, size: number, count: number): BlockMemory {
  const memory = alignedMemory(ctx, size * count);
  const free = Array.from(
    { length: count },
    (_, i) => memory.subarray(size * i, size * (i + 1)),
  );
  return {
    take: () => free.pop()!,
    give: (block) => void free.push(block),
  };
}

/** Memory that `O_DIRECT` can use, where the permission allows it. */
function alignedMemory(ctx: IoContext, size: number): Uint8Array<ArrayBuffer> {
  try {
    return ctx.allocate(size);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return new Uint8Array(size);
    throw error;
  }
}
