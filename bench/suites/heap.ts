/** The garbage that an operation leaves. */

import { BLOCK_FILE, makeBlockFile, removeBlockFile } from "../block_file.ts";
import {
  BUN,
  C,
  C_MULTISHOT,
  KIO,
  KIO_ON_CHUNK,
  KIO_SEND_TO,
  serversWithPools,
} from "../echo_servers.ts";
import {
  heapsOf,
  LARGE_YOUNG_GENERATION,
  withHeapSignal,
} from "../server_heap.ts";
import { CLIENT_CORE, type Command, denoWithFlags } from "../programs.ts";
import { jsonLines, run, Server } from "../run.ts";
import type { Case, Peer, Sample, Suite } from "../suite.ts";
import { load } from "./echo.ts";

const DEPTHS = [1, 32];
const PROMISE = "bare promise and result";

const ECHO_TITLE = "echo, 64 bytes, 64 connections";
const CONNECTIONS = 64;
const BYTES = 64;
const BUFFERS = 256;
/** No longer: the young generation holds what is allocated meanwhile. */
const ECHO_SECONDS = 1;

/** Bytes a message. */
const AIMS = [
  { name: KIO_SEND_TO, limit: 320 },
  { name: KIO_ON_CHUNK, limit: 160 },
];

const V8_FLAGS = `--v8-flags=--expose-gc,--trace-gc,${LARGE_YOUNG_GENERATION}`;
/** The collections that `peers/heap_meter.ts` asks for. */
const COLLECTIONS = 2;

async function sampleHeap(command: Command): Promise<Sample> {
  const output = await run(command, 1);
  const [figures] = jsonLines(output);
  const collections = output.match(/(Mark-Compact|Scavenge|Minor)/g) ?? [];
  if (figures === undefined || collections.length !== COLLECTIONS) {
    throw new Error(
      `Cannot measure the heap: it was collected ${collections.length} times`,
    );
  }
  return { bytes: figures.bytes! / figures.ops! };
}

function peersAt(depth: number): Peer[] {
  const peer = (name: string, command: Command): Peer => ({
    name,
    installed: true,
    sample: () => sampleHeap(command),
  });
  return [
    peer(
      "kio, asyncRead",
      denoWithFlags(
        [V8_FLAGS, "--allow-ffi"],
        "heap_kio.ts",
        BLOCK_FILE,
        depth,
      ),
    ),
    peer(PROMISE, denoWithFlags([V8_FLAGS], "heap_promise.ts", depth)),
  ];
}

async function sampleEcho(command: Command): Promise<Sample> {
  await using server = await Server.start(
    withHeapSignal(command, LARGE_YOUNG_GENERATION),
  );
  const { requests } = await load(
    server,
    CLIENT_CORE,
    CONNECTIONS,
    BYTES,
    ECHO_SECONDS,
    "--heap",
  );
  const [from, to] = await heapsOf(server);
  if (to.collections > 0) {
    throw new Error(
      `Cannot measure the heap: it was collected ${to.collections} times`,
    );
  }
  return { bytes: (to.beforeBytes - from.afterBytes) / requests! };
}

const ECHO_CASE: Case = {
  title: ECHO_TITLE,
  base: KIO,
  columns: [{
    head: "bytes/message",
    metric: "bytes",
    digits: 0,
    spread: true,
    ratio: true,
  }],
  peers: serversWithPools(BUFFERS)
    .filter(({ name }) => ![C, C_MULTISHOT, BUN].includes(name))
    .map(({ name, installed, command }) => ({
      name,
      installed,
      sample: () => sampleEcho(command),
    })),
};

/** Bytes that a read, and an echoed message, allocate on the JavaScript heap. */
export function heap(): Suite {
  return {
    turnSeconds: ECHO_SECONDS + 1,
    begin: makeBlockFile,
    end: removeBlockFile,
    notes: [
      "Growth of the JavaScript heap over 51,200 awaited reads from the page",
      "cache, after 153,600 others, or over a second of the echo servers of `echo`;",
      "no garbage collection came in between. Not Bun: its collector always runs.",
    ],
    cases: [
      ...DEPTHS.map((depth): Case => ({
        title: `4 KiB reads, ${depth} in flight`,
        base: PROMISE,
        columns: [{
          head: "bytes/operation",
          metric: "bytes",
          digits: 1,
          spread: true,
          ratio: true,
        }],
        peers: peersAt(depth),
      })),
      ECHO_CASE,
    ],
    bars: (figures) =>
      AIMS.map(({ name, limit }) => ({
        text: `${ECHO_TITLE}: bytes a message of ${name}`,
        figure: figures.median(ECHO_TITLE, name, "bytes"),
        limit,
        kind: "at most",
      })),
  };
}
