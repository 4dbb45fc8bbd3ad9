/** A tree of small files: listed and hashed, warm and cold. */

import {
  BUILD_FOLDER,
  bun,
  type Command,
  deno,
  example,
  node,
  versions,
} from "../programs.ts";
import { run, runForJson } from "../run.ts";
import {
  type Bar,
  type Case,
  type Figures,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";

const FILES = 50_000;
const FILES_A_FOLDER = 100;
const FOLDERS_A_FOLDER = 20;
const FILE_BYTES = 2000;
const SECONDS_MAX = 60;

const KIO = "kio";
const TREE = `${BUILD_FOLDER}/tree`;
/** The same programs run here before a cold run: the disk shall not be asked
 * for them. */
const EMPTY = `${BUILD_FOLDER}/empty_tree`;
const DROP_CACHES = "/proc/sys/vm/drop_caches";

const WORK = {
  list: {
    title: "list and stat",
    tool: { name: "find -printf", command: `find "$0" -printf '%s %p\\n'` },
    kio: (root: string) => deno("ffi", "tree_kio.ts", root),
  },
  hash: {
    title: "stat and hash",
    tool: {
      name: "find | xargs sha256sum",
      command: `find "$0" -type f -print0 | xargs -0r sha256sum`,
    },
    kio: (root: string) =>
      example(
        "tree_hash.ts",
        ["--allow-ffi", "--allow-read"],
        ...[root, "--summary", "--workers", 1],
      ),
  },
} as const;
type Work = keyof typeof WORK;

async function makeTree(): Promise<void> {
  await removeTree();
  await Deno.mkdir(EMPTY);
  const data = new Uint8Array(FILE_BYTES);
  const number = new DataView(data.buffer);
  for (let i = 0; i < FILES; i++) {
    const at = Math.floor(i / FILES_A_FOLDER);
    const above = Math.floor(at / FOLDERS_A_FOLDER);
    const folder = `${TREE}/${above}/${at % FOLDERS_A_FOLDER}`;
    if (i % FILES_A_FOLDER === 0) Deno.mkdirSync(folder, { recursive: true });
    number.setUint32(0, i);
    Deno.writeFileSync(`${folder}/file-${i}.txt`, data);
  }
  await run(["sync"], SECONDS_MAX);
}

async function removeTree(): Promise<void> {
  for (const folder of [TREE, EMPTY]) {
    await Deno.remove(folder, { recursive: true }).catch(() => {});
  }
}

/** A program that works on a tree. */
type Program = (root: string) => Command;

/** Asks a program that has a clock. Its start does not count. */
async function sampleOf(program: Program): Promise<Sample> {
  const { files, bytes, seconds } = await runForJson(
    program(TREE),
    SECONDS_MAX,
  );
  if (files !== FILES || bytes !== FILES * FILE_BYTES) {
    throw new Error(`Cannot trust it: ${files} files, ${bytes} bytes`);
  }
  return { ms: seconds! * 1000 };
}

/** Runs a tool, which starts at once. */
async function sampleOfTool(program: Program): Promise<Sample> {
  const startMs = performance.now();
  await run(program(TREE), SECONDS_MAX);
  return { ms: performance.now() - startMs };
}

function peersFor(work: Work, isCold: boolean): Peer[] {
  const { tool, kio } = WORK[work];
  const peer = (
    name: string,
    program: Program,
    installed = true,
    sample = sampleOf,
  ): Peer => ({
    name,
    installed,
    sample: async () => {
      if (isCold) await Deno.writeTextFile(DROP_CACHES, "3");
      await run(program(isCold ? EMPTY : TREE), SECONDS_MAX);
      return sample(program);
    },
  });
  const ways = ["sync", "async"] as const;
  const shell = (root: string): Command => ["sh", "-c", tool.command, root];
  return [
    peer(KIO, kio),
    peer(tool.name, shell, true, sampleOfTool),
    ...ways.map((way) =>
      peer(
        `Deno, ${way}`,
        (root) => deno("read", "tree_deno.ts", root, work, way),
      )
    ),
    ...ways.map((way) =>
      peer(
        `Node, ${way}`,
        (root) => node("tree_fs.mjs", root, work, way),
        !!versions.node,
      )
    ),
    ...ways.map((way) =>
      peer(
        `Bun, ${way}`,
        (root) => bun("tree_fs.mjs", root, work, way),
        !!versions.bun,
      )
    ),
  ];
}

/** Tells whether the caches can be dropped: root only. */
function canDrop(): boolean {
  try {
    Deno.openSync(DROP_CACHES, { write: true }).close();
    return true;
  } catch {
    return false;
  }
}

function titleOf(work: Work, isCold: boolean): string {
  const { title } = WORK[work];
  return `${FILES} files of ${FILE_BYTES} bytes, ${title}, ${
    isCold ? "cold" : "warm"
  }`;
}

function barOf({ title, peers }: Case, figures: Figures): Bar {
  const isCold = title.endsWith("cold");
  const others = peers.map(({ name }) => name).filter((name) =>
    name !== KIO && (isCold || / a?sync$/.test(name))
  );
  const times = others
    .map((name) => figures.compare(title, KIO, name, "ms", ratio))
    .filter((it) => it !== null);
  return {
    text: `${title}: time, of the fastest other${isCold ? "" : " runtime"}`,
    figure: times.length === 0 ? null : Math.max(...times),
    limit: isCold ? 0.5 : 1,
    kind: "at most",
  };
}

/** 50,000 small files in 500 folders. */
export function tree(): Suite {
  const cases = (["list", "hash"] as const).flatMap((work) =>
    (canDrop() ? [false, true] : [false]).map((isCold): Case => ({
      title: titleOf(work, isCold),
      base: KIO,
      columns: [{
        head: "ms",
        metric: "ms",
        digits: 0,
        spread: true,
        ratio: true,
      }],
      peers: peersFor(work, isCold),
    }))
  );
  return {
    turnSeconds: 3,
    begin: makeTree,
    end: removeTree,
    notes: [
      "Each program looks at every file by lstat(2) and adds the sizes; find -printf",
      "prints them, sha256sum looks at none. The start of a runtime does not count.",
      "kio: walk(), or examples/tree_hash.ts with a worker, whose start counts. Async",
      "ways of others: 64 files in flight, or as many as Deno's threads take. Cold:",
      "after drop_caches as root, with the program itself in the page cache again.",
    ],
    cases,
    bars: (figures) => cases.map((one) => barOf(one, figures)),
  };
}
