/** The fuzzer's actions as data: a list can be replayed and cut down. */
import { randomOf } from "../support.ts";

/** The model knows what each may do. "sample" is any row of lib/ops/table.ts by
 * its sample: of that only the errors are known, and what it makes. */
export const KINDS = [
  "sample",
  "sample",
  "recv",
  "recv",
  "recvExact",
  "recvmsg",
  "leases",
  "leases",
  "send",
  "send",
  "sendExact",
  "sendmsg",
  "sendfile",
  "poll",
  "shutdown",
  "closeSocket",
  "accept",
  "acceptFrom",
  "connect",
  "connect",
  "closeListener",
  "sleep",
  "read",
  "readExact",
  "readv",
  "readFixed",
  "write",
  "writeExact",
  "writev",
  "writeFixed",
  "durableWrite",
  "chain",
  "chain",
  "fsync",
  "fstat",
  "ftruncate",
  "fallocate",
  "replaceFile",
  "closeFile",
  "closeFile",
  "open",
  "openat2",
  "rename",
  "unlink",
  "stat",
  "mkdir",
  "mkdirs",
  "rmdir",
  "hardLink",
  "symlink",
  "readlink",
  "getxattr",
  "setxattr",
  "advise",
  "tee",
  "pipeRead",
  "pipeRead",
  "pipeWrite",
  "pipeSplice",
  "pipe",
  "message",
  "passFd",
  "wake",
  "turn",
  "turn",
  "turn",
  "wait",
  "cancelAll",
  "closeContext",
  "collect",
] as const;
export type Kind = typeof KINDS[number];

/** The limits that an operation may have. */
export const BOUNDS = [
  "none",
  "none",
  "none",
  "timeout",
  "abortNow",
  "abortLater",
  "cancelLater",
  "dropped",
] as const;
export type Bound = typeof BOUNDS[number];

/** The numbers choose among what there is at that moment, modulo its count. */
export interface Action {
  kind: Kind;
  bound: Bound;
  ctx: number;
  actor: number;
  size: number;
  ms: number;
}

/** Actions that end much are rarer than the others. */
const RARE: ReadonlySet<Kind> = new Set([
  "closeSocket",
  "closeListener",
  "shutdown",
  "closeContext",
  "cancelAll",
  "collect",
  "replaceFile",
]);

export function actionsOf(seed: number, count: number): Action[] {
  const random = randomOf(seed);
  return Array.from({ length: count }, () => {
    let kind = KINDS[random(KINDS.length)]!;
    if (RARE.has(kind) && random(8) !== 0) kind = "turn";
    return {
      kind,
      bound: BOUNDS[random(BOUNDS.length)]!,
      ctx: random(1000),
      actor: random(1000),
      // Small ones and large ones, which do not fit a socket's buffer.
      size: 1 + random(random(8) === 0 ? 300_000 : 3000),
      ms: random(6),
    };
  });
}
