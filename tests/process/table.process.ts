/** The rows of lib/ops/table.ts, against those of the shim and the documents. */
import "./fault_library.ts";
import { assertEquals } from "@std/assert";
import { opcodeName } from "../../ffi/faults.ts";
import { ROWS } from "../../lib/ops/rows.ts";
import { kernelSupport } from "../../tools/kernel_support.ts";
import { ROOT } from "./support.ts";

function camelCase(name: string): string {
  return name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
}

Deno.test("opcodes.c has the opcodes of lib/ops/table.ts, by the same names", () => {
  const differ = ROWS.filter(({ opcode, fault }) => {
    if (opcode < 0) return false;
    const name = opcodeName(opcode);
    return name === undefined ||
      (fault !== undefined && camelCase(name) !== fault);
  });
  assertEquals(differ, []);
});

Deno.test("docs/kernel-support.md is what tools/kernel_support.ts makes", () => {
  const file = Deno.readTextFileSync(`${ROOT}docs/kernel-support.md`);
  assertEquals(file, kernelSupport());
});
