import type { Lease } from "./lease.ts";

/** Leases in a row. Mostly there is one: an array that is emptied and filled again
 * would allocate its memory anew, each time. A lease may be in several, so it
 * cannot have the next. */
export class LeaseQueue {
  #first: Lease | null = null;
  #others: Lease[] | null = null;

  get first(): Lease | null {
    return this.#first;
  }

  /** Tells whether one of them is in this memory. */
  has(memory: Uint8Array<ArrayBuffer>): boolean {
    if (this.#first?.lender.memory === memory) return true;
    return this.#others?.some((it) => it.lender.memory === memory) ?? false;
  }

  push(lease: Lease): void {
    if (this.#first === null) this.#first = lease;
    else (this.#others ??= []).push(lease);
  }

  shift(): Lease | null {
    const lease = this.#first;
    if (lease !== null) this.#first = this.#others?.shift() ?? null;
    return lease;
  }
}
