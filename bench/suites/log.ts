/** Durable appends. */

import { BUILD_FOLDER, c, type Command, deno } from "../programs.ts";
import { runForJson } from "../run.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";

const KIO = "kio";
const C = "C, liburing";

const CASES = [
  { mode: "single", records: 1, title: "512 bytes, linked to an fdatasync" },
  {
    mode: "group",
    records: 64,
    title: "64 times 512 bytes, then an fdatasync",
  },
] as const;

/** Appends of records of 512 bytes, one or 64 to an fdatasync. */
export function log({ seconds }: Options): Suite {
  const peer = (name: string, command: Command): Peer => ({
    name,
    installed: true,
    async sample() {
      const { ops, seconds: measured } = await runForJson(command, seconds);
      return { recordsPerS: ops! / measured! };
    },
  });
  return {
    turnSeconds: seconds + 1,
    notes: [
      "A preallocated file on the disk of this checkout; an append goes to an",
      "explicit offset and counts when the fdatasync behind it is done.",
    ],
    cases: CASES.map(({ mode, records, title }): Case => ({
      title,
      parameters: { records },
      base: C,
      columns: [{
        head: "records/s",
        metric: "recordsPerS",
        digits: 0,
        spread: true,
        ratio: true,
      }],
      peers: [
        peer(KIO, deno("ffi", "log_kio.ts", BUILD_FOLDER, mode, seconds)),
        peer(C, c("log", BUILD_FOLDER, mode, seconds)),
      ],
    })),
    bars: (figures) =>
      CASES.map(({ title }) => ({
        text: `${title}: of C`,
        figure: figures.compare(title, KIO, C, "recordsPerS", ratio),
        limit: 0.8,
        kind: "at least",
      })),
  };
}
