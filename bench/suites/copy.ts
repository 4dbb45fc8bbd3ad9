/** Copies of a large file. */

import { keep, remove } from "../page_cache.ts";
import { BUILD_FOLDER, type Command, example } from "../programs.ts";
import { run } from "../run.ts";
import {
  type Bar,
  type Case,
  type Figures,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";

const BYTES = 1 << 30;
const PIECE_BYTES = 1 << 20;
/** The longest time of a copy. */
const SECONDS_MAX = 60;

const KIO = "kio";
const CP = "cp --reflink=never";

/** The places where files are copied, and the way to make a copy of cp as
 * durable as kio's. */
const PLACES = [
  { title: "1 GiB in memory (tmpfs)", folder: "/dev/shm", after: ":" },
  {
    title: "1 GiB on disk, source in the page cache, durable",
    folder: BUILD_FOLDER,
    after: "sync --data",
  },
];

const sourceIn = (folder: string) => `${folder}/kio_copy_source`;
const targetIn = (folder: string) => `${folder}/kio_copy_target`;

/** Writes it anew, no page like another, and waits until it is on the disk. */
async function makeSource(folder: string): Promise<void> {
  using file = await Deno.create(sourceIn(folder));
  const piece = crypto.getRandomValues(new Uint8Array(65536));
  const pieces = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < PIECE_BYTES; at += piece.length) pieces.set(piece, at);
  const numbers = new Uint32Array(pieces.buffer);
  for (let at = 0; at < BYTES; at += PIECE_BYTES) {
    for (let i = 0; i < numbers.length; i += 1024) numbers[i] = at + i;
    await file.write(pieces);
  }
  await file.sync();
  await keep(sourceIn(folder));
}

/** Copies once, from the start of the program to its end. */
async function sample(command: Command, folder: string): Promise<Sample> {
  await Deno.remove(targetIn(folder)).catch(() => {});
  const startMs = performance.now();
  await run(command, SECONDS_MAX);
  const seconds = (performance.now() - startMs) / 1000;
  const { size } = await Deno.stat(targetIn(folder));
  if (size !== BYTES) throw new Error(`copied ${size} bytes only`);
  return { gibPerS: BYTES / 2 ** 30 / seconds, seconds };
}

function peersIn(folder: string, after: string): Peer[] {
  const files = [sourceIn(folder), targetIn(folder)];
  const peer = (name: string, command: Command): Peer => ({
    name,
    installed: true,
    sample: () => sample(command, folder),
  });
  const kio = (...options: string[]) =>
    example(
      "file_copy.ts",
      ["--allow-ffi", "--allow-sys"],
      ...files,
      "--quiet",
      ...options,
    );
  const cp = `cp --reflink=never "$0" "$1" && ${after} "$1"`;
  return [
    peer(KIO, kio()),
    peer(CP, ["sh", "-c", cp, ...files]),
    peer("kio, one request at a time", kio("--queue-depth=1")),
  ];
}

/** 1 GiB from file to file. */
export function copy(): Suite {
  return {
    turnSeconds: 4,
    async begin() {
      for (const { folder } of PLACES) await makeSource(folder);
    },
    async end() {
      for (const { folder } of PLACES) {
        await remove(sourceIn(folder)).catch(() => {});
        await Deno.remove(targetIn(folder)).catch(() => {});
      }
    },
    notes: [
      "From the start of the program to its end; both cores for everybody. kio:",
      "examples/file_copy.ts, 8 requests of 256 KiB in flight, ends with fdatasync.",
      "On disk cp is followed by sync --data, so that both end durable.",
    ],
    cases: PLACES.map(({ title, folder, after }): Case => ({
      title,
      base: CP,
      columns: [
        {
          head: "GiB/s",
          metric: "gibPerS",
          digits: 2,
          spread: true,
          ratio: true,
        },
        { head: "s", metric: "seconds", digits: 2 },
      ],
      peers: peersIn(folder, after),
    })),
    bars: (figures) => PLACES.map((place) => bar(place, figures)),
  };
}

function bar({ title }: typeof PLACES[number], figures: Figures): Bar {
  return {
    text: `${title}: of cp`,
    figure: figures.compare(title, KIO, CP, "gibPerS", ratio),
    limit: 0.9,
    kind: "at least",
  };
}
