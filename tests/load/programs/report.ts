import type { ContextStats, IoContext } from "@kio/kio";

const GC_PAUSE_MS = 50;

/** A program's report about itself. */
export interface Report {
  /** Objects and buffers that are in use. */
  usedMB: number;
  stats: ContextStats;
  [figure: string]: unknown;
}

/**
 * Prints a numbered line about the context for each SIGUSR2. It collects
 * garbage before, so that the rest is in use.
 */
export function reportOnSignal(
  ctx: IoContext,
  more: () => Record<string, unknown>,
): void {
  const { gc } = globalThis as { gc?: () => void };
  let count = 0;
  Deno.addSignalListener("SIGUSR2", async () => {
    gc?.();
    // Buffers are freed some time after what referred to them.
    await new Promise((resolve) => setTimeout(resolve, GC_PAUSE_MS));
    gc?.();
    const { heapUsed, external } = Deno.memoryUsage();
    const report: Report = {
      usedMB: (heapUsed + external) / 2 ** 20,
      stats: ctx.stats(),
      ...more(),
    };
    console.log(`report ${++count} ${JSON.stringify(report)}`);
  });
}
