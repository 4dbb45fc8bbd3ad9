/** Random reads past the page cache, into registered memory. */

import {
  BLOCK_COUNT,
  BLOCK_FILE,
  makeBlockFile,
  removeBlockFile,
} from "../block_file.ts";
import { sampleFio, sampleWindow } from "../block_reads.ts";
import { deno, versions } from "../programs.ts";
import {
  type Bar,
  type Case,
  type Figures,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";

const DEPTHS = [1, 32];

const KIO = "kio, registered memory";
const KIO_PLAIN = "kio";
const FIO = "fio, registered memory";
const FIO_PLAIN = "fio";

const titleOf = (depth: number) =>
  `4 KiB reads by O_DIRECT, ${depth} in flight`;

function peersAt(depth: number, seconds: number): Peer[] {
  const kio = (name: string, way: string): Peer => ({
    name,
    installed: true,
    sample: () =>
      sampleWindow(
        deno(
          "ffi",
          "file_kio.ts",
          BLOCK_FILE,
          BLOCK_COUNT,
          depth,
          seconds,
          way,
        ),
        seconds,
      ),
  });
  const fio = (name: string, ...options: string[]): Peer => ({
    name,
    installed: versions.fio !== null,
    sample: () => sampleFio(depth, seconds, ["--direct=1", ...options]),
  });
  return [
    kio(KIO, "registered"),
    kio(KIO_PLAIN, "direct"),
    fio(FIO, "--fixedbufs=1"),
    fio(FIO_PLAIN),
  ];
}

function caseAt(depth: number, seconds: number): Case {
  return {
    title: titleOf(depth),
    parameters: { depth },
    base: FIO,
    columns: [{
      head: "reads/s",
      metric: "opsPerS",
      digits: 0,
      spread: true,
      ratio: true,
    }],
    peers: peersAt(depth, seconds),
  };
}

function bar(depth: number, limit: number, figures: Figures): Bar {
  const title = titleOf(depth);
  return {
    text: `${title}: ${KIO} of ${FIO}`,
    figure: figures.compare(title, KIO, FIO, "opsPerS", ratio),
    limit,
    kind: "at least",
  };
}

/** Reads of 4 KiB at random places of a file, from the disk. */
export function direct({ seconds }: Options): Suite {
  return {
    turnSeconds: seconds + 1,
    begin: makeBlockFile,
    end: removeBlockFile,
    notes: [
      "A file of 256 MiB on the disk of this checkout, read by O_DIRECT; every block",
      "is checked by its number (not by fio). fio with its defaults. The disk counts",
      "most: compare programs, and not with other machines.",
    ],
    cases: DEPTHS.map((depth) => caseAt(depth, seconds)),
    bars: (figures) => [bar(32, 0.95, figures)],
  };
}
