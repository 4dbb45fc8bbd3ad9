import type { Shim } from "../../ffi/load.ts";
import type { Entry } from "./entry.ts";
import { Tally } from "./stats.ts";
import type { Table } from "./table.ts";
import { Timers } from "./timers.ts";

/** What the rooms of the ring share. `Ring` is one; each room is made of
 * functions that take it. */
export interface Core {
  readonly shim: Shim;
  readonly handle: Deno.PointerObject;
  readonly table: Table;
  readonly timers: Timers;
  readonly tally: Tally;
  /** Nobody can start operations any more. */
  closing: boolean;
  /** Submissions queued since the last step. */
  queued: number;
  /** Operations that the next step cancels. */
  cancels: Entry[];
  /** What is queued now is a link of a chain. */
  readonly chaining: boolean;
  /** Makes sure that what is queued is submitted soon. */
  schedule(): void;
}
