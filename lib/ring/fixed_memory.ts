/**
 * The registered memory of a ring. The kernel keeps it pinned in a table of
 * places, and saves an operation that names a place the walk over its pages.
 */
import type { BufferLike } from "../check.ts";
import type { Core } from "./core.ts";
import { retains } from "./retained.ts";
import { whenSettled } from "./settle.ts";
import type { Sqe } from "./sqe.ts";

/** KIO_PLACES of the shim: pieces of memory that a ring may have. */
export const PLACES_MAX = 1024;

const IORING_OP_READ_FIXED = 4;
const IORING_OP_WRITE_FIXED = 5;
const IORING_OP_READ = 22;
const IORING_OP_WRITE = 23;
const IORING_OP_SEND_ZC = 47;
const IORING_RECVSEND_FIXED_BUF = 4;

/** The places of registered memory. */
export class FixedMemory {
  readonly #core: Core;
  readonly #places = new WeakMap<ArrayBufferLike, number>();
  /** Places that were emptied. */
  readonly #free: number[] = [];
  #used = 0;
  readonly #collected = new FinalizationRegistry<number>((place) =>
    this.#empty(place)
  );

  constructor(core: Core) {
    this.#core = core;
  }

  get isFull(): boolean {
    return this.#used === PLACES_MAX && this.#free.length === 0;
  }

  /** Registers memory. Returns 0 or a negative errno. */
  add(memory: ArrayBuffer): number {
    const { shim, handle } = this.#core;
    const place = this.#free.at(-1) ?? this.#used;
    const status = shim.kio_memory_register(
      handle,
      place,
      new Uint8Array(memory),
      memory.byteLength,
    );
    if (status < 0) return status;
    if (this.#free.pop() === undefined) this.#used++;
    this.#places.set(memory, place);
    this.#collected.register(memory, place, memory);
    return 0;
  }

  /** Gives the place of a buffer; -1 if it is not registered. */
  placeOf(buffer: BufferLike): number {
    const memory = ArrayBuffer.isView(buffer) ? buffer.buffer : buffer;
    return this.#places.get(memory) ?? -1;
  }

  /** Unregisters memory when the operations that use it are complete: one that
   * has not begun would find its place empty, or taken by other memory. */
  async remove(memory: ArrayBufferLike): Promise<void> {
    const place = this.#places.get(memory);
    if (place === undefined) return;
    this.#places.delete(memory);
    this.#collected.unregister(memory);
    const users = this.#core.table.live()
      .filter((entry) => retains(entry.retained, memory));
    await Promise.all(users.map(whenSettled));
    this.#empty(place);
  }

  #empty(place: number): void {
    const { shim, handle, closing } = this.#core;
    // The end of the ring does it.
    if (closing) return;
    shim.kio_memory_unregister(handle, place);
    this.#free.push(place);
  }
}

/** Gives an operation its form for registered memory, if its buffer is. */
export function useFixedMemory(
  { fixedMemory }: { readonly fixedMemory: FixedMemory | null },
  sqe: Sqe,
): void {
  if (fixedMemory === null) return;
  const place = fixedMemory.placeOf(sqe.addr!);
  if (place < 0) return;
  switch (sqe.opcode) {
    case IORING_OP_READ:
      sqe.opcode = IORING_OP_READ_FIXED;
      break;
    case IORING_OP_WRITE:
      sqe.opcode = IORING_OP_WRITE_FIXED;
      break;
    case IORING_OP_SEND_ZC:
      sqe.ioprio |= IORING_RECVSEND_FIXED_BUF;
      break;
    default:
      return;
  }
  sqe.buf = place;
}
