/** asyncSendExact() of several buffers where the kernel takes less than it is
 * given: it goes on within the buffer that was cut. */
import "./fault_library.ts";
import { assert, assertEquals } from "@std/assert";
import { asyncRecvExact, asyncSendExact } from "@kio/kio";
import { FaultPlan } from "@kio/kio/testing";
import { assertCode, kioTest, pattern, unixPair, value } from "../support.ts";

const PARTS = [1, 0, 5, 700, 3, 0, 64, 1];
const data = pattern(PARTS.reduce((sum, length) => sum + length, 0), 3);

/** The data in parts, each in memory of its own. */
function parts(): Uint8Array<ArrayBuffer>[] {
  let at = 0;
  return PARTS.map((length) => data.slice(at, at += length));
}

for (const bytes of [1, 2, 5, 6, 7, 100, 705, 706, 773]) {
  kioTest(
    `asyncSendExact() of buffers, ${bytes} bytes at a time`,
    async (ctx) => {
      using pair = unixPair();
      using plan = FaultPlan.install({
        rules: [{ operation: "sendmsg", fault: "short", bytes }],
      });
      const copy = new Uint8Array(data.length);
      const received = asyncRecvExact(ctx, pair.right, copy);
      const sent = await asyncSendExact(ctx, pair.left, parts());
      assertEquals([value(sent), value(await received)], [774, 774]);
      assertEquals(copy, data);
      assert(plan.injectedCount > 0);
    },
  );
}

kioTest(
  "asyncSendExact() of buffers tells how many bytes went before an error",
  async (ctx) => {
    using pair = unixPair();
    using _ = FaultPlan.install({
      rules: [
        { operation: "sendmsg", nth: 1, fault: "short", bytes: 10 },
        { operation: "sendmsg", nth: 2, fault: "error", code: "ENOBUFS" },
      ],
    });
    const sent = await asyncSendExact(ctx, pair.left, parts());
    assertCode(sent, "ENOBUFS");
    assertEquals(sent.ok || sent.error.bytesTransferred, 10);
  },
);
