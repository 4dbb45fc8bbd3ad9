/** Memory for buffers; see the methods of `IoContext`. */
import { mapMemory } from "../ffi/memory.ts";
import {
  type BufferLike,
  checkBoolean,
  checkInteger,
  checkMemory,
  checkOptions,
} from "./check.ts";
import { ENOMEM } from "./errno.ts";
import { errorOf, exceptionOf } from "./result.ts";
import { FixedMemory, PLACES_MAX } from "./ring/fixed_memory.ts";
import type { Ring } from "./ring/Ring.ts";
import { workerThreads } from "./worker_threads.ts";

const MEMORY_MAX = 2 ** 32;
/** The most that the kernel takes as one piece. */
const REGISTERED_MAX = 2 ** 30;

/** Options of `IoContext.allocate()`. */
export interface AllocateOptions {
  /** The kernel keeps the memory pinned for the context.
   * @default {false} */
  registered?: boolean | undefined;
}

export function allocate(
  ring: Ring,
  size: number,
  options: AllocateOptions,
): Uint8Array<ArrayBuffer> {
  const verb = "allocate";
  ring.checkOpen(verb);
  checkOptions(options, verb);
  const { registered = false } = options;
  checkBoolean(registered, "registered", verb);
  checkInteger(size, registered ? REGISTERED_MAX : MEMORY_MAX, "size", verb, 1);
  const memory = mapMemory(size);
  if (memory === undefined) {
    throw exceptionOf(
      errorOf(ENOMEM),
      `${verb} ${size} bytes`,
      undefined,
      ": there is no memory or no address space left (ulimit -v); allocate less, or drop what is not needed any more",
    );
  }
  workerThreads().markAsUntransferable(memory);
  if (registered && ring.features.uses("registeredBuffers")) {
    register(ring, memory);
  }
  return new Uint8Array(memory);
}

function register(ring: Ring, memory: ArrayBuffer): void {
  const fixed = ring.fixedMemory ??= new FixedMemory(ring);
  if (fixed.isFull) {
    throw new RangeError(
      `Cannot allocate: ${PLACES_MAX} pieces of memory are registered, the limit of an IoContext; allocate much at once and cut it up, or unregister some`,
    );
  }
  const status = fixed.add(memory);
  if (status === 0) return;
  const bytes = ring.shim.kio_lock_limit();
  const hint = status !== -ENOMEM
    ? ""
    : bytes < 0
    ? ": there is no memory left; allocate less"
    : `: the limit of locked memory (ulimit -l) is ${bytes} bytes for all that this user has locked; raise it, or unregister some memory`;
  throw exceptionOf(
    errorOf(-status),
    `allocate ${memory.byteLength} registered bytes`,
    undefined,
    hint,
  );
}

export function unregisterMemory(
  ring: Ring,
  memory: BufferLike,
): Promise<void> {
  const verb = "unregister memory";
  ring.checkOpen(verb);
  checkMemory(memory, { verb });
  const buffer = ArrayBuffer.isView(memory) ? memory.buffer : memory;
  return ring.fixedMemory?.remove(buffer) ?? Promise.resolve();
}
