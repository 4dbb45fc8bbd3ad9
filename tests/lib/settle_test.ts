import { assertEquals } from "@std/assert";
import { EAGAIN, EBADF, ECANCELED, EINTR, ETIMEDOUT } from "../../lib/errno.ts";
import { READ } from "../../lib/ops/table.ts";
import { Entry, Mark } from "../../lib/ring/entry.ts";
import { resultFor } from "../../lib/ring/settle.ts";

Deno.test("resultFor() names the reason where the library ended the wait", () => {
  const entry = new Entry(0, READ);
  for (const result of [5, 0, -EAGAIN, -EINTR, -ECANCELED, -EBADF]) {
    assertEquals(resultFor(entry, result), result);
  }
  for (
    const [marks, errno] of [
      [Mark.CANCELLED, ECANCELED],
      [Mark.TIMED_OUT, ETIMEDOUT],
      // The user's own wish counts more.
      [Mark.CANCELLED | Mark.TIMED_OUT, ECANCELED],
    ] as const
  ) {
    entry.marks = marks;
    // What was done was done, and what is wrong is wrong.
    for (const result of [5, 0, -EBADF]) {
      assertEquals(resultFor(entry, result), result);
    }
    // The last try of an operation that lost a race gives EAGAIN.
    for (const result of [-EAGAIN, -EINTR, -ECANCELED]) {
      assertEquals(resultFor(entry, result), -errno);
    }
  }
});
