import type { Lease } from "./lease.ts";

/** Leases in a row, each with the next. An array that is emptied and filled again
 * allocates its memory anew, each time. */
export class LeaseQueue {
  #first: Lease | null = null;
  #last: Lease | null = null;

  get first(): Lease | null {
    return this.#first;
  }

  push(lease: Lease): void {
    if (this.#last === null) this.#first = lease;
    else this.#last.next = lease;
    this.#last = lease;
  }

  shift(): Lease | null {
    const lease = this.#first;
    if (lease === null) return null;
    this.#first = lease.next;
    if (this.#first === null) this.#last = null;
    lease.next = null;
    return lease;
  }
}
