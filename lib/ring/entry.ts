/**
 * The row of a slot of the operation table. There is one object a slot, made
 * once and reused by each operation that takes the slot. Users never see it:
 * they have a ticket (`op.ts`), which names entry and generation.
 */
import type { Shim } from "../../ffi/load.ts";
import type { Result } from "../result.ts";
import type { AbortGroup, AbortTarget } from "./abort.ts";
import type { Lease } from "./lease.ts";
import type { Operation } from "./operation.ts";
import type { Retained } from "./retained.ts";
import type { Sqe } from "./sqe.ts";

/** The states of an entry: each says who ends the operation. */
export const State = {
  /** No operation has the slot. */
  FREE: 0,
  /** The kernel, by a completion: the operation is queued or submitted. Or its
   * turn, see `turns.ts`. */
  SUBMITTED: 1,
  /** The clock: a sleep. */
  ASLEEP: 2,
  /** Another thread's answer. */
  EXTERNAL: 3,
  /** The clock: its error is held back for some milliseconds. */
  HELD_BACK: 4,
  /** The clock continues it: it pauses before its next try. */
  BACKING_OFF: 5,
  /** The kernel, by a notification: its result is there, and its memory still in
   * use. */
  NOTIFYING: 6,
} as const;

/** Marks of an operation, in bits: events that change its result. */
export const Mark = {
  CANCELLED: 1,
  TIMED_OUT: 2,
  /** It was taken out of the submission queue. */
  NEVER_RAN: 4,
  /** An exception took its promise from the caller. */
  ABANDONED: 8,
} as const;

/** Parts of user_data above the slot, see ffi/shim/kio.h. */
export const SPAN = 2 ** 32;
export const GENERATION_MASK = 0xfffff;
const MAKES_FD = 2 ** 52;

/** Takes the result of an operation, and resolves its promise. */
export type Settle = (result: Result<unknown>) => void;

const settleNobody: Settle = () => {};

/** An operation of several submissions. */
export interface Steps {
  /** The last submission was a poll that only waits: its result is no result of
   * the operation. */
  readonly isWaiting: boolean;
  /** Milliseconds to wait before `prepare()`; 0 to go on at once. */
  readonly pauseMs: number;
  /** Queues the next submission; returns a status of the shim. */
  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number;
  /** Takes the result of a submission; of a splice chain, of the step that
   * ended it. Returns true if there is a next submission. */
  advance(result: number, step: number): boolean;
  /** Tries at once after a pause, where the shim can. Returns the result:
   * `-EAGAIN` for another pause, above 0 to have it queued after all. */
  attempt?(shim: Shim): number;
}

/** Steps that continue until all bytes are moved. */
export interface Transfer extends Steps {
  /** Bytes that are moved. */
  readonly moved: number;
  /** All is moved, and what comes after that is done. */
  readonly isComplete: boolean;
  /** Adds to the message of its failure, if there is more to say than how many
   * bytes are moved. */
  readonly remark?: string;
  /** Called when the transfer ends, well or not. */
  end?(): void;
}

/** The shots of a multishot operation. */
export interface Shots extends Pick<Steps, "prepare"> {
  /** Takes in a result that is not the last of its shot; `flags` are
   * IORING_CQE_F_*. */
  more(result: number, flags: number): void;
  /** Takes in the last result of a shot: the operation goes on, or ends. */
  last(result: number, flags: number): void;
}

/** An operation whose memory the kernel gives back after its result. */
export interface Notified {
  /** Takes the result, which a notification follows. Returns true if only that
   * is left to wait for. */
  report(result: number): boolean;
  /** Takes the last completion. Returns the result of the submission. */
  resultOf(last: number): number;
}

/** The part of a chain that the entries of its links need. */
export interface Links {
  /** Takes a completion of a link. Returns true if the chain holds it. */
  keeps(entry: Entry, result: number): boolean;
  /** Takes the kernel's answer to the cancel of the front. */
  answer(entry: Entry, result: number): void;
  /** Keeps the links that were given up from running. Returns false if the next
   * step must try again. */
  cancel(): boolean;
}

/** Optional state of an operation, allocated only when used. */
export interface Extra {
  /** Completes "Cannot …: " with a path or an address. */
  action?: { toString(): string } | undefined;
  /** Makes the value of a result of 0 or more. */
  decode?: ((result: number) => unknown) | undefined;
  /** Lets go of what a result of 0 or more has brought, if nobody gets it. */
  discard?: (result: number) => void;
  /** A second fd that it uses. */
  otherFd?: number;
  /** Called when an external operation is cancelled or timed out. */
  onCancel?: () => void;
  /** A lease that it holds until its completion. */
  lease?: Lease;
  steps?: Steps | undefined;
  /** The submission, for an operation that may have to repeat it. */
  sqe?: Sqe;
  /** The same object as `steps`, if it moves bytes. */
  transfer?: Transfer;
  shots?: Shots;
  /** The same object as `steps`, if a notification may follow its result. */
  notified?: Notified;
  /** The chain that it is a link of. */
  chain?: Links;
  /** The signals that cancel it, one or several, and the target that they
   * call. */
  signals?: AbortGroup | AbortGroup[];
  abortTarget?: AbortTarget;
}

/** One row of the operation table. */
export class Entry {
  readonly slot: number;
  /** Operations that this slot has served; user_data has its low 20 bits. A
   * ticket compares all of it. */
  generation = 0;
  operation: Operation;
  state: typeof State[keyof typeof State] = State.FREE;
  marks = 0;
  /** The next step cancels it: it is in the list of the ring. */
  awaitsCancel = false;
  fd = -1;
  /** Memory that the kernel may touch until the completion. */
  retained: Retained = null;
  settle: Settle = settleNobody;
  extra: Extra | null = null;
  /** The errno that is held back. */
  heldErrno = 0;
  /** The stack of its start, with the option `trace`. */
  trace: Error | undefined = undefined;

  constructor(slot: number, operation: Operation) {
    this.slot = slot;
    this.operation = operation;
  }

  /** user_data of the operation. */
  get id(): number {
    const id = (this.generation & GENERATION_MASK) * SPAN + this.slot;
    return this.operation.makesFd ? id + MAKES_FD : id;
  }

  /** Tells whether it was cancelled or timed out. */
  get isGivenUp(): boolean {
    return (this.marks & (Mark.CANCELLED | Mark.TIMED_OUT)) !== 0;
  }

  /** Makes the entry free for the next operation. */
  reset(): void {
    this.generation++;
    this.state = State.FREE;
    this.marks = 0;
    this.awaitsCancel = false;
    this.fd = -1;
    this.retained = null;
    this.settle = settleNobody;
    this.extra = null;
  }
}
