/** The model fuzzer in its short form, and that it would find something;
 * `deno task fuzz` is the long one. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { mutate, workshop } from "../../tools/mutants.ts";
import { ROOT, run } from "./support.ts";

function fuzz(cwd: string, args: string[]) {
  const flags = ["run", "--allow-ffi", "--no-check", "--v8-flags=--expose-gc"];
  const command = [...flags, "tests/fuzz/fuzz.ts", "--ops=5000", ...args];
  return run(Deno.execPath(), command, { cwd });
}

for (const faults of [[], ["--faults"]]) {
  Deno.test(`fuzz ${faults} finds nothing`, async () => {
    const { code, out, err } = await fuzz(ROOT, faults);
    assertEquals(code, 0, out + err);
    assertMatch(err, /^(seed \d+, [\d,]+ of 5,000 operations.*\n)+$/);
    assertMatch(out, /^\d+ operations, .*: nothing wrong\n$/m);
  });
}

Deno.test("fuzz finds a fault that is planted, and cuts it down", async () => {
  using copied = workshop();
  // Writes to registered files go to their beginning.
  mutate(copied.folder, {
    file: "lib/ops/read_write.ts",
    from: "sqeFor(ring, row, place, buffer, length, at, options);",
    to:
      "sqeFor(ring, row, place, buffer, length, row === WRITE_FIXED ? 0 : at, options);",
  });
  const { code, out } = await fuzz(copied.folder, []);
  assertEquals(code, 1, out);
  const [, count] = /^cut down to (\d+) actions:$/m.exec(out) ?? [];
  // Of 275. Mostly 2 to 6 are left, because a slow action can stand for a turn.
  assert(Number(count) <= 20, out);
  assertMatch(out, /"kind":"writeFixed"/);
  assertMatch(out, /^AssertionError: bytes of a file$/m);
  assertMatch(out, /^again: deno task fuzz --seed \d+ --ops 1$/m);
});
