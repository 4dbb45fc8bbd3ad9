/**
 * Streams of leases: a multishot that the kernel picks buffers of a pool for.
 * They count their leases, wait for buffers, and end when all is sent.
 */
import type { Shim } from "../../ffi/load.ts";
import type { BufferLease } from "../BufferLease.ts";
import {
  MSG_DONTWAIT,
  POLLIN,
  SO_TYPE,
  SOCK_DGRAM,
  SOL_SOCKET,
} from "../constants.ts";
import { EAGAIN, ECANCELED, EINTR, EINVAL, ENOBUFS } from "../errno.ts";
import type { Result } from "../result.ts";
import type { Afterwards } from "./core.ts";
import { abort } from "./dump.ts";
import type { Entry } from "./entry.ts";
import type { Step } from "./iterators.ts";
import { Lease, type Lender } from "./lease.ts";
import { LeaseQueue } from "./lease_queue.ts";
import type { Pool, PoolStream } from "./pool.ts";
import { Sqe } from "./sqe.ts";
import { POLL_ADD } from "./steps.ts";
import { Lack, Stream, type Values } from "./stream.ts";
import { traceHere } from "./trace.ts";

/** IORING_CQE_F_BUFFER, and the place of the number of the buffer. */
const CQE_F_BUFFER = 1;
const BUFFER_SHIFT = 16;

/** IOSQE_BUFFER_SELECT */
const IOSQE_BUFFER_SELECT = 1 << 5;

/** IORING_OP_RECVMSG, IORING_OP_RECV */
const RECVMSG = 10;
const RECV = 27;

/** IORING_RECVSEND_POLL_FIRST, IORING_RECV_MULTISHOT */
const POLL_FIRST = 1;
const MULTISHOT = 2;

export const LEASES: Values<BufferLease> = {
  of: (result, flags, stream) => (stream as LeaseStream).lease(result, flags),
  transient: new Set([EAGAIN, EINTR]),
  keep: () => {},
  give: () => {},
  discard: () => {},
};

/** Called for each chunk, after the batch of completions that it came in. */
export type OnChunk = (chunk: BufferLease) => void;

/** A lease is on loan until its consumer asks for the next one, so two that wait
 * would take each other's away. */
function refuseSecond(): Promise<never> {
  const message =
    "Cannot take a lease: another consumer waits for one; a stream of leases has one consumer";
  return Promise.reject(new TypeError(message));
}

