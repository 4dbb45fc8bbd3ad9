/**
 * Calls code of the user. Its exception is one of the program, and not the
 * rejection of a promise of kio.
 */
export function outside<T>(callback: () => T): T | undefined {
  try {
    return callback();
  } catch (error) {
    rethrow(error);
    return undefined;
  }
}

/** Throws as code of the user does that nothing has called. */
export function rethrow(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
