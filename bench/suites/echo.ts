/** Echo over loopback TCP. */

import {
  BUN,
  C,
  C_MULTISHOT,
  DENO,
  ECHO_SERVERS,
  KIO,
  KIO_MULTISHOT,
  KIO_ON_CHUNK,
  KIO_SEND_TO,
  NODE,
  POOLED,
  serversWithPools,
} from "../echo_servers.ts";
import { c, CLIENT_CORE, type Command, onCore } from "../programs.ts";
import { runForJson, Server } from "../run.ts";
import {
  type Bar,
  type Case,
  type Column,
  difference,
  type Options,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";

/** What servers may take at most, by their names. */
type Limits = Readonly<Record<string, number>>;

/** The limits of servers with a pool: of the CPU and of the user time of kio's
 * single shots, and of the CPU of the best C. */
interface Aims {
  readonly cpu?: Limits;
  readonly user?: Limits;
  readonly cpuOfC?: number;
}

const CASES: readonly {
  connections: number;
  bytes: number;
  buffers?: number;
  aims?: Aims;
}[] = [
  { connections: 1, bytes: 64 },
  {
    connections: 64,
    bytes: 64,
    buffers: 256,
    aims: {
      cpu: { [KIO_MULTISHOT]: 1, [KIO_SEND_TO]: 0.95, [KIO_ON_CHUNK]: 0.88 },
      user: { [KIO_MULTISHOT]: 0.9, [KIO_SEND_TO]: 0.65, [KIO_ON_CHUNK]: 0.5 },
      cpuOfC: 1.1,
    },
  },
  {
    connections: 1000,
    bytes: 64,
    buffers: 2048,
    aims: {
      cpu: { [KIO_MULTISHOT]: 0.92, [KIO_SEND_TO]: 0.8, [KIO_ON_CHUNK]: 0.8 },
    },
  },
  { connections: 64, bytes: 4096, buffers: 256 },
  {
    connections: 1000,
    bytes: 4096,
    buffers: 2048,
    aims: {
      cpu: { [KIO_MULTISHOT]: 0.92, [KIO_SEND_TO]: 0.8, [KIO_ON_CHUNK]: 0.85 },
    },
  },
];

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
  { head: "user", metric: "userUs", digits: 2, spread: true },
  { head: "system", metric: "systemUs", digits: 2 },
  { head: "p50 µs", metric: "p50Us", digits: 0 },
  { head: "p99 µs", metric: "p99Us", digits: 0 },
  { head: "client's core", metric: "clientUtil", digits: 2 },
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

/** Puts load on a server from a core. Returns the output of the generator. With
 * `--heap` the server tells its heap: see `../server_heap.ts`. */
export function load(
  server: Server,
  core: number,
  connections: number,
  bytes: number,
  seconds: number,
  ...flags: "--heap"[]
): Promise<Record<string, number>> {
  const command = c(
    "load",
    ...[server.port, connections, bytes, seconds],
    ...["--pid", server.pid, ...flags],
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

type Compare = (
  left: string,
  right: string,
  metric: string,
  combine?: (left: number, right: number) => number,
) => number | null;

/** The single shots of kio beside the others. */
function singleBars(title: string, compare: Compare): Bar[] {
  const leads = [BUN, DENO, NODE]
    .map((name) => compare(KIO, name, "reqPerS"))
    .filter((times) => times !== null);
  return [
    {
      text: `${title}: requests a second, of C`,
      figure: compare(KIO, C, "reqPerS"),
      limit: 0.95,
      kind: "at least",
    },
    {
      text: `${title}: server CPU a request, of C`,
      figure: compare(KIO, C, "cpuUs"),
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
      figure: compare(KIO, C, "userUs", difference),
      limit: 0.6,
      kind: "at most",
    },
  ];
}

/** The pools of kio beside its single shots, C and Bun. */
function pooledBars(
  title: string,
  { cpu = {}, user = {}, cpuOfC }: Aims,
  compare: Compare,
): Bar[] {
  const bar = (text: string, figure: number | null, limit: number): Bar => ({
    text: `${title}: ${text}`,
    figure,
    limit,
    kind: "at most",
  });
  const ofSingle = (what: string, metric: string, limits: Limits) =>
    Object.entries(limits).map(([name, limit]) =>
      bar(`${what} of ${name}, of ${KIO}`, compare(name, KIO, metric), limit)
    );
  const ofC = [C, C_MULTISHOT]
    .map((name) => compare(KIO_ON_CHUNK, name, "cpuUs"));
  const ofBestC = ofC.includes(null) ? null : Math.max(...ofC as number[]);
  return [
    ...ofSingle("server CPU", "cpuUs", cpu),
    ...ofSingle("user time", "userUs", user),
    ...cpuOfC === undefined ? [] : [
      bar(`server CPU of ${KIO_ON_CHUNK}, of the best C`, ofBestC, cpuOfC),
    ],
    ...POOLED.map(([name]) =>
      bar(
        `server CPU of ${name}, of ${BUN}`,
        compare(name, BUN, "cpuUs"),
        1,
      )
    ),
  ];
}

/** Echo of 64 bytes over 1, 64 and 1000 connections, of 4 KiB over the last. */
export function echo({ seconds }: Options): Suite {
  const cases = CASES.map(({ connections, bytes, buffers, aims }) => {
    const servers = buffers === undefined
      ? ECHO_SERVERS
      : serversWithPools(buffers);
    const table: Case = {
      title: `${bytes} bytes, ${connections} connection${
        connections === 1 ? "" : "s"
      }`,
      parameters: { connections, bytes },
      base: C,
      columns: COLUMNS,
      peers: servers.map(({ name, installed, command }): Peer => ({
        name,
        installed,
        sample: () => loadServer(command, connections, bytes, seconds),
      })),
    };
    return { table, isPooled: buffers !== undefined, aims };
  });
  return {
    turnSeconds: seconds + 1,
    notes: [
      "One request in flight a connection; the load generator (C, io_uring)",
      "checks every byte. Server on core 0, load generator on core 1.",
      "CPU: of the whole server process, threads included, by its CPU clock;",
      "user and system are divided as /proc/PID/stat divides them, which samples",
      "at the timer tick. What JavaScript costs is kio's user time less C's.",
      "kio, C and the runtimes receive into a buffer a connection; multishot: into",
      "a pool of 256 buffers of 4 KiB, 2048 for 1000 connections. kio, multishot:",
      "`for await` and an awaited send; sendTo(): without a promise a send;",
      "onChunk: without one a chunk either.",
    ],
    cases: cases.map(({ table }) => table),
    bars: (figures) =>
      cases.flatMap(({ table: { title }, isPooled, aims = {} }) => {
        const compare: Compare = (left, right, metric, combine = ratio) =>
          figures.compare(title, left, right, metric, combine);
        return [
          ...singleBars(title, compare),
          ...isPooled ? pooledBars(title, aims, compare) : [],
        ];
      }),
  };
}
