/** Writes the results for a terminal. */

import { fill } from "../examples/terminal.ts";
import { layouts } from "./layout.ts";
import { machineText } from "./machine.ts";
import {
  type BarRecord,
  type CaseRecord,
  isMeasured,
  type PeerRecord,
  roundsText,
  type SuiteRecord,
  unsteady,
} from "./record.ts";
import type { Column } from "./suite.ts";

/** Columns of a terminal that the report fits into. */
export const REPORT_WIDTH = 100;
const INDENT = "  ";
const GAP = 2;

/** A figure as people read it: "1,234.5". */
export function number(value: number, digits: number): string {
  return value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** Lines of text, indented. */
function paragraph(text: string): string[] {
  return fill(text.split(" "), REPORT_WIDTH - INDENT.length)
    .map((line) => `${INDENT}${line}`);
}

/** Aligns columns below heads that are broken where there is no room. A row
 * with fewer cells has a message. */
function aligned(
  heads: readonly string[],
  rows: readonly (readonly string[])[],
): string[] {
  const full = rows.filter((row) => row.length === heads.length);
  const cells = (i: number) => full.map((row) => row[i]!.length);
  const [, ...rest] = heads;
  const first = Math.max(
    heads[0]!.length,
    ...rows.map((row) => row[0]!.length),
  );
  const room = REPORT_WIDTH - INDENT.length - first;
  const share = Math.floor(room / rest.length) - GAP;
  const widths = [
    first,
    ...rest.map((head, i) =>
      Math.max(
        ...cells(i + 1),
        ...head.split(" ").map((word) => word.length),
        Math.min(head.length, share),
      )
    ),
  ];
  const broken = heads.map((head, i) => fill(head.split(" "), widths[i]!));
  const height = Math.max(...broken.map((lines) => lines.length));
  const top = Array.from(
    { length: height },
    (_, line) =>
      broken.map((lines) => lines[line - height + lines.length] ?? ""),
  );
  return [...top, ...rows].map((row) =>
    INDENT +
    row.map((text, i) => text.padEnd(widths[i]! + GAP)).join("").trimEnd()
  );
}

/** "1,234 ±5%": the median, and half of the way from the lowest to the highest
 * round. */
function cell(peer: PeerRecord, { metric, digits, spread }: Column): string {
  const { median, min, max } = peer.figures[metric]!;
  const text = number(median, digits);
  if (!spread || median === 0 || min === max) return text;
  return `${text} ±${Math.round((max - min) / 2 / median * 100)}%`;
}

/** All figures of a case. */
function table({ title, columns, peers }: CaseRecord): string[] {
  const rows = peers.map((peer) => [
    peer.name,
    ...isMeasured(peer)
      ? columns.map((column) => cell(peer, column))
      : [peer.status],
  ]);
  const heads = ["", ...columns.map(({ head }) => head)];
  return ["", title, "", ...aligned(heads, rows)];
}

/** The ratios to the bases. */
function comparison(cases: readonly CaseRecord[]): string[] {
  return layouts(cases, ({ ratio }) => ratio === true)
    .flatMap(({ metric, peers, cells }) => {
      const { base } = cells[0]!.table;
      const rows = peers.filter((name) => name !== base).map((name) => [
        name,
        ...cells.map(({ table, column }) => {
          const peer = table.peers.find((one) => one.name === name)!;
          const ratio = peer.figures[column.metric]?.ratio ?? null;
          return ratio === null ? "–" : `${number(ratio, 2)}×`;
        }),
      ]);
      const heads = [metric, ...cells.map(({ head }) => head)];
      return ["", `Compared with ${base}`, "", ...aligned(heads, rows)];
    });
}

function aims(bars: readonly BarRecord[]): string[] {
  const lines = bars.flatMap(({ met, figure, kind, limit, text }) => {
    const how = met === null
      ? "not measured"
      : `${met ? "met" : "missed"}, ${number(figure!, 2)}`;
    return paragraph(`${how} (${kind} ${number(limit, 2)}): ${text}`);
  });
  return ["", "The project's own aims", "", ...lines];
}

function notes({ notes, cases }: SuiteRecord): string[] {
  const shaky = unsteady(cases).map(({ title }) => title);
  return [
    "",
    ...paragraph(notes.join(" ")),
    "",
    ...paragraph(
      `Medians of ${roundsText(cases)}, all programs in turn. ±: half of the ` +
        `way from the lowest to the highest. ×: median of the rounds' ratios.`,
    ),
    ...paragraph(`${machineText(cases[0]!.run.machine)}.`),
    ...shaky.length === 0 ? [] : [
      "",
      ...paragraph(
        `The machine was not steady: compare with care (${shaky.join("; ")}).`,
      ),
    ],
  ];
}

/** Parts of a report beside the figures. */
export interface ReportOptions {
  /** Sentences about the figures. */
  readonly findings: readonly string[];
  /** Adds the project's own aims. */
  readonly hasAims: boolean;
  /** Has bold names of benchmark and cases. */
  readonly isColoured: boolean;
}

/** The figures of the cases, how they were measured, and at the end how the
 * programs compare. */
export function report(
  record: SuiteRecord,
  { findings, hasAims, isColoured }: ReportOptions,
): string {
  const lines = [
    "",
    `== ${record.benchmark} ==`,
    ...record.cases.flatMap(table),
    ...notes(record),
    ...findings.flatMap((finding) => ["", ...paragraph(finding)]),
    ...hasAims && record.bars.length > 0 ? aims(record.bars) : [],
    ...comparison(record.cases),
  ];
  return lines.map((line) =>
    isColoured && /^\S/.test(line) ? `\x1b[1m${line}\x1b[0m` : line
  ).join("\n");
}
