import { summariesIn } from "../summary.ts";

const COMPLAINT = /BUG:|WARNING:|Oops|general protection fault|Kernel panic/;
const FAILED = /^\S.* \.{3}.* FAILED \(|^\w+ FAILED$/;
/** How much of a console is shown if the guest has not come to its end. */
const TAIL_LINES = 20;

/** What a guest has found. */
export interface Verdict {
  kernel: string;
  /** What kio does without there. */
  lacks: string;
  /** Tests that passed, for each run of tests. */
  passed: number[];
  failed: number;
  /** The lines of its console that tell why it has failed. */
  faults: string[];
}

/** Reads the console of a guest that was to make a number of runs of tests. A
 * complaint of its kernel is a failure, and so is a run without a summary. */
export function judge(console: string, runs: number): Verdict {
  const summaries = summariesIn(console);
  const lines = console.trimEnd().split("\n");
  const complaints = lines.filter((it) => COMPLAINT.test(it));
  const isWhole = lines.includes("kio: ended");
  const counts = [
    complaints.length,
    Math.max(runs - summaries.length, isWhole ? 0 : 1),
    ...summaries.map(({ failed }) => failed),
  ];
  return {
    kernel: /kio: Linux (\S+)/.exec(console)?.[1] ?? "none",
    lacks: /^kio: lacks (.*)$/m.exec(console)?.[1] ?? "unknown",
    passed: summaries.map(({ passed }) => passed),
    failed: counts.reduce((sum, count) => sum + count),
    faults: [
      ...lines.filter((it) => FAILED.test(it)),
      ...complaints,
      ...isWhole ? [] : lines.slice(-TAIL_LINES),
    ],
  };
}
