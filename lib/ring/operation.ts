/** The kinds of values that a result of 0 or more becomes. */
export const Yields = { COUNT: 0, NOTHING: 1, FD: 2, DECODED: 3 } as const;

/** When an operation is meant to wait, so that it is not slow. */
export const Patience = {
  NEVER: 0,
  /** For a pipe, a socket or a terminal, and not for a file. */
  OF_STREAMS: 1,
  /** For a peer, or for the clock. */
  ALWAYS: 2,
  /** It is a stream or a queue: how long it lasts tells nothing. */
  ENDLESS: 3,
} as const;

/** The constants of an operation: its row in `ops/table.ts`. */
export interface Operation {
  /** The name of the function that starts it, for exceptions and dumps. */
  readonly name: string;
  /** Completes "Cannot …: " in messages. */
  readonly verb: string;
  /** IORING_OP_*, -1 for none. */
  readonly opcode: number;
  readonly yields: typeof Yields[keyof typeof Yields];
  /** A result of 0 or more is a new fd, or comes with one. */
  readonly makesFd: boolean;
  /** It closes its fd, whatever the result: it is never cancelled. */
  readonly closesFd: boolean;
  /** `POLLIN` or `POLLOUT`, which it waits for where the kernel gives up on a
   * stream with `EAGAIN`; 0 for what then fails. */
  readonly waits: number;
  /** An error for lack of fds or memory is held back some milliseconds. */
  readonly holdsBack: boolean;
  readonly patience: typeof Patience[keyof typeof Patience];
}
