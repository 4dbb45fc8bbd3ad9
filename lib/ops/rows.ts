import * as table from "./table.ts";

/** The rows of the kernel's operations, by the names of their functions. The
 * others of the table have neither an opcode nor a system call. */
export const ROWS: readonly table.Row[] = Object.values<table.Row>(table)
  .filter(({ opcode, fallback }) => opcode >= 0 || fallback !== undefined)
  .sort((a, b) => a.name < b.name ? -1 : 1);
