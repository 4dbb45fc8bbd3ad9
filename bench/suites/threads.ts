/** Thread per core: echo by several threads, messages, and what workers cost. */

import {
  c,
  CLIENT_CORE,
  type Command,
  deno,
  denoWithFlags,
  node,
  SERVER_CORE,
  versions,
} from "../programs.ts";
import { runForJson, Server } from "../run.ts";
import {
  type Case,
  type Column,
  type Figures,
  type Options,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";
import { load, percentilesOf, sampleOf, SERVER_COLUMNS } from "./echo.ts";

const CORES = [SERVER_CORE, CLIENT_CORE];
/** Each worker has a listener for what arrives on its core. */
const BY_CPU = "incoming-cpu";

/** Connections of each load generator, where each core has one. */
const CONNECTIONS_A_CORE = 32;
/** Connections of the only load generator. */
const CONNECTIONS = 64;
const BYTES = 64;
const MESSAGES_PER_S = 300;
/** Workers that are started to measure what one costs. */
const STARTED = 8;

/** Deno's name for SO_REUSEPORT is not stable yet. */
const DENO_FLAGS = ["--allow-net", "--allow-read", "--unstable-net"];

const KIO = "kio";
const KIO_EXCLUSIVE = "kio, exclusive";
const C = "C, liburing";
const C_EVENTFD = "C, eventfd";
const DENO = "Deno";
const WAKE_NEAR = "message to a thread that sleeps on the same core";
const WAKE_FAR = "message to a thread that sleeps on another core";
const EACH =
  `echo, ${BYTES} bytes, ${CONNECTIONS_A_CORE} connections a core, from that core`;

const COLUMNS: readonly Column[] = [
  ...SERVER_COLUMNS,
  { head: "p99 µs", metric: "p99Us", digits: 0 },
  { head: "load's core", metric: "clientUtil", digits: 2 },
  { head: "busiest thread", metric: "busiest", digits: 2 },
];

const oneOf = (name: string) => `${name}, one core`;
const twoOf = (name: string) => `${name}, two cores`;

/** A worker on each core, and a load for it on the same core. */
function eachCase(seconds: number): Case {
  const peers = (name: string, command: (threads: number) => Command) => [
    {
      name: oneOf(name),
      installed: true,
      // Take both cores, so that a better one does not win by chance.
      sample: async () =>
        meanOf([
          await serve(
            command(1),
            [SERVER_CORE],
            [SERVER_CORE],
            CONNECTIONS_A_CORE,
            seconds,
          ),
          await serve(
            command(1),
            [CLIENT_CORE],
            [CLIENT_CORE],
            CONNECTIONS_A_CORE,
            seconds,
          ),
        ]),
    },
    {
      name: twoOf(name),
      installed: true,
      sample: () =>
        serve(command(2), CORES, CORES, CONNECTIONS_A_CORE, seconds),
    },
  ];
  return {
    title: EACH,
    base: oneOf(C),
    columns: COLUMNS,
    peers: [
      ...peers(
        KIO,
        (threads) => deno("ffi,read", "threads_kio.ts", threads, BY_CPU),
      ),
      ...peers(C, (threads) => c("echo_liburing", threads, BY_CPU)),
    ],
  };
}

const echoTitle = (threads: number) =>
  `echo, ${BYTES} bytes, ${CONNECTIONS} connections, ${threads} thread${
    threads === 1 ? "" : "s"
  }`;

/** One listener or, of Deno, what its users have; one load for all. */
function echoCase(threads: number, seconds: number): Case {
  const peer = (name: string, command: Command, installed = true): Peer => ({
    name,
    installed,
    sample: () => serve(command, CORES, [CLIENT_CORE], CONNECTIONS, seconds),
  });
  return {
    title: echoTitle(threads),
    base: C,
    columns: COLUMNS,
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

/** Runs a server on some cores, and puts load on it from some cores. */
async function serve(
  command: Command,
  cores: readonly number[],
  loadCores: readonly number[],
  connections: number,
  seconds: number,
): Promise<Sample> {
  await using server = await Server.start(command, cores.join());
  const before = await cpuOfThreads(server.pid);
  const loads = await Promise.all(
    loadCores.map((core) => load(server, core, connections, BYTES, seconds)),
  );
  const after = await cpuOfThreads(server.pid);
  const spent = [...after].map(([id, ns]) => ns - (before.get(id) ?? 0));
  const busiest = Math.max(...spent) / spent.reduce((sum, ns) => sum + ns, 0);
  return { ...sampleOf(together(loads)), busiest };
}

/** Merges the output of load generators that ran beside each other. Each has
 * read the CPU time of the whole server, in a window of its own; of latencies
 * the worst counts. */
function together(
  loads: readonly Record<string, number>[],
): Record<string, number> {
  const all = (name: string) => loads.map((figures) => figures[name]!);
  const sum = (name: string) => all(name).reduce((left, right) => left + right);
  const mean = (name: string) => sum(name) / loads.length;
  return {
    requests: sum("requests"),
    reqPerS: sum("reqPerS"),
    serverCpuUserUs: mean("serverCpuUserUs"),
    serverCpuSystemUs: mean("serverCpuSystemUs"),
    cpuUtil: mean("cpuUtil"),
    ...Object.fromEntries(
      percentilesOf(loads[0]!).map(([name]) => [name, Math.max(...all(name))]),
    ),
  };
}

/** The means of each metric. */
function meanOf(samples: readonly Sample[]): Sample {
  return Object.fromEntries(
    Object.keys(samples[0]!).map((name) => [
      name,
      samples.reduce((sum, one) => sum + one[name]!, 0) / samples.length,
    ]),
  );
}

/** Nanoseconds that the threads of a process have spent so far. */
async function cpuOfThreads(pid: number): Promise<Map<string, number>> {
  const spent = new Map<string, number>();
  for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
    try {
      const path = `/proc/${pid}/task/${name}/schedstat`;
      spent.set(name, parseInt(await Deno.readTextFile(path)));
    } catch (error) {
      // A thread that has ended meanwhile.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return spent;
}

/** A case whose peers are programs that print their figures. */
export function meterCase(
  title: string,
  columns: Case["columns"],
  peers: readonly [name: string, command: Command][],
  seconds: number,
): Case {
  return {
    title,
    base: peers[0]![0],
    columns,
    peers: peers.map(([name, command]): Peer => ({
      name,
      installed: true,
      sample: () => runForJson(command, seconds),
    })),
  };
}

/** `threads_meter.ts`, of which each use is a program. */
function meter(what: string, ...numbers: number[]): Command {
  return deno("ffi,read", "threads_meter.ts", what, ...numbers);
}

/** Messages from a core to a thread on the server's, which is idle. */
function wakeCase(title: string, core: number, seconds: number): Case {
  const messages = Math.ceil(seconds * MESSAGES_PER_S);
  return meterCase(
    title,
    [
      { head: "p50 µs", metric: "p50Us", digits: 1, spread: true },
      { head: "p99 µs", metric: "p99Us", digits: 1 },
    ],
    [
      [C_EVENTFD, c("message", messages, core, SERVER_CORE)],
      [KIO, meter("wake", messages, core)],
      [KIO_EXCLUSIVE, meter("wake-exclusive", messages, core)],
      ["postMessage", meter("message", messages, core)],
    ],
    seconds,
  );
}

/** Echo by one and two threads, wake-ups, idle CPU, and a worker's costs. */
export function threads({ seconds }: Options): Suite {
  const cases: Case[] = [
    eachCase(seconds),
    echoCase(1, seconds),
    echoCase(2, seconds),
    wakeCase(WAKE_NEAR, SERVER_CORE, seconds),
    wakeCase(WAKE_FAR, CLIENT_CORE, seconds),
    meterCase(
      "two workers that sleep",
      [{ head: "CPU ms/s", metric: "cpuMsPerS", digits: 2, spread: true }],
      [[KIO, meter("idle", Math.ceil(seconds))]],
      seconds,
    ),
    meterCase(
      "start of a worker",
      [
        { head: "ms", metric: "ms", digits: 1, spread: true },
        { head: "MiB", metric: "megabytes", digits: 1, spread: true },
      ],
      [
        [KIO, meter("start-kio", STARTED)],
        [DENO, meter("start-deno", STARTED)],
      ],
      seconds,
    ),
  ];
  return {
    turnSeconds: seconds + 1.5,
    notes: [
      `"${EACH}": each core`,
      "has a worker and a load generator. With one core all else is idle, and the",
      "figure is the mean of both cores in turn; with two each worker has a",
      "listener for what arrives on its core (SO_INCOMING_CPU).",
      "In the other cases of echo the only load generator is on core 1 and servers",
      "may use both cores: requests and replies go from core to core, with two",
      "threads half of them, and one thread shares its core with the load.",
      "Compare peers there, not threads.",
      '"load\'s core": what the load generators used of theirs; "busiest thread":',
      "its part of the server's CPU time, half of it if two workers are balanced.",
      "Node's cluster are processes; the CPU time is that of the primary only.",
      "A message is timed from before it is sent to within its handler, and C to",
      "the end of epoll_wait(): that is what the machine takes, most of it to wake",
      "the other core, if there is one to wake. Senders sleep as soon as they have",
      "sent it.",
    ],
    cases,
    bars(figures) {
      return [
        {
          text: `${EACH}: server CPU a request, two workers of one`,
          figure: twoOfOne(figures, KIO),
          limit: 1.15,
          kind: "at most",
        },
        {
          text: `${WAKE_NEAR}: median, µs`,
          figure: figures.median(WAKE_NEAR, KIO, "p50Us"),
          limit: 60,
          kind: "at most",
        },
      ];
    },
    findings: (figures) => [
      ...finding(
        `${EACH}, of one core`,
        [KIO, C],
        (name) => twoOfOne(figures, name),
      ),
      ...finding(
        "the only load on one of the cores, of one thread",
        [KIO, C, DENO],
        (name) => twoOfOneLoad(figures, name),
      ),
    ],
  };
}

/** Compares the cost of a request with two workers, as far as it was measured.
 */
function finding(
  how: string,
  names: readonly string[],
  ratioOf: (name: string) => number | null,
): string[] {
  const figures = names.map((name) => [name, ratioOf(name)] as const)
    .filter(([, ratio]) => ratio !== null);
  if (figures.length === 0) return [];
  const list = figures.map(([name, ratio]) => `${name} ${ratio!.toFixed(2)}`);
  return [`Server CPU a request, two (${how}): ${list.join("; ")}.`];
}

/** Server CPU a request, two workers of one. */
function twoOfOne(figures: Figures, name: string): number | null {
  return figures.compare(EACH, twoOf(name), oneOf(name), "cpuUs", ratio);
}

/** The same, where the only load is on one of the cores. */
function twoOfOneLoad(figures: Figures, name: string): number | null {
  const [one, two] = [1, 2].map((threads) =>
    figures.median(echoTitle(threads), name, "cpuUs")
  );
  return one && two ? ratio(two, one) : null;
}
