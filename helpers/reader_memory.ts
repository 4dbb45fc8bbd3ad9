import type { BufferLease } from "../lib/BufferLease.ts";
import { pin } from "../lib/pin.ts";

const SIZE_FIRST = 4096;

/** Bytes of a lease that follow a part of a message into own memory first. Then
 * as many as before, again: few are copied behind the end of the message. */
const JOINED_FIRST = 256;

/**
 * The bytes that a `BufferedReader` has. Those that lie in one piece are in its
 * own memory, or in a lease. A piece that begins in one lease and goes on in the
 * next is put together in own memory.
 */
export class ReaderMemory {
  readonly #sizeMax: number;
  #own = new Uint8Array(0);
  /** The piece is from here to `#to`. */
  #from = 0;
  #to = 0;
  #lease: BufferLease | null = null;
  /** The piece ends with as many of the first bytes of the lease, in own memory;
   * with -1 it is in the lease. */
  #joined = -1;

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  /** Bytes that lie in one piece. */
  get length(): number {
    return this.#to - this.#from;
  }

  /** Bytes of the lease behind them. */
  get behind(): number {
    if (this.#lease === null || this.#joined < 0) return 0;
    return this.#lease.length - this.#joined;
  }

  #memory(): Uint8Array<ArrayBuffer> {
    // Asked each time: a lease that was given back refuses to show its bytes.
    return this.#lease !== null && this.#joined < 0
      ? this.#lease.bytes
      : this.#own;
  }

  /** Shows the piece. */
  show(): Uint8Array<ArrayBuffer> {
    return this.#memory().subarray(this.#from, this.#to);
  }

  /** Gives the first bytes, and drops some behind them. */
  give(count: number, dropped: number): Uint8Array<ArrayBuffer> {
    const { buffer, byteOffset } = this.#memory();
    const bytes = new Uint8Array(buffer, byteOffset + this.#from, count);
    this.#from += count + dropped;
    if (this.#joined >= 0) this.#leaveOwn();
    return bytes;
  }

  /** Finds a mark in the piece; -1 if it is not there. */
  find(mark: Uint8Array, from: number): number {
    const there = this.show();
    for (let at = from;; at++) {
      at = there.indexOf(mark[0]!, at);
      if (at < 0 || at + mark.length > there.length) return -1;
      if (mark.every((byte, i) => there[at + i] === byte)) return at;
    }
  }

  /** Puts bytes before the piece, which must have room for them. */
  unread(bytes: Uint8Array): void {
    if (this.#from < bytes.length) {
      // They may be a view of own memory, that the piece of a lease moves to.
      bytes = bytes.slice();
      this.#move(bytes.length + this.length, bytes.length);
    }
    this.#from -= bytes.length;
    this.#memory().set(bytes, this.#from);
  }

  /** Gives free memory behind the piece, which `filled()` makes a part of it. */
  room(): Uint8Array<ArrayBuffer> {
    // Else there would be less and less room, and messages in ever more parts.
    if (this.length === 0) this.#from = this.#to = 0;
    this.#reserve(1);
    return this.#own.subarray(this.#to);
  }

  filled(count: number): void {
    this.#to += count;
  }

  /** Lets go of the lease, which the next turn of its stream gives back. */
  detach(): void {
    if (this.#joined < 0 && this.length > 0) this.#move(this.length, 0);
    this.#lease = null;
    this.#joined = -1;
  }

  /** Takes the next lease, after `detach()`. */
  lend(lease: BufferLease): void {
    this.#lease = lease;
    if (this.length === 0) {
      this.#from = 0;
      this.#to = lease.length;
    } else {
      this.#joined = 0;
      this.join();
    }
  }

  /** Adds bytes of the lease to a piece in own memory. Returns false if there are
   * none, or the piece is as long as it may be. */
  join(): boolean {
    const count = Math.min(
      this.behind,
      this.#sizeMax - this.length,
      Math.max(JOINED_FIRST, this.#joined),
    );
    if (count <= 0) return false;
    this.#reserve(count);
    const end = this.#joined + count;
    this.#own.set(this.#lease!.bytes.subarray(this.#joined, end), this.#to);
    this.#joined = end;
    this.#to += count;
    return true;
  }

  /** Goes on in the lease, when all of the piece is in it. */
  #leaveOwn(): void {
    const begin = this.#to - this.#joined;
    if (this.#from < begin) return;
    this.#from -= begin;
    this.#to = this.#lease!.length;
    this.#joined = -1;
  }

  /** Makes room behind a piece in own memory. That grows as bytes come, and not
   * because a peer says how many will. */
  #reserve(count: number): void {
    const size = this.#own.length;
    if (this.#to + count <= size) return;
    const needed = this.length + count;
    const isRoomy = this.#from >= size / 2 && needed <= size && size > 0;
    this.#move(isRoomy ? size : Math.max(2 * size, needed), 0);
  }

  /** Moves the piece to a place in own memory of at least that size. */
  #move(size: number, at: number): void {
    const piece = this.show();
    if (size > this.#own.length) {
      const roomy = Math.min(Math.max(size, SIZE_FIRST), this.#sizeMax);
      // A view of it that was transferred would take it away from the kernel.
      this.#own = pin(new Uint8Array(Math.max(roomy, at + piece.length)));
    }
    this.#own.set(piece, at);
    if (this.#joined < 0) this.#lease = null;
    this.#from = at;
    this.#to = at + piece.length;
  }
}
