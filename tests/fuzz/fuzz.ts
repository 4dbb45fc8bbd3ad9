/**
 * A model fuzzer: random operations in random states, each result checked
 * against what a model allows. A failure is cut down to a short script.
 *
 *     deno task fuzz [--seed 1] [--ops 100000] [--faults]
 *
 * Each episode is a world of its own; what fails can be repeated with the seed
 * that is printed, as far as the kernel does the same again.
 */
import { parseArgs } from "node:util";
import { FaultPlan, type FaultRule } from "@kio/kio/testing";
import type { Action } from "./actions.ts";
import type { Outcome } from "./world.ts";

const EPISODE_ACTIONS = 2000;
/** Tries of a part of a script before it counts as harmless. */
const TRIES = 20;
const SHRINK_MS_MAX = 60_000;

/** Faults that no program notices, but for an operation that is interrupted. */
const RULES: FaultRule[] = [
  { operation: "any", fault: "short", probability: 0.05 },
  { operation: "any", fault: "delay", ms: 2, probability: 0.05 },
  { operation: "any", fault: "reorder", ms: 3, probability: 0.1 },
  { operation: "any", fault: "batch", ms: 2, probability: 0.05 },
  { operation: "enter", fault: "error", code: "EAGAIN", probability: 0.05 },
  { operation: "enter", fault: "error", code: "EINTR", probability: 0.05 },
  { operation: "recv", fault: "error", code: "EINTR", probability: 0.02 },
  { operation: "send", fault: "error", code: "ERESTARTSYS", probability: 0.02 },
];

const { values: options } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    ops: { type: "string", default: "100000" },
    faults: { type: "boolean", default: false },
  },
});
const firstSeed = Number(options.seed);
const operationsMax = Number(options.ops);
// Choose the library first: the modules below open a context.
if (options.faults) FaultPlan.load();
const { actionsOf } = await import("./actions.ts");
const { World } = await import("./world.ts");
const { shrink } = await import("./shrink.ts");
const { randomOf } = await import("../support.ts");

async function play(
  actions: readonly Action[],
  seed: number,
): Promise<Outcome> {
  using _ = options.faults
    ? FaultPlan.install({ seed, rules: RULES })
    : undefined;
  return await World.run(actions, randomOf(seed), options.faults);
}

async function fails(actions: readonly Action[], seed: number) {
  for (let i = 0; i < TRIES; i++) {
    const { error } = await play(actions, seed);
    if (error !== undefined) return error;
  }
  return undefined;
}

async function report({ error, done }: Outcome, seed: number): Promise<void> {
  console.log(`seed ${seed}: ${(error as Error).stack}`);
  // Of the script that is left; it may not fail each time.
  let last = error;
  const script = await shrink(
    // Later actions are not to blame, except for leaks found at the end.
    actionsOf(seed, EPISODE_ACTIONS).slice(0, done),
    async (actions) => {
      const found = await fails(actions, seed);
      last = found ?? last;
      return found !== undefined;
    },
    SHRINK_MS_MAX,
  );
  console.log(`cut down to ${script.length} actions:`);
  for (const action of script) console.log(`  ${JSON.stringify(action)}`);
  console.log(`${last}`);
  const flag = options.faults ? " --faults" : "";
  console.log(`again: deno task fuzz --seed ${seed} --ops 1${flag}`);
}

// An fd that Deno opens at first need (a pair of sockets) is no leak.
await play(actionsOf(0, EPISODE_ACTIONS), 0);

const startMs = performance.now();
const counts = new Map<string, number>();
let operations = 0;
let seed = firstSeed;
for (; operations < operationsMax; seed++) {
  // Printed before, as it may end the process.
  console.log(`seed ${seed}`);
  const outcome = await play(actionsOf(seed, EPISODE_ACTIONS), seed);
  if (outcome.error !== undefined) {
    await report(outcome, seed);
    Deno.exit(1);
  }
  for (const [result, count] of outcome.counts) {
    counts.set(result, (counts.get(result) ?? 0) + count);
    operations += count;
  }
}
const seconds = (performance.now() - startMs) / 1000;
const results = [...counts].sort(([, a], [, b]) => b - a)
  .map(([result, count]) => `${count} ${result}`);
console.log(results.join(", "));
console.log(
  `${operations} operations, seeds ${firstSeed} to ${seed - 1}, ${
    seconds.toFixed(1)
  } s: nothing wrong`,
);
