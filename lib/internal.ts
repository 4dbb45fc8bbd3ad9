/**
 * The door between the library's own classes: members that they show each other
 * and not their users. Members under these keys are private in TypeScript, so
 * they are in no documentation and in no completion. Code that uses the door
 * imports the key, and not the class.
 */
import type { Operation } from "./ring/operation.ts";
import type { Failure, Result } from "./result.ts";
import type { Pool } from "./ring/pool.ts";
import type { Ring } from "./ring/Ring.ts";
import type { UringOp } from "./UringOp.ts";

/** Key of the ring of an `IoContext`. */
export const RING: unique symbol = Symbol("ring");

/** Key of the struct sockaddr of a `SocketAddress`. */
export const BYTES: unique symbol = Symbol("bytes");

/** Key of the function that makes a `SocketAddress` of a struct sockaddr. */
export const DECODE: unique symbol = Symbol("decode");

/** Key of the function that starts jobs of a `BlockingPool`. */
export const START: unique symbol = Symbol("start");

/** Key of the pool behind a `BufferPool`. */
export const POOL: unique symbol = Symbol("pool");

/** A call that a thread makes. */
export interface JobCall {
  /** The text of a function. */
  readonly source: string;
  readonly args: readonly unknown[];
  readonly transferResult: boolean;
}

/** The end of a job: its value, its exception, or the loss of its thread. */
export type JobOutcome =
  | { readonly value: unknown }
  | { readonly thrown: unknown }
  | { readonly lost: Failure };

/** A job for a thread, as an operation of a ring. */
export interface Job<T> {
  readonly ring: Ring;
  readonly operation: Operation;
  /** Completes "Cannot …: " in place of the operation's own verb. */
  readonly action?: string;
  readonly call: JobCall;
  readonly transfer: readonly Transferable[];
  readonly resultOf: (outcome: JobOutcome) => Result<T>;
}

/** Starts a job. It clones the arguments at once, so the caller may change them
 * while the job waits for a thread. */
export type StartJob = <T>(job: Job<T>) => UringOp<T>;

/**
 * Gives the ring of a context.
 *
 * @throws {TypeError} If `ctx` is no `IoContext` of this thread.
 */
export function ringOf(
  ctx: unknown,
  operation: { readonly verb: string },
): Ring {
  const ring = (ctx as { readonly [RING]?: Ring } | null | undefined)?.[RING];
  if (ring !== undefined) return ring;
  throw new TypeError(
    `Cannot ${operation.verb}: the first argument must be an IoContext`,
  );
}

/**
 * Gives the pool behind a `BufferPool` of a ring.
 *
 * @throws {TypeError} If `pool` is no `BufferPool` of this context, or is
 * closed.
 */
export function poolOf(
  pool: unknown,
  ring: Ring,
  { verb }: { readonly verb: string },
): Pool {
  const found = (pool as { readonly [POOL]?: Pool } | null | undefined)?.[POOL];
  if (found === undefined || found.ring !== ring) {
    throw new TypeError(
      `Cannot ${verb}: expected a BufferPool of the same IoContext`,
    );
  }
  if (!found.closing) return found;
  ring.checkOpen(verb);
  throw new TypeError(`Cannot ${verb}: the BufferPool is closed`);
}

/**
 * Gives the function that starts jobs of a pool.
 *
 * @throws {TypeError} If `pool` is no `BlockingPool`, or is closed.
 */
export function startJobOf(pool: unknown, operation: Operation): StartJob {
  type Door = { readonly [START]?: (operation: Operation) => StartJob };
  const door = pool as Door | null | undefined;
  if (door?.[START] !== undefined) return door[START](operation);
  throw new TypeError(
    `Cannot ${operation.verb}: expected a BlockingPool, got ${typeof pool}`,
  );
}
