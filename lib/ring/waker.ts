/**
 * Waking up from Deno's event loop. The driver leaves the thread to Deno and
 * comes back when the ring's eventfd is readable. Deno has no interface for
 * that, so there are two ways: its handle of pipes, and a thread that blocks.
 * docs/decisions/0006-park-in-denos-epoll.md compares them.
 */
import { loadBlockingShim, loadShim } from "../../ffi/load.ts";

/** Brings the thread back from Deno's event loop when the ring's eventfd is
 * readable. It owns the eventfd. */
export interface Waker {
  /** Watches from now on. With `keepAlive` the process stays alive. */
  watch(keepAlive: boolean, isPending: boolean): void;
  /** Stops watching and closes the eventfd. */
  close(): void;
}

/** The part of `process.binding("pipe_wrap").Pipe` that is used here. */
interface Pipe {
  open(fd: number): number;
  readStart(): number;
  useUserBuffer(buffer: Uint8Array): void;
  onread: () => void;
  ref(): void;
  unref(): void;
  close(): void;
}

/** True until the isolate has a waker. The first loads so much of Deno that it
 * takes the thread for 30 ms, all others for 0.1 ms. */
export let isFirstWaker = true;

/** Opens the best waker that this Deno has. */
export function openWaker(
  handle: Deno.PointerObject,
  onWake: () => void,
): Waker {
  isFirstWaker = false;
  const shim = loadShim();
  const fd = shim.kio_event_fd(handle);
  try {
    const waker = new PipeWaker(fd, onWake);
    shim.kio_loop_find(handle);
    return waker;
  } catch {
    return new ThreadWaker(handle, fd, onWake);
  }
}

/**
 * Watches the eventfd in Deno's own epoll, through the handle that Deno has for
 * Node's pipes. It needs no thread and no permission, and wakes up as fast as a
 * blocked system call. Deno does not document this interface, so every step
 * that could be missing throws here.
 */
export class PipeWaker implements Waker {
  #pipe: Pipe;
  #keepAlive = false;

  constructor(fd: number, onWake: () => void) {
    const { process } = globalThis as unknown as {
      process: { binding(name: string): { Pipe: new (kind: number) => Pipe } };
    };
    const { Pipe } = process.binding("pipe_wrap");
    this.#pipe = new Pipe(0);
    // The eight bytes of the counter; without it each wake-up allocates.
    this.#pipe.useUserBuffer(new Uint8Array(8));
    this.#pipe.onread = onWake;
    this.#pipe.unref();
    if (this.#pipe.open(fd) !== 0) throw new Error("Cannot watch an eventfd");
    this.#pipe.readStart();
  }

  watch(keepAlive: boolean): void {
    if (keepAlive === this.#keepAlive) return;
    this.#keepAlive = keepAlive;
    if (keepAlive) this.#pipe.ref();
    else this.#pipe.unref();
  }

  close(): void {
    this.#pipe.close();
  }
}

/** Watches the eventfd by a thread of Deno's pool that blocks on it: the
 * fallback. */
export class ThreadWaker implements Waker {
  #handle: Deno.PointerObject;
  #fd: number;
  #onWake: () => void;
  #waiting = false;
  #closed = false;

  constructor(handle: Deno.PointerObject, fd: number, onWake: () => void) {
    this.#handle = handle;
    this.#fd = fd;
    this.#onWake = onWake;
  }

  watch(keepAlive: boolean, isPending: boolean): void {
    // Without it nobody would hear of what is pending.
    const isWanted = keepAlive || isPending;
    if (isWanted && !this.#waiting) void this.#wait();
    // A pending call always keeps the process alive, so it must end.
    if (!isWanted && this.#waiting) loadShim().kio_wake_self(this.#handle);
  }

  async #wait(): Promise<void> {
    this.#waiting = true;
    await loadBlockingShim().kio_event_wait(this.#fd);
    this.#waiting = false;
    if (this.#closed) loadShim().kio_fd_close(this.#fd);
    else this.#onWake();
  }

  close(): void {
    this.#closed = true;
    // The thread must not go on polling a number that may be another file.
    if (this.#waiting) loadShim().kio_wake_self(this.#handle);
    else loadShim().kio_fd_close(this.#fd);
  }
}
