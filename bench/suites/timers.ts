/** The cost of sleeps and of timeouts. */

import { bun, c, type Command, deno, node, versions } from "../programs.ts";
import { jsonLines, run } from "../run.ts";
import {
  type Case,
  difference,
  type Figures,
  type Options,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";
import { loadServer } from "./echo.ts";

const SLEEPS = 100_000;
const SLEEP_MAX_S = 1;
const CONNECTIONS = 64;
const BYTES = 64;
const TIMEOUT_MS = 30_000;

const KIO = "kio";
const DENO = "Deno, setTimeout";
const PLAIN = "kio";
const BOUNDED = "kio, withTimeout(30000)";
const SLEEPS_TITLE = "100,000 sleeps of 1 to 1000 ms at once";
const TIMEOUT_TITLE = "echo, 64 bytes, 64 connections";

/** Runs a program that sleeps, with its CPU time from exec to exit. */
async function sleepAll(
  command: Command,
): Promise<{ late: Sample; cpuUs: number }> {
  const output = await run(c("rusage", ...command), SLEEP_MAX_S);
  const [late, usage] = jsonLines(output);
  if (late === undefined || usage === undefined) {
    throw new Error("Cannot measure the sleeps: figures are missing");
  }
  return { late, cpuUs: usage.userUs! + usage.systemUs! };
}

function sleeper(
  name: string,
  installed: boolean,
  program: (...args: string[]) => Command,
): Peer {
  return {
    name,
    installed,
    async sample() {
      const rest = await sleepAll(program(`${SLEEPS}`, "over"));
      const { late, cpuUs } = await sleepAll(program(`${SLEEPS}`));
      return {
        cpuUs: (cpuUs - rest.cpuUs) / SLEEPS,
        p50Ms: late.p50Ms!,
        p99Ms: late.p99Ms!,
        maxMs: late.maxMs!,
      };
    },
  };
}

const SET_TIMEOUT = "timers_set_timeout.mjs";

const SLEEPS_CASE: Case = {
  title: SLEEPS_TITLE,
  base: DENO,
  columns: [
    {
      head: "CPU µs/sleep",
      metric: "cpuUs",
      digits: 2,
      spread: true,
      ratio: true,
    },
    { head: "late p50 ms", metric: "p50Ms", digits: 2 },
    { head: "p99 ms", metric: "p99Ms", digits: 2 },
    { head: "max ms", metric: "maxMs", digits: 2 },
  ],
  peers: [
    sleeper(KIO, true, (...args) => deno("ffi", "timers_kio.ts", ...args)),
    sleeper(DENO, true, (...args) => deno("none", SET_TIMEOUT, ...args)),
    sleeper("Bun", !!versions.bun, (...args) => bun(SET_TIMEOUT, ...args)),
    sleeper("Node", !!versions.node, (...args) => node(SET_TIMEOUT, ...args)),
  ],
};

function timeoutCase(seconds: number): Case {
  const peer = (name: string, command: Command): Peer => ({
    name,
    installed: true,
    sample: () => loadServer(command, CONNECTIONS, BYTES, seconds),
  });
  return {
    title: TIMEOUT_TITLE,
    base: PLAIN,
    columns: [
      {
        head: "server CPU µs/req",
        metric: "cpuUs",
        digits: 2,
        spread: true,
        ratio: true,
      },
      { head: "req/s", metric: "reqPerS", digits: 0, ratio: true },
    ],
    peers: [
      peer(PLAIN, deno("ffi", "echo_kio.ts")),
      peer(BOUNDED, deno("ffi", "echo_kio.ts", TIMEOUT_MS)),
    ],
  };
}

function timeoutNote(figures: Figures): string {
  const costUs = figures.compare(
    TIMEOUT_TITLE,
    BOUNDED,
    PLAIN,
    "cpuUs",
    difference,
  );
  return costUs === null
    ? "The cost of withTimeout() was not measured."
    : `withTimeout() costs ${costUs.toFixed(2)} µs of CPU a receive.`;
}

/** Many sleeps at once, and a timeout on each receive of an echo server. */
export function timers({ seconds }: Options): Suite {
  return {
    turnSeconds: seconds + 3,
    notes: [
      "CPU: of the whole process from exec to exit, less that of the same",
      "program whose sleeps are promises that are resolved already. All sleeps",
      "are begun in one go, so the shortest are over before the last is begun:",
      "lateness includes that.",
    ],
    findings: (figures) => [timeoutNote(figures)],
    cases: [SLEEPS_CASE, timeoutCase(seconds)],
    bars: (figures) => [{
      text: `${SLEEPS_TITLE}: CPU a sleep, of Deno's setTimeout`,
      figure: figures.compare(SLEEPS_TITLE, KIO, DENO, "cpuUs", ratio),
      limit: 0.5,
      kind: "at most",
    }],
  };
}
