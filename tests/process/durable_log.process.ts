/** The log of the guide: a sync that fails, a disk that is full, a tail that is
 * torn. */
import "./fault_library.ts";
import { assertEquals, assertRejects } from "@std/assert";
import {
  asyncClose,
  asyncOpen,
  type IoContext,
  O_CREAT,
  O_RDWR,
} from "@kio/kio";
import { FaultPlan } from "@kio/kio/testing";
import { bytes, kioTest, text, value } from "../support.ts";
import { ROOT, run, temporaryFolder } from "./support.ts";

/** The module of the guide, in a folder that goes with the tests. */
const folder = temporaryFolder();
globalThis.addEventListener("unload", () => folder[Symbol.dispose]());
const guide = Deno.readTextFileSync(`${ROOT}docs/guide/files.md`);
const [source = ""] =
  /^import(?:(?!^```).)*?^class Log {.*?(?=^\/\/ A thousand)/ms
    .exec(guide)!;
Deno.writeTextFileSync(
  `${folder.path}/log.ts`,
  source.replace("@kio/kio", `${ROOT}mod.ts`)
    .replace("class Log", "export class Log"),
);

interface Log {
  append(record: Uint8Array): Promise<void>;
}
interface Opened {
  log: Log;
  records: Uint8Array[];
}
const { Log } = await import(`${folder.path}/log.ts`);

/** Opens the log, and gives its fd as well: it never closes it. */
async function open(
  ctx: IoContext,
  path: string,
): Promise<Opened & { fd: number }> {
  // It gets the lowest number that is free.
  const fd = value(await asyncOpen(ctx, path, O_RDWR | O_CREAT, 0o600));
  value(await asyncClose(ctx, fd));
  return { ...await Log.open(ctx, path), fd };
}

kioTest(
  "the guide's log finds what it promised, whatever is torn",
  async (ctx) => {
    const path = `${folder.path}/torn`;
    const first = await open(ctx, path);
    const names = ["first", "", "third"];
    for (const name of names) await first.log.append(bytes(name));
    value(await asyncClose(ctx, first.fd));
    const whole = Deno.readFileSync(path);
    const last = whole.length - names[2]!.length - 8;
    const damaged = [
      ...Array.from(
        { length: whole.length - last },
        (_, i) => whole.subarray(0, last + i),
      ),
      // Blocks of the tail that the disk has not written read as zeros.
      whole.map((byte, at) => at > last + 3 ? 0 : byte),
      whole.map((byte, at) => at === whole.length - 1 ? byte ^ 1 : byte),
      whole.map((byte, at) => at === last ? 0xff : byte),
    ];
    for (const data of damaged) {
      Deno.writeFileSync(path, data);
      const { log, records, fd } = await open(ctx, path);
      assertEquals(records.map(text), names.slice(0, 2));
      await log.append(bytes("again"));
      value(await asyncClose(ctx, fd));
      const after = await open(ctx, path);
      assertEquals(after.records.map(text), ["first", "", "again"]);
      value(await asyncClose(ctx, after.fd));
    }
  },
);

kioTest("the guide's log takes nothing after a failed sync", async (ctx) => {
  const path = `${folder.path}/failed`;
  const { log, fd } = await open(ctx, path);
  await log.append(bytes("promised"));
  {
    using _ = FaultPlan.install({
      rules: [{ operation: "fsync", fault: "error", code: "EIO" }],
    });
    const appends = ["a", "b"].map((it) => log.append(bytes(it)));
    for (const append of appends) {
      await assertRejects(() => append, Error, "EIO");
    }
  }
  await assertRejects(() => log.append(bytes("c")), Error, "EIO");
  value(await asyncClose(ctx, fd));
  const { records, fd: again } = await open(ctx, path);
  assertEquals(text(records[0]!), "promised");
  value(await asyncClose(ctx, again));
});

/** A program for a disk of 64 KiB: it fills the log until that fails, makes
 * room, and opens the log again. */
const FILL = `
  import { IoContext } from "${ROOT}mod.ts";
  import { Log } from "./log.ts";
  using ctx = new IoContext();
  Deno.writeFileSync("/mnt/other", new Uint8Array(8192));
  const { log } = await Log.open(ctx, "/mnt/log");
  let promised = 0;
  const failures = new Set();
  await Promise.all(Array.from({ length: 30 }, async (_, i) => {
    for (let n = 0; n < 20; n++) {
      try {
        await log.append(new Uint8Array(999).fill(i));
        promised++;
      } catch (error) {
        failures.add(error.code);
        return;
      }
    }
  }));
  Deno.removeSync("/mnt/other");
  const { log: again, records } = await Log.open(ctx, "/mnt/log");
  const isRight = records.every((it) => it.every((byte) => byte === it[0]));
  await again.append(new Uint8Array(999));
  console.log([...failures], promised > 20, records.length >= promised, isRight);
`;

Deno.test({
  name: "the guide's log on a full disk keeps what it promised, and goes on",
  ignore: !(await run("unshare", [
    ...["--user", "--map-root-user", "--mount", "true"],
  ]).then(({ code }) => code === 0, () => false)),
  async fn() {
    Deno.writeTextFileSync(`${folder.path}/fill.ts`, FILL);
    const deno = `${Deno.execPath()} run -A --quiet --no-check --no-lock`;
    const config = `--config=${ROOT}deno.json`;
    const ended = await run("unshare", [
      ...["--user", "--map-root-user", "--mount", "sh", "-c"],
      `mount -t tmpfs -o size=64k tmpfs /mnt && ${deno} ${config} ${folder.path}/fill.ts`,
    ]);
    assertEquals(ended.err, "");
    assertEquals(ended.out, `[ "ENOSPC" ] true true true\n`);
  },
});
