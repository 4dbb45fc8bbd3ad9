/**
 * Reading a file from front to back with several reads in flight. Waiting for
 * each block before the next is asked for would leave the disk idle meanwhile.
 */
import {
  checkInteger,
  checkOptions,
  CURRENT_POSITION,
  type Offset,
} from "../lib/check.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncRead } from "../lib/ops/read_write.ts";
import { FILE } from "../lib/ops/table.ts";
import type { Ring } from "../lib/ring/Ring.ts";
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

/** Options that are checked. */
interface BlockSizes {
  readonly size: number;
  readonly inFlight: number;
}

/** Checks the options, and fills those in that are left out. */
export function checkBlocks(
  options: BlocksOptions,
): BlockSizes {
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
  /** The place of the block; -1 without positions. */
  readonly at: number;
}

type Block = Uint8Array<ArrayBuffer>;
type Step = IteratorResult<Block, undefined>;

const OVER: Step = { done: true, value: undefined };

/** The owner of the fd. */
type OpenFile = { readonly fd: number };

/** The memory that blocks are read into. */
interface BlockMemory {
  /** Gives memory for the next read. */
  take(): Block;
  /** Takes back the block that the consumer had last. */
  give(block: Block): void;
}

/** The blocks of a file, from its position to its end. When they are over, the
 * position is behind the last one that was given out. */
export class Blocks implements AsyncIterator<Block, undefined> {
  readonly #ctx: IoContext;
  readonly #ring: Ring;
  /** Its fd is -1 once it is closed: the number may be another file's then. */
  readonly #file: OpenFile;
  readonly #memory: BlockMemory;
  readonly #inFlight: number;
  /** Reads behind the current one. */
  readonly #pending: Pending[] = [];
  /** The place that is read next; -1 for a file without positions, which gives
   * its blocks one after the other. */
  #ahead: number;
  /** The end of what was given out; -1 without positions. */
  #given: number;
  /** The end of the file, when it was last looked at. */
  #end = 0;
  /** The block that the consumer has. */
  #lent: Block | undefined;
  #isOver = false;
  /** Calls that are not answered: one comes after the other. */
  #calls = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    ctx: IoContext,
    file: OpenFile,
    { size, inFlight }: BlockSizes,
    memory: "lent" | "given",
  ) {
    this.#ctx = ctx;
    this.#ring = ringOf(ctx, FILE);
    this.#file = file;
    this.#memory = memory === "lent"
      ? lentMemory(ctx, size, inFlight + 1)
      : givenMemory(size);
    this.#inFlight = inFlight;
    const { shim } = this.#ring;
    // A file of /proc has the size 0, and an end that only a read finds.
    this.#ahead = shim.kio_file_size(file.fd) > 0
      ? shim.kio_file_seek(file.fd, 0n, SEEK_CUR)
      : -1;
    this.#given = this.#ahead;
  }

  next(): Promise<Step> {
    return this.#inTurn(() => this.#step());
  }

  /** Ends the reads that are under way. */
  return(): Promise<Step> {
    return this.#inTurn(() => this.#finish());
  }

  #inTurn(call: () => Promise<Step>): Promise<Step> {
    const isFree = this.#calls++ === 0;
    const step = isFree ? call() : this.#last.then(call, call);
    const over = () => void this.#calls--;
    step.then(over, over);
    this.#last = step;
    return step;
  }

  /** Gives the next block. It is not async, and nothing is awaited for a block
   * that is whole: that would cost some microseconds each time. */
  #step(): Promise<Step> {
    if (this.#lent !== undefined) this.#memory.give(this.#lent);
    this.#lent = undefined;
    let read: Pending | undefined;
    try {
      if (this.#pending.length === 0) this.#start();
      read = this.#pending.shift();
      // The consumer works on this one meanwhile.
      if (read !== undefined) this.#fill();
    } catch (error) {
      return this.#fail(error);
    }
    if (read === undefined) return this.#finish();
    const { op, buffer, at } = read;
    return op.then((result) =>
      result.ok && result.value === buffer.length
        ? this.#give(buffer, at, result.value)
        : this.#givePart(read)
    );
  }

  #give(buffer: Block, at: number, count: number): Step {
    this.#lent = buffer;
    if (at >= 0) this.#given = at + count;
    const value = count === buffer.length ? buffer : buffer.subarray(0, count);
    return { done: false, value };
  }

  /** Gives what there is of a block, which most often is the last one. */
  async #givePart({ op, buffer, at }: Pending): Promise<Step> {
    try {
      let count = await op.orThrow();
      if (at >= 0) {
        const size = Math.min(buffer.length, this.#end - at);
        while (count > 0 && count < size) {
          const rest = buffer.subarray(count);
          const from = at + count;
          const more = await asyncRead(this.#ctx, this.#file, rest, from)
            .orThrow();
          if (more === 0) break; // the file was cut off meanwhile
          count += more;
        }
        if (count < buffer.length) {
          // Nothing that was read behind it is the next block.
          await this.#drop();
          this.#ahead = at + count;
        }
      }
      return count === 0 ? this.#finish() : this.#give(buffer, at, count);
    } catch (error) {
      return this.#fail(error);
    }
  }

  /** Starts the first reads, or the only one. */
  #start(): void {
    if (this.#isOver) return;
    const { fd } = this.#file;
    if (fd < 0) {
      throw new TypeError(
        "Cannot read blocks: the file is closed or released",
      );
    }
    if (this.#ahead < 0) return this.#read(CURRENT_POSITION, -1);
    this.#end = this.#ring.shim.kio_file_size(fd);
    // Without room for one this throws.
    if (this.#ahead < this.#end) this.#read(this.#ahead, this.#ahead);
    this.#fill();
  }

  /** Starts as many more reads as may be in flight, and as the context has room
   * for. */
  #fill(): void {
    while (
      this.#ahead >= 0 && this.#ahead < this.#end &&
      this.#pending.length < this.#inFlight && !this.#ring.isFull
    ) this.#read(this.#ahead, this.#ahead);
  }

  #read(offset: Offset, at: number): void {
    const buffer = this.#memory.take();
    const op = asyncRead(this.#ctx, this.#file, buffer, offset);
    this.#pending.push({ op, buffer, at });
    if (at >= 0) this.#ahead += buffer.length;
  }

  async #fail(error: unknown): Promise<never> {
    await this.#finish();
    throw error;
  }

  async #finish(): Promise<Step> {
    if (this.#isOver) return OVER;
    this.#isOver = true;
    await this.#drop();
    const { fd } = this.#file;
    if (this.#given >= 0 && fd >= 0) {
      this.#ring.shim.kio_file_seek(fd, BigInt(this.#given), SEEK_SET);
    }
    return OVER;
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
