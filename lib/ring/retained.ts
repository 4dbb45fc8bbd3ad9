/**
 * The memory that an entry keeps referenced until its completion: one buffer,
 * or a group of those that a message or a vector points to. Most operations
 * have one buffer, so a group is made only where there are several.
 */
import { type BufferLike, isDetached } from "../check.ts";

/** Memory that the kernel may touch until the completion. */
export type Retained = BufferLike | RetainedGroup | null;

/** The buffers of one operation, and the library's own memory that points to
 * them. */
export class RetainedGroup {
  readonly buffers: readonly BufferLike[];
  readonly memory: readonly BufferLike[];

  constructor(buffers: readonly BufferLike[], memory: readonly BufferLike[]) {
    this.buffers = buffers;
    this.memory = memory;
  }

  /** Bytes of the buffers. */
  get size(): number {
    return this.buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** 0 if one of the buffers was taken away, else 1. */
  get byteLength(): number {
    return this.buffers.some(isDetached) ? 0 : 1;
  }
}

/** Tells whether memory without bytes was taken away, and was not empty from
 * the start. */
export function isTaken(retained: BufferLike | RetainedGroup): boolean {
  return retained instanceof RetainedGroup || isDetached(retained);
}

/** Tells whether some of the memory is a part of this. */
export function retains(retained: Retained, memory: ArrayBufferLike): boolean {
  if (retained instanceof RetainedGroup) {
    return retained.buffers.some((it) => retains(it, memory));
  }
  return retained !== null &&
    (ArrayBuffer.isView(retained) ? retained.buffer : retained) === memory;
}

export function sizeOf(retained: Retained): number {
  if (retained === null) return 0;
  return retained instanceof RetainedGroup
    ? retained.size
    : retained.byteLength;
}
