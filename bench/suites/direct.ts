/** Random reads past the page cache, into registered memory. */

import {
  BLOCK_COUNT,
  BLOCK_FILE,
  makeBlockFile,
  removeBlockFile,
} from "../block_file.ts";
import { sampleFio, sampleWindow } from "../block_reads.ts";
import { c, type Command, deno, versions } from "../programs.ts";
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
const KIO_ONES = "kio, registered memory, submitMax: 1";
const KIO_PLAIN = "kio";
const C = "C, liburing, registered memory";
const C_PLAIN = "C, liburing";
const FIO = "fio, registered memory";
const FIO_PLAIN = "fio";

const titleOf = (depth: number) =>
  `4 KiB reads by O_DIRECT, ${depth} in flight`;

function peersAt(depth: number, seconds: number): Peer[] {
  const args = [BLOCK_FILE, BLOCK_COUNT, depth, seconds] as const;
  const window = (name: string, command: Command): Peer => ({
    name,
    installed: true,
    sample: () => sampleWindow(command, seconds),
  });
  const fio = (name: string, ...options: string[]): Peer => ({
    name,
    installed: versions.fio !== null,
    sample: () => sampleFio(depth, seconds, ["--direct=1", ...options]),
  });
  return [
    window(KIO, deno("ffi", "file_kio.ts", ...args, "registered")),
    window(KIO_ONES, deno("ffi", "file_kio.ts", ...args, "by ones")),
    window(KIO_PLAIN, deno("ffi", "file_kio.ts", ...args, "direct")),
    window(C, c("file", ...args, "registered")),
    window(C_PLAIN, c("file", ...args, "direct")),
    fio(FIO, "--fixedbufs=1"),
    fio(FIO_PLAIN),
  ];
}

function caseAt(depth: number, seconds: number): Case {
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
    peers: peersAt(depth, seconds),
  };
}

function bar(kio: string, base: string, figures: Figures): Bar {
  const title = titleOf(32);
  return {
    text: `${title}: ${kio} of ${base}`,
    figure: figures.compare(title, kio, base, "opsPerS", ratio),
    limit: 0.95,
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
    bars: (figures) => [
      bar(KIO_ONES, FIO, figures),
      bar(KIO, C, figures),
    ],
  };
}
