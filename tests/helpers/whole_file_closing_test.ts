/** That a context which closes between two steps ends a whole with a result. */
import { assert, assertEquals } from "@std/assert";
import {
  asyncMkdir,
  asyncUnlink,
  AT_REMOVEDIR,
  IoContext,
  readDir,
  readFile,
  type Result,
  writeFile,
} from "@kio/kio";
import { ringOf } from "../../lib/internal.ts";
import { assertCode, kioTest, value } from "../support.ts";

const TEXT = "some text";

const READING = ["open", "read"] as const;

/** Wholes of several steps, on a file of a directory of their own. */
const WHOLES: Record<
  string,
  (ctx: IoContext, path: string) => Promise<Result<unknown>>
> = {
  "writeFile()": (ctx, path) => writeFile(ctx, path, TEXT),
  "writeFile(), durable": (ctx, path) =>
    writeFile(ctx, path, TEXT, { durable: true }),
  "writeFile(), atomic and durable": (ctx, path) =>
    writeFile(ctx, path, TEXT, { atomic: true, durable: true }),
  "readFile()": (ctx, path) => readFile(ctx, path),
};

for (const [name, start] of Object.entries(WHOLES)) {
  for (const how of ["dispose", "asyncDispose"] as const) {
    kioTest(
      `${name} ends with a context that closes: ${how}`,
      async (other) => {
        const folder = `/tmp/kio-${crypto.randomUUID()}`;
        value(await asyncMkdir(other, folder));
        const path = `${folder}/file`;
        try {
          let isDone = false;
          let steps = 0;
          while (!isDone) {
            value(await writeFile(other, path, "before"));
            // It may not read all at once.
            const allow = name === "readFile()" ? READING : undefined;
            const ctx = new IoContext({ allow });
            let left = ++steps;
            // Between the completion of a step and the next one.
            ringOf(ctx, { verb: "test" }).onBatch = () => {
              if (--left > 0) return;
              if (how === "dispose") ctx[Symbol.dispose]();
              else void ctx[Symbol.asyncDispose]();
            };
            const result = await start(ctx, path);
            isDone = result.ok && left > 0;
            if (!result.ok) assertCode(result, "ECANCELED");
            await ctx[Symbol.asyncDispose]();
            const names: string[] = [];
            for await (const it of readDir(other, folder)) {
              names.push(value(it).name);
            }
            assertEquals(names, ["file"]);
          }
          assert(steps > 2, `only ${steps} steps`);
        } finally {
          value(await asyncUnlink(other, path));
          value(await asyncUnlink(other, folder, AT_REMOVEDIR));
        }
      },
    );
  }
}
