/** Pipes for transfers by splice(2). */
import { loadShim } from "../ffi/load.ts";
import { SPLICE } from "../lib/ops/table.ts";
import { failureOf, type Result, success } from "../lib/result.ts";
import type { Ring } from "../lib/ring/Ring.ts";

/** A pipe that bytes go through without entering this process. */
export interface PooledPipe {
  readonly readFd: number;
  readonly writeFd: number;
  /** Its capacity in bytes: the system may grant less than was asked for. */
  readonly size: number;
}

/** Empty pipes that are kept; more are closed. */
const PIPES_IDLE_MAX = 16;

const pools = new WeakMap<Ring, PipePool[]>();

/** Gives the pool of a context for pipes of a size, which is closed with the
 * context. */
export function pipePoolOf(ring: Ring, pipeSize: number): PipePool {
  const ofRing = pools.get(ring) ?? [];
  let pool = ofRing.find((it) => it.pipeSize === pipeSize);
  if (pool === undefined) {
    pool = new PipePool(pipeSize);
    pools.set(ring, [...ofRing, pool]);
    const created = pool;
    ring.onClose.push(() => created.close());
  }
  return pool;
}

/** Keeps pipes for the next transfer: one costs three system calls and memory. */
export class PipePool {
  readonly pipeSize: number;
  #idle: PooledPipe[] = [];
  #closed = false;

  constructor(pipeSize: number) {
    this.pipeSize = pipeSize;
  }

  /** Gives an empty pipe, which the caller owns until `give()`. */
  take(): Result<PooledPipe> {
    const pipe = this.#idle.pop();
    return pipe === undefined ? openPipe(this.pipeSize) : success(pipe);
  }

  /** Takes a pipe back. It must be empty: a byte that is left would go to the
   * next transfer. */
  give(pipe: PooledPipe): void {
    if (this.#closed || this.#idle.length >= PIPES_IDLE_MAX) destroy(pipe);
    else this.#idle.push(pipe);
  }

  close(): void {
    this.#closed = true;
    for (const pipe of this.#idle.splice(0)) destroy(pipe);
  }
}

function openPipe(pipeSize: number): Result<PooledPipe> {
  const fds = new Int32Array(2);
  const size = loadShim().kio_pipe(fds, pipeSize);
  if (size < 0) return failureOf(SPLICE, -size);
  return success({ readFd: fds[0]!, writeFd: fds[1]!, size });
}

/** Closes a pipe that may hold anything. */
export function destroy({ readFd, writeFd }: PooledPipe): void {
  loadShim().kio_fd_close(readFd);
  loadShim().kio_fd_close(writeFd);
}
