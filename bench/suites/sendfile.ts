/** A large file to a socket. */

import { keep, remove } from "../page_cache.ts";
import {
  BUILD_FOLDER,
  c,
  CLIENT_CORE,
  type Command,
  deno,
  denoWithFlags,
  node,
  onCore,
  versions,
} from "../programs.ts";
import { runForJson, Server } from "../run.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";

const FILE = `${BUILD_FOLDER}/sendfile.bin`;
const FILE_BYTES = 1 << 30;
const PIECE_BYTES = 1 << 20;

const KIO = "kio";
const C = "C, sendfile(2)";
const TITLE = "1 GiB out of the page cache, one connection";

/** Not sparse, and in the page cache. */
async function makeFile(): Promise<void> {
  using file = await Deno.open(FILE, {
    write: true,
    create: true,
    truncate: true,
  });
  const piece = new Uint8Array(PIECE_BYTES).map((_, i) => i * 31);
  for (let at = 0; at < FILE_BYTES; at += PIECE_BYTES) {
    new Uint32Array(piece.buffer, 0, 1)[0] = at / PIECE_BYTES;
    await file.write(piece);
  }
  // Dirty pages would be written out while they are sent.
  await file.sync();
  await keep(FILE);
}

/** A file of 1 GiB sent over loopback. */
export function sendfile({ seconds }: Options): Suite {
  const peer = (name: string, command: Command, installed = true): Peer => ({
    name,
    installed,
    async sample() {
      await using server = await Server.start(command);
      const { gbPerS, cpuMsPerGb } = await runForJson(
        onCore(
          CLIENT_CORE,
          c("sink", server.port, seconds, FILE_BYTES, "--pid", server.pid),
        ),
        seconds,
      );
      return { gbPerS: gbPerS!, cpuMsPerGb: cpuMsPerGb! };
    },
  });
  const table: Case = {
    title: TITLE,
    base: C,
    columns: [
      { head: "GB/s", metric: "gbPerS", digits: 2, spread: true, ratio: true },
      {
        head: "server CPU ms/GB",
        metric: "cpuMsPerGb",
        digits: 0,
        spread: true,
        ratio: true,
      },
    ],
    peers: [
      peer(KIO, deno("ffi", "sendfile_kio.ts", FILE)),
      peer(C, c("sendfile", FILE)),
      peer(
        "Deno, streams",
        denoWithFlags(
          ["--allow-net", "--allow-read"],
          "sendfile_deno.ts",
          FILE,
        ),
      ),
      peer(
        "Node, streams",
        node("sendfile_node.mjs", FILE),
        versions.node !== null,
      ),
    ],
  };
  return {
    turnSeconds: seconds + 1,
    begin: makeFile,
    end: () => remove(FILE),
    notes: [
      "The client drops what comes without a copy (MSG_TRUNC). Server on core 0,",
      "with the threads that the kernel has for it, client on core 1.",
    ],
    cases: [table],
    bars: (figures) => [{
      text: `${TITLE}: of C`,
      figure: figures.compare(TITLE, KIO, C, "gbPerS", ratio),
      limit: 0.9,
      kind: "at least",
    }],
  };
}
