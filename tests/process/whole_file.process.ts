/** Files that are read and written whole, on a bad day: nothing is left, and with
 * `atomic` the file is the old one or the new one. Also what `File` says of a
 * file, beside Deno. */
import "./fault_library.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  File,
  readFile,
  unwrap,
  writeFile,
  type WriteFileOptions,
} from "@kio/kio";
import { FaultPlan, type FaultRule } from "@kio/kio/testing";
import { assertCode, kioTest, pattern, value } from "../support.ts";
import { assertPrinted, ROOT, runScript, temporaryFolder } from "./support.ts";

const OLD = pattern(5000, 1);
const NEW = pattern(9000, 2);

/** More than any of these calls has. */
const OPERATIONS_MAX = 12;

const WAYS: WriteFileOptions[] = [
  {},
  { durable: true },
  { atomic: true },
  { atomic: true, durable: true },
];

for (const way of WAYS) {
  const how = JSON.stringify(way);
  kioTest(
    `writeFile() with ${how} that fails anywhere leaves nothing`,
    async (ctx) => {
      using folder = temporaryFolder();
      const path = `${folder.path}/a`;
      for (const code of ["EIO", "ENOSPC", "EEXIST", "EINTR"]) {
        for (let nth = 1; nth <= OPERATIONS_MAX; nth++) {
          Deno.writeFileSync(path, OLD);
          using plan = FaultPlan.install({
            rules: [
              { operation: "any", fault: "error", code, nth },
              { operation: "write", fault: "short" },
            ],
          });
          const result = await writeFile(ctx, path, NEW, way);
          const names = [...Deno.readDirSync(folder.path)];
          assertEquals(names.map(({ name }) => name), ["a"], code);
          const content = Deno.readFileSync(path);
          if (result.ok) assertEquals(content, NEW);
          else {
            assertCode(result, code);
            assert(plan.injectedCount > 0);
            const isOld = content.length === OLD.length;
            if (way.atomic) assertEquals(content, isOld ? OLD : NEW);
          }
        }
      }
    },
  );
}

kioTest("writeFile() whose directory is not synced fails", async (ctx) => {
  using folder = temporaryFolder();
  const path = `${folder.path}/a`;
  for (const way of WAYS.filter(({ durable }) => durable)) {
    // The first sync is that of the file.
    const rule: FaultRule = { operation: "fsync", fault: "error", code: "EIO" };
    using _ = FaultPlan.install({ rules: [{ ...rule, nth: 2 }] });
    assertCode(await writeFile(ctx, path, NEW, way), "EIO");
    assertEquals(Deno.readFileSync(path), NEW);
  }
});

kioTest(
  "writeFile() with atomic whose sync fails keeps the old file",
  async (ctx) => {
    using folder = temporaryFolder();
    const path = `${folder.path}/a`;
    Deno.writeFileSync(path, OLD);
    using _ = FaultPlan.install({
      rules: [{ operation: "fsync", fault: "error", code: "EIO" }],
    });
    assertCode(await writeFile(ctx, path, NEW, { atomic: true }), "EIO");
    assertEquals(Deno.readFileSync(path), OLD);
    assertEquals([...Deno.readDirSync(folder.path)].length, 1);
  },
);

Deno.test("a File ends with its worker", async () => {
  using folder = temporaryFolder();
  const path = `${folder.path}/a`;
  Deno.writeFileSync(path, NEW);
  const worker = `
    import { File, IoContext } from "file://${ROOT}mod.ts";
    const ctx = new IoContext();
    globalThis.files = [await File.open(ctx, "${path}")];
    postMessage("ready");
  `;
  const ended = await runScript(
    `
    const worker = new Worker(
      "data:text/javascript," + encodeURIComponent(${JSON.stringify(worker)}),
      { type: "module" },
    );
    await new Promise((done) => worker.onmessage = done);
    const count = () => [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
      try {
        return Deno.readLinkSync("/proc/self/fd/" + name) === "${path}";
      } catch {
        return false;
      }
    }).length;
    console.log(count());
    worker.terminate();
    for (let i = 0; i < 500 && count() > 0; i++) {
      await new Promise((done) => setTimeout(done, 10));
    }
    console.log(count());
  `,
    { flags: ["-A", "--quiet", "--no-check"] },
  );
  assertPrinted(ended, "1\n0\n");
});

kioTest("readFile() that fails anywhere leaves nothing", async (ctx) => {
  using folder = temporaryFolder();
  const path = `${folder.path}/a`;
  Deno.writeFileSync(path, NEW);
  for (const nth of [1, 2]) {
    using _ = FaultPlan.install({
      rules: [{ operation: "any", fault: "error", code: "EIO", nth }],
    });
    const result = await readFile(ctx, path);
    assertCode(result, "EIO");
    assertThrows(() => unwrap(result), Error, path);
  }
});

kioTest("readFile() and File.blocks() go on after short reads", async (ctx) => {
  using folder = temporaryFolder();
  const path = `${folder.path}/a`;
  const data = pattern(200_000);
  Deno.writeFileSync(path, data);
  for (let seed = 1; seed <= 20; seed++) {
    using plan = FaultPlan.install({
      seed,
      rules: [
        { operation: "read", fault: "short", probability: 0.7 },
        { operation: "read", fault: "reorder", ms: 2 },
      ],
    });
    assertEquals(value(await readFile(ctx, path)), data);
    await using file = unwrap(await File.open(ctx, path));
    let at = 0;
    for await (const block of file.blocks({ size: 10_000, inFlight: 4 })) {
      assertEquals(block, data.subarray(at, at + 10_000));
      at += block.length;
    }
    assertEquals(at, data.length);
    assert(plan.injectedCount > 10);
  }
});

kioTest("File.blocks() ends its reads when one fails", async (ctx) => {
  using folder = temporaryFolder();
  const path = `${folder.path}/a`;
  Deno.writeFileSync(path, pattern(100_000));
  await using file = unwrap(await File.open(ctx, path));
  using _ = FaultPlan.install({
    rules: [{ operation: "read", fault: "error", code: "EIO", nth: 4 }],
  });
  let count = 0;
  await assertRejects(
    async () => {
      for await (const block of file.blocks({ size: 4096, inFlight: 8 })) {
        count += block.length;
      }
    },
    Error,
    "EIO",
  );
  assertEquals([count, ctx.pending], [3 * 4096, 0]);
});

kioTest("File.blocks() that is left waits for the kernel", async (ctx) => {
  using folder = temporaryFolder();
  const path = `${folder.path}/a`;
  Deno.writeFileSync(path, pattern(100_000));
  await using file = unwrap(await File.open(ctx, path));
  using _ = FaultPlan.install({
    rules: [{ operation: "read", fault: "delay", ms: 200, nth: 3 }],
  });
  for await (const _ of file.blocks({ size: 4096, inFlight: 8 })) break;
  assertEquals(ctx.pending, 0);
});

kioTest("File.stat() tells what Deno tells", async (ctx) => {
  for (const path of ["/etc/passwd", "/etc", "/dev/null", "/dev/full"]) {
    await using file = unwrap(await File.open(ctx, path));
    const { ctime, ...info } = await file.stat();
    // Deno cuts this one to seconds.
    const { ctime: second, ...real } = Deno.statSync(path);
    assertEquals(info, real);
    assertEquals(Math.floor(+ctime! / 1000), +second! / 1000);
  }
});
