/** The memory of connections that wait. */

import {
  BUN,
  C,
  C_MULTISHOT,
  type EchoServer,
  KIO,
  KIO_ON_CHUNK,
  KIO_SEND_TO,
  serversWithPools,
} from "../echo_servers.ts";
import { heapsOf, withHeapSignal } from "../server_heap.ts";
import { c, CLIENT_CORE, deno, onCore } from "../programs.ts";
import { runForJson, Server } from "../run.ts";
import type { Bar, Case, Figures, Peer, Sample, Suite } from "../suite.ts";

const CONNECTIONS = 10_000;
const BUFFERS = 256;
/** Two rests, and ten thousand round trips. */
const SECONDS = 6;

const TITLE = "10,000 idle connections";
const SMALL_TITLE = `${TITLE}, young generation of 1 MiB`;
const SMALL_YOUNG_GENERATION = ["--max-semi-space-size=1"];
const KIO_4_KIB = `${KIO}, 4 KiB each`;

/** Bytes of a connection, with V8 as it comes. */
const AIMS = [
  { name: KIO_SEND_TO, rss: 3200, heap: 950 },
  { name: KIO_ON_CHUNK, rss: 2200, heap: 420 },
];

function hasHeap({ name }: EchoServer): boolean {
  return name !== C && name !== C_MULTISHOT;
}

async function sample(
  echoServer: EchoServer,
  flags: readonly string[],
): Promise<Sample> {
  const { command } = echoServer;
  const isCounted = hasHeap(echoServer);
  await using server = await Server.start(
    isCounted ? withHeapSignal(command, flags) : command,
  );
  const { rssBytes } = await runForJson(
    onCore(
      CLIENT_CORE,
      c(
        "idle",
        ...[server.port, CONNECTIONS, "--pid", server.pid],
        ...isCounted ? ["--heap"] : [],
      ),
    ),
    SECONDS,
  );
  if (!isCounted) return { rssBytes: rssBytes!, heapBytes: 0 };
  const [before, after] = await heapsOf(server);
  const heapBytes = (after.afterBytes - before.afterBytes) / CONNECTIONS;
  return { rssBytes: rssBytes!, heapBytes };
}

function barsOf(figures: Figures): Bar[] {
  const bar = (name: string, what: string, metric: string, limit: number) => ({
    text: `${TITLE}: ${what} of ${name}, bytes a connection`,
    figure: figures.median(TITLE, name, metric),
    limit,
    kind: "at most" as const,
  });
  return AIMS.flatMap(({ name, rss, heap }) => [
    bar(name, "memory", "rssBytes", rss),
    bar(name, "heap", "heapBytes", heap),
  ]);
}

function caseOf(
  title: string,
  servers: readonly EchoServer[],
  flags: readonly string[] = [],
): Case {
  return {
    title,
    parameters: { connections: CONNECTIONS },
    base: KIO,
    columns: [
      {
        head: "memory (RSS), bytes/connection",
        metric: "rssBytes",
        digits: 0,
        spread: true,
        ratio: true,
      },
      {
        head: "JavaScript heap, bytes/connection",
        metric: "heapBytes",
        digits: 0,
        spread: true,
      },
    ],
    peers: servers.map((server): Peer => ({
      name: server.name,
      installed: server.installed,
      sample: () => sample(server, flags),
    })),
  };
}

/** Memory of idle connections of the echo servers. */
export function idle(): Suite {
  const [kio, ...others] = serversWithPools(BUFFERS);
  const servers: EchoServer[] = [
    kio!,
    {
      name: KIO_4_KIB,
      installed: true,
      command: deno("ffi", "echo_kio.ts", 0, 4096),
    },
    ...others,
  ];
  return {
    turnSeconds: SECONDS,
    notes: [
      "The echo servers of `echo`: kio, Deno and Node with a buffer of 16 KiB a",
      `connection, the pools with ${BUFFERS} of 4 KiB for all. Each connection had`,
      "64 bytes echoed. Growth of the process over 500 such connections, after a",
      "collection of garbage before and behind. Memory of the kernel is not in it.",
      "The young generation of V8 grows up to 32 MB while they connect, however",
      "many they are, and keeps that: so also with one of 1 MiB.",
    ],
    cases: [
      caseOf(TITLE, servers),
      caseOf(
        SMALL_TITLE,
        servers.filter((it) => hasHeap(it) && it.name !== BUN),
        SMALL_YOUNG_GENERATION,
      ),
    ],
    bars: barsOf,
  };
}
