/** Wrong arguments of each operation, by its sample. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { IoContext } from "@kio/kio";
import { kioTest, value } from "../../support.ts";
import { complaint, nameOf, NO_CONTEXTS } from "./bad_values.ts";
import { giveBack } from "./give_back.ts";
import { Place } from "./place.ts";
import { CASES, KEYS, SAMPLES, startGood } from "./samples.ts";

Deno.test("each row of lib/ops/table.ts has a sample, and each sample a row", () => {
  assertEquals(Object.keys(SAMPLES).sort(), [...KEYS].sort());
});

for (const { title, row, sample } of CASES) {
  kioTest(
    `${title} refuses what makes no sense, and loses nothing by it`,
    async (outer) => {
      await using place = await Place.open(outer);
      // A place that is lost to a refused call is missed by the good one.
      using ctx = place.context(1);
      const args = sample.works(place, ctx);
      const goods = args.map(({ good }) => good);
      const complaints: string[] = [];
      const attempt = async (
        name: string,
        given: unknown,
        call: () => unknown,
      ) => {
        const found = await complaint(call);
        if (found !== undefined) {
          complaints.push(`${name} ${nameOf(given)}: ${found}`);
        }
      };
      for (const given of NO_CONTEXTS) {
        const start = () => sample.start(given as IoContext, ...goods);
        await attempt("ctx", given, start);
      }
      for (const [at, { name, bad }] of args.entries()) {
        for (const given of bad) {
          const start = () => sample.start(ctx, ...goods.with(at, given));
          await attempt(name, given, start);
        }
      }
      assertEquals(complaints, []);
      assertEquals(ctx.pending, 0);
      const result = await sample.start(ctx, ...goods);
      value(result);
      giveBack(row, result);
    },
  );

  kioTest(`${title} is refused when the context is closed`, async (outer) => {
    await using place = await Place.open(outer);
    const ctx = place.context();
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
    using ctx = place.context();
    const op = startGood(sample, place, ctx);
    op.cancel();
    // It closes its fd whatever happens.
    if (row.closesFd) return void await op;
    const error = await assertRejects(() => op.orThrow());
    const { operation, code } = error as Error & Record<string, unknown>;
    assertEquals([operation, code], [row.name, "ECANCELED"]);
  });
}
