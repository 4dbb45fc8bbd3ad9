/**
 * A new operation is a row on each side, a function and its sample: in a copy of
 * the checkout this adds one, which then is in all that is made from the rows.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { workshop } from "../../tools/mutants.ts";
import { sanitizedEnv } from "../../tools/asan.ts";
import { ASAN_LIBRARY } from "../../ffi/compile.ts";
import { type Ended, run } from "./support.ts";

/** Its opcode has a row in opcodes.c already, of a name that it takes over. */
const C_ROW = `	[IORING_OP_NOP] = { .name = "nop" },\n`;
const NEW_C_ROW = `	[IORING_OP_NOP] = { .name = "nothing" },\n`;

const ROW = `
export const DO_NOTHING: Row<"nothing"> = row({
  name: "asyncNothing",
  verb: "do nothing",
  yields: NOTHING,
  opcode: 0,
  since: "5.1",
  fault: "nothing",
});
`;

const FUNCTION = `
/** Does nothing by IORING_OP_NOP. */
export function asyncNothing(ctx: IoContext): UringOp<void> {
  const ring = ringOf(ctx, DO_NOTHING);
  return start(ring, DO_NOTHING, new Sqe(DO_NOTHING.opcode));
}
`;

const SAMPLE = `  DO_NOTHING: { start: kio.asyncNothing, works: () => [] },\n`;

const CALLED = `
import { asyncNothing, IoContext } from "@kio/kio";
using ctx = new IoContext();
const result = await asyncNothing(ctx);
const code = result.ok ? "done" : result.error.code;
console.log(ctx.capabilities.operations.asyncNothing, code);
`;

const FAILED = `
import { asyncNothing, IoContext } from "@kio/kio";
import { FaultPlan } from "@kio/kio/testing";
using plan = FaultPlan.install({
  rules: [{ operation: "nothing", fault: "error", code: "EIO" }],
});
using ctx = new IoContext();
const result = await asyncNothing(ctx);
console.log(!result.ok && result.error.code, plan.injected[0]?.operation);
`;

const LISTED = `
import { kernelSupport } from "./tools/kernel_support.ts";
console.log(kernelSupport().match(/^.*asyncNothing.*$/m)?.[0]);
`;

/** A copy of the checkout, and what is done in it. */
class Copy {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Puts a text before one that is once in a file, or in its place. */
  edit(file: string, mark: string, text: string): void {
    const path = `${this.folder}/${file}`;
    const parts = Deno.readTextFileSync(path).split(mark);
    assertEquals(parts.length, 2, `not once in ${file}: ${mark}`);
    Deno.writeTextFileSync(path, parts.join(text));
  }

  async build(...flags: string[]): Promise<void> {
    const { code, err } = await this.deno("ffi/build.ts", flags);
    assertEquals([code, err], [0, ""]);
  }

  /** Runs a module of the copy, without checking its types. */
  deno(
    module: string,
    args: string[] = [],
    env: Record<string, string> = {},
  ): Promise<Ended> {
    return run(Deno.execPath(), ["run", "-A", "--no-check", module, ...args], {
      cwd: this.folder,
      env,
    });
  }

  /** Runs a script in the copy. Returns its output. */
  async script(text: string, env: Record<string, string> = {}) {
    const name = `${this.folder}/${crypto.randomUUID()}.ts`;
    Deno.writeTextFileSync(name, text);
    const { out, err } = await this.deno(name, [], env);
    return out + err;
  }
}

Deno.test("a new operation is a row on each side, a function and its sample", async () => {
  using shop = workshop();
  const copy = new Copy(shop.folder);
  const last = "export const SLEEP: Row<";
  copy.edit("lib/ops/table.ts", last, ROW + last);
  const samples = "  SLEEP: {\n";
  copy.edit("tests/lib/ops/samples.ts", samples, SAMPLE + samples);
  const imports = "import { POLL, SLEEP }";
  copy.edit("lib/ops/wait.ts", imports, "import { DO_NOTHING, POLL, SLEEP }");
  const path = `${copy.folder}/lib/ops/wait.ts`;
  Deno.writeTextFileSync(path, FUNCTION, { append: true });

  // Without its row in opcodes.c.
  copy.edit("ffi/shim/opcodes.c", C_ROW, "");
  await copy.build();
  assertEquals(await copy.script(CALLED), "ring ENOSYS\n");

  const before = "	/* files, by fd */\n";
  copy.edit("ffi/shim/opcodes.c", before, NEW_C_ROW + before);
  await Promise.all([
    copy.build(),
    copy.build("--faults"),
    copy.build("--asan"),
  ]);
  assertEquals(await copy.script(CALLED), "ring done\n");

  // What comes from the rows.
  assertMatch(
    (await copy.deno("doctor.ts", ["--all"])).out,
    /^asyncNothing +ring +since/m,
  );
  assertMatch(await copy.script(LISTED), /0 +\| 5\.1 .*"nothing"/);
  assertEquals(await copy.script(FAILED), "EIO nothing\n");

  // The library that watches over memory has nothing to say against it.
  const env = sanitizedEnv(`${copy.folder}/suppressions`);
  const KIO_LIB = `${copy.folder}/ffi/${ASAN_LIBRARY}`;
  assertEquals(await copy.script(CALLED, { ...env, KIO_LIB }), "ring done\n");

  // The tests of all operations, and the types, have it too.
  const filter = ["test", "--allow-ffi", "--no-check", "--filter"];
  const args = [...filter, "asyncNothing()", "tests/lib/ops/"];
  const { code, out } = await run(Deno.execPath(), args, { cwd: copy.folder });
  assertEquals(code, 0, out);
  const passed = Number(/(\d+) passed/.exec(out)?.[1]);
  assert(passed >= 10, `${passed} tests`);
  const script = `${copy.folder}/failed.ts`;
  Deno.writeTextFileSync(script, FAILED);
  const checked = await run(Deno.execPath(), ["check", script], {
    cwd: copy.folder,
  });
  assertEquals(checked.code, 0, checked.err);
});
