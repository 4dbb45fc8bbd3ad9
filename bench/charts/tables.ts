/** The tables of README.md and docs/performance.md. */

import { fill } from "../../examples/terminal.ts";
import { layouts } from "../layout.ts";
import { type Machine, machineText } from "../machine.ts";
import {
  type CaseRecord,
  isMeasured,
  type PeerRecord,
  roundsText,
  type SuiteRecord,
  unsteady,
} from "../record.ts";
import { number } from "../report.ts";
import type { Column } from "../suite.ts";
import { casesWith, daysText, entriesOf } from "./data.ts";
import { PROGRAMS } from "./look.ts";

/** The records there are, by the name of the benchmark. */
export type Records = ReadonlyMap<string, SuiteRecord>;

const LINE_WIDTH = 80;
const NOT_MEASURED = "Not measured.";
/** Programs of the summary. */
const SUMMARY_VERSIONS = ["kio", "Deno", "Node", "Bun", "liburing", "nginx"];

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
  return fill(text.match(/(?:`[^`]*`|\S)+/g) ?? [], LINE_WIDTH).join("\n");
}

/** A table as `deno fmt` pads it. */
function table(all: readonly (readonly string[])[]): string {
  // A name may be that of a pipeline.
  const rows = all.map((row) => row.map((text) => text.replaceAll("|", "\\|")));
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

/** The tables of cases: a line for each program. */
function tables(cases: readonly CaseRecord[]): string[] {
  return layouts(
    cases,
    ({ spread, ratio }) => spread === true || ratio === true,
  )
    .map(({ metric, peers, cells }) =>
      table([
        [metric, ...cells.map(({ head }) => head)],
        ...peers.map((name) => [
          name,
          ...cells.map(({ table: { peers, base }, column }) =>
            cell(peers.find((peer) => peer.name === name)!, base, column)
          ),
        ]),
      ])
    );
}

/** The commands that measured the cases, with their dates. One a line: a
 * paragraph would be broken within them. */
function commands({ benchmark, cases }: SuiteRecord): string {
  const all = cases.map(({ run: { options, date } }) =>
    `- \`deno task bench ${benchmark} --rounds ${options.rounds} ` +
    `--seconds ${options.seconds}\`, ${date.slice(0, 10)}`
  );
  return [...new Set(all)].join("\n");
}

/** Names the cases to be compared with care. */
function warning(cases: readonly CaseRecord[]): string[] {
  const shaky = unsteady(cases);
  if (shaky.length === 0) return [];
  const names = shaky.length === cases.length
    ? "all of it"
    : shaky.map(({ title }) => `"${title}"`).join("; ");
  return [
    paragraph(`The machine was not steady: compare with care (${names}).`),
  ];
}

/** A benchmark: its tables, how it was measured, and by which command. */
function suiteText(
  record: SuiteRecord,
  picturesOf: (record: SuiteRecord) => readonly string[],
): string {
  const { cases, notes } = record;
  return [
    ...picturesOf(record),
    ...tables(cases),
    paragraph(`${notes.join(" ")} Medians of ${roundsText(cases)}.`),
    ...warning(cases),
    commands(record),
  ].join("\n\n");
}

/** Tells the machines of some cases, with the versions of these programs or of
 * all. */
function machineTexts(
  cases: readonly CaseRecord[],
  programs?: readonly string[],
): string[] {
  const all = new Map<string, Machine[]>();
  for (const { run: { machine } } of cases) {
    const { cpu, cores, kernel } = machine;
    const key = JSON.stringify([cpu, cores, kernel]);
    all.set(key, [...all.get(key) ?? [], machine]);
  }
  return [...all.values()].map((same) => {
    const found = same.flatMap(({ versions }) => Object.entries(versions));
    const names = new Set(found.map(([name]) => name));
    const versions = [...names]
      .filter((name) => programs === undefined || programs.includes(name))
      .map((name) => {
        const its = found.filter(([one]) => one === name).map(([, it]) => it);
        return [name, [...new Set(its)].sort().join(" and ")] as const;
      });
    const machine = { ...same[0]!, versions: Object.fromEntries(versions) };
    return `${machineText(machine)}.`;
  });
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
    paragraph(
      `Medians of ${roundsText(cases)}, ${daysText(cases)}. ` +
        machineTexts(cases, SUMMARY_VERSIONS).join(" "),
    ),
  ].join("\n\n");
}

function figures(
  what: string,
  records: Records,
  picturesOf: (record: SuiteRecord) => readonly string[],
): string {
  if (records.size === 0) return NOT_MEASURED;
  if (what === "summary") return summary(records);
  if (what === "machine") {
    return machineTexts([...records.values()].flatMap(({ cases }) => cases))
      .map(paragraph).join("\n\n");
  }
  const record = records.get(what);
  return record === undefined ? NOT_MEASURED : suiteText(record, picturesOf);
}

/**
 * Puts the figures into a document, each between `<!-- figures: echo -->` (or
 * another benchmark, `summary`, `machine`) and `<!-- /figures -->`.
 */
export function withFigures(
  document: string,
  records: Records,
  picturesOf: (record: SuiteRecord) => readonly string[] = () => [],
): string {
  return document.replaceAll(
    /(<!-- figures: (\S+) -->\n)[^]*?(<!-- \/figures -->)/g,
    (_, begin: string, what: string, end: string) =>
      `${begin}\n${figures(what, records, picturesOf)}\n\n${end}`,
  );
}
