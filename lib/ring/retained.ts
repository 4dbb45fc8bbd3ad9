import { type BufferLike, isDetached } from "../check.ts";

/** What the kernel may touch until the completion. */
export type Pinned = BufferLike | PinnedGroup | null;

/** Several buffers of one operation, and the memory that points to them. */
export class PinnedGroup {
  readonly memory: Uint8Array;
  readonly buffers: readonly BufferLike[];

  constructor(memory: Uint8Array, buffers: readonly BufferLike[]) {
    this.memory = memory;
    this.buffers = buffers;
  }

  /** Bytes of the buffers. */
  get size(): number {
    return this.buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** 0 if one of the buffers was taken away. */
  get byteLength(): number {
    return this.buffers.some(isDetached) ? 0 : 1;
  }
}

/** Whether what has no bytes had some: a group has, if one of it was taken. */
export function isTaken(pinned: BufferLike | PinnedGroup): boolean {
  return pinned instanceof PinnedGroup || isDetached(pinned);
}

export function sizeOf(pinned: Pinned): number {
  if (pinned === null) return 0;
  return pinned instanceof PinnedGroup ? pinned.size : pinned.byteLength;
}
