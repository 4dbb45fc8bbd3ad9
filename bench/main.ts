/**
 * The benchmarks of kio: `deno task bench <name> [--rounds N] [--seconds S]`.
 *
 * Builds the C programs, runs all peers that are installed in turn, prints
 * medians, ratios and whether the project's bars are met, and writes
 * `results/<name>.json`.
 */

import { buildPeers, firstLine } from "./programs.ts";
import { print, save } from "./report.ts";
import { measure } from "./rounds.ts";
import type { Options, Suite } from "./suite.ts";
import { copy } from "./suites/copy.ts";
import { echo } from "./suites/echo.ts";
import { file } from "./suites/file.ts";
import { heap } from "./suites/heap.ts";
import { log } from "./suites/log.ts";
import { sendfile } from "./suites/sendfile.ts";
import { staticFiles } from "./suites/static.ts";
import { threads } from "./suites/threads.ts";
import { timers } from "./suites/timers.ts";
import { wake } from "./suites/wake.ts";

const SUITES: Record<string, (options: Options) => Suite | Promise<Suite>> = {
  echo,
  file,
  log,
  timers,
  wake,
  sendfile,
  copy,
  static: staticFiles,
  heap,
  threads,
};

const NAMES = [...Object.keys(SUITES), "all"].join("|");
const USAGE = `Usage: deno task bench <${NAMES}> [--rounds N] [--seconds S]`;

/** What was asked for; null if it makes no sense. */
function parse(
  args: readonly string[],
): { names: string[]; options: Options } | null {
  const [name, ...rest] = args;
  const numbers: Record<string, number> = { rounds: 7, seconds: 2 };
  for (let i = 0; i < rest.length; i += 2) {
    const key = rest[i]!.replace(/^--/, "");
    const value = Number(rest[i + 1]);
    if (!Object.hasOwn(numbers, key) || !(value > 0)) return null;
    numbers[key] = value;
  }
  const { rounds, seconds } = numbers;
  if (name === undefined || !Number.isInteger(rounds)) return null;
  if (name !== "all" && !Object.hasOwn(SUITES, name)) return null;
  return {
    names: name === "all" ? Object.keys(SUITES) : [name],
    options: { rounds: rounds!, seconds: seconds! },
  };
}

/** Runs one benchmark; false if a peer failed. */
async function bench(name: string, options: Options): Promise<boolean> {
  console.log(`\n== ${name} ==`);
  const suite = await SUITES[name]!(options);
  const results = await measure(suite, options.rounds);
  await suite.end?.();
  await print(suite, options, results);
  await save(name, suite, options, results);
  return !results.hasFailures;
}

const request = parse(Deno.args);
if (request === null) {
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
let allRan = true;
for (const name of request.names) {
  allRan = await bench(name, request.options) && allRan;
}
Deno.exit(allRan ? 0 : 1);
