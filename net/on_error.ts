/** Hears of exceptions of a callback. */
export type OnError<A extends unknown[]> = (
  error: unknown,
  ...about: A
) => void;

/** Logs an error that nobody asks for. */
export function logError(error: unknown): void {
  console.error(error);
}

/** Calls `onError`. An exception of it is logged: it must not end the
 * connections of all others. */
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
