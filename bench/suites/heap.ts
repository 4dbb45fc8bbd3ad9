/** The garbage that an operation leaves. */

import { BLOCK_FILE, makeBlockFile, removeBlockFile } from "../block_file.ts";
import { type Command, denoWithFlags } from "../programs.ts";
import { jsonLines, run } from "../run.ts";
import type { Case, Peer, Sample, Suite } from "../suite.ts";

const DEPTHS = [1, 32];
const PROMISE = "bare promise and result";

/** A young generation that holds all that the program allocates. */
const V8_FLAGS = "--v8-flags=--expose-gc,--trace-gc," +
  "--min-semi-space-size=512,--max-semi-space-size=512";
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

/** Bytes that a read allocates on the JavaScript heap. */
export function heap(): Suite {
  return {
    turnSeconds: 1,
    begin: makeBlockFile,
    end: removeBlockFile,
    notes: [
      "Growth of the JavaScript heap over 51,200 awaited reads from the page",
      "cache, after 153,600 others; no garbage collection came in between.",
    ],
    cases: DEPTHS.map((depth): Case => ({
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
    bars: () => [],
  };
}
