/** The tables of README.md and docs/performance.md. */

import { machineText } from "../machine.ts";
import {
  type CaseRecord,
  isMeasured,
  type PeerRecord,
  type SuiteRecord,
} from "../record.ts";
import { number } from "../report.ts";
import type { Column } from "../suite.ts";
import { casesWith, entriesOf, steadiness } from "./data.ts";
import { PROGRAMS } from "./look.ts";

/** The records there are, by the name of the benchmark. */
export type Records = ReadonlyMap<string, SuiteRecord>;

const LINE_WIDTH = 80;
const NOT_MEASURED = "Not measured.";

/** The figures that say most in one row each. */
const SUMMARY = [
  {
    text: "echo of 64 bytes, 64 connections: thousand requests/s",
    benchmark: "echo",
    parameters: { connections: 64, bytes: 64 },
    metric: "reqPerS",
    unit: 1000,
    digits: 0,
  },
  {
    text: "the same: server CPU a request, µs",
    benchmark: "echo",
    parameters: { connections: 64, bytes: 64 },
    metric: "cpuUs",
    unit: 1,
    digits: 1,
  },
  {
    text: "4 KiB reads from the page cache, 32 in flight: thousand/s",
    benchmark: "file",
    parameters: { depth: 32 },
    metric: "opsPerS",
    unit: 1000,
    digits: 0,
  },
  {
    text: "files of 1 KiB over HTTP: thousand requests/s (C: nginx)",
    benchmark: "static",
    parameters: { bytes: 1024 },
    metric: "reqPerS",
    unit: 1000,
    digits: 0,
  },
  {
    text: "512-byte appends, 64 to an fdatasync: thousand/s",
    benchmark: "log",
    parameters: { records: 64 },
    metric: "recordsPerS",
    unit: 1000,
    digits: 0,
  },
] as const;

/** Lines as `deno fmt` breaks them: not within code. */
function paragraph(text: string): string {
  const lines = [""];
  for (const word of text.match(/(?:`[^`]*`|\S)+/g) ?? []) {
    const line = lines.at(-1)!;
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length > LINE_WIDTH) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines.join("\n");
}

/** A table as `deno fmt` pads it. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) =>
    Math.max(3, ...rows.map((row) => row[i]!.length))
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((text, i) => text.padEnd(widths[i]!)).join(" | ")} |`;
  const [head, ...rest] = rows;
  const rule = widths.map((width) => "-".repeat(width));
  return [head!, rule, ...rest].map(line).join("\n");
}

/** "1,234 (0.56×)" */
function cell(peer: PeerRecord, base: string, column: Column): string {
  if (!isMeasured(peer)) return peer.status;
  const { median, ratio } = peer.figures[column.metric]!;
  const text = number(median, column.digits);
  if (!column.ratio || peer.name === base || ratio === null) return text;
  return `${text} (${number(ratio, 2)}×)`;
}

const namesOf = ({ peers }: CaseRecord) => peers.map(({ name }) => name);

/** Cases in a row that have the same peers, a table for each. */
function groups(cases: readonly CaseRecord[]): CaseRecord[][] {
  const all: CaseRecord[][] = [];
  for (const one of cases) {
    const group = all.at(-1);
    if (group && `${namesOf(group[0]!)}` === `${namesOf(one)}`) group.push(one);
    else all.push([one]);
  }
  return all;
}

function groupTable(cases: readonly CaseRecord[]): string {
  const rows = cases.flatMap(({ title, base, columns, peers }) =>
    columns.filter(({ spread, ratio }) => spread || ratio).map((column) => [
      `${title}: ${column.head}`,
      ...peers.map((peer) => cell(peer, base, column)),
    ])
  );
  return table([["", ...namesOf(cases[0]!)], ...rows]);
}

/** The commands that measured the cases, with their dates. One a line: a
 * paragraph would be broken within them. */
function commands({ benchmark, cases }: SuiteRecord): string {
  const all = cases.map(({ run: { options, date } }) =>
    `- \`deno task bench ${benchmark} --rounds ${options.rounds} ` +
    `--seconds ${options.seconds}\`, ${date.slice(0, 10)}`
  );
  return `${[...new Set(all)].join("\n")}\n\n` +
    `${steadiness(cases)} runs undisturbed.`;
}

/** A benchmark: its tables, how it was measured, and by which command. */
function suiteText(record: SuiteRecord): string {
  return [
    ...groups(record.cases).map(groupTable),
    paragraph(record.notes.join(" ")),
    commands(record),
  ].join("\n\n");
}

/** The machines of some cases. */
function machines(cases: readonly CaseRecord[]): string {
  const all = new Set(cases.map(({ run }) => `${machineText(run.machine)}.`));
  return [...all].map(paragraph).join("\n\n");
}

function summary(records: Records): string {
  const found = SUMMARY.flatMap((row) => {
    const record = records.get(row.benchmark);
    const [one] = record === undefined ? [] : casesWith(record, row.parameters);
    return one === undefined ? [] : [{ ...row, one }];
  });
  const rows = found.map(({ text, one, metric, unit, digits }) => {
    const entries = entriesOf(one);
    return [
      text,
      ...PROGRAMS.map(({ name }) => {
        const entry = entries.find((entry) => entry.name === name);
        if (entry === undefined) return "";
        const value = number(entry.figures[metric]!.median / unit, digits);
        return name === "kio" ? `**${value}**` : value;
      }),
    ];
  });
  const cases = found.map(({ one }) => one);
  return [
    table([["", ...PROGRAMS.map(({ name }) => name)], ...rows]),
    machines(cases),
    `${steadiness(cases)} runs undisturbed.`,
  ].join("\n\n");
}

function figures(what: string, records: Records): string {
  if (records.size === 0) return NOT_MEASURED;
  if (what === "summary") return summary(records);
  if (what === "machine") {
    return machines([...records.values()].flatMap(({ cases }) => cases));
  }
  const record = records.get(what);
  return record === undefined ? NOT_MEASURED : suiteText(record);
}

/**
 * Puts the figures into a document, each between `<!-- figures: echo -->` (or
 * another benchmark, `summary`, `machine`) and `<!-- /figures -->`.
 */
export function withFigures(document: string, records: Records): string {
  return document.replaceAll(
    /(<!-- figures: (\S+) -->\n)[^]*?(<!-- \/figures -->)/g,
    (_, begin: string, what: string, end: string) =>
      `${begin}\n${figures(what, records)}\n\n${end}`,
  );
}
