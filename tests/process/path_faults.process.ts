/** Operations on paths of several steps, where the kernel gives the same error
 * again and again, or is slow: they end, as they should. */
import "./fault_library.ts";
import { assert, assertEquals } from "@std/assert";
import { asyncGetxattr, asyncMkdir, asyncStat, type UringOp } from "@kio/kio";
import { FaultPlan, type FaultRule } from "@kio/kio/testing";
import { assertCode, kioTest, turn } from "../support.ts";
import { temporaryFolder } from "./support.ts";

const DEPTH = 5;
const recursive = { recursive: true };

function always(code: string): FaultRule {
  return { operation: "any", fault: "error", code };
}

/** A path of that many names. */
function deep(folder: string): string {
  return folder + "/a".repeat(DEPTH);
}

/** The errors that are given always, and the submissions until it gives up. */
const ENDS: [code: string, max: number][] = [
  ["ENOENT", 20],
  ["EEXIST", 3],
  ["EACCES", 1],
  ["EINTR", 1],
  ["EAGAIN", 1],
];

for (const [code, max] of ENDS) {
  kioTest(
    `asyncMkdir() with recursive ends with ${code} if it is always that`,
    async (ctx) => {
      using folder = temporaryFolder();
      using plan = FaultPlan.install({ rules: [always(code)] });
      assertCode(await asyncMkdir(ctx, deep(folder.path), recursive), code);
      assert(plan.injectedCount <= max, `${plan.injectedCount} submissions`);
    },
  );
}

kioTest(
  "asyncMkdir() with recursive ends though parents vanish again and again",
  async (ctx) => {
    using folder = temporaryFolder();
    const path = deep(folder.path);
    const made: boolean[] = [];
    for (let seed = 1; seed <= 200; seed++) {
      using plan = FaultPlan.install({
        seed,
        rules: [{ ...always("ENOENT"), probability: 0.6 }],
      });
      const result = await asyncMkdir(ctx, path, recursive);
      if (!result.ok) assertCode(result, "ENOENT");
      else assert(Deno.statSync(path).isDirectory);
      made.push(result.ok);
      assert(plan.injectedCount <= 20, `${plan.injectedCount} times`);
      Deno.removeSync(`${folder.path}/a`, { recursive: true });
      Deno.mkdirSync(`${folder.path}/a`);
    }
    assertEquals(new Set(made), new Set([true, false]));
  },
);

kioTest(
  "asyncMkdir() with recursive gives up if the same parent vanishes for ever",
  async (ctx) => {
    using folder = temporaryFolder();
    const path = `${folder.path}/a/a`;
    // Each try of the whole: those of the parent between them succeed.
    const rules = Array.from({ length: 32 }, (_, i): FaultRule => ({
      ...always("ENOENT"),
      nth: 2 * i + 1,
    }));
    using plan = FaultPlan.install({ rules });
    assertCode(await asyncMkdir(ctx, path, recursive), "ENOENT");
    assert(plan.injectedCount < 20, `${plan.injectedCount} times`);
  },
);

kioTest(
  "asyncMkdir() with recursive trusts no look that failed",
  async (ctx) => {
    using folder = temporaryFolder();
    using _ = FaultPlan.install({
      rules: [{ operation: "statx", fault: "error", code: "EACCES" }],
    });
    // The directory is there, but who can say that it is one?
    assertCode(await asyncMkdir(ctx, folder.path, recursive), "EEXIST");
  },
);

kioTest(
  "asyncMkdir() with recursive that is given up between slow steps is no success",
  async (ctx) => {
    using folder = temporaryFolder();
    const path = deep(folder.path);
    using _ = FaultPlan.install({
      rules: [{ operation: "any", fault: "delay", ms: 3 }],
    });
    for (let waitMs = 0; waitMs < 30; waitMs += 2) {
      const ends: [(op: UringOp<void>) => unknown, string][] = [
        [(op) => turn(waitMs).then(() => op.cancel()), "ECANCELED"],
        [(op) => op.withTimeout(waitMs), "ETIMEDOUT"],
      ];
      for (const [end, code] of ends) {
        Deno.mkdirSync(`${folder.path}/a`, recursive);
        const op = asyncMkdir(ctx, path, recursive);
        end(op);
        const result = await op;
        if (!result.ok) assertCode(result, code);
        else assert(Deno.statSync(path).isDirectory);
        await turn(waitMs);
        Deno.removeSync(`${folder.path}/a`, { recursive: true });
      }
    }
  },
);

kioTest("asyncGetxattr() ends if no room is enough", async (ctx) => {
  using plan = FaultPlan.install({ rules: [always("ERANGE")] });
  assertCode(await asyncGetxattr(ctx, "/tmp", "user.kio"), "ERANGE");
  assertEquals(plan.injectedCount, 2);
});

kioTest("asyncStat() that is late tells all the same", async (ctx) => {
  using _ = FaultPlan.install({
    rules: [{ operation: "statx", fault: "reorder", ms: 5 }],
  });
  const paths = ["/tmp", "/proc/version", "/no/such", "/dev/null"];
  const ops = Array.from(
    { length: 40 },
    (_, i) => asyncStat(ctx, paths[i % 4]!),
  );
  const types = (await Promise.all(ops)).map((it) =>
    it.ok ? it.value.type : it.error.code
  );
  assertEquals(
    types,
    Array(10).fill(["directory", "file", "ENOENT", "character"]).flat(),
  );
});
