/** What an import of kio adds to the start of a program. */

import { c, deno } from "../programs.ts";
import { runForJson } from "../run.ts";
import {
  type Case,
  difference,
  type Peer,
  type Sample,
  type Suite,
} from "../suite.ts";

const TITLE = "deno run, from start to end";
const EMPTY = "empty program";
const IMPORT = "import of mod.ts";

/** Runs a program as it runs any but the first time, with Deno's caches. */
async function sampleStart(program: string): Promise<Sample> {
  const command = c("rusage", ...deno("none", program));
  await runForJson(command, 1);
  const startMs = performance.now();
  const { userUs, systemUs } = await runForJson(command, 1);
  const wallMs = performance.now() - startMs;
  return { wallMs, cpuMs: (userUs! + systemUs!) / 1000 };
}

/** Start of a program with and without an import of kio. */
export function start(): Suite {
  const peer = (name: string, program: string): Peer => ({
    name,
    installed: true,
    sample: () => sampleStart(program),
  });
  const table: Case = {
    title: TITLE,
    base: EMPTY,
    columns: [
      { head: "ms", metric: "wallMs", digits: 1, spread: true, ratio: true },
      { head: "CPU ms", metric: "cpuMs", digits: 1, spread: true, ratio: true },
    ],
    peers: [peer(EMPTY, "start_empty.ts"), peer(IMPORT, "start_import.ts")],
  };
  return {
    turnSeconds: 1,
    notes: [
      "Wall-clock and CPU time of the process, all threads, from exec to exit;",
      "each program was run just before, so Deno has it in its caches.",
    ],
    cases: [table],
    bars: (figures) => [{
      text: `${IMPORT}: ms more than an ${EMPTY}`,
      figure: figures.compare(TITLE, IMPORT, EMPTY, "wallMs", difference),
      limit: 15,
      kind: "at most",
    }],
  };
}
