/**
 * The pending operations, for people: as a list for `inspect()`, and as the
 * text of an abort.
 */
import { shownFd } from "../DirectFd.ts";
import type { Core } from "./core.ts";
import { type Entry, GENERATION_MASK, Mark, State } from "./entry.ts";
import { listLacks } from "./features.ts";
import { sizeOf } from "./retained.ts";
import type { PendingOperation } from "./stats.ts";
import { stackOf } from "./trace.ts";

/** The most operations that a dump lists. */
const DUMP_MAX = 100;

/** Lists the pending operations, the oldest first. */
export function inspect(core: Core): PendingOperation[] {
  const nowMs = core.shim.kio_now_ms();
  const pending = core.table.live().map((entry) => ({
    operation: entry.operation.name,
    bytes: entry.extra?.lease?.length ?? sizeOf(entry.retained),
    isCancelled: (entry.marks & Mark.CANCELLED) !== 0,
    fd: Math.max(entry.fd, -1),
    target: targetOf(core, entry.fd),
    ageMs: Math.max(0, nowMs - core.table.startedMs[entry.slot]!),
    leftMs: Math.max(0, core.timers.of(entry.slot) - nowMs),
    stack: stackOf(entry.trace),
  }));
  return pending.sort((a, b) => b.ageMs - a.ageMs);
}

/** Aborts the process over a broken invariant, with a dump of the operation
 * table. */
export function abort(core: Core, message: string): never {
  const { size } = core.table;
  const lines = core.table.live().slice(0, DUMP_MAX).map((entry) =>
    `\n  ${describe(entry)}`
  );
  const rest = size - lines.length;
  if (rest > 0) lines.push(`\n  and ${rest} more`);
  // The address of an installed package has its version.
  const root = new URL("../..", import.meta.url).href;
  const text = [
    message,
    `kio of ${root}, Deno ${Deno.version.deno}`,
    `without features: ${listLacks(core.features) || "none"}`,
    `${size} operations pending:${lines.join("")}\0`,
  ].join("\n");
  core.shim.kio_abort(core.handle, new TextEncoder().encode(text));
  throw new Error("unreachable");
}

const STATES = new Map<Entry["state"], string>([
  [State.ASLEEP, ", asleep"],
  [State.EXTERNAL, ", external"],
  [State.HELD_BACK, ", held back"],
  [State.BACKING_OFF, ", backing off"],
  [State.NOTIFYING, ", waits for its notification"],
]);

function describe(entry: Entry): string {
  const { slot, generation, operation, fd, marks, state, extra } = entry;
  const parts = [
    `slot ${slot}, generation ${generation & GENERATION_MASK}: `,
    operation.name,
    fd === -1 ? "" : `, ${shownFd(fd)}`,
    marks & Mark.CANCELLED ? ", cancelled" : "",
    marks & Mark.TIMED_OUT ? ", timed out" : "",
    marks & Mark.NEVER_RAN ? ", never ran" : "",
    marks & Mark.ABANDONED ? ", abandoned" : "",
    STATES.get(state) ?? "",
    extra?.chain === undefined ? "" : ", linked",
  ];
  return parts.join("");
}

/** Names the file of an fd, or a direct descriptor; empty for none. */
export function targetOf({ shim }: Core, fd: number): string {
  if (fd < 0) return shownFd(fd);
  const path = new Uint8Array(512);
  const length = shim.kio_fd_target(fd, path, path.length);
  return length < 0 ? "" : new TextDecoder().decode(path.subarray(0, length));
}
