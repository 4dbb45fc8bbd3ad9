import { DirectFd, type Result } from "@kio/kio";
import { loadShim } from "../../../ffi/load.ts";
import type { Row } from "../../../lib/ops/table.ts";

/** Closes the fds that a sample has made, as they are nobody's. */
export function giveBack(row: Row, result: Result<unknown>): void {
  if (!result.ok) return;
  // Its context may be closed by now.
  if (result.value instanceof DirectFd) return void result.value.close();
  for (const fd of fdsIn(row, result.value)) loadShim().kio_fd_close(fd);
}

function fdsIn({ makesFd }: Row, made: unknown): number[] {
  if (typeof made === "number") return makesFd ? [made] : [];
  if (typeof made !== "object" || made === null) return [];
  return Object.entries(made)
    .filter(([name]) => /^fd$|Fd$/.test(name))
    .map(([, fd]) => fd);
}
