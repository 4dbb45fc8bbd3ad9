/** Each operation on a bad day, by its sample: it gives the error that the kernel
 * gives, once, or tries again where it may; nothing is left behind. */
import "./fault_library.ts";
import { assert, assertEquals } from "@std/assert";
import { FaultPlan, type FaultRule } from "@kio/kio/testing";
import { giveBack } from "../lib/ops/give_back.ts";
import { Place } from "../lib/ops/place.ts";
import {
  type Case,
  CASES,
  isThere,
  startGood,
  startWaiting,
} from "../lib/ops/samples.ts";
import { kioTest } from "../support.ts";

const CODES = [
  "EINTR",
  "EAGAIN",
  "EBADF",
  "ENOMEM",
  "EMFILE",
  "EINVAL",
  "EIO",
  "ENOBUFS",
  "EOPNOTSUPP",
  "ECONNRESET",
  "ERESTARTSYS",
];

/** Tells if an operation that met an error may try again. */
function mayGoOn({ key, row, sample }: Case, code: string): boolean {
  // It waits for a buffer.
  if (/^(READ|RECV|RECVMSG)_MULTISHOT$/.test(key) && code === "ENOBUFS") {
    return true;
  }
  // A stream tries single shots.
  if (sample.isStream && code === "EINVAL") return true;
  // A zero-copy send becomes a plain one.
  if (row.orElse && /^(EINVAL|EOPNOTSUPP|ENOMEM)$/.test(code)) return true;
  const isTransfer = sample.isLink === false;
  if (code === "EAGAIN") return isTransfer || sample.waits !== undefined;
  return isTransfer && (code === "EINTR" || code === "ERESTARTSYS") &&
    row.fault !== undefined;
}

const faulty = CASES.filter(({ row }) => row.fault !== undefined);

for (const it of faulty) {
  const { title, row, sample } = it;
  const operation = row.fault as FaultRule["operation"];

  kioTest(`${title} gives the kernel's error`, async (outer) => {
    for (const code of CODES) {
      await using place = await Place.open(outer);
      await using ctx = await place.context(sample);
      if (ctx.capabilities.operations[row.name] !== "ring") return;
      using plan = FaultPlan.install({
        rules: [{ operation, fault: "error", code, times: 1 }],
      });
      const result = await startGood(sample, place, ctx);
      assertEquals(plan.injected.map(({ operation }) => operation), [
        operation,
      ]);
      giveBack(row, result);
      if (result.ok) assert(mayGoOn(it, code), `${code} is lost`);
      else {
        const expected = code === "ERESTARTSYS" ? "EINTR" : code;
        assertEquals(result.error.code, expected);
      }
      assertEquals(ctx.pending, 0);
    }
  });

  kioTest(`${title} is delayed, reordered, and still ended`, async (outer) => {
    for (const fault of ["delay", "reorder", "batch"] as const) {
      await using place = await Place.open(outer);
      await using ctx = await place.context(sample);
      if (!isThere(ctx, row)) return;
      using _ = FaultPlan.install({
        rules: [{ operation, fault, ms: 2 }],
      });
      const result = await startGood(sample, place, ctx);
      assert(result.ok, `${fault}: ${result.ok || result.error.code}`);
      giveBack(row, result);
      if (sample.waits === undefined || it.key === "CONNECT") continue;
      const waiting = startWaiting(sample, place, ctx).withTimeout(1);
      const late = await waiting;
      assert(!late.ok && late.error.code === "ETIMEDOUT");
    }
  });
}
