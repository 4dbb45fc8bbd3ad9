/** Reading a file from front to back. */

import { BLOCK_FILE, makeBlockFile, removeBlockFile } from "../block_file.ts";
import { bun, c, type Command, deno, node, versions } from "../programs.ts";
import { runForJson } from "../run.ts";
import {
  type Case,
  type Figures,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";

const KIO = "kio, file.blocks()";
const READABLE = "kio, file.readable";
const SIZE = 2 ** 18;
const DEPTH = 4;
/** The depths of C, of which the best counts. */
const C_DEPTHS = [1, 2, 4, 8, 16];

const cName = (depth: number) => `C, liburing, ${depth} in flight`;

const MODES = [
  { mode: "cached", title: "256 KiB blocks from the page cache" },
  { mode: "direct", title: "256 KiB blocks past the page cache (O_DIRECT)" },
] as const;

/** A file of 256 MiB, read from front to back again and again. */
export function sequential({ seconds }: Options): Suite {
  const peer = (name: string, command: Command, installed = true): Peer => ({
    name,
    installed,
    async sample() {
      const { ops, seconds: measured } = await runForJson(command, seconds);
      return { gibPerS: ops! * SIZE / 2 ** 30 / measured! };
    },
  });
  const kio = (mode: string, way: string): Command =>
    deno(
      "ffi",
      "sequential_kio.ts",
      ...[BLOCK_FILE, SIZE, DEPTH, mode, seconds, way],
    );
  const peersIn = (mode: string): Peer[] => {
    const own = [
      peer(KIO, kio(mode, "blocks")),
      ...C_DEPTHS.map((depth) =>
        peer(
          cName(depth),
          c("sequential", BLOCK_FILE, SIZE, depth, mode, seconds),
        )
      ),
    ];
    // The others have no reads past the page cache.
    if (mode === "direct") return own;
    const args = [BLOCK_FILE, SIZE, seconds] as const;
    return [
      ...own,
      peer(READABLE, kio(mode, "readable")),
      peer("Deno, read()", deno("read", "sequential_deno.ts", ...args, "read")),
      peer(
        "Deno, readable",
        deno("read", "sequential_deno.ts", ...args, "readable"),
      ),
      peer(
        "Node, node:fs",
        node("sequential_fs.mjs", ...args),
        versions.node !== null,
      ),
      peer(
        "Bun, node:fs",
        bun("sequential_fs.mjs", ...args),
        versions.bun !== null,
      ),
    ];
  };
  return {
    turnSeconds: seconds + 1,
    begin: makeBlockFile,
    end: removeBlockFile,
    notes: [
      "A file of 256 MiB; blocks come in order, and one number of each is checked.",
      "kio has 4 reads in flight, as it has by default. Node and Bun read by",
      "createReadStream(), Deno's readable has chunks of its own size.",
    ],
    cases: MODES.map(({ mode, title }): Case => ({
      title,
      base: cName(DEPTH),
      columns: [{
        head: "GiB/s",
        metric: "gibPerS",
        digits: 2,
        spread: true,
        ratio: true,
      }],
      peers: peersIn(mode),
    })),
    bars: (figures) =>
      MODES.map(({ title }) => ({
        text: `${title}: of C at its best depth`,
        figure: ofBest(title, figures),
        limit: 0.9,
        kind: "at least",
      })),
  };
}

/** Compares with C at the depth that is the fastest. */
function ofBest(title: string, figures: Figures): number | null {
  const median = (depth: number) =>
    figures.median(title, cName(depth), "gibPerS") ?? 0;
  const best = C_DEPTHS.reduce((a, b) => median(a) >= median(b) ? a : b);
  return figures.compare(title, KIO, cName(best), "gibPerS", ratio);
}
