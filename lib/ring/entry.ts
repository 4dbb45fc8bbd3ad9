/**
 * The row of a slot of the operation table. There is one object a slot, made
 * once and used again by each operation that takes the slot. Users never see
 * it: they have a ticket (`op.ts`), which names entry and generation.
 */
import type { Shim } from "../../ffi/load.ts";
import type { Result } from "../result.ts";
import type { AbortGroup, AbortTarget } from "./abort.ts";
import type { Operation } from "./operation.ts";
import type { Retained } from "./retained.ts";
import type { Sqe } from "./sqe.ts";

/** Who is going to end an operation. */
export const State = {
  /** No operation has the slot. */
  FREE: 0,
  /** The kernel, by a completion: it is queued, or in the kernel's hands. */
  SUBMITTED: 1,
  /** The clock: a sleep. */
  ASLEEP: 2,
  /** Another thread's answer. */
  EXTERNAL: 3,
  /** The clock: its error is held back for a while. */
  HELD_BACK: 4,
  /** The clock: it waits for its next try. */
  BACKING_OFF: 5,
} as const;

/** What was done to an operation besides starting it, in bits. */
export const Mark = {
  CANCELLED: 1,
  TIMED_OUT: 2,
  /** It was taken out of the queue before the kernel saw it. */
  NEVER_RAN: 4,
  /** An exception has taken it out of everybody's hands. */
  ABANDONED: 8,
} as const;

/** The parts of user_data above the slot, see kio.c. */
export const SPAN = 2 ** 32;
export const GENERATION_MASK = 0xfffff;
const MAKES_FD = 2 ** 52;

/** Takes the result of an operation: resolves a promise, or feeds a stream. */
export type Settle = (result: Result<unknown>) => void;

const settleNobody: Settle = () => {};

/** An operation of several submissions. */
export interface Steps {
  /** The poll that was queued last is only for waiting: its result is nobody's. */
  readonly isWaiting: boolean;
  /** Milliseconds to wait before `prepare()`; 0 to go on at once. */
  readonly pauseMs: number;
  /** Queues the next submission; returns a status of the shim. */
  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number;
  /** Takes in a result, of that step of a splice chain. Returns true if there
   * is a next submission. */
  advance(result: number, step: number): boolean;
}

/** Steps that go on until all bytes are moved. */
export interface Transfer extends Steps {
  /** Bytes so far. */
  readonly moved: number;
  readonly total: number;
  /** Called when it is over, well or not. */
  end?(): void;
}

/** The chain of a link, as far as its entries need it. */
export interface Links {
  /** Takes in a completion. Returns true if it must not be given out. */
  keeps(entry: Entry, result: number): boolean;
  /** Takes in the kernel's answer to having been asked for the front. */
  answer(entry: Entry, result: number): void;
  /** Keeps the links that were given up from running. Returns false if that
   * must be tried again. */
  cancel(): boolean;
}

/** State of an operation that few have, so that the others need not reset it. */
export interface Extra {
  /** Completes "Cannot …: " where that has a path or an address. */
  action?: { toString(): string } | undefined;
  /** Makes the value of a result of 0 or more. */
  decode?: ((result: number) => unknown) | undefined;
  /** A second fd that it uses. */
  otherFd?: number;
  /** Called when an external operation is cancelled or timed out. */
  onCancel?: () => void;
  steps?: Steps | undefined;
  /** Its submission, where it may have to be done again. */
  sqe?: Sqe;
  /** The same steps again, where they move bytes. */
  transfer?: Transfer;
  /** Of a link. */
  chain?: Links;
  /** The signals that end it: one, or several; and what they call. */
  signals?: AbortGroup | AbortGroup[];
  abortTarget?: AbortTarget;
}

export class Entry {
  readonly slot: number;
  /** Operations that had this slot so far; user_data has its low bits. */
  generation = 0;
  operation: Operation;
  state: typeof State[keyof typeof State] = State.FREE;
  marks = 0;
  /** It is in the list of those that the next step cancels. */
  awaitsCancel = false;
  fd = -1;
  /** What the kernel may touch until the completion. */
  retained: Retained = null;
  settle: Settle = settleNobody;
  extra: Extra | null = null;
  // NaN: V8 then keeps doubles in place, where an integer would come first.
  startedMs = NaN;
  /** In the states that the clock ends: when it goes on, and when its timeout
   * ends it; Infinity for never. */
  wakeMs = NaN;
  deadlineMs = NaN;
  /** The error that is held back. */
  heldErrno = 0;
  /** Where it was started, with the option `trace`. */
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

  /** It was cancelled or timed out. */
  get isGivenUp(): boolean {
    return (this.marks & (Mark.CANCELLED | Mark.TIMED_OUT)) !== 0;
  }

  /** Makes the slot free. */
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
