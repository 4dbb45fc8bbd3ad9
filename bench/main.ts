/**
 * The benchmarks of kio: `deno task bench <name>...`, or `all`.
 *
 * Builds the C programs, runs all peers that are installed in turn, and prints
 * medians, ratios and whether the project's bars are met. `all` and `--save`
 * keep them in `results/<name>.json`, which charts and documents are made of.
 */

import { buildPeers, firstLine } from "./programs.ts";
import { Progress } from "./progress.ts";
import { recordOf, type Run, save } from "./record.ts";
import { print } from "./report.ts";
import { measure, type Turn, turnsOf } from "./rounds.ts";
import type { Case, Options, Suite } from "./suite.ts";
import { accept } from "./suites/accept.ts";
import { bulk } from "./suites/bulk.ts";
import { copy } from "./suites/copy.ts";
import { datagrams } from "./suites/datagrams.ts";
import { direct } from "./suites/direct.ts";
import { echo } from "./suites/echo.ts";
import { fair } from "./suites/fair.ts";
import { file } from "./suites/file.ts";
import { heap } from "./suites/heap.ts";
import { idle } from "./suites/idle.ts";
import { log } from "./suites/log.ts";
import { proxy } from "./suites/proxy.ts";
import { sendfile } from "./suites/sendfile.ts";
import { sequential } from "./suites/sequential.ts";
import { smallFiles } from "./suites/small_files.ts";
import { start } from "./suites/start.ts";
import { staticFiles } from "./suites/static.ts";
import { streams } from "./suites/streams.ts";
import { threads } from "./suites/threads.ts";
import { timers } from "./suites/timers.ts";
import { tls } from "./suites/tls.ts";
import { tree } from "./suites/tree.ts";
import { udp } from "./suites/udp.ts";
import { wake } from "./suites/wake.ts";
import { describeMachine } from "./this_machine.ts";

const SUITES: Record<string, (options: Options) => Suite> = {
  echo,
  accept,
  fair,
  idle,
  bulk,
  file,
  direct,
  datagrams,
  log,
  timers,
  wake,
  sendfile,
  copy,
  tree,
  static: staticFiles,
  udp,
  proxy,
  tls,
  heap,
  threads,
  start,
  sequential,
  "small-files": smallFiles,
  streams,
};

const ALL = "all";
const USAGE = `Usage: deno task bench <${
  [...Object.keys(SUITES), ALL].join("|")
}>...
  --rounds N    how often every peer runs (7)
  --seconds S   how long, each time (2)
  --only TEXT   only cases with this in their title
  --save        keep the results in bench/results/, as "all" does`;

interface Request {
  readonly names: readonly string[];
  readonly options: Options;
  readonly only: string;
  readonly isKept: boolean;
}

/** Parses the arguments; null if they make no sense. */
function parse(args: readonly string[]): Request | null {
  const names: string[] = [];
  const values = { rounds: "7", seconds: "2", only: "" };
  let isKept = false;
  const rest = [...args];
  for (let arg; (arg = rest.shift()) !== undefined;) {
    const key = arg.replace(/^--/, "");
    if (key === arg) names.push(arg);
    else if (key === "save") isKept = true;
    else if (Object.hasOwn(values, key) && rest[0] !== undefined) {
      values[key as keyof typeof values] = rest.shift()!;
    } else return null;
  }
  const rounds = Number(values.rounds);
  const seconds = Number(values.seconds);
  if (!(Number.isInteger(rounds) && rounds > 0 && seconds > 0)) return null;
  const isAll = names.length === 1 && names[0] === ALL;
  if (!isAll && !names.every((name) => Object.hasOwn(SUITES, name))) {
    return null;
  }
  return {
    names: isAll ? Object.keys(SUITES) : names,
    options: { rounds, seconds },
    only: values.only,
    isKept: isKept || isAll,
  };
}

/** A benchmark, and what of it was asked for. */
interface Job {
  readonly name: string;
  readonly suite: Suite;
  readonly cases: readonly Case[];
  readonly turns: readonly Turn[];
}

function jobsOf({ names, options, only }: Request): Job[] {
  return names.map((name) => {
    const suite = SUITES[name]!(options);
    const cases = suite.cases.filter(({ title }) => title.includes(only));
    return { name, suite, cases, turns: turnsOf(cases, options.rounds) };
  }).filter(({ turns }) => turns.length > 0);
}

/** Runs one benchmark; false if a peer failed. */
async function bench(
  { name, suite, cases, turns }: Job,
  run: Run,
  isKept: boolean,
  progress: Progress,
): Promise<boolean> {
  console.log(`\n== ${name} ==`);
  await suite.begin?.();
  const results = await measure(turns, progress, suite.turnSeconds);
  await suite.end?.();
  progress.clear();
  const record = recordOf(name, suite, cases, results, run);
  print(record, suite.findings?.(results) ?? [], run);
  if (isKept) await save(suite, record);
  return !results.hasFailures;
}

const request = parse(Deno.args);
const jobs = request === null ? [] : jobsOf(request);
if (request === null || jobs.length === 0) {
  console.error(USAGE);
  Deno.exit(2);
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
const progress = new Progress(
  jobs.map(({ turns, suite: { turnSeconds } }) => ({
    turns: turns.length,
    turnSeconds,
  })),
);
let allRan = true;
for (const job of jobs) {
  const date = new Date().toISOString();
  const run: Run = { date, options: request.options, machine };
  allRan = await bench(job, run, request.isKept, progress) && allRan;
}
Deno.exit(allRan ? 0 : 1);
