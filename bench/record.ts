/** The record of a benchmark, in `results/<name>.json`. */

import type { Machine } from "./machine.ts";
import { enoughOf, type Results, type Summary } from "./stats.ts";
import {
  type Bar,
  type Case,
  type Column,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "./suite.ts";

/** The folder of the results. */
export const RESULTS_FOLDER = new URL("results/", import.meta.url);

const MEASURED = "measured";
/** More digits than a measurement has. */
const DIGITS = 6;

/** A metric of a peer over the rounds. */
export interface Figure extends Summary {
  /** Median of the rounds' ratios to the base; null if there are none. */
  readonly ratio: number | null;
}

/** One peer of a case. */
export interface PeerRecord {
  readonly name: string;
  /** "measured", "not installed", or the reason of its failure. */
  readonly status: string;
  /** Rounds that it took part in. */
  readonly rounds: number;
  /** Those that its figures are of, unless they are too few: then of all. */
  readonly steadyRounds: number;
  /** Figures by metric; empty unless it was measured. */
  readonly figures: Readonly<Record<string, Figure>>;
}

/** How and on which machine a case was measured. */
export interface Run {
  readonly date: string;
  readonly options: Options;
  readonly machine: Machine;
}

/** One case, all of whose figures are of the same run. */
export interface CaseRecord {
  readonly title: string;
  readonly parameters?: Readonly<Record<string, number>> | undefined;
  readonly run: Run;
  readonly base: string;
  readonly columns: readonly Column[];
  readonly peers: readonly PeerRecord[];
}

/** Something that the project promises, and whether it was kept. */
export interface BarRecord extends Bar {
  /** Null if it was not measured. */
  readonly met: boolean | null;
}

/** A benchmark, as far as it was measured. */
export interface SuiteRecord {
  readonly benchmark: string;
  readonly notes: readonly string[];
  readonly cases: readonly CaseRecord[];
  readonly bars: readonly BarRecord[];
}

function figuresOf(
  { title, base }: Case,
  { name }: Peer,
  results: Results,
): Record<string, Figure> {
  const [first] = results.taken(title, name);
  return Object.fromEntries(
    Object.keys(first?.sample ?? {}).map((metric) => [metric, {
      ...results.summary(title, name, metric)!,
      ratio: results.compare(title, name, base, metric, ratio),
    }]),
  );
}

function peerRecord(table: Case, peer: Peer, results: Results): PeerRecord {
  const taken = results.taken(table.title, peer.name);
  return {
    name: peer.name,
    status: peer.installed
      ? results.failure(table.title, peer.name) ?? MEASURED
      : "not installed",
    rounds: taken.length,
    steadyRounds: results.steadyRounds(table.title, peer.name),
    figures: figuresOf(table, peer, results),
  };
}

function barRecord(bar: Bar): BarRecord {
  const { figure, limit, kind } = bar;
  if (figure === null) return { ...bar, met: null };
  return {
    ...bar,
    met: kind === "at least" ? figure >= limit : figure <= limit,
  };
}

/**
 * Makes the record of the results.
 *
 * @param name The name of the benchmark.
 * @param suite All of it.
 * @param cases The cases of it that were measured.
 * @param results The results of these cases.
 * @param run How and on which machine they were measured.
 */
export function recordOf(
  name: string,
  suite: Suite,
  cases: readonly Case[],
  results: Results,
  run: Run,
): SuiteRecord {
  return {
    benchmark: name,
    notes: suite.notes,
    cases: cases.map((table) => ({
      title: table.title,
      parameters: table.parameters,
      run,
      base: table.base,
      columns: table.columns,
      peers: table.peers.map((peer) => peerRecord(table, peer, results)),
    })),
    bars: suite.bars(results).map(barRecord),
  };
}

/** Takes cases that `now` does not have from `before`, if the suite still has
 * them. */
function merge(
  suite: Suite,
  before: SuiteRecord | null,
  now: SuiteRecord,
): SuiteRecord {
  const known = [...now.cases, ...before?.cases ?? []];
  return {
    ...now,
    cases: suite.cases.flatMap(({ title }) =>
      known.find((one) => one.title === title) ?? []
    ),
    bars: now.bars.map((bar) =>
      bar.met !== null
        ? bar
        : before?.bars.find(({ text }) => text === bar.text) ?? bar
    ),
  };
}

/** True if a peer of a record has figures. */
export function isMeasured({ status }: PeerRecord): boolean {
  return status === MEASURED;
}

/** The cases in which a peer had too few steady rounds. */
export function unsteady(cases: readonly CaseRecord[]): CaseRecord[] {
  return cases.filter(({ peers, run: { options } }) =>
    peers.some((peer) =>
      isMeasured(peer) && peer.steadyRounds < enoughOf(options.rounds)
    )
  );
}

/** Tells how many rounds the medians are of: "5 rounds", or "3 to 5 rounds" if
 * some peers have less than was asked for. */
export function roundsText(cases: readonly CaseRecord[]): string {
  const counts = cases.flatMap(({ peers, run: { options } }) =>
    peers.filter(isMeasured).map(({ rounds, steadyRounds }) =>
      Math.min(
        options.rounds,
        steadyRounds < enoughOf(options.rounds) ? rounds : steadyRounds,
      )
    )
  );
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  const range = least < most ? `${least} to ${most}` : `${most}`;
  return `${range} round${most === 1 ? "" : "s"}`;
}

/** Reads the record of a benchmark; null if there is none. */
export async function load(
  name: string,
  folder = RESULTS_FOLDER,
): Promise<SuiteRecord | null> {
  try {
    const text = await Deno.readTextFile(new URL(`${name}.json`, folder));
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Keeps the new results, beside the other cases of that benchmark. */
export async function save(
  suite: Suite,
  now: SuiteRecord,
  folder = RESULTS_FOLDER,
): Promise<void> {
  const merged = merge(suite, await load(now.benchmark, folder), now);
  const text = JSON.stringify(
    merged,
    (_, value) =>
      typeof value === "number" ? Number(value.toPrecision(DIGITS)) : value,
    2,
  );
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(
    new URL(`${now.benchmark}.json`, folder),
    // An object without objects inside becomes one line.
    `${text.replaceAll(/\{[^{}[\]]{1,200}\}/g, oneLine)}\n`,
  );
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}
