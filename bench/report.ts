/** Prints the results. */

import { machineText } from "./machine.ts";
import {
  type BarRecord,
  type CaseRecord,
  isMeasured,
  type PeerRecord,
  type Run,
  type SuiteRecord,
} from "./record.ts";
import type { Column } from "./suite.ts";

/** A figure as people read it: "1,234.5". */
export function number(value: number, digits: number): string {
  return value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** "median (min–max) ratio×", as far as the column asks for it. */
function cell(peer: PeerRecord, base: string, column: Column): string {
  const { metric, digits } = column;
  const { median, min, max, ratio } = peer.figures[metric]!;
  let text = number(median, digits);
  if (column.spread) text += ` (${number(min, digits)}–${number(max, digits)})`;
  if (column.ratio && peer.name !== base && ratio !== null) {
    text += ` ${number(ratio, 2)}×`;
  }
  return text;
}

function row({ base, columns }: CaseRecord, peer: PeerRecord): string[] {
  const { name, status, rounds, steadyRounds } = peer;
  if (!isMeasured(peer)) return [name, status];
  return [
    name,
    ...columns.map((column) => cell(peer, base, column)),
    `${steadyRounds}/${rounds}`,
  ];
}

/** Columns as wide as their widest cell; a lone message may be wider. */
function printRows(rows: readonly (readonly string[])[]): void {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, i) =>
    Math.max(
      ...rows.filter((row) => row.length === columns)
        .map((row) => row[i]!.length),
      i === 0 ? Math.max(...rows.map((row) => row[0]!.length)) : 0,
    ));
  for (const row of rows) {
    console.log(
      `  ${row.map((text, i) => text.padEnd(widths[i]!)).join("  ")}`
        .trimEnd(),
    );
  }
}

function printTable(table: CaseRecord): void {
  console.log(`\n${table.title}   (×: against ${table.base})\n`);
  printRows([
    ["", ...table.columns.map((column) => column.head), "steady"],
    ...table.peers.map((peer) => row(table, peer)),
  ]);
}

function printBars(bars: readonly BarRecord[]): void {
  if (bars.length === 0) return;
  console.log("\nThe project's bars\n");
  printRows(bars.map(({ met, figure, kind, limit, text }) => [
    met === null ? "not measured" : met ? "met" : "missed",
    figure === null ? "" : number(figure, 3),
    `${kind} ${number(limit, 2)}`,
    text,
  ]));
}

function printNotes(notes: readonly string[], run: Run): void {
  const { rounds, seconds } = run.options;
  console.log();
  for (const note of notes) console.log(`  ${note}`);
  console.log(
    `  Medians of ${rounds} rounds of ${seconds} s, peers in turn; \
(lowest–highest); × is the
  median of the rounds' ratios. "steady" counts the rounds in which the machine
  was as fast as at its best before and after; others are left out where three
  or more are steady.
  ${machineText(run.machine).replace("; ", ";\n  ")}.`,
  );
}

/** The tables, the bars, and how it was measured. */
export function print(
  { cases, bars, notes }: SuiteRecord,
  findings: readonly string[],
  run: Run,
): void {
  for (const table of cases) printTable(table);
  printBars(bars);
  for (const finding of findings) console.log(`\n  ${finding}`);
  printNotes(notes, run);
}
