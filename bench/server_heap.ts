/** The JavaScript heap of a server: see `peers/heap_signal.mjs`. */

import type { Command } from "./programs.ts";
import { jsonLines, type Server } from "./run.ts";

const HEAP_SIGNAL = new URL("peers/heap_signal.mjs", import.meta.url).pathname;

/** Flags for V8: a young generation that holds all that a program allocates. */
export const LARGE_YOUNG_GENERATION = [
  "--min-semi-space-size=512",
  "--max-semi-space-size=512",
];

/**
 * Loads `heap_signal.mjs` before a server.
 *
 * @param command The server, for Deno, Node or Bun.
 * @param flags Further flags for V8, which Bun does not have.
 */
export function withHeapSignal(
  [program, ...args]: Command,
  flags: readonly string[] = [],
): Command {
  const v8Flags = ["--expose-gc", ...flags];
  if (program === "bun") return [program, "--preload", HEAP_SIGNAL, ...args];
  if (program === "node") {
    return [program, ...v8Flags, "--import", HEAP_SIGNAL, ...args];
  }
  const [run, ...rest] = args;
  return [
    program,
    run!,
    `--v8-flags=${v8Flags.join()}`,
    ...["--preload", HEAP_SIGNAL],
    ...rest,
  ];
}

/** The heap of a server at a signal. */
export interface Heap {
  /** Before it was collected, and after. */
  readonly beforeBytes: number;
  readonly afterBytes: number;
  /** How often it has got smaller since the signal before. */
  readonly collections: number;
}

/** Stops a server that got two signals. Returns its heap at each. */
export async function heapsOf(server: Server): Promise<[Heap, Heap]> {
  const [first, second] = jsonLines(await server.stop());
  if (first === undefined || second === undefined) {
    throw new Error("Cannot measure the heap: the server did not tell it");
  }
  return [first, second] as unknown as [Heap, Heap];
}
