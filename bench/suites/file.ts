/** Random reads from the page cache. */

import { sampleFio, sampleWindow } from "../block_reads.ts";
import {
  BLOCK_COUNT,
  BLOCK_FILE,
  makeBlockFile,
  removeBlockFile,
} from "../block_file.ts";
import { bun, c, type Command, deno, node, versions } from "../programs.ts";
import {
  type Bar,
  type Case,
  type Figures,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";

/** The depths for all peers. */
const DEPTHS = [1, 32];
/** Further depths for the curve: one peer of each, and shorter. */
const MORE_DEPTHS = [2, 4, 8, 16, 64, 128];
const MORE_SECONDS_MAX = 1;
/** Reads that the second fio submits and reaps at once. */
const FIO_BATCH = 16;

const KIO = "kio";
const EXACT = "kio, asyncReadExact";
const FIXED = "kio, asyncReadFixed";
const C = "C, liburing";
const FIO = "fio";
const BUN = "Bun, node:fs";
const DENO = "Deno";
const NODE = "Node";
const CURVES = [KIO, C, BUN, DENO, NODE];

const titleOf = (depth: number) => `4 KiB reads, ${depth} in flight`;

function peersAt(depth: number, seconds: number): Peer[] {
  const window = (name: string, command: Command, installed = true): Peer => ({
    name,
    installed,
    sample: () => sampleWindow(command, seconds),
  });
  const fio = (name: string, ...options: string[]): Peer => ({
    name,
    installed: versions.fio !== null,
    sample: () => sampleFio(depth, seconds, ["--direct=0", ...options]),
  });
  const args = [BLOCK_FILE, BLOCK_COUNT, depth, seconds] as const;
  const batched = fio(
    `fio, batches of ${FIO_BATCH}`,
    `--iodepth_batch=${FIO_BATCH}`,
    `--iodepth_batch_complete_min=${FIO_BATCH}`,
  );
  return [
    window(KIO, deno("ffi", "file_kio.ts", ...args)),
    window(EXACT, deno("ffi", "file_kio.ts", ...args, "exact")),
    window(FIXED, deno("ffi", "file_kio.ts", ...args, "fixed")),
    window(C, c("file", ...args)),
    fio(FIO),
    ...(depth < FIO_BATCH ? [] : [batched]),
    window(BUN, bun("file_fs.mjs", ...args), versions.bun !== null),
    window(DENO, deno("read", "file_deno.ts", ...args)),
    window("Deno, node:fs", deno("read", "file_fs.mjs", ...args)),
    window(NODE, node("file_fs.mjs", ...args), versions.node !== null),
  ];
}

function caseAt(depth: number, peers: readonly Peer[]): Case {
  return {
    title: titleOf(depth),
    parameters: { depth },
    base: C,
    columns: [{
      head: "reads/s",
      metric: "opsPerS",
      digits: 0,
      spread: true,
      ratio: true,
    }],
    peers,
  };
}

function bar(
  depth: number,
  base: string,
  limit: number,
  figures: Figures,
  peer = KIO,
): Bar {
  const title = titleOf(depth);
  return {
    text: `${title}: ${peer} of ${base}`,
    figure: figures.compare(title, peer, base, "opsPerS", ratio),
    limit,
    kind: "at least",
  };
}

/** Reads of 4 KiB at random places of a file that is in the page cache. */
export function file({ seconds }: Options): Suite {
  const short = Math.min(seconds, MORE_SECONDS_MAX);
  return {
    turnSeconds: seconds + 1,
    begin: makeBlockFile,
    end: removeBlockFile,
    notes: [
      "A file of 256 MiB in the page cache; every block is checked by its number",
      "(not by fio). Only asyncReadFixed names a registered file. All programs may",
      "use both cores, as thread pools need them. fio with its defaults: it submits",
      "and reaps one read at a time and takes the time of each. With another number",
      "in flight than 1 and 32, a second at most.",
    ],
    cases: [
      ...DEPTHS.map((depth) => caseAt(depth, peersAt(depth, seconds))),
      ...MORE_DEPTHS.map((depth) =>
        caseAt(
          depth,
          peersAt(depth, short).filter(({ name }) => CURVES.includes(name)),
        )
      ),
    ],
    bars: (figures) => [
      bar(1, FIO, 0.85, figures),
      bar(32, FIO, 1.05, figures),
      bar(1, C, 0.75, figures),
      bar(32, C, 0.75, figures),
      bar(1, KIO, 0.9, figures, EXACT),
      bar(32, KIO, 0.9, figures, EXACT),
    ],
  };
}
