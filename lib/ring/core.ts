import type { Shim } from "../../ffi/load.ts";
import type { Entry } from "./entry.ts";
import type { Features } from "./features.ts";
import type { Starving } from "./starving.ts";
import type { Tally } from "./stats.ts";
import type { Table } from "./table.ts";
import type { Timers } from "./timers.ts";

/** The places of a ring's files that are for direct descriptors. */
export interface Places {
  readonly count: number;
  /** Those of open descriptors, and those that operations under way may get. */
  taken: number;
}

/** Calls the user's callback for what has come. */
export interface Afterwards {
  callBack(): void;
}

/** Takes in the ends of operations, for their times. */
export interface Times {
  /** `errno` is 0 for a success. The entry is released after that. */
  settled(entry: Entry, errno: number): void;
}

/** Operations that wait for something other than the kernel. */
export interface Queue {
  /** Takes one out. Returns whether it was there. */
  leave(entry: Entry): boolean;
}

/** The part of a ring that its rooms share. `Ring` implements it; each room is
 * made of functions that take it. */
export interface Core {
  readonly shim: Shim;
  readonly handle: Deno.PointerObject;
  readonly table: Table;
  readonly timers: Timers;
  readonly tally: Tally;
  readonly features: Features;
  /** Null unless an option needs it. */
  readonly watch: Times | null;
  /** No operation can start any more. */
  closing: boolean;
  /** Submissions queued since the last step. */
  queued: number;
  /** Completions of this step that no code of the user waits for. */
  silent: number;
  /** Streams that wait for a buffer, by their pool. */
  readonly starving: Starving;
  /** Transfers that wait for their turn. */
  readonly turns: Queue;
  /** Called after this batch of completions. */
  readonly afterwards: Afterwards[];
  /** Operations that the next step cancels. */
  cancels: Entry[];
  /** Operations that are queued now are links of a chain. */
  readonly chaining: boolean;
  /** Makes sure that a step comes soon. */
  schedule(): void;
}
