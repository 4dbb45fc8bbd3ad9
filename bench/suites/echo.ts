/** Echo over loopback TCP. */

import { runForJson, Server } from "../run.ts";
import {
  bun,
  c,
  CLIENT_CORE,
  type Command,
  deno,
  node,
  onCore,
  versions,
} from "../programs.ts";
import {
  type Bar,
  type Case,
  type Column,
  difference,
  type Figures,
  type Options,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";

const CASES = [
  { connections: 1, bytes: 64 },
  { connections: 64, bytes: 64 },
  { connections: 1000, bytes: 64 },
  { connections: 64, bytes: 4096 },
];

const KIO = "kio";
const C = "C, liburing";

/** The columns of every server. */
export const SERVER_COLUMNS: readonly Column[] = [
  { head: "req/s", metric: "reqPerS", digits: 0, spread: true, ratio: true },
  {
    head: "server CPU µs/req",
    metric: "cpuUs",
    digits: 2,
    spread: true,
    ratio: true,
  },
];

const COLUMNS: readonly Column[] = [
  ...SERVER_COLUMNS,
  { head: "user", metric: "userUs", digits: 2 },
  { head: "system", metric: "systemUs", digits: 2 },
  { head: "p50 µs", metric: "p50Us", digits: 0 },
  { head: "p99 µs", metric: "p99Us", digits: 0 },
  { head: "client's core", metric: "clientUtil", digits: 2 },
];

/** A server that takes part. */
export interface EchoServer {
  readonly name: string;
  readonly installed: boolean;
  readonly command: Command;
}

/** All echo servers there are. */
export const ECHO_SERVERS: readonly EchoServer[] = [
  { name: KIO, installed: true, command: deno("ffi", "echo_kio.ts") },
  { name: C, installed: true, command: c("echo_liburing") },
  { name: "Bun", installed: !!versions.bun, command: bun("echo_bun.ts") },
  { name: "Deno", installed: true, command: deno("net", "echo_deno.ts") },
  { name: "Node", installed: !!versions.node, command: node("echo_node.mjs") },
];

/** Puts load on a server; figures are per request. */
export async function loadServer(
  command: Command,
  connections: number,
  bytes: number,
  seconds: number,
): Promise<Sample> {
  await using server = await Server.start(command);
  return sampleOf(
    await load(server, CLIENT_CORE, connections, bytes, seconds),
  );
}

/** Puts load on a server from a core. Returns the output of the generator. */
export function load(
  server: Server,
  core: number,
  connections: number,
  bytes: number,
  seconds: number,
): Promise<Record<string, number>> {
  const command = c(
    "load",
    ...[server.port, connections, bytes, seconds],
    ...["--pid", server.pid],
  );
  return runForJson(onCore(core, command), seconds);
}

/** Converts the output of the load generator to figures per request. */
export function sampleOf(figures: Record<string, number>): Sample {
  const userUs = figures.serverCpuUserUs! / figures.requests!;
  const systemUs = figures.serverCpuSystemUs! / figures.requests!;
  return {
    reqPerS: figures.reqPerS!,
    cpuUs: userUs + systemUs,
    userUs,
    systemUs,
    clientUtil: figures.cpuUtil!,
    ...Object.fromEntries(percentilesOf(figures)),
  };
}

/** Finds the latencies in the output of the load generator. */
export function percentilesOf(
  figures: Record<string, number>,
): [name: string, us: number][] {
  return Object.entries(figures)
    .filter(([name]) => /^p[\d.]+Us$/.test(name));
}

function barsOf({ title, peers }: Case, figures: Figures): Bar[] {
  const compare = (metric: string, peer: string, combine = ratio) =>
    figures.compare(title, KIO, peer, metric, combine);
  const others = peers.map(({ name }) => name)
    .filter((name) => name !== KIO && name !== C);
  const lead = (metric: string) =>
    others.map((name) => compare(metric, name))
      .filter((times) => times !== null);
  const leads = lead("reqPerS");
  return [
    {
      text: `${title}: requests a second, of C`,
      figure: compare("reqPerS", C),
      limit: 0.95,
      kind: "at least",
    },
    {
      text: `${title}: server CPU a request, of C`,
      figure: compare("cpuUs", C),
      limit: 1.25,
      kind: "at most",
    },
    {
      text: `${title}: requests a second, of the best other runtime`,
      figure: leads.length === 0 ? null : Math.min(...leads),
      limit: 1,
      kind: "at least",
    },
    {
      text: `${title}: user time a request above C's, µs`,
      figure: compare("userUs", C, difference),
      limit: 0.6,
      kind: "at most",
    },
  ];
}

/** Echo of 64 bytes over 1, 64 and 1000 connections, and of 4 KiB over 64. */
export function echo({ seconds }: Options): Suite {
  const cases = CASES.map(({ connections, bytes }): Case => ({
    title: `${bytes} bytes, ${connections} connection${
      connections === 1 ? "" : "s"
    }`,
    parameters: { connections, bytes },
    base: C,
    columns: COLUMNS,
    peers: ECHO_SERVERS.map(({ name, installed, command }): Peer => ({
      name,
      installed,
      sample: () => loadServer(command, connections, bytes, seconds),
    })),
  }));
  return {
    turnSeconds: seconds + 1,
    notes: [
      "One request in flight a connection; the load generator (C, io_uring)",
      "checks every byte. Server on core 0, load generator on core 1.",
      "CPU: of the whole server process, threads included, by its CPU clock;",
      "user and system are divided as /proc/PID/stat divides them, which samples",
      "at the timer tick. What JavaScript costs is kio's user time less C's.",
    ],
    cases,
    bars: (figures) => cases.flatMap((one) => barsOf(one, figures)),
  };
}
