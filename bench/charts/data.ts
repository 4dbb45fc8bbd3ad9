/** Takes the data of the charts out of the record of a benchmark. */

import {
  type CaseRecord,
  type Figure,
  isMeasured,
  type PeerRecord,
  roundsText,
  type Run,
  type SuiteRecord,
} from "../record.ts";
import { CURVES } from "./look.ts";

/** Programs whose versions charts show, beside kio. */
const VERSIONS_SHOWN = ["Deno", "Node", "Bun", "liburing"];

/** A program of the charts, and its figures in a case. */
export interface Entry {
  readonly name: string;
  readonly peer: PeerRecord;
  readonly figures: Readonly<Record<string, Figure>>;
}

/** The programs of a case that were measured, in the order of the charts. */
export function entriesOf({ peers }: CaseRecord): Entry[] {
  return CURVES.flatMap((program) => {
    const peer = peers.find(({ name }) =>
      program.peers.some((one) => one === name)
    );
    if (peer === undefined || !isMeasured(peer)) return [];
    return [{ name: program.name, peer, figures: peer.figures }];
  });
}

/** The cases with these parameters; undefined matches any. */
export function casesWith(
  { cases }: SuiteRecord,
  wanted: Readonly<Record<string, number | undefined>>,
): CaseRecord[] {
  return cases.filter(({ parameters = {} }) =>
    Object.entries(wanted).every(([name, value]) =>
      value === undefined ? name in parameters : parameters[name] === value
    )
  );
}

/** Tells when cases were measured: "2026-11-28" or "2026-11-27 to 2026-11-28". */
export function daysText(cases: readonly CaseRecord[]): string {
  const days = cases.map(({ run: { date } }) => date.slice(0, 10)).sort();
  return [...new Set([days.at(0), days.at(-1)])].join(" to ");
}

function machineTexts({ machine }: Run): string[] {
  const { cpu, cores, kernel, versions } = machine;
  const programs = VERSIONS_SHOWN.flatMap((name) =>
    name in versions ? `${name} ${versions[name]}` : []
  );
  return [`${cpu}, ${cores} cores, Linux ${kernel}`, programs.join(", ")];
}

/** Describes how and on which machine the cases were measured, line by line. */
export function runTexts(cases: readonly CaseRecord[]): string[] {
  return [
    `Medians of ${roundsText(cases)}, ${daysText(cases)}`,
    ...new Set(cases.flatMap(({ run }) => machineTexts(run))),
  ];
}
