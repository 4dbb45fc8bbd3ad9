import { assert, assertEquals } from "@std/assert";
import { Timers } from "../../lib/ring/timers.ts";
import { randomOf } from "../support.ts";

/** The same as `Timers`, without any cleverness. */
class Model {
  readonly deadlines = new Map<number, number>();

  get nextMs(): number {
    return this.deadlines.size === 0 ? 0 : Math.min(...this.deadlines.values());
  }

  /** The slots that may come next: those with the earliest deadline. */
  due(nowMs: number): number[] {
    const { nextMs } = this;
    if (this.deadlines.size === 0 || nextMs > nowMs) return [];
    return [...this.deadlines].filter(([, at]) => at === nextMs)
      .map(([slot]) => slot);
  }
}

function assertSame(timers: Timers, model: Model, step: string): void {
  assertEquals(timers.size, model.deadlines.size, step);
  assertEquals(timers.nextMs, model.nextMs, step);
}

/** Takes one out of both. */
function takeDue(timers: Timers, model: Model, nowMs: number, step: string) {
  const due = model.due(nowMs);
  const slot = timers.takeDue(nowMs);
  if (due.length === 0) assertEquals(slot, -1, step);
  else assert(due.includes(slot), `${step}: took ${slot}, not one of ${due}`);
  model.deadlines.delete(slot);
  return slot;
}

for (
  const [seed, slots, times] of [
    [1, 8, 5],
    [2, 100, 1000],
    [3, 1000, 50],
  ] as const
) {
  Deno.test(`Timers does what a sorted list does (seed ${seed})`, () => {
    const random = randomOf(seed);
    const timers = new Timers();
    const model = new Model();
    let nowMs = 1;
    for (let i = 0; i < 20_000; i++) {
      const slot = random(slots);
      const step = `seed ${seed}, step ${i}`;
      switch (random(6)) {
        case 0:
        case 1:
        case 2: {
          const atMs = nowMs + random(times) + random(4) / 4;
          timers.set(slot, atMs);
          model.deadlines.set(slot, atMs);
          break;
        }
        case 3:
          timers.delete(slot);
          model.deadlines.delete(slot);
          break;
        case 4: {
          const timeMs = nowMs + random(times);
          const at = model.deadlines.get(slot);
          assertEquals(
            timers.isBefore(slot, timeMs),
            at !== undefined && at <= timeMs,
            step,
          );
          break;
        }
        default:
          nowMs += random(Math.ceil(times / 20));
          while (takeDue(timers, model, nowMs, step) >= 0);
      }
      assertSame(timers, model, step);
    }
    while (takeDue(timers, model, Infinity, "the end") >= 0);
    assertSame(timers, model, "the end");
  });
}

Deno.test("Timers is empty at first", () => {
  const timers = new Timers();
  assertEquals([timers.size, timers.nextMs], [0, 0]);
  assertEquals(timers.takeDue(Infinity), -1);
  assertEquals(timers.isBefore(0, Infinity), false);
  assertEquals(timers.isBefore(1_000_000, Infinity), false);
  timers.delete(0);
  timers.delete(1_000_000);
  assertEquals(timers.size, 0);
});

Deno.test("takeDue() gives a deadline at its very time, not before", () => {
  const timers = new Timers();
  timers.set(3, 10.5);
  assertEquals(timers.takeDue(10.499), -1);
  assertEquals(timers.takeDue(10.5), 3);
  assertEquals(timers.takeDue(10.5), -1);
});

Deno.test("takeDue() gives every slot of one deadline, once", () => {
  const timers = new Timers();
  for (let slot = 0; slot < 1000; slot++) timers.set(slot, 5);
  const taken = new Set<number>();
  for (let i = 0; i < 1000; i++) taken.add(timers.takeDue(5));
  assertEquals(taken.size, 1000);
  assertEquals(timers.takeDue(5), -1);
});

Deno.test("set() again replaces the deadline, earlier or later", () => {
  const timers = new Timers();
  for (const atMs of [100, 50, 200, 200, 1]) timers.set(7, atMs);
  timers.set(8, 2);
  assertEquals([timers.size, timers.nextMs], [2, 1]);
  assertEquals([timers.takeDue(10), timers.takeDue(10)], [7, 8]);
});

Deno.test("set() grows with the slots and with their number", () => {
  const timers = new Timers();
  timers.set(100_000, 5);
  for (let slot = 0; slot < 5000; slot++) timers.set(slot, 10_000 - slot);
  assertEquals(timers.size, 5001);
  assertEquals(timers.takeDue(Infinity), 100_000);
  for (let slot = 4999; slot >= 0; slot--) {
    assertEquals(timers.takeDue(Infinity), slot);
  }
});

Deno.test("set() keeps fractions and times beyond 2^53", () => {
  const timers = new Timers();
  timers.set(0, 2 ** 60);
  timers.set(1, 0.001);
  timers.set(2, 0.0005);
  assertEquals(timers.nextMs, 0.0005);
  assertEquals(
    [1, 2, 3].map(() => timers.takeDue(2 ** 60)),
    [2, 1, 0],
  );
});

Deno.test("delete() of the first, the last and one between keeps the order", () => {
  for (let gone = 0; gone < 30; gone++) {
    const timers = new Timers();
    // In an order that makes every shape of heap.
    for (let i = 0; i < 30; i++) {
      const slot = i * 7 % 30;
      timers.set(slot, 100 + slot);
    }
    timers.delete(gone);
    timers.delete(gone);
    const rest = Array.from({ length: 30 }, (_, slot) => slot)
      .filter((slot) => slot !== gone);
    assertEquals(rest.map(() => timers.takeDue(Infinity)), rest);
    assertEquals(timers.size, 0);
  }
});
