import { assertEquals, assertThrows } from "@std/assert";
import * as kio from "@kio/kio";
import { IoContext } from "@kio/kio";
import { operationsOf } from "../../lib/capabilities.ts";
import { ROWS } from "../../lib/ops/rows.ts";
import { kioTest } from "../support.ts";

kioTest("IoContext.probe() knows every operation", () => {
  const names = [...new Set(ROWS.map(({ name }) => name))];
  assertEquals(Object.keys(IoContext.probe().operations), names);
});

kioTest("each export that starts an operation has a row", () => {
  const names = ROWS.map(({ name }) => name);
  const missing = Object.keys(kio).filter((name) =>
    /^async/.test(name) && !names.includes(name)
  );
  assertEquals(missing, []);
});

Deno.test("operationsOf() needs all opcodes of an operation", () => {
  const opcodes = new Uint8Array(256).fill(1);
  assertEquals(operationsOf(opcodes).asyncOpen, "ring");
  for (const { name, opcode, orElse, fallback } of ROWS) {
    if (opcode < 0) continue;
    opcodes[opcode] = 0;
    const expected = orElse !== undefined
      ? "ring"
      : fallback === undefined
      ? "none"
      : "syscall";
    assertEquals(operationsOf(opcodes)[name], expected, `${opcode}`);
    opcodes[opcode] = 1;
  }
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
  const { operations, features, flags } = ctx.capabilities;
  assertThrows(
    () => (operations as Record<string, string>).asyncRead = "none",
    TypeError,
  );
  assertThrows(
    () => (features as Record<string, unknown>).sendZc = true,
    TypeError,
  );
  assertThrows(
    () => (features.sendZc as { reason: string }).reason = "none",
    TypeError,
  );
  assertThrows(
    () => (flags as Record<string, boolean>).NO_IOWAIT = true,
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
