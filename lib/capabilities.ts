import { loadShim } from "../ffi/load.ts";
import { ROWS } from "./ops/rows.ts";
import { type Row, SEND_ZC, SENDMSG_ZC } from "./ops/table.ts";
import { openingError } from "./ring/opening.ts";

/**
 * How an operation is done here: `"ring"` by the kernel's io_uring,
 * `"syscall"` by a system call that the calling thread makes, `"none"` not at
 * all. `"off"`: the option `allow` leaves it out. A system call is no part of a
 * chain. `asyncFtruncate()` is one before Linux 6.9, `asyncBind()` and
 * `asyncListen()` before 6.11, `asyncSetsockopt()` and `asyncGetsockopt()` before
 * 6.7; in `link()` these fail with EOPNOTSUPP. So does an `asyncGetsockopt()` of
 * another level than SOL_SOCKET. `asyncPipe()` and
 * `asyncReadlink()` always are: the kernel has no such operations in its ring.
 */
export type Support = "ring" | "syscall" | "none" | "off";

/**
 * A feature of the kernel that makes operations cheaper. Without it they do the
 * same. `SINGLE_ISSUER` and `DEFER_TASKRUN` (Linux 6.1): completions are
 * processed when the thread asks for them. `COOP_TASKRUN` (5.19) is what is
 * used without these. `SUBMIT_ALL` (5.18): a wrong operation does not end a
 * batch. `NO_IOWAIT` (6.15): waiting does not count as load of the processor.
 * `SYNC_MSG_RING` (6.13): threads without a ring can wake one. `SEND_ZC` (6.1):
 * `asyncSendZc()` and `asyncSendmsgZc()` do not copy. `RECV_MULTISHOT` (6.0): a
 * receive goes on by itself, and a trial has shown that it does not forget the
 * end of a connection. `READ_MULTISHOT` (6.12): so does a read.
 */
export type Feature =
  | "SINGLE_ISSUER"
  | "DEFER_TASKRUN"
  | "COOP_TASKRUN"
  | "SUBMIT_ALL"
  | "NO_IOWAIT"
  | "SYNC_MSG_RING"
  | "SEND_ZC"
  | "RECV_MULTISHOT"
  | "READ_MULTISHOT";

/** The operations and features of this kernel; see `IoContext.probe()`. */
export interface Capabilities {
  /** Each operation by the name of its function: `asyncRead` … */
  readonly operations: Readonly<Record<string, Support>>;
  /** Which of the features are in use. */
  readonly features: Readonly<Record<Feature, boolean>>;
}

const OPCODES_MAX = 256;

/** IORING_SETUP_* and IORING_FEAT_* of io_uring_setup(2). */
const SETUP_SUBMIT_ALL = 1 << 7;
const SETUP_COOP_TASKRUN = 1 << 8;
const SETUP_SINGLE_ISSUER = 1 << 12;
const SETUP_DEFER_TASKRUN = 1 << 13;
const FEAT_NO_IOWAIT = 1 << 17;

/** Asks the kernel, by the ring of a context or (null) one made for it. `allowed`
 * has 1 in the places of the opcodes that the context may use; null for all. */
export function probe(
  handle: Deno.PointerObject | null,
  allowed: Uint8Array | null,
): Capabilities {
  const opcodes = new Uint8Array(OPCODES_MAX);
  const info = new Uint32Array(3);
  const status = loadShim().kio_probe(handle, opcodes, info);
  if (status < 0) throw openingError(-status);
  const [setup = 0, features = 0, hasSyncMessages = 0] = info;
  return Object.freeze({
    operations: Object.freeze(operationsOf(opcodes, allowed)),
    features: Object.freeze({
      SINGLE_ISSUER: (setup & SETUP_SINGLE_ISSUER) !== 0,
      DEFER_TASKRUN: (setup & SETUP_DEFER_TASKRUN) !== 0,
      COOP_TASKRUN: (setup & SETUP_COOP_TASKRUN) !== 0,
      SUBMIT_ALL: (setup & SETUP_SUBMIT_ALL) !== 0,
      NO_IOWAIT: (features & FEAT_NO_IOWAIT) !== 0,
      SYNC_MSG_RING: hasSyncMessages !== 0,
      SEND_ZC: [SEND_ZC, SENDMSG_ZC].every(({ opcode }) => opcodes[opcode]),
      RECV_MULTISHOT: loadShim().kio_receives_many(),
      READ_MULTISHOT: loadShim().kio_reads_many(),
    }),
  });
}

/** Tells how each operation is done where the kernel has these opcodes: not 0 in
 * their places. */
export function operationsOf(
  opcodes: Uint8Array,
  allowed: Uint8Array | null = null,
): Record<string, Support> {
  const operations: Record<string, Support> = {};
  for (const row of ROWS) {
    // One of several opcodes that is missing counts.
    const known = operations[row.name];
    if (known === "none" || known === "off") continue;
    const isAllowed = allowed === null || row.fault === undefined ||
      allowed[row.opcode] === 1;
    operations[row.name] = isAllowed ? supportOf(row, opcodes) : "off";
  }
  return operations;
}

function supportOf(
  { opcode, orElse = opcode, fallback }: Row,
  opcodes: Uint8Array,
): Support {
  if (opcode >= 0 && (opcodes[opcode] || opcodes[orElse])) return "ring";
  return fallback === undefined ? "none" : "syscall";
}
