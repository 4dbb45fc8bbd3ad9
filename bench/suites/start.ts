/** The cost of importing kio and of a context at the start of a program. */

import { c, deno } from "../programs.ts";
import { runForJson } from "../run.ts";
import {
  type Case,
  difference,
  type Options,
  type Peer,
  type Sample,
  type Suite,
} from "../suite.ts";
import { meterCase } from "./threads.ts";

const TITLE = "deno run, from start to end";
const EMPTY = "empty program";
const IMPORT = "import of mod.ts";

const CONTEXT = "new IoContext()";
const FIRST = "first of a program";
const NEXT = "any other, and its end";
const DLOPEN = "Deno.dlopen() of one function";

/** Runs a program as it runs any but the first time, with Deno's caches. */
async function sampleStart(program: string): Promise<Sample> {
  const command = c("rusage", ...deno("none", program));
  await runForJson(command, 1);
  const startMs = performance.now();
  const { userUs, systemUs } = await runForJson(command, 1);
  const wallMs = performance.now() - startMs;
  return { wallMs, cpuMs: (userUs! + systemUs!) / 1000 };
}

/** Runs `start_context.ts`, which measures within a program. */
function contextCase(seconds: number): Case {
  const meter = (what: string) => deno("ffi", "start_context.ts", what);
  return meterCase(
    CONTEXT,
    [{ head: "ms", metric: "ms", digits: 2, spread: true }],
    [[DLOPEN, meter("dlopen")], [NEXT, meter("next")], [FIRST, meter("first")]],
    seconds,
  );
}

/** Start of a program with and without an import of kio, and of contexts. */
export function start({ seconds }: Options): Suite {
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
      `"${FIRST}": it loads the library, where Deno compiles a stub for each`,
      `function that is called often; "${DLOPEN}": with none of`,
      "kio's code, the least that any library takes.",
    ],
    cases: [table, contextCase(seconds)],
    bars: (figures) => [
      {
        text: `${IMPORT}: ms more than an ${EMPTY}`,
        figure: figures.compare(TITLE, IMPORT, EMPTY, "wallMs", difference),
        limit: 15,
        kind: "at most",
      },
      {
        text: `${CONTEXT}, ${NEXT}: ms`,
        figure: figures.median(CONTEXT, NEXT, "ms"),
        limit: 2,
        kind: "at most",
      },
      {
        text: `${CONTEXT}, ${FIRST}: ms`,
        figure: figures.median(CONTEXT, FIRST, "ms"),
        limit: 2,
        kind: "at most",
      },
    ],
  };
}
