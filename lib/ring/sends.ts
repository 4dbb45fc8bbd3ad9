/**
 * Sends without a promise: the leases for one socket are sent one after the
 * other, and the completion of a send prepares the next. Two in flight could
 * interleave, as each of them waits for room by itself.
 */
import type { Shim } from "../../ffi/load.ts";
import { MSG_WAITALL, POLLOUT } from "../constants.ts";
import { EAGAIN, EINTR } from "../errno.ts";
import type { Result } from "../result.ts";
import { limit, waitUntil } from "./clock.ts";
import { type Entry, type Extra, State } from "./entry.ts";
import type { Lease } from "./lease.ts";
import { LeaseQueue } from "./lease_queue.ts";
import { type Operation, Patience, Yields } from "./operation.ts";
import type { Ring } from "./Ring.ts";
import { Waiting } from "./steps.ts";

/** IORING_OP_SEND */
const SEND = 26;

const SEND_TO: Operation = {
  name: "BufferLease.sendTo",
  verb: "send a lease",
  opcode: SEND,
  yields: Yields.NOTHING,
  makesFd: false,
  closesFd: false,
  waits: 0,
  holdsBack: false,
  patience: Patience.ENDLESS,
};

const byRing = new WeakMap<Ring, SendQueues>();

/** Gives the sends of a ring. */
export function sendsOf(ring: Ring): SendQueues {
  let sends = byRing.get(ring);
  if (sends === undefined) byRing.set(ring, sends = new SendQueues(ring));
  return sends;
}

/** The sends of a ring: an object for each socket that has some under way. A
 * connection that waits has none. */
export class SendQueues {
  readonly #ring: Ring;
  /** By fd: a `Map` would allocate each time that its key comes and goes. */
  readonly #busy: (Sends | undefined)[] = [];
  /** Those that no socket has now, one behind the other. */
  #idle: Sends | null = null;

  constructor(ring: Ring) {
    this.#ring = ring;
  }

  /** Queues a lease. It throws if the context is full. */
  push(fd: number, lease: Lease): void {
    const busy = this.#busy;
    const sends = fd < busy.length ? busy[fd] : undefined;
    if (sends !== undefined) sends.add(lease);
    else this.#begin(fd, lease);
  }

  #begin(fd: number, lease: Lease): void {
    const entry = this.#ring.take(SEND_TO);
    const sends = this.#idle ?? new Sends(this.#ring, this);
    this.#idle = sends.next;
    this.#busy[fd] = sends;
    sends.start(entry, fd, lease);
  }

  /** The socket has nothing to send any more. */
  end(fd: number): void {
    this.#busy[fd] = undefined;
  }

  /** Ends the sends of leases in some memory that have sent nothing since a time.
   * Returns when the one of the others has sent that sent first; Infinity if there
   * is none. */
  endStalled(memory: Uint8Array<ArrayBuffer>, sinceMs: number): number {
    const ring = this.#ring;
    let firstMs = Infinity;
    for (const entry of ring.table.live()) {
      if (entry.operation !== SEND_TO) continue;
      const sends = entry.extra!.steps as Sends;
      if (!sends.has(memory)) continue;
      const startedMs = ring.table.startedMs[entry.slot]!;
      const sentMs = Math.max(startedMs, sends.sentMs);
      if (sentMs > sinceMs) firstMs = Math.min(firstMs, sentMs);
      else limit(ring, entry, 0);
    }
    return firstMs;
  }

  /** Keeps what has sent all for the next socket. */
  recycle(sends: Sends): void {
    sends.next = this.#idle;
    this.#idle = sends;
  }
}

/** The leases that wait to be sent to one socket. */
class Sends extends Waiting {
  /** The next that is idle. */
  next: Sends | null = null;
  /** The time at which it has sent something last, of this socket or another. */
  sentMs = 0;
  readonly #ring: Ring;
  readonly #queues: SendQueues;
  readonly #queue = new LeaseQueue();
  /** Bytes of the first lease that are sent. */
  #sent = 0;
  readonly #extra: Extra = { steps: this };
  readonly #settle = (result: Result<unknown>) => this.#end(result);

  constructor(ring: Ring, queues: SendQueues) {
    super(-1, 0, POLLOUT);
    this.#ring = ring;
    this.#queues = queues;
  }

  add(lease: Lease): void {
    this.#queue.push(lease);
  }

  /** Tells whether a lease in this memory waits. */
  has(memory: Uint8Array<ArrayBuffer>): boolean {
    return this.#queue.has(memory);
  }

  start(entry: Entry, fd: number, lease: Lease): void {
    this.fd = fd;
    const ring = this.#ring;
    const { shim, handle } = ring;
    this.#queue.push(lease);
    entry.settle = this.#settle;
    const extra = this.#extra;
    const { memory } = lease.lender;
    if (!ring.chaining) {
      const status = this.prepare(shim, handle, entry.id);
      ring.enterSubmitted(entry, null, this.fd, memory, status, extra);
      return;
    }
    // It is no link of the chain that is being queued: the next step begins it.
    entry.fd = this.fd;
    entry.retained = memory;
    entry.extra = extra;
    const nowMs = shim.kio_now_ms();
    ring.table.startedMs[entry.slot] = nowMs;
    waitUntil(ring, entry, State.BACKING_OFF, nowMs);
    ring.schedule();
  }

  submit(shim: Shim, handle: Deno.PointerObject, id: number): number {
    const { lender, at, length } = this.#queue.first!;
    return shim.kio_sqe(
      handle,
      id,
      SEND,
      this.fd,
      lender.memory,
      at + this.#sent,
      length - this.#sent,
      0,
      MSG_WAITALL,
    );
  }

  take(result: number): boolean {
    this.#ring.silent++;
    if (result < 0) return result === -EAGAIN || result === -EINTR;
    this.sentMs = this.#ring.driver.nowMs;
    const lease = this.#queue.first!;
    this.#sent += result;
    // A datagram is sent whole or not at all, also if the kernel says 0.
    if (result > 0 && this.#sent < lease.length) return true;
    this.#sent = 0;
    this.#queue.shift();
    lease.lender.sent(lease, 0, this.fd);
    return this.#queue.first !== null;
  }

  /** The operation is over: all are sent, or the rest cannot be. */
  #end(result: Result<unknown>): void {
    const { fd } = this;
    this.#queues.end(fd);
    // What has failed may remember its wait: it serves no other socket.
    if (result.ok) return this.#queues.recycle(this);
    const { errno } = result.error;
    for (let it = this.#queue.shift(); it !== null; it = this.#queue.shift()) {
      it.lender.sent(it, errno, fd);
    }
  }
}
