/** Operations on an old and a new path. */
import {
  checkDir,
  checkFlags,
  checkPath,
  type Fd,
  type Path,
} from "../check.ts";
import { shownPath } from "../path_text.ts";
import type { Ring } from "../ring/Ring.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import type { Row } from "./table.ts";

interface PairOptions {
  dir?: Fd | undefined;
  toDir?: Fd | undefined;
  flags?: number | undefined;
}

/** Starts an operation on two paths; both start from `dir` without `toDir`. */
export function startPair(
  ring: Ring,
  row: Row,
  from: Path,
  to: Path,
  options: PairOptions,
): UringOp<void> {
  const { dir, toDir = dir, flags = 0 } = options;
  const sqe = new Sqe(row.opcode);
  sqe.fd = checkDir(dir, row);
  sqe.addr = checkPath(from, row, "from");
  const other = checkDir(toDir, row);
  sqe.len = other >>> 0;
  sqe.addr2 = checkPath(to, row, "to");
  sqe.opFlags = checkFlags(flags, row);
  return start(ring, row, sqe, {
    otherFd: other,
    action: `${row.verb} ${shownPath(from)} to ${shownPath(to)}`,
  });
}
