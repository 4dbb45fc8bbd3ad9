/** The counts that test runs print at their end. */
export interface Summary {
  passed: number;
  failed: number;
}

/** The summaries in what `deno test` or the C tests have printed, in order. */
export function summariesIn(printed: string): Summary[] {
  const pattern = /^(?:(?:ok|FAILED) \| )?(\d+) passed.*?(\d+) failed/gm;
  return Array.from(
    printed.matchAll(pattern),
    ([, passed, failed]) => ({
      passed: Number(passed),
      failed: Number(failed),
    }),
  );
}
