/** Wrong arguments of each operation, by its sample. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { unwrap } from "@kio/kio";
import { kioTest, value } from "../../support.ts";
import { giveBack } from "./give_back.ts";
import { Place } from "./place.ts";
import {
  CASES,
  isThere,
  KEYS,
  refusedBy,
  SAMPLES,
  startGood,
} from "./samples.ts";

Deno.test("each row of lib/ops/table.ts has a sample, and each sample a row", () => {
  assertEquals(Object.keys(SAMPLES).sort(), [...KEYS].sort());
});

for (const { title, row, sample } of CASES) {
  kioTest(
    `${title} refuses what makes no sense, and loses nothing by it`,
    async (outer) => {
      await using place = await Place.open(outer);
      // A place that is lost to a refused call is missed by the good one.
      using ctx = await place.context(sample, 1);
      if (!isThere(ctx, row)) return;
      assertEquals(await refusedBy(sample, place, ctx), []);
      assertEquals(ctx.pending, 0);
      const result = await startGood(sample, place, ctx);
      value(result);
      giveBack(row, result);
    },
  );

  kioTest(`${title} is refused when the context is closed`, async (outer) => {
    await using place = await Place.open(outer);
    const ctx = await place.context(sample);
    const goods = sample.works(place, ctx).map(({ good }) => good);
    ctx[Symbol.dispose]();
    assertThrows(
      () => sample.start(ctx, ...goods),
      TypeError,
      `Cannot ${row.verb}: the IoContext is closed`,
    );
  });

  kioTest(`${title} names itself when it fails`, async (outer) => {
    await using place = await Place.open(outer);
    using ctx = await place.context(sample);
    if (!isThere(ctx, row)) return;
    const op = startGood(sample, place, ctx);
    op.cancel();
    // It closes its fd whatever happens.
    if (row.closesFd) return void await op;
    const result = await op;
    const words = `Cannot ${row.verb}`;
    assertThrows(() => unwrap(result), Deno.errors.Interrupted, words);
    if (sample.isStream) return;
    const error = await assertRejects(() => op.orThrow(), Error, words);
    const { operation, code } = error as Error & Record<string, unknown>;
    assertEquals([operation, code], [row.name, "ECANCELED"]);
  });
}
