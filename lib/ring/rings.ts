/** The part of a ring that the close of an fd needs. */
interface Cancelling {
  /** Cancels the operations on an fd. Returns a promise of the end of each. */
  cancelOn(fd: number): Promise<unknown>[];
}

/** All open rings of this isolate. */
export const rings: Set<Cancelling> = new Set();

/**
 * Cancels all operations on an fd in this isolate, at once. Returns a promise
 * of their end, undefined if there are none. Close the fd after that: a link of
 * a chain looks its fd up when it starts, and would find another file.
 */
export function cancelOn(fd: number): Promise<unknown> | undefined {
  const ends = [...rings].flatMap((ring) => ring.cancelOn(fd));
  return ends.length === 0 ? undefined : Promise.all(ends);
}
