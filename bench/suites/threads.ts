/** Thread per core: echo by several threads, messages, and what workers cost. */

import {
  BOTH_CORES,
  c,
  type Command,
  deno,
  denoWithFlags,
  node,
  versions,
} from "../programs.ts";
import { runForJson } from "../run.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";
import { loadServer } from "./echo.ts";

const CONNECTIONS = 64;
const BYTES = 64;
const MESSAGES_PER_S = 300;
/** Workers that are started to measure what one costs. */
const STARTED = 8;

/** Deno's name for SO_REUSEPORT is not stable yet. */
const DENO_FLAGS = ["--allow-net", "--allow-read", "--unstable-net"];

const KIO = "kio";
const C = "C, liburing";
const DENO = "Deno";
const WAKE = "message to a thread that sleeps";

const echoTitle = (threads: number) =>
  `echo, ${BYTES} bytes, ${CONNECTIONS} connections, ${threads} thread${
    threads === 1 ? "" : "s"
  }`;

function echoCase(threads: number, seconds: number): Case {
  const peer = (name: string, command: Command, installed = true): Peer => ({
    name,
    installed,
    sample: () => loadServer(command, CONNECTIONS, BYTES, seconds, BOTH_CORES),
  });
  return {
    title: echoTitle(threads),
    base: C,
    columns: [
      {
        head: "req/s",
        metric: "reqPerS",
        digits: 0,
        spread: true,
        ratio: true,
      },
      {
        head: "server CPU µs/req",
        metric: "cpuUs",
        digits: 2,
        spread: true,
        ratio: true,
      },
      { head: "p99 µs", metric: "p99Us", digits: 0 },
    ],
    peers: [
      peer(KIO, deno("ffi,read", "threads_kio.ts", threads)),
      peer(C, c("echo_liburing", threads)),
      peer(DENO, denoWithFlags(DENO_FLAGS, "threads_deno.ts", threads)),
      peer(
        "Node (CPU: the primary's)",
        node("threads_node.mjs", threads),
        !!versions.node,
      ),
    ],
  };
}

/** A case whose peers are ways to run `threads_meter.ts`. */
function meterCase(
  title: string,
  columns: Case["columns"],
  peers: readonly [name: string, ...args: (string | number)[]][],
  seconds: number,
): Case {
  return {
    title,
    base: peers[0]![0],
    columns,
    peers: peers.map(([name, ...args]): Peer => ({
      name,
      installed: true,
      sample: () =>
        runForJson(deno("ffi,read", "threads_meter.ts", ...args), seconds),
    })),
  };
}

/** Echo by one and two threads, wake-ups, idle CPU, and a worker's costs. */
export function threads({ seconds }: Options): Suite {
  const messages = Math.ceil(seconds * MESSAGES_PER_S);
  const cases: Case[] = [
    echoCase(1, seconds),
    echoCase(2, seconds),
    meterCase(
      WAKE,
      [
        { head: "p50 µs", metric: "p50Us", digits: 1, spread: true },
        { head: "p99 µs", metric: "p99Us", digits: 1 },
      ],
      [[KIO, "wake", messages], ["postMessage", "message", messages]],
      seconds,
    ),
    meterCase(
      "two workers that sleep",
      [{ head: "CPU ms/s", metric: "cpuMsPerS", digits: 2, spread: true }],
      [[KIO, "idle", Math.ceil(seconds)]],
      seconds,
    ),
    meterCase(
      "start of a worker",
      [
        { head: "ms", metric: "ms", digits: 1, spread: true },
        { head: "MiB", metric: "megabytes", digits: 1, spread: true },
      ],
      [[KIO, "start-kio", STARTED], [DENO, "start-deno", STARTED]],
      seconds,
    ),
  ];
  return {
    turnSeconds: seconds + 1.5,
    notes: [
      "Servers may use both cores, beside the load generator on core 1, so that",
      "requests a second say little here: what counts is server CPU a request.",
      "Node's cluster are processes; the CPU time is that of the primary only.",
      "A message is timed from before it is sent to within its handler.",
    ],
    cases,
    bars(figures) {
      const [one, two] = [1, 2].map((count) =>
        figures.median(echoTitle(count), KIO, "cpuUs")
      );
      return [
        {
          text: "server CPU a request, two workers of one",
          figure: one && two ? ratio(two, one) : null,
          limit: 1.15,
          kind: "at most",
        },
        {
          text: `${WAKE}: median, µs`,
          figure: figures.median(WAKE, KIO, "p50Us"),
          limit: 60,
          kind: "at most",
        },
      ];
    },
  };
}