export class LeaseStream extends Stream<BufferLease>
  implements Lender, PoolStream, Afterwards {
  readonly #pool: Pool;
  /** The lease that the consumer has until its next turn. */
  #lent: Lease | null = null;
  /** Leases that are being sent. */
  #sending = 0;
  /** One of them could not be sent. */
  #hasGap = false;
  readonly #onChunk: OnChunk | null;
  /** Leases for the callback. */
  readonly #chunks = new LeaseQueue();
  /** Where the consumer has asked for the next, with the option `trace`. */
  #asked: Error | undefined = undefined;
  /** The kernel has found no buffer. */
  #isStarved = false;
  /** It has waited for the buffer that its next shot is to take. */
  #isFed = false;
  /** `ioprio` of a multishot, and of a shot that looks for data before it looks
   * for a buffer. 0: there is none. */
  #multishot = 0;
  #pollFirst = 0;
  /** A poll comes before each shot: there is no buffer group, or the file does
   * not wait. */
  protected polls: boolean;
  /** A poll has told of data; without a buffer group, the buffer for it. */
  #isReadable = false;
  #picked = -1;

  constructor(
    pool: Pool,
    entry: Entry,
    sqe: Sqe,
    leasesMax: number,
    onChunk: OnChunk | null,
    values = LEASES,
  ) {
    super(pool.ring, entry, sqe, values, leasesMax);
    this.#pool = pool;
    this.#onChunk = onChunk;
    this.isBrief = true;
    this.polls = pool.group < 0;
    if (this.polls) {
      sqe.ioprio = 0;
      // A ring that may not receive refuses it now, not when there is data.
      this.polls = pool.ring.allowed?.[sqe.opcode] !== 0;
    } else {
      sqe.flags = IOSQE_BUFFER_SELECT;
      sqe.buf = pool.group;
      this.#multishot = sqe.ioprio;
      if (sqe.opcode === RECV || sqe.opcode === RECVMSG) {
        this.#pollFirst = POLL_FIRST;
      }
      if (pool.isShort) sqe.ioprio = this.#pollFirst;
    }
    pool.add(this);
  }

  // ---- leases ---------------------------------------------------------------

  get memory(): Uint8Array<ArrayBuffer> {
    return this.#pool.memory;
  }

  get size(): number {
    return this.#pool.size;
  }

  get tracing(): boolean {
    return this.#pool.ring.tracing;
  }

  lease(length: number, flags: number): Lease {
    const hasBuffer = (flags & CQE_F_BUFFER) !== 0;
    // It would show the bytes of another connection.
    if (!hasBuffer && length > 0) {
      abort(this.core, "the kernel has received without a buffer");
    }
    const id = hasBuffer ? flags >>> BUFFER_SHIFT : -1;
    const lease = this.make(id, length);
    if (hasBuffer) this.#pool.lend(id, lease);
    return lease;
  }

  /** Makes the lease of a buffer; -1 without one. */
  protected make(id: number, result: number): Lease {
    return new Lease(this, id, result);
  }

  takeBack({ id }: Lease): void {
    if (id >= 0) this.#pool.takeBack(id);
    this.back();
  }

  send(lease: Lease, fd: number): void {
    const { sends, ring } = this.#pool;
    ring.checkOpen("send a lease");
    // A part is missing: what comes behind it is not sent either.
    if (this.#hasGap) return;
    this.#sending++;
    lease.hold();
    if (fd === -1) return this.sent(lease, ECANCELED, fd);
    try {
      sends.push(fd, lease);
    } catch (error) {
      this.#sending--;
      lease.letGo();
      throw error;
    }
  }

  sent(lease: Lease, errno: number, fd: number): void {
    this.#sending--;
    if (errno !== 0) {
      this.#hasGap = true;
      const isOwn = fd === this.sqe.fd || fd === -1;
      this.fail(errno, isOwn ? "send" : `send to fd ${fd}`);
    }
    lease.letGo();
    this.look();
  }

  // ---- the consumer ---------------------------------------------------------

  override nextResult(): Promise<Step<Result<BufferLease>>> {
    return this.isAwaited ? refuseSecond() : super.nextResult();
  }

  override nextValue(): Promise<Step<BufferLease>> {
    return this.isAwaited ? refuseSecond() : super.nextValue();
  }

  protected override turn(): void {
    if (this.tracing) this.#asked = traceHere();
    const lent = this.#lent;
    if (lent === null) return;
    this.#lent = null;
    lent.lapse();
    this.look();
  }

  protected override handed(lease: BufferLease): void {
    this.#lent = lease as Lease;
    if (this.tracing) this.#lent.trace = this.#asked;
  }

  protected override drop(lease: BufferLease): void {
    lease.release();
  }

  /** No stream has more than its share while others wait for a buffer. */
  protected override get valuesMax(): number {
    const { starved, share } = this.#pool;
    return starved === 0 ? super.valuesMax : Math.min(super.valuesMax, share);
  }

  protected override get isThrough(): boolean {
    return this.#lent === null && this.#sending === 0 &&
      this.#chunks.first === null;
  }

  protected override push(lease: BufferLease): void {
    if (this.#onChunk === null) return super.push(lease);
    if (this.#chunks.first === null) this.core.afterwards.push(this);
    this.#chunks.push(lease as Lease);
  }

  callBack(): void {
    const { core } = this;
    const chunks = this.#chunks;
    for (let it = chunks.shift(); it !== null; it = chunks.shift()) {
      const { queued } = core;
      try {
        this.#onChunk!(it);
      } catch (error) {
        reportError(error);
      }
      // No code waits for the chunk that could still queue something.
      if (core.queued === queued) core.silent++;
      it.lapse();
    }
    this.look();
  }

  // ---- the kernel -----------------------------------------------------------

  /** Arms the next shot, but not before those that wait for a buffer: then it
   * waits for data first, and for its turn when there is some. If its share is one
   * buffer, a multishot would take those of others, and had to be cancelled. */
  protected override arm(): void {
    const pool = this.#pool;
    const isFed = this.#isFed;
    const isLast = !isFed && pool.isShort;
    const wantsNow = this.polls ? this.#isReadable : this.#pollFirst === 0;
    if (this.#isStarved || isLast && wantsNow) {
      this.wait(Lack.BUFFER);
      return pool.starve(this);
    }
    if (this.#isReadable && pool.group < 0) this.#picked = pool.pick();
    const isSingle = (isFed || isLast) && pool.share === 1;
    const shot = isSingle ? 0 : this.#multishot;
    this.sqe.ioprio = isLast ? shot | this.#pollFirst : shot;
    super.arm();
  }

  feed(): void {
    this.#isStarved = false;
    this.#isFed = true;
    this.rearm();
    this.#isFed = false;
  }

  /** Its shot is a multishot. */
  protected get isMultishot(): boolean {
    return (this.sqe.ioprio & MULTISHOT) !== 0;
  }

  override prepare(
    shim: Shim,
    handle: Deno.PointerObject,
    id: number,
  ): number {
    if (this.polls && !this.#isReadable) {
      const poll = new Sqe(POLL_ADD);
      poll.fd = this.sqe.fd;
      poll.opFlags = POLLIN;
      return poll.submit(shim, handle, id);
    }
    if (this.#picked < 0) return super.prepare(shim, handle, id);
    return this.receiveAt(this.#picked * this.size, shim, handle, id);
  }

  /** Queues a single shot into the buffer that begins at `at`. */
  protected receiveAt(
    at: number,
    shim: Shim,
    handle: Deno.PointerObject,
    id: number,
  ): number {
    const { opcode, fd, off } = this.sqe;
    const flags = opcode === RECV ? MSG_DONTWAIT : 0;
    const { memory, size } = this;
    return shim.kio_sqe(handle, id, opcode, fd, memory, at, size, off, flags);
  }

  override last(result: number, flags: number): void {
    if (this.polls) {
      if (!this.#isReadable && result > 0) return this.#polled();
      this.#isReadable = false;
      if (this.#picked >= 0) flags = this.#flagsOfPicked();
    }
    // A completion may have a buffer whatever its result.
    if (result <= 0 && flags & CQE_F_BUFFER) {
      this.#pool.giveBack(flags >>> BUFFER_SHIFT);
      flags = 0;
    }
    if (this.isGivenUp && result <= 0) {
      // A want of buffers would be no end.
      return this.conclude(result === -ENOBUFS ? 0 : result);
    }
    if (result === -EINVAL) this.#multishot = this.#pollFirst = 0;
    if (result === -ENOBUFS) {
      this.core.silent++;
      this.#isStarved = true;
      this.goOn(false);
    } else if (result === 0 && !this.isDatagram()) this.stop();
    else super.last(result, flags);
  }

  /** There is data, or an end. */
  #polled(): void {
    if (this.isGivenUp) return this.conclude(0);
    this.#isReadable = true;
    this.goOn(false);
  }

  #flagsOfPicked(): number {
    const flags = CQE_F_BUFFER | this.#picked << BUFFER_SHIFT;
    this.#picked = -1;
    return flags;
  }

  /** Tells whether a result of 0 is an empty datagram, and no end. */
  protected isDatagram(): boolean {
    const { opcode, fd } = this.sqe;
    return opcode === RECV &&
      this.core.shim.kio_option_get(fd, SOL_SOCKET, SO_TYPE) === SOCK_DGRAM;
  }

  protected override ending(): void {
    const pool = this.#pool;
    if (this.#picked >= 0) pool.giveBack(this.#picked);
    const chunks = this.#chunks;
    for (let it = chunks.shift(); it !== null; it = chunks.shift()) {
      this.drop(it);
    }
    pool.delete(this);
  }
}
