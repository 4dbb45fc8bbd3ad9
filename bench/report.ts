/** Prints what was measured, and keeps it in `results/`. */

import { describeMachine, type Machine } from "./machine.ts";
import type { Results } from "./stats.ts";
import {
  type Bar,
  type Case,
  type Column,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "./suite.ts";

const RESULTS_FOLDER = new URL("results/", import.meta.url);

function number(value: number, digits: number): string {
  return value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** "median (min–max) ratio×", as far as the column asks for it. */
function cell(
  { title, base }: Case,
  peer: Peer,
  column: Column,
  results: Results,
): string {
  const { metric, digits } = column;
  const summary = results.summary(title, peer.name, metric);
  if (summary === null) return "";
  let text = number(summary.median, digits);
  if (column.spread) {
    const { min, max } = summary;
    text += ` (${number(min, digits)}–${number(max, digits)})`;
  }
  if (column.ratio && peer.name !== base) {
    const times = results.compare(title, peer.name, base, metric, ratio);
    if (times !== null) text += ` ${number(times, 2)}×`;
  }
  return text;
}

function row(table: Case, peer: Peer, results: Results): string[] {
  const failure = results.failure(table.title, peer.name);
  if (!peer.installed) return [peer.name, "not installed"];
  if (failure !== undefined) return [peer.name, `failed: ${failure}`];
  const taken = results.taken(table.title, peer.name);
  const steady = taken.filter((one) => results.isSteady(one)).length;
  return [
    peer.name,
    ...table.columns.map((column) => cell(table, peer, column, results)),
    `${steady}/${taken.length}`,
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

function printTable(table: Case, results: Results): void {
  console.log(`\n${table.title}   (×: against ${table.base})\n`);
  printRows([
    ["", ...table.columns.map((column) => column.head), "steady"],
    ...table.peers.map((peer) => row(table, peer, results)),
  ]);
}

function isMet({ figure, limit, kind }: Bar): boolean | null {
  if (figure === null) return null;
  return kind === "at least" ? figure >= limit : figure <= limit;
}

function printBars(bars: readonly Bar[]): void {
  if (bars.length === 0) return;
  console.log("\nThe project's bars\n");
  printRows(bars.map((bar) => {
    const met = isMet(bar);
    return [
      met === null ? "not measured" : met ? "met" : "missed",
      bar.figure === null ? "" : number(bar.figure, 3),
      `${bar.kind} ${number(bar.limit, 2)}`,
      bar.text,
    ];
  }));
}

function printNotes(suite: Suite, options: Options, machine: Machine): void {
  const { cpu, cores, kernel, deno, node, bun, liburing, fio } = machine;
  console.log();
  for (const note of suite.notes) console.log(`  ${note}`);
  console.log(
    `  Medians of ${options.rounds} rounds of ${options.seconds} s, peers in \
turn; (lowest–highest); × is the
  median of the rounds' ratios. "steady" counts the rounds in which the machine
  was as fast as at its best before and after; others are left out where three
  or more are steady.
  ${cpu}, ${cores} cores, Linux ${kernel}; Deno ${deno}, Node ${node}, Bun \
${bun},
  liburing ${liburing}, ${
      fio === "not installed" ? "fio not installed" : fio
    }.`,
  );
}

/** The tables, the bars, and how it was measured. */
export async function print(
  suite: Suite,
  options: Options,
  results: Results,
): Promise<void> {
  for (const table of suite.cases) printTable(table, results);
  printBars(suite.bars(results));
  for (const finding of suite.findings?.(results) ?? []) {
    console.log(`\n  ${finding}`);
  }
  printNotes(suite, options, await describeMachine());
}

/** What a peer did, for the file. */
function record({ title, base, columns }: Case, peer: Peer, results: Results) {
  const status = !peer.installed
    ? "not installed"
    : results.failure(title, peer.name) ?? "measured";
  const taken = results.taken(title, peer.name);
  return {
    name: peer.name,
    status,
    rounds: taken.length,
    steadyRounds: taken.filter((one) => results.isSteady(one)).length,
    figures: Object.fromEntries(columns.map(({ metric }) => [metric, {
      ...results.summary(title, peer.name, metric),
      ratio: results.compare(title, peer.name, base, metric, ratio),
    }])),
  };
}

/** Writes `results/<name>.json`. */
export async function save(
  name: string,
  suite: Suite,
  options: Options,
  results: Results,
): Promise<void> {
  const content = {
    benchmark: name,
    date: new Date().toISOString(),
    machine: await describeMachine(),
    options,
    cases: suite.cases.map((table) => ({
      title: table.title,
      base: table.base,
      peers: table.peers.map((peer) => record(table, peer, results)),
    })),
    bars: suite.bars(results).map((bar) => ({ ...bar, met: isMet(bar) })),
  };
  await Deno.mkdir(RESULTS_FOLDER, { recursive: true });
  await Deno.writeTextFile(
    new URL(`${name}.json`, RESULTS_FOLDER),
    `${JSON.stringify(content, null, 2)}\n`,
  );
}
