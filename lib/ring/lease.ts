import type { BufferLease } from "../BufferLease.ts";
import { checkFd } from "../check.ts";
import { traceHere } from "./trace.ts";

/** The stream that lends a lease. */
export interface Lender {
  readonly memory: Uint8Array<ArrayBuffer>;
  /** Leases note where they were taken. */
  readonly tracing: boolean;
  /** Bytes of each buffer. */
  readonly size: number;
  /** Queues a send of all bytes, without a promise. -1 is a socket that is
   * closed, which is a failure of the send. */
  send(lease: Lease, fd: number): void;
  /** A send is over: well with 0, or with an errno. */
  sent(lease: Lease, errno: number, fd: number): void;
  /** Nobody holds the lease any more. */
  takeBack(lease: Lease): void;
}

const Claim = {
  /** The user's, until the next turn of the stream. */
  LENT: 0,
  /** The user's, until it is released. */
  KEPT: 1,
  /** The user has none. */
  NONE: 2,
} as const;

const SEND = { verb: "send a lease" };

/** A filled buffer, and how many hold it: the user, and operations. There is a
 * new one for each filling, so an old one never shows another's bytes. */
export class Lease implements BufferLease {
  readonly lender: Lender;
  /** The number of the buffer in its pool; -1 without one. */
  readonly id: number;
  readonly length: number;
  /** Where it was taken, with the option `trace`. */
  trace: Error | undefined = undefined;
  #claim: typeof Claim[keyof typeof Claim] = Claim.LENT;
  #holders = 1;
  #bytes: Uint8Array<ArrayBuffer> | null = null;

  constructor(lender: Lender, id: number, length: number) {
    this.lender = lender;
    this.id = id;
    this.length = length;
  }

  /** Where its bytes begin in the memory of the pool. */
  get at(): number {
    return this.id < 0 ? 0 : this.id * this.lender.size;
  }

  get isKept(): boolean {
    return this.#claim === Claim.KEPT;
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    this.check("look at the bytes");
    return this.#bytes ??= new Uint8Array(
      this.lender.memory.buffer,
      this.at,
      this.length,
    );
  }

  copy(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice();
  }

  keep(): this {
    this.check("keep the buffer");
    this.#claim = Claim.KEPT;
    if (this.lender.tracing) this.trace = traceHere();
    return this;
  }

  release(): void {
    if (this.#claim === Claim.NONE) return;
    this.#claim = Claim.NONE;
    this.letGo();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  sendTo(fd: number | { readonly fd: number }): void {
    this.check(SEND.verb);
    // Who forwards cannot know that the socket was closed a moment ago.
    const isClosed = typeof fd === "object" && fd?.fd === -1;
    this.lender.send(this, isClosed ? -1 : checkFd(fd, SEND));
  }

  /** The turn of the user is over. */
  lapse(): void {
    if (this.#claim === Claim.LENT) this.release();
  }

  /** Refuses a lease that is not the user's any more. */
  check(verb: string): void {
    if (this.#claim !== Claim.NONE) return;
    throw new TypeError(
      `Cannot ${verb}: the buffer of the lease was given back; keep() it before the next turn of its stream`,
    );
  }

  hold(): void {
    this.#holders++;
  }

  letGo(): void {
    if (--this.#holders === 0) this.lender.takeBack(this);
  }
}
