import { assertThrows } from "@std/assert";
import { asyncSleep, IoContext } from "@kio/kio";
import { observeStats } from "@kio/kio/otel";
import { kioTest, value } from "./support.ts";

kioTest("observeStats() does nothing without an exporter", async (ctx) => {
  observeStats(ctx, { "kio.context.name": "test", "worker.index": 0 });
  value(await asyncSleep(ctx, 1));
});

kioTest("observeStats() refuses attributes that are taken", (ctx) => {
  observeStats(ctx, { a: 1, b: 2 });
  using other = new IoContext();
  assertThrows(
    () => observeStats(other, { b: 2, a: 1 }),
    TypeError,
    "observed already; give each one its own",
  );
  observeStats(other, { a: 1, b: 3 });
});

kioTest("observeStats() takes attributes again after the end", () => {
  for (let i = 0; i < 3; i++) {
    using ctx = new IoContext();
    observeStats(ctx);
  }
});

kioTest("observeStats() refuses what is no open context", (ctx) => {
  using closed = new IoContext();
  closed[Symbol.dispose]();
  assertThrows(() => observeStats(closed), TypeError, "is closed");
  assertThrows(
    () => observeStats({} as IoContext),
    TypeError,
    "Cannot observe: the first argument must be an IoContext",
  );
  assertThrows(
    () => observeStats(ctx, "first" as never),
    TypeError,
    "options must be an object",
  );
});
