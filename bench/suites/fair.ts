/** A pool that many connections share with one that takes all it gets. */

import { C_MULTISHOT, KIO, POOLED, serversWithPools } from "../echo_servers.ts";
import { c, CLIENT_CORE, type Command, onCore } from "../programs.ts";
import { runForJson, Server } from "../run.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";
import { load, sampleOf } from "./echo.ts";

const CONNECTIONS = 1000;
const BYTES = 64;
const BUFFERS = 256;
/** Seconds that the greedy one pours beyond the others' window: they connect
 * and warm up meanwhile. */
const AROUND_SECONDS = 1.5;

const CASES = [
  { title: `${CONNECTIONS} connections`, hasGreedy: false },
  { title: `${CONNECTIONS} connections beside a greedy one`, hasGreedy: true },
];

/** Pours into a server, and reads what comes back, in the time that the load
 * generator leaves. Returns MiB a second. */
async function pour(server: Server, seconds: number): Promise<number> {
  const command = c(
    "pour",
    ...[server.port, 1, seconds + AROUND_SECONDS],
    ...["--pid", server.pid, "--echo"],
  );
  const { mibPerS } = await runForJson(
    ["nice", "-n", "19", ...onCore(CLIENT_CORE, command)],
    seconds + AROUND_SECONDS,
  );
  return mibPerS!;
}

async function sample(
  command: Command,
  seconds: number,
  hasGreedy: boolean,
): Promise<Sample> {
  await using server = await Server.start(command);
  const [mibPerS, others] = await Promise.all([
    hasGreedy ? pour(server, seconds) : 0,
    load(server, CLIENT_CORE, CONNECTIONS, BYTES, seconds),
  ]);
  return { ...sampleOf(others), overtaken: others.overtakenP99!, mibPerS };
}

/** Latency of 1000 connections on 256 buffers. */
export function fair({ seconds }: Options): Suite {
  // C has no queue for a connection that does not wait for its reply.
  const servers = serversWithPools(BUFFERS)
    .filter(({ name }) => name !== C_MULTISHOT);
  return {
    turnSeconds: seconds + 2,
    notes: [
      `The echo servers of \`echo\`, ${BYTES} bytes; the pools have ${BUFFERS} buffers for`,
      "all connections. The greedy one sends as fast as the server receives, and",
      "reads what comes back, on core 1 in the time that the load generator leaves.",
      "Latency and requests are those of the others. Overtaken: the replies to others",
      "that come between a request and its own; a server that is fair to all gives",
      `each ${CONNECTIONS - 1}.`,
    ],
    cases: CASES.map(({ title, hasGreedy }): Case => ({
      title,
      base: KIO,
      columns: [
        {
          head: "p99 µs",
          metric: "p99Us",
          digits: 0,
          spread: true,
          ratio: true,
        },
        {
          head: "overtaken, p99",
          metric: "overtaken",
          digits: 0,
          spread: true,
          ratio: true,
        },
        { head: "p50 µs", metric: "p50Us", digits: 0, ratio: true },
        { head: "p99.9 µs", metric: "p99.9Us", digits: 0 },
        { head: "req/s", metric: "reqPerS", digits: 0, ratio: true },
        ...hasGreedy
          ? [{
            head: "greedy MiB/s",
            metric: "mibPerS",
            digits: 0,
            spread: true,
          }]
          : [],
      ],
      peers: servers.map(({ name, installed, command }): Peer => ({
        name,
        installed,
        sample: () => sample(command, seconds, hasGreedy),
      })),
    })),
    bars: (figures) =>
      CASES.flatMap(({ title }) =>
        POOLED.map(([name]) => ({
          text: `${title}: p99 of ${name}, of ${KIO}`,
          figure: figures.compare(title, name, KIO, "p99Us", ratio),
          limit: 3,
          kind: "at most" as const,
        }))
      ),
  };
}
