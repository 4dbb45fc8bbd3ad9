/**
 * The benchmarks of kio: `deno task bench <name>...`, or `all`.
 *
 * Builds the C programs, runs all peers that are installed in turn, and prints
 * medians and how they compare. `all` and `--save` keep them in
 * `results/<name>.json`, which charts and documents are made of.
 */

import { parseArgs } from "node:util";
import { endWithOutput } from "../examples/terminal.ts";
import { buildPeers, firstLine } from "./programs.ts";
import { minutes, Progress } from "./progress.ts";
import { recordOf, type Run, save } from "./record.ts";
import { report } from "./report.ts";
import { measure } from "./rounds.ts";
import { endAll } from "./run.ts";
import type { Case, Options, Suite } from "./suite.ts";
import { SUITES } from "./suites.ts";
import { describeMachine } from "./this_machine.ts";

const ALL = "all";
/** The longest time, of that of the rounds on a quiet machine. */
const LIMIT_FACTOR = 2;
const USAGE = `Usage: deno task bench NAME... [options]

Compares kio with C, Deno, Node and Bun, as far as they are installed.

NAME: ${wrapped([...Object.keys(SUITES), ALL])}

  --rounds N       steady rounds that each program shall have (5)
  --seconds S      how long it runs in a round (1)
  --limit MINUTES  the longest time of all: until then rounds on a busy machine
                   are repeated (twice what the rounds take on a quiet one)
  --only TEXT      only cases with this in their title
  --save           keep the results in bench/results/, as "${ALL}" does
  --aims           show the project's own aims, too
  --help           show this`;

/** The names, a comma between them, below each other. */
function wrapped(names: readonly string[]): string {
  return names.join(", ").replaceAll(/(.{1,65}),( |$)/g, "$1,\n      ")
    .trimEnd();
}

interface Request {
  readonly names: readonly string[];
  readonly options: Options;
  readonly limitMinutes: number | null;
  readonly only: string;
  readonly isKept: boolean;
  readonly hasAims: boolean;
}

/** Ends the program for a request that makes no sense. */
function refuse(reason: string): never {
  console.error(`${reason}\n\n${USAGE}`);
  Deno.exit(2);
}

function positive(text: string, option: string): number {
  const value = Number(text);
  if (text.trim() !== "" && value > 0 && value < Infinity) return value;
  return refuse(`Cannot measure: --${option} ${text} is no number above 0`);
}

/** Parses the arguments. */
function parse(args: string[]): Request {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        rounds: { type: "string", default: "5" },
        seconds: { type: "string", default: "1" },
        limit: { type: "string" },
        only: { type: "string", default: "" },
        save: { type: "boolean", default: false },
        aims: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) {
      console.log(USAGE);
      Deno.exit(0);
    }
    const unknown = positionals.find((name) =>
      name !== ALL && !Object.hasOwn(SUITES, name)
    );
    if (unknown !== undefined) {
      refuse(`Cannot measure ${unknown}: there is no such benchmark`);
    }
    if (positionals.length === 0) refuse("Cannot measure: name a benchmark");
    const isAll = positionals.includes(ALL);
    const rounds = positive(values.rounds, "rounds");
    if (!Number.isInteger(rounds)) {
      refuse(`Cannot measure: --rounds ${rounds} is no whole number`);
    }
    return {
      names: isAll ? Object.keys(SUITES) : [...new Set(positionals)],
      options: { rounds, seconds: positive(values.seconds, "seconds") },
      limitMinutes: values.limit === undefined
        ? null
        : positive(values.limit, "limit"),
      only: values.only,
      isKept: values.save || isAll,
      hasAims: values.aims,
    };
  } catch (error) {
    return refuse(`Cannot measure: ${(error as Error).message}`);
  }
}

/** A benchmark, and what of it was asked for. */
interface Job {
  readonly name: string;
  readonly suite: Suite;
  readonly cases: readonly Case[];
  /** Seconds of all rounds, about. */
  readonly seconds: number;
}

function jobsOf({ names, options, only }: Request): Job[] {
  return names.map((name) => {
    const suite = SUITES[name]!(options);
    const cases = suite.cases.filter(({ title, peers }) =>
      title.includes(only) && peers.some(({ installed }) => installed)
    );
    const runs = options.rounds * cases.flatMap(({ peers }) => peers)
      .filter(({ installed }) => installed).length;
    return { name, suite, cases, seconds: runs * suite.turnSeconds };
  }).filter(({ cases }) => cases.length > 0);
}

endWithOutput();
const request = parse(Deno.args);
const jobs = jobsOf(request);
if (jobs.length === 0) {
  refuse(
    `Cannot measure: no case with "${request.only}" in its title has a program ` +
      "that is installed",
  );
}
if (
  navigator.hardwareConcurrency < 2 ||
  await firstLine(["taskset", "--version"]) === null
) {
  console.error("Cannot measure: it takes two cores and taskset (util-linux)");
  Deno.exit(2);
}

await buildPeers();
const machine = await describeMachine();
const { rounds, seconds } = request.options;
const expectedS = jobs.reduce((sum, job) => sum + job.seconds, 0);
const limitS = request.limitMinutes === null
  ? expectedS * LIMIT_FACTOR
  : request.limitMinutes * 60;
const progress = new Progress(jobs, limitS);
console.error(
  `${rounds} round${rounds === 1 ? "" : "s"} of ${seconds} s: about ${
    minutes(Math.min(expectedS, limitS))
  } minutes, ${minutes(limitS)} at most`,
);

/** The benchmark that may have files, and their end once it has begun. */
let current: Suite | undefined;
let cleaned: Promise<void> | undefined;

function clean(): Promise<void> {
  return cleaned ??= current?.end?.() ?? Promise.resolve();
}

for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.addSignalListener(signal, async () => {
    endAll();
    await clean().catch(() => {});
    progress.clear();
    Deno.exit(code);
  });
}

/** Runs one benchmark; false if a peer failed. */
async function bench(
  { name, suite, cases }: Job,
  endMs: number,
): Promise<boolean> {
  const date = new Date().toISOString();
  const run: Run = { date, options: request.options, machine };
  current = suite;
  cleaned = undefined;
  let results;
  try {
    await suite.begin?.();
    results = await measure(cases, rounds, endMs, progress);
  } finally {
    await clean();
  }
  progress.clear();
  const record = recordOf(name, suite, cases, results, run);
  console.log(report(record, {
    findings: suite.findings?.(results) ?? [],
    hasAims: request.hasAims,
    isColoured: Deno.stdout.isTerminal() && !Deno.noColor,
  }));
  if (request.isKept) await save(suite, record);
  return !results.hasFailures;
}

let allRan = true;
for (const [i, job] of jobs.entries()) {
  allRan = await bench(job, progress.next(i)) && allRan;
}
Deno.exit(allRan ? 0 : 1);
