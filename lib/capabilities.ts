import { loadShim } from "../ffi/load.ts";
import * as operations from "./ops/table.ts";
import type { Operation } from "./ops/table.ts";
import { openingError } from "./ring/ring.ts";

/**
 * How an operation is done here: `"ring"` by the kernel's io_uring,
 * `"syscall"` by a system call that the calling thread makes, `"none"` not at
 * all. A system call is no part of a chain. `asyncFtruncate()` is one before
 * Linux 6.9, and fails in `link()` with EOPNOTSUPP. `asyncPipe()` always is, as
 * pipe2(2) never waits.
 */
export type Support = "ring" | "syscall" | "none";

/**
 * What makes operations cheaper where the kernel has it; without it they do
 * the same. `SINGLE_ISSUER` and `DEFER_TASKRUN` (Linux 6.1): completions are
 * processed when the thread asks for them. `COOP_TASKRUN` (5.19) is what is
 * used without these. `SUBMIT_ALL` (5.18): a wrong operation does not end a
 * batch. `NO_IOWAIT` (6.15): waiting does not count as load of the processor.
 * `SYNC_MSG_RING` (6.13): threads without a ring can wake one.
 */
export type Feature =
  | "SINGLE_ISSUER"
  | "DEFER_TASKRUN"
  | "COOP_TASKRUN"
  | "SUBMIT_ALL"
  | "NO_IOWAIT"
  | "SYNC_MSG_RING";

/** What this kernel has; see `IoContext.probe()`. */
export interface Capabilities {
  /** Each operation by the name of its function: `asyncRead` … */
  readonly operations: Readonly<Record<string, Support>>;
  /** Which of the features are in use. */
  readonly features: Readonly<Record<Feature, boolean>>;
}

/** IORING_OP_* of what each operation needs. */
const OPCODES = new Map<Operation, number>([
  [operations.READV, 1],
  [operations.WRITEV, 2],
  [operations.FSYNC, 3],
  [operations.FDATASYNC, 3],
  [operations.READ_FIXED, 22],
  [operations.WRITE_FIXED, 23],
  [operations.POLL, 6],
  [operations.SENDMSG, 9],
  [operations.RECVMSG, 10],
  [operations.SLEEP, 11],
  [operations.ACCEPT, 13],
  [operations.ACCEPT_FROM, 13],
  [operations.CONNECT, 16],
  [operations.FALLOCATE, 17],
  [operations.OPEN, 18],
  [operations.CLOSE, 19],
  [operations.FSTAT, 21],
  [operations.READ, 22],
  [operations.READ_EXACT, 22],
  [operations.WRITE, 23],
  [operations.WRITE_EXACT, 23],
  [operations.SEND, 26],
  [operations.SEND_EXACT, 26],
  [operations.RECV, 27],
  [operations.RECV_EXACT, 27],
  [operations.OPENAT2, 28],
  [operations.SPLICE, 30],
  [operations.SENDFILE, 30],
  [operations.SHUTDOWN, 34],
  [operations.RENAME, 35],
  [operations.UNLINK, 36],
  [operations.MSG_RING, 40],
  [operations.WAKE, 40],
  [operations.FTRUNCATE, 55],
  [operations.PIPE, 62],
]);

const OPCODES_MAX = 256;

/** IORING_SETUP_* and IORING_FEAT_* of io_uring_setup(2). */
const SETUP_SUBMIT_ALL = 1 << 7;
const SETUP_COOP_TASKRUN = 1 << 8;
const SETUP_SINGLE_ISSUER = 1 << 12;
const SETUP_DEFER_TASKRUN = 1 << 13;
const FEAT_NO_IOWAIT = 1 << 17;

/** Asks the kernel, by the ring of a context or (null) one made for it. */
export function probe(handle: Deno.PointerObject | null): Capabilities {
  const opcodes = new Uint8Array(OPCODES_MAX);
  const info = new Uint32Array(3);
  const status = loadShim().kio_probe(handle, opcodes, info);
  if (status < 0) throw openingError(-status);
  const [setup = 0, features = 0, hasSyncMessages = 0] = info;
  return Object.freeze({
    operations: Object.freeze(Object.fromEntries(
      Array.from(OPCODES, ([operation, opcode]) => [
        operation.name,
        supportOf(operation, opcodes[opcode] !== 0),
      ]).sort(),
    )),
    features: Object.freeze({
      SINGLE_ISSUER: (setup & SETUP_SINGLE_ISSUER) !== 0,
      DEFER_TASKRUN: (setup & SETUP_DEFER_TASKRUN) !== 0,
      COOP_TASKRUN: (setup & SETUP_COOP_TASKRUN) !== 0,
      SUBMIT_ALL: (setup & SETUP_SUBMIT_ALL) !== 0,
      NO_IOWAIT: (features & FEAT_NO_IOWAIT) !== 0,
      SYNC_MSG_RING: hasSyncMessages !== 0,
    }),
  });
}

function supportOf(operation: Operation, isInRing: boolean): Support {
  if (operation === operations.PIPE) return "syscall";
  if (isInRing) return "ring";
  return operation === operations.FTRUNCATE ? "syscall" : "none";
}
