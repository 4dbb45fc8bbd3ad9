/** How the cases of a benchmark become tables: a line for each program. */

import type { CaseRecord } from "./record.ts";
import type { Column } from "./suite.ts";

/** A table of several cases has no more columns than this with all of their
 * metrics; with more it has one metric. */
const COLUMNS_MAX = 4;

/** A column of a table: a metric of a case. */
export interface Cell {
  readonly head: string;
  readonly table: CaseRecord;
  readonly column: Column;
}

/** A table, of cases with the same programs. */
export interface Layout {
  /** The metric of all columns; empty if they have several. */
  readonly metric: string;
  readonly peers: readonly string[];
  readonly cells: readonly Cell[];
}

/**
 * Arranges the figures of cases in tables.
 *
 * @param cases The cases, in their order.
 * @param isShown Tells which of their columns are wanted.
 */
export function layouts(
  cases: readonly CaseRecord[],
  isShown: (column: Column) => boolean,
): Layout[] {
  const groups: { key: string; cells: Cell[] }[] = [];
  for (const table of cases) {
    const columns = table.columns.filter(isShown);
    if (columns.length === 0) continue;
    const key = JSON.stringify([
      table.base,
      table.peers.map(({ name }) => name),
      columns.map(({ head }) => head),
    ]);
    const cells = columns.map((column): Cell => ({
      head: `${table.title}: ${column.head}`,
      table,
      column,
    }));
    const group = groups.at(-1);
    if (group?.key === key) group.cells.push(...cells);
    else groups.push({ key, cells });
  }
  return groups.flatMap(({ cells }): Layout[] => {
    const peers = cells[0]!.table.peers.map(({ name }) => name);
    const metrics = [...new Set(cells.map(({ column }) => column.head))];
    if (metrics.length > 1 && cells.length <= COLUMNS_MAX) {
      return [{ metric: "", peers, cells }];
    }
    return metrics.map((metric) => ({
      metric,
      peers,
      cells: cells.filter(({ column }) => column.head === metric)
        .map((cell) => ({ ...cell, head: cell.table.title })),
    }));
  });
}
