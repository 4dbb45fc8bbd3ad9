import { assert, assertEquals } from "@std/assert";
import { shrink } from "./shrink.ts";

const NUMBERS = Array.from({ length: 1000 }, (_, i) => i);

Deno.test("shrink() leaves what is needed, in its order", async () => {
  const needed = [3, 500, 501, 998];
  let calls = 0;
  const isEnough = (list: readonly number[]) => {
    calls++;
    return Promise.resolve(needed.every((number) => list.includes(number)));
  };
  assertEquals(await shrink(NUMBERS, isEnough, Infinity), needed);
  assert(calls < 200, `${calls} tries`);
});

Deno.test("shrink() looks again at what came before", async () => {
  // Each may go only when the one behind it has.
  const isEnough = (list: readonly number[]) =>
    Promise.resolve(list.every((number, i) => number === i));
  assertEquals(await shrink(NUMBERS.slice(0, 7), isEnough, Infinity), []);
});

Deno.test("shrink() gives what it has when the time is over", async () => {
  const isEnough = () => Promise.resolve(true);
  assertEquals(await shrink(NUMBERS, isEnough, -1), NUMBERS);
});
