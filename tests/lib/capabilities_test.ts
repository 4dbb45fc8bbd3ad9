import { assertEquals, assertThrows } from "@std/assert";
import { IoContext } from "@kio/kio";
import * as operations from "../../lib/ops/table.ts";
import { kioTest } from "../support.ts";

/** The others are not of the kernel: flags, and what threads do. */
const NAMES = [
  ...new Set(
    Object.values(operations)
      .filter((value): value is operations.Row => "verb" in value)
      .map(({ name }) => name)
      .filter((name) => /^async|^wake$/.test(name)),
  ),
].sort();

kioTest("IoContext.probe() knows every operation", () => {
  assertEquals(Object.keys(IoContext.probe().operations), NAMES);
});

kioTest("IoContext.probe() finds what every kernel has", () => {
  const { operations } = IoContext.probe();
  for (const name of ["asyncRead", "asyncAccept", "asyncSleep"]) {
    assertEquals(operations[name], "ring", name);
  }
});

kioTest("IoContext.probe() knows what is a system call", () => {
  const { operations } = IoContext.probe();
  assertEquals(operations.asyncPipe, "syscall");
  assertEquals(operations.asyncReadlink, "syscall");
});

kioTest("IoContext.capabilities is what IoContext.probe() finds", (ctx) => {
  assertEquals(ctx.capabilities, IoContext.probe());
  assertEquals(ctx.capabilities, ctx.capabilities);
});

kioTest("IoContext.capabilities cannot be changed", (ctx) => {
  const { operations, features } = ctx.capabilities;
  assertThrows(
    () => (operations as Record<string, string>).asyncRead = "none",
    TypeError,
  );
  assertThrows(
    () => (features as Record<string, boolean>).NO_IOWAIT = true,
    TypeError,
  );
});

kioTest("IoContext.capabilities is refused when it is closed", async (ctx) => {
  await ctx[Symbol.asyncDispose]();
  assertThrows(
    () => ctx.capabilities,
    TypeError,
    "Cannot get the capabilities",
  );
});
