/** The memory of connections that wait. */

import {
  C,
  C_MULTISHOT,
  cMultishot,
  ECHO_SERVERS,
  type EchoServer,
  KIO,
  KIO_ON_CHUNK,
  KIO_SEND_TO,
  pooledServers,
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
const KIO_4_KIB = `${KIO}, 4 KiB each`;

/** Bytes of a connection. */
const AIMS = [
  { name: KIO_SEND_TO, rss: 3200, heap: 950 },
  { name: KIO_ON_CHUNK, rss: 2200, heap: 420 },
];

async function sample({ name, command }: EchoServer): Promise<Sample> {
  const hasHeap = name !== C && name !== C_MULTISHOT;
  await using server = await Server.start(
    hasHeap ? withHeapSignal(command) : command,
  );
  const { rssBytes } = await runForJson(
    onCore(
      CLIENT_CORE,
      c(
        "idle",
        ...[server.port, CONNECTIONS, "--pid", server.pid],
        ...hasHeap ? ["--heap"] : [],
      ),
    ),
    SECONDS,
  );
  if (!hasHeap) return { rssBytes: rssBytes!, heapBytes: 0 };
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

/** Memory of idle connections of the echo servers. */
export function idle(): Suite {
  const [kio, plain, ...others] = ECHO_SERVERS;
  const servers: EchoServer[] = [
    kio!,
    {
      name: KIO_4_KIB,
      installed: true,
      command: deno("ffi", "echo_kio.ts", 0, 4096),
    },
    ...pooledServers(BUFFERS),
    plain!,
    cMultishot(BUFFERS),
    ...others,
  ];
  const table: Case = {
    title: TITLE,
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
      sample: () => sample(server),
    })),
  };
  return {
    turnSeconds: SECONDS,
    notes: [
      "The echo servers of `echo`: kio, Deno and Node with a buffer of 16 KiB a",
      `connection, the pools with ${BUFFERS} of 4 KiB for all. Each connection had`,
      "64 bytes echoed. Growth of the process over 500 such connections, after a",
      "collection of garbage before and behind. Memory of the kernel is not in it.",
    ],
    cases: [table],
    bars: barsOf,
  };
}
