import * as table from "./table.ts";

/** The rows of the kernel's operations, by the names of their functions. The
 * others of the table have neither an opcode nor a system call. */
export const ROWS: readonly table.Row[] = Object.values<table.Row>(table)
  .filter(({ opcode, fallback }) => opcode >= 0 || fallback !== undefined)
  .sort((a, b) => a.name < b.name ? -1 : 1);

/**
 * The kernel's name of an operation. docs/kernel-support.md lists them.
 * `asyncRecv()` and `asyncRecvExact()` both do `"recv"`; `asyncSendfile()` does
 * `"splice"` and `"poll"`.
 */
export type RingOperation = NonNullable<
  (typeof table)[keyof typeof table]["fault"]
>;

/** The numbers of the operations, from io_uring.h. */
export const OPCODES: ReadonlyMap<string, number> = new Map(
  ROWS.flatMap(({ fault, opcode }): [string, number][] =>
    fault === undefined ? [] : [[fault, opcode]]
  ),
);
