/** Waiting within a time and a signal, for what is not an operation. */
import { errorOf, type Failure } from "../lib/result.ts";
import { ECANCELED, ETIMEDOUT } from "../lib/errno.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";

/** Waits for a promise, and calls `onEnd` if a limit comes first. The caller has
 * checked the limits. */
export function within<T>(
  promise: Promise<T>,
  limits: BoundOptions,
  onEnd: (failure: Failure) => void,
): Promise<T> {
  return limits.timeoutMs === undefined && limits.signal === undefined
    ? promise
    : limited(promise, limits, onEnd);
}

async function limited<T>(
  promise: Promise<T>,
  { timeoutMs, signal }: BoundOptions,
  onEnd: (failure: Failure) => void,
): Promise<T> {
  const end = (errno: number) => onEnd({ ok: false, error: errorOf(errno) });
  const cancel = () => end(ECANCELED);
  if (signal?.aborted) cancel();
  signal?.addEventListener("abort", cancel);
  const timer = timeoutMs === undefined
    ? undefined
    : setTimeout(() => end(ETIMEDOUT), Math.min(timeoutMs, 2 ** 31 - 1));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", cancel);
  }
}
