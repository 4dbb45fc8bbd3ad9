/**
 * Sends without a promise: the leases for one socket are sent one after the
 * other, and the completion of a send prepares the next. Two in flight could
 * interleave, as each of them waits for room by itself.
 */
import type { Shim } from "../../ffi/load.ts";
import { MSG_WAITALL, POLLOUT } from "../constants.ts";
import { EAGAIN } from "../errno.ts";
import type { Result } from "../result.ts";
import type { Entry, Extra } from "./entry.ts";
import type { Lease } from "./lease.ts";
import { type Operation, Yields } from "./operation.ts";
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
};

const byRing = new WeakMap<Ring, Map<number, Sends>>();

/** Gives the sends of a ring, by socket. */
export function sendsOf(ring: Ring): Map<number, Sends> {
  let sends = byRing.get(ring);
  if (sends === undefined) byRing.set(ring, sends = new Map());
  return sends;
}

/** The leases that wait to be sent to one socket. */
export class Sends extends Waiting {
  readonly #ring: Ring;
  readonly #fd: number;
  readonly #queue: Lease[] = [];
  /** Bytes of the first lease that are sent. */
  #sent = 0;
  /** The operation that sends; null when idle. */
  #entry: Entry | null = null;
  readonly #settle = (result: Result<unknown>) => this.#end(result);

  constructor(ring: Ring, fd: number) {
    super(fd, 0, POLLOUT);
    this.#ring = ring;
    this.#fd = fd;
  }

  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  /** Queues a lease. It throws if the context is closed or full. */
  push(lease: Lease): void {
    const ring = this.#ring;
    ring.checkOpen(SEND_TO.verb);
    if (this.#queue.length > 0) {
      this.#queue.push(lease);
      return;
    }
    if (ring.isFull) ring.take(SEND_TO);
    this.#queue.push(lease);
    this.#start();
  }

  #start(): void {
    const ring = this.#ring;
    if (ring.chaining) {
      // It is no link of the chain that is being queued.
      return queueMicrotask(() => this.#start());
    }
    const entry = ring.take(SEND_TO);
    entry.settle = this.#settle;
    this.#entry = entry;
    const status = this.prepare(ring.shim, ring.handle, entry.id);
    const { memory } = this.#queue[0]!.lender;
    const extra: Extra = { steps: this };
    ring.enterSubmitted(entry, null, this.#fd, memory, status, extra);
  }

  submit(shim: Shim, handle: Deno.PointerObject, id: number): number {
    const { lender, at, length } = this.#queue[0]!;
    return shim.kio_sqe(
      handle,
      id,
      SEND,
      this.#fd,
      lender.memory,
      at + this.#sent,
      length - this.#sent,
      0,
      MSG_WAITALL,
    );
  }

  take(result: number): boolean {
    this.#ring.silent++;
    if (result < 0) return result === -EAGAIN;
    const lease = this.#queue[0]!;
    this.#sent += result;
    // A datagram is sent whole or not at all, also if the kernel says 0.
    if (result > 0 && this.#sent < lease.length) return true;
    this.#sent = 0;
    this.#queue.shift();
    lease.lender.sent(lease, 0, this.#fd);
    return this.#queue.length > 0;
  }

  /** The operation is over: all are sent, or the rest cannot be. */
  #end(result: Result<unknown>): void {
    this.#entry = null;
    if (result.ok) return;
    this.#sent = 0;
    for (const lease of this.#queue.splice(0)) {
      lease.lender.sent(lease, result.error.errno, this.#fd);
    }
  }
}
