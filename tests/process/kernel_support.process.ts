/** docs/kernel-support.md, against the rows that it is made from. */
import { assertEquals } from "@std/assert";
import { kernelSupport } from "../../tools/kernel_support.ts";
import { ROOT } from "./support.ts";

Deno.test("docs/kernel-support.md is what tools/kernel_support.ts makes", () => {
  const file = Deno.readTextFileSync(`${ROOT}docs/kernel-support.md`);
  assertEquals(file, kernelSupport());
});
