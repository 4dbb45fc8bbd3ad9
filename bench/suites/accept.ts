/** Connections that are accepted and closed at once. */

import {
  bun,
  c,
  CLIENT_CORE,
  type Command,
  deno,
  onCore,
  versions,
} from "../programs.ts";
import { runForJson, Server } from "../run.ts";
import {
  type Bar,
  type Case,
  type Column,
  type Figures,
  type Options,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";
import { sampleOf } from "./echo.ts";

const CASES = [1, 64];

const SINGLE = "kio, single shots";
const MULTISHOT = "kio";
const C = "C, liburing";

const COLUMNS: readonly Column[] = [
  {
    head: "connections/s",
    metric: "reqPerS",
    digits: 0,
    spread: true,
    ratio: true,
  },
  {
    head: "server CPU µs/connection",
    metric: "cpuUs",
    digits: 2,
    spread: true,
    ratio: true,
  },
  { head: "user", metric: "userUs", digits: 2 },
  { head: "system", metric: "systemUs", digits: 2 },
  { head: "p50 µs", metric: "p50Us", digits: 0 },
  { head: "client's core", metric: "clientUtil", digits: 2 },
];

const SERVERS: readonly [name: string, command: Command, installed: boolean][] =
  [
    [MULTISHOT, deno("ffi", "accept_kio.ts", "multishot"), true],
    [SINGLE, deno("ffi", "accept_kio.ts"), true],
    [C, c("accept_liburing"), true],
    ["C, multishot", c("accept_liburing", "multishot"), true],
    ["Bun", bun("accept_bun.ts"), !!versions.bun],
    ["Deno", deno("net", "accept_deno.ts"), true],
  ];

async function sampleFrom(
  command: Command,
  connections: number,
  seconds: number,
): Promise<Sample> {
  await using server = await Server.start(command);
  const client = c(
    "connect",
    ...[server.port, connections, seconds],
    ...["--pid", server.pid],
  );
  return sampleOf(await runForJson(onCore(CLIENT_CORE, client), seconds));
}

function barsOf({ title }: Case, figures: Figures): Bar[] {
  return [{
    text: `${title}: server CPU a connection by a multishot, of single shots`,
    figure: figures.compare(title, MULTISHOT, SINGLE, "cpuUs", ratio),
    limit: 0.9,
    kind: "at most",
  }];
}

/** Accepting 1 and 64 connections at a time. */
export function accept({ seconds }: Options): Suite {
  const cases = CASES.map((connections): Case => ({
    title: `${connections} connecting at a time`,
    parameters: { connections },
    base: C,
    columns: COLUMNS,
    peers: SERVERS.map(([name, command, installed]): Peer => ({
      name,
      installed,
      sample: () => sampleFrom(command, connections, seconds),
    })),
  }));
  return {
    turnSeconds: seconds + 1,
    notes: [
      "Each client connects, waits until the server closes the connection, resets",
      "it and begins again. With 64 at a time the client's core is busy: compare",
      "the CPU. kio by asyncAcceptMultishot(), or by asyncAccept().",
    ],
    cases,
    bars: (figures) => cases.flatMap((one) => barsOf(one, figures)),
  };
}
