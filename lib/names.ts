/**
 * Looks names up by getaddrinfo(3): on the calling thread, on a thread of a
 * pool, or on a thread of the shim, which has no isolate.
 */
import {
  addressesIn,
  resolve,
  type Resolved,
  resolveJob,
  roomForRecords,
} from "../ffi/resolve.ts";
import { checkText } from "./check.ts";
import { EAI_AGAIN, EAI_FAIL } from "./errno.ts";
import type { JobOutcome, StartJob } from "./internal.ts";
import type { Operation } from "./ring/operation.ts";
import { failure, failureOver, type Result, success } from "./result.ts";
import type { Ring } from "./ring/Ring.ts";
import type { UringOp } from "./UringOp.ts";

/** The most bytes of a name: the limit of the DNS, with a dot at the end. */
const HOST_SIZE_MAX = 254;

/** Checks a host name, and gives its bytes with the NUL of C. */
export function checkHost(host: string): Uint8Array<ArrayBuffer> {
  if (typeof host !== "string" || host === "" || host.includes("\0")) {
    throw new TypeError(
      `Cannot resolve a name: host must be a string without NUL that is not empty, got ${
        JSON.stringify(host)
      }`,
    );
  }
  checkText(host, "host", "resolve a name");
  const name = new TextEncoder().encode(`${host}\0`);
  if (name.length <= HOST_SIZE_MAX + 1) return name;
  throw new RangeError(
    `Cannot resolve a name: it may have ${HOST_SIZE_MAX} bytes, got ${
      name.length - 1
    }`,
  );
}

/** Looks a name up by getaddrinfo(3), which blocks the thread. Gives the struct
 * sockaddr of each address. */
export function lookUp(
  name: Uint8Array<ArrayBuffer>,
  port: number,
): Result<Iterable<Uint8Array>> {
  return resultOf(resolve(name), port, actionFor(name));
}

/** Looks a name up in a thread of a pool. */
export function startLookUp<T>(
  startJob: StartJob,
  ring: Ring,
  operation: Operation,
  name: Uint8Array<ArrayBuffer>,
  port: number,
  decode: (addresses: Iterable<Uint8Array>) => T,
): UringOp<T> {
  const { source, args } = resolveJob(name);
  const action = actionFor(name);
  const resultOf = (outcome: JobOutcome): Result<T> => {
    if ("value" in outcome) {
      return decoded(outcome.value as Resolved, port, action, decode);
    }
    // There is no permission or no thread, or an earlier job has ended the
    // thread.
    const why = "lost" in outcome ? outcome.lost.error : outcome.thrown;
    const reason = (why as Partial<Error>)?.message ?? String(why);
    return failureOver(EAI_FAIL, reason, action);
  };
  const call = { source, args, transferResult: false };
  return startJob({ ring, operation, action, call, transfer: [], resultOf });
}

/** Looks a name up in a thread of the shim. All operations of a ring that look
 * the same name up at a time share one look-up. */
export function joinLookUp<T>(
  ring: Ring,
  operation: Operation,
  host: string,
  name: Uint8Array<ArrayBuffer>,
  port: number,
  decode: (addresses: Iterable<Uint8Array>) => T,
): UringOp<T> {
  const lookUps = lookUpsOf(ring);
  const entry = ring.take(operation);
  const lookUp = lookUps.get(host, name);
  const action = actionFor(name);
  const { op, settle } = ring.external<T>(entry, () => {
    if (lookUp !== undefined) lookUps.leave(lookUp, finish);
  }, action);
  const finish = (resolved: Resolved) =>
    settle(decoded(resolved, port, action, decode));
  // The system has no thread to spare.
  if (lookUp === undefined) settle(failure(EAI_AGAIN, action));
  else lookUp.waiting.add(finish);
  return op;
}

/** A look-up that waits for a thread of the shim, or has one. */
interface LookUp {
  readonly host: string;
  readonly id: number;
  readonly handle: Deno.PointerObject;
  /** Called with the result: one for each operation that waits. */
  readonly waiting: Set<(resolved: Resolved) => void>;
}

const lookUpsOfRings = new WeakMap<Ring, LookUps>();

function lookUpsOf(ring: Ring): LookUps {
  let lookUps = lookUpsOfRings.get(ring);
  if (lookUps === undefined) {
    lookUps = new LookUps(ring);
    lookUpsOfRings.set(ring, lookUps);
  }
  return lookUps;
}

/** The look-ups in flight of a ring. One that has a thread cannot be
 * interrupted. It stays here until it ends, for operations that want the same
 * name. */
class LookUps {
  readonly #ring: Ring;
  readonly #byHost = new Map<string, LookUp>();
  readonly #byId = new Map<number, LookUp>();
  #lastId = 0;
  readonly #head = new Float64Array(2);
  readonly #records = roomForRecords();

  constructor(ring: Ring) {
    this.#ring = ring;
    ring.onAnswer.push(() => this.#takeAnswers());
  }

  /** Gives the look-up of a host, and begins one if there is none; undefined if
   * the system has no thread. */
  get(host: string, name: Uint8Array<ArrayBuffer>): LookUp | undefined {
    const known = this.#byHost.get(host);
    if (known !== undefined) return known;
    const { shim, handle: ring } = this.#ring;
    const id = ++this.#lastId;
    const handle = shim.kio_lookup_begin(ring, id, name);
    if (handle === null) return undefined;
    const begun: LookUp = { host, id, handle, waiting: new Set() };
    this.#byHost.set(host, begun);
    this.#byId.set(id, begun);
    return begun;
  }

  /** Ends the wait of one operation. The last one takes the look-up out of the
   * queue. */
  leave(lookUp: LookUp, finish: (resolved: Resolved) => void): void {
    lookUp.waiting.delete(finish);
    const { shim } = this.#ring;
    if (lookUp.waiting.size > 0 || !this.#byId.has(lookUp.id)) return;
    if (shim.kio_lookup_cancel(lookUp.handle)) this.#forget(lookUp);
  }

  #forget({ host, id }: LookUp): void {
    this.#byHost.delete(host);
    this.#byId.delete(id);
  }

  #takeAnswers(): void {
    const { shim, handle } = this.#ring;
    const records = this.#records;
    while (shim.kio_lookup_take(handle, this.#head, records)) {
      const [id, status] = this.#head as unknown as [number, number];
      const lookUp = this.#byId.get(id)!;
      this.#forget(lookUp);
      for (const finish of lookUp.waiting) finish({ status, records });
    }
  }
}

function decoded<T>(
  resolved: Resolved,
  port: number,
  action: string,
  decode: (addresses: Iterable<Uint8Array>) => T,
): Result<T> {
  const found = resultOf(resolved, port, action);
  return found.ok ? success(decode(found.value)) : found;
}

function resultOf(
  resolved: Resolved,
  port: number,
  action: string,
): Result<Iterable<Uint8Array>> {
  const { status } = resolved;
  if (status > 0) return success(addressesIn(resolved, port));
  // 0 is EAI_SYSTEM without an errno.
  return failure(status === 0 ? EAI_FAIL : -status, action);
}

/** Completes "Cannot …: " for a name. */
function actionFor(name: Uint8Array): string {
  return `resolve ${new TextDecoder().decode(name.subarray(0, -1))}`;
}
