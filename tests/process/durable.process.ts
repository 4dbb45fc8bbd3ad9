/** Durable writes on a bad day: a sync that fails, short writes. */
import "./fault_library.ts";
import { assert, assertEquals } from "@std/assert";
import { asyncWriteExact } from "@kio/kio";
import { FaultPlan, type FaultRule } from "@kio/kio/testing";
import {
  assertCode,
  bytes,
  contentOf,
  kioTest,
  pattern,
  tempFile,
  value,
} from "../support.ts";

const durable = true;

/** A rule that fails each sync. */
function failing(code: string): FaultRule {
  return { operation: "fsync", fault: "error", code };
}

for (const code of ["EIO", "ENOSPC", "EINTR", "EAGAIN", "ERESTARTSYS"]) {
  kioTest(
    `asyncWriteExact() does not repeat a sync that fails with ${code}`,
    async (ctx) => {
      await using file = await tempFile(ctx);
      const data = pattern(5000);
      for (const given of [data, [data.subarray(0, 9), data.subarray(9)]]) {
        using plan = FaultPlan.install({ rules: [failing(code)] });
        const result = await asyncWriteExact(ctx, file, given, 0, { durable });
        assertCode(result, code === "ERESTARTSYS" ? "EINTR" : code);
        assertEquals(result.ok || result.error.bytesTransferred, 5000);
        assertEquals(plan.injectedCount, 1);
      }
      assertEquals(await contentOf(ctx, file), data);
    },
  );
}

kioTest(
  "asyncWriteExact() syncs once, after the last of short writes",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const data = pattern(50_000);
    const array = Array.from(
      { length: 500 },
      (_, i) => data.subarray(100 * i, 100 * i + 100),
    );
    for (let seed = 1; seed <= 20; seed++) {
      const operation = seed % 2 === 0 ? "write" : "writev";
      using plan = FaultPlan.install({
        seed,
        rules: [
          { operation, fault: "short" },
          { operation: "fsync", fault: "delay", ms: 1 },
        ],
      });
      const given = operation === "write" ? data : array;
      const written = asyncWriteExact(ctx, file, given, 0, { durable });
      assertEquals(value(await written), data.length);
      const kinds = plan.injected.map(({ operation }) => operation);
      assert(kinds.length > 2, "more than one write");
      assertEquals(kinds.indexOf("fsync"), kinds.length - 1);
      assertEquals(await contentOf(ctx, file), data);
    }
  },
);

kioTest("a write after a part that fails tells of the part", async (ctx) => {
  await using file = await tempFile(ctx);
  using _ = FaultPlan.install({
    rules: [
      { operation: "write", fault: "short", bytes: 100, times: 1 },
      { operation: "write", fault: "error", code: "ENOSPC", nth: 2 },
    ],
  });
  const result = await asyncWriteExact(ctx, file, pattern(500), 0, { durable });
  assertCode(result, "ENOSPC");
  if (result.ok) return;
  assertEquals(
    result.error.message,
    "No space left on device, after 100 bytes; the disk may have any part of them",
  );
});

kioTest(
  "asyncWriteExact() given up before its sync is no success",
  async (ctx) => {
    await using file = await tempFile(ctx);
    for (const how of ["timeout", "cancel"]) {
      using _ = FaultPlan.install({
        rules: [{ operation: "write", fault: "delay", ms: 30 }],
      });
      const writing = asyncWriteExact(ctx, file, bytes("abc"), 0, { durable });
      if (how === "timeout") writing.withTimeout(5);
      else setTimeout(() => writing.cancel(), 5);
      const result = await writing;
      assertCode(result, how === "timeout" ? "ETIMEDOUT" : "ECANCELED");
      assertEquals(result.ok || result.error.bytesTransferred, 3);
    }
  },
);
