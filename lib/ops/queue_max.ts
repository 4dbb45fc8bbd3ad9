import { checkInteger, checkOptions } from "../check.ts";

const QUEUE_MAX = 65536;

/** Gives the length of a stream's queue: 64 unless the options say otherwise. */
export function queueMaxOf(
  options: { readonly queueMax?: number | undefined },
  { verb }: { readonly verb: string },
): number {
  checkOptions(options, verb);
  const { queueMax = 64 } = options;
  return checkInteger(queueMax, QUEUE_MAX, "queueMax", verb, 1);
}
