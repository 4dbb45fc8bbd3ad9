/**
 * A pool of buffers that the kernel picks from when data has come. Who gives one
 * back writes its number into shared memory, and the next step publishes it.
 *
 * Where the kernel has no ring of buffers, the pool picks: a stream then polls,
 * and takes a buffer when there is data.
 */
import { abort } from "./dump.ts";
import type { Lease } from "./lease.ts";
import type { Ring } from "./Ring.ts";
import { type SendQueues, sendsOf } from "./sends.ts";
import type { PooledBuffer } from "./stats.ts";
import { stackOf } from "./trace.ts";

/** Overwrites what is given back, with the option `trace`. */
const POISON = 0xfd;

/** Time from the look at sends that may be stalled to their end. Had the thread
 * no time for the ring, it takes in meanwhile what was sent. */
const LAST_LOOK_MS = 10;

/** A stream of a pool. */
export interface PoolStream {
  cancel(): void;
  /** Goes on after a want of buffers. */
  feed(): void;
}

export class Pool {
  readonly ring: Ring;
  readonly memory: Uint8Array<ArrayBuffer>;
  readonly count: number;
  readonly size: number;
  readonly #sendTimeoutMs: number;
  /** When sends that are stalled are looked at; Infinity while no stream waits for
   * a buffer. */
  dueMs = Infinity;
  /** It is the last look: they end. */
  #isLastLook = false;
  /** The buffer group; -1 where the kernel has none. */
  readonly group: number;
  /** The sends of the ring, by socket. */
  readonly sends: SendQueues;
  /** Completions without a buffer. */
  starvations = 0;
  /** It is closing, or closed: no stream starts any more. */
  closing = false;
  readonly #streams = new Set<PoolStream>();
  /** Streams that wait for a buffer, the longest first. */
  readonly #starved = new Set<PoolStream>();
  /** The leases that are out, by buffer. */
  readonly #leases: (Lease | null)[];
  #leased = 0;
  /** How many buffers were given back since the last step, and which. */
  readonly #returned: Int32Array<ArrayBuffer>;
  /** Buffers to pick from, without a group. */
  readonly #free: number[] = [];
  readonly #closed = Promise.withResolvers<void>();
  readonly #onClose = () => this.#end(false);

  constructor(
    ring: Ring,
    memory: Uint8Array<ArrayBuffer>,
    returned: Uint8Array<ArrayBuffer>,
    count: number,
    size: number,
    sendTimeoutMs: number,
  ) {
    this.ring = ring;
    this.memory = memory;
    this.count = count;
    this.size = size;
    this.#sendTimeoutMs = sendTimeoutMs;
    this.sends = sendsOf(ring);
    this.#returned = new Int32Array(returned.buffer, returned.byteOffset);
    this.#leases = new Array<Lease | null>(count).fill(null);
    const { shim, handle, features } = ring;
    this.group = features.uses("bufferRing")
      ? shim.kio_pool_open(handle, memory, count, size, returned)
      : -1;
    if (this.group < 0) {
      for (let id = count; id-- > 0;) this.#free.push(id);
    }
    // The ring keeps the memory while the kernel may fill it.
    ring.onClose.push(this.#onClose);
  }

  get leased(): number {
    return this.#leased;
  }

  get starved(): number {
    return this.#starved.size;
  }

  /** Buffers that nobody has: the kernel may pick them, or will when it knows
   * of them. */
  get free(): number {
    return this.group < 0 ? this.#free.length : this.count - this.#leased;
  }

  /** A stream that wants a buffer has to wait for it. */
  get isShort(): boolean {
    return this.#starved.size > 0 || this.free === 0;
  }

  /** Leases that a stream may hold while others wait for a buffer. */
  get share(): number {
    return Math.max(1, Math.floor(this.count / this.#streams.size));
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  // ---- its streams ----------------------------------------------------------

  add(stream: PoolStream): void {
    this.#streams.add(stream);
  }

  delete(stream: PoolStream): void {
    this.#streams.delete(stream);
    this.#starved.delete(stream);
    if (this.closing && this.#streams.size === 0) this.#end(true);
  }

  /** A stream has found no buffer. The next steps feed it when there is one: by
   * then the kernel knows of those that were given back. */
  starve(stream: PoolStream): void {
    this.starvations++;
    this.#starved.add(stream);
    this.ring.starving.add(this);
  }

  /** Lets as many streams go on as there are buffers. One that finds nothing to
   * receive leaves its buffer to the next, in the next step. */
  feed(): void {
    let left = this.free;
    for (const stream of this.#starved) {
      if (left-- === 0) break;
      this.#starved.delete(stream);
      stream.feed();
    }
    if (this.#starved.size > 0) return this.#look();
    this.ring.starving.delete(this);
    this.dueMs = Infinity;
  }

  /** Streams wait, and no buffer is free. Ends sends that have not moved for all
   * that time: their peers do not read. */
  #look(): void {
    const { nowMs } = this.ring.driver;
    const timeoutMs = this.#sendTimeoutMs;
    if (this.dueMs === Infinity) {
      this.dueMs = nowMs + timeoutMs;
      this.#isLastLook = false;
    }
    if (nowMs < this.dueMs) return;
    if (this.#isLastLook) {
      const firstMs = this.sends.endStalled(this.memory, nowMs - timeoutMs);
      this.dueMs = Math.min(firstMs, nowMs) + timeoutMs;
    } else this.dueMs = nowMs + LAST_LOOK_MS;
    this.#isLastLook = !this.#isLastLook;
  }

  // ---- its buffers ----------------------------------------------------------

  /** Picks a buffer, where the kernel does not. */
  pick(): number {
    return this.#free.pop()!;
  }

  /** The kernel has filled a buffer. */
  lend(id: number, lease: Lease): void {
    this.#checkFree(id);
    this.#leases[id] = lease;
    this.#leased++;
  }

  takeBack(id: number): void {
    this.#leases[id] = null;
    this.#leased--;
    this.giveBack(id);
  }

  /** Gives back a buffer that is not leased. */
  giveBack(id: number): void {
    this.#checkFree(id);
    if (this.ring.tracing) {
      const at = id * this.size;
      this.memory.fill(POISON, at, at + this.size);
    }
    if (this.group < 0) this.#free.push(id);
    else {
      const returned = this.#returned;
      const count = returned[0]! + 1;
      returned[count] = id;
      returned[0] = count;
    }
    if (!this.ring.closed) this.ring.schedule();
  }

  #checkFree(id: number): void {
    if (this.#leases[id] === null) return;
    abort(this.ring, `the kernel has filled buffer ${id}, which is leased`);
  }

  /** Lists the leases that are out. */
  inspect(): PooledBuffer[] {
    const list: PooledBuffer[] = [];
    for (const lease of this.#leases) {
      if (lease === null) continue;
      const { length, isKept, trace } = lease;
      list.push({ length, isKept, stack: stackOf(trace) });
    }
    return list;
  }

  // ---- its end --------------------------------------------------------------

  close(): void {
    if (this.closing) return;
    this.closing = true;
    if (this.#streams.size === 0) this.#end(true);
    else for (const stream of [...this.#streams]) stream.cancel();
  }

  #end(isOpen: boolean): void {
    const { onClose, shim, handle, starving } = this.ring;
    this.closing = true;
    if (isOpen) {
      onClose.splice(onClose.indexOf(this.#onClose), 1);
      if (this.group >= 0) shim.kio_pool_close(handle, this.group);
    }
    starving.delete(this);
    this.#closed.resolve();
  }
}
