/** The model fuzzer in its short form; `deno task fuzz` is the long one. */
import { assertEquals, assertMatch } from "@std/assert";
import { run } from "./support.ts";

for (const faults of [[], ["--faults"]]) {
  Deno.test(`fuzz ${faults} finds nothing`, async () => {
    const flags = ["run", "--allow-ffi", "--v8-flags=--expose-gc"];
    const { code, out, err } = await run(Deno.execPath(), [
      ...flags,
      "tests/fuzz/fuzz.ts",
      "--ops=5000",
      ...faults,
    ]);
    assertEquals([code, err], [0, ""], out);
    assertMatch(out, /^\d+ operations, .*: nothing wrong\n$/);
  });
}
