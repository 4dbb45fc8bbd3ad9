/** Hears of exceptions of a callback. */
export type OnError<A extends unknown[]> = (
  error: unknown,
  ...about: A
) => void;

/** Logs an error, where there is no `onError`. */
export function logError(error: unknown): void {
  console.error(error);
}

/** Calls `onError`, and logs an exception of it, which must not end all other
 * connections. */
export async function tell<A extends unknown[]>(
  onError: OnError<A>,
  error: unknown,
  ...about: A
): Promise<void> {
  try {
    await onError(error, ...about);
  } catch (thrown) {
    logError(thrown);
  }
}
