/** Small files, read whole. */

import {
  BUILD_FOLDER,
  bun,
  c,
  type Command,
  deno,
  node,
  versions,
} from "../programs.ts";
import { runForJson } from "../run.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";

const FOLDER = `${BUILD_FOLDER}/small`;
const FILES = 5000;
const DEPTH = 32;

const KIO = "kio, readFile()";
const C = "C, open, fstat, read, close";
const OTHERS = [
  "Deno, readFileSync()",
  "Node, readFileSync()",
  "Bun, readFileSync()",
];
const TITLE = `${FILES} files of 512 bytes to 8.4 KiB`;

/** Writes them: each begins with its number, which says how long it is. */
async function makeFiles(): Promise<void> {
  await removeFiles();
  await Deno.mkdir(FOLDER);
  for (let number = 0; number < FILES; number++) {
    const data = new Uint8Array(512 + number % 64 * 128);
    new DataView(data.buffer).setUint32(0, number, true);
    await Deno.writeFile(`${FOLDER}/${number}`, data);
  }
}

async function removeFiles(): Promise<void> {
  await Deno.remove(FOLDER, { recursive: true }).catch(() => {});
}

/** Files that are read whole, again and again, from the page cache. */
export function smallFiles({ seconds }: Options): Suite {
  const peer = (name: string, command: Command, installed = true): Peer => ({
    name,
    installed,
    async sample() {
      const { ops, seconds: measured } = await runForJson(command, seconds);
      return { filesPerS: ops! / measured! };
    },
  });
  const args = [FOLDER, FILES, DEPTH, seconds] as const;
  const own = (way: string) =>
    deno("read", "small_files_deno.ts", ...args, way);
  const fs = (of: typeof node, way: string) =>
    of("small_files_fs.mjs", ...args, way);
  const hasNode = versions.node !== null;
  const hasBun = versions.bun !== null;
  return {
    turnSeconds: seconds + 1,
    begin: makeFiles,
    end: removeFiles,
    notes: [
      `A folder of ${FILES} files in the page cache; each is opened, read and closed,`,
      `and its number and length are checked. What is asynchronous has ${DEPTH} files in`,
      "flight, C with liburing in chains of open, read and close by direct descriptors.",
    ],
    cases: [
      {
        title: TITLE,
        base: C,
        columns: [{
          head: "files/s",
          metric: "filesPerS",
          digits: 0,
          spread: true,
          ratio: true,
        }],
        peers: [
          peer(KIO, deno("ffi", "small_files_kio.ts", ...args)),
          peer(C, c("small_files", FOLDER, FILES, 0, seconds)),
          peer("C, liburing", c("small_files", ...args)),
          peer(OTHERS[0]!, own("sync")),
          peer("Deno, readFile()", own("async")),
          peer(OTHERS[1]!, fs(node, "sync"), hasNode),
          peer("Node, readFile()", fs(node, "async"), hasNode),
          peer(OTHERS[2]!, fs(bun, "sync"), hasBun),
          peer("Bun, readFile()", fs(bun, "async"), hasBun),
        ],
      } satisfies Case,
    ],
    bars: (figures) =>
      OTHERS.map((other) => ({
        text: `${KIO}: of ${other}`,
        figure: figures.compare(TITLE, KIO, other, "filesPerS", ratio),
        limit: 1,
        kind: "at least",
      })),
  };
}
