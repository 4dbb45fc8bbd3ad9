import { loadShim } from "../ffi/load.ts";
import { failure, type Result, success } from "../lib/result.ts";
import type { Ring } from "../lib/ring.ts";

/** A pipe that bytes go through without entering this process. */
export interface PooledPipe {
  readonly readFd: number;
  readonly writeFd: number;
  /** Bytes that it holds: the system may grant less than was asked for. */
  readonly size: number;
}

/** Larger ones are slower: the pages that go through are to stay close. */
const SIZE = 1 << 16;

/** Empty pipes that are kept; those beyond are closed. */
const IDLE_MAX = 16;

const pools = new WeakMap<Ring, PipePool>();

/** The pool of a context; it is closed with it. */
export function pipePoolOf(ring: Ring): PipePool {
  let pool = pools.get(ring);
  if (pool === undefined) {
    pool = new PipePool();
    pools.set(ring, pool);
    const created = pool;
    ring.onClose.push(() => created.close());
  }
  return pool;
}

/** Pipes to be used again: to make one takes three system calls and memory. */
export class PipePool {
  #idle: PooledPipe[] = [];
  #closed = false;

  /** A pipe, empty. */
  take(): Result<PooledPipe> {
    const pipe = this.#idle.pop();
    return pipe === undefined ? open() : success(pipe);
  }

  /** Takes a pipe back. To be called only if no byte is left in it: what is
   * left would go to whoever uses it next. */
  give(pipe: PooledPipe): void {
    if (this.#closed || this.#idle.length >= IDLE_MAX) destroy(pipe);
    else this.#idle.push(pipe);
  }

  close(): void {
    this.#closed = true;
    for (const pipe of this.#idle.splice(0)) destroy(pipe);
  }
}

function open(): Result<PooledPipe> {
  const fds = new Int32Array(2);
  const size = loadShim().kio_pipe(fds, SIZE);
  if (size < 0) return failure(-size);
  return success({ readFd: fds[0], writeFd: fds[1], size });
}

/** Closes a pipe that may hold anything. */
export function destroy({ readFd, writeFd }: PooledPipe): void {
  loadShim().kio_fd_close(readFd);
  loadShim().kio_fd_close(writeFd);
}
