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

const EPISODE_ACTIONS = 2000;
/** How often a part of a script is tried before it counts as harmless. */
const TRIES = 3;
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
// Chooses the library; what is imported below opens a context.
if (options.faults) FaultPlan.load();
const { actionsOf } = await import("./actions.ts");
const { World } = await import("./world.ts");
const { randomOf } = await import("../support.ts");
type Action = ReturnType<typeof actionsOf>[number];

/** Runs an episode; gives how many operations it had. */
async function play(
  actions: readonly Action[],
  seed: number,
): Promise<number> {
  using _ = options.faults
    ? FaultPlan.install({ seed, rules: RULES })
    : undefined;
  return await World.run(actions, randomOf(seed), options.faults);
}

async function fails(actions: readonly Action[], seed: number) {
  for (let i = 0; i < TRIES; i++) {
    try {
      await play(actions, seed);
    } catch (error) {
      return error;
    }
  }
}

/** Takes parts out as long as it still fails: smaller ones each time. */
async function shrink(actions: Action[], seed: number): Promise<Action[]> {
  const endMs = performance.now() + SHRINK_MS_MAX;
  for (let part = actions.length >> 1; part > 0; part >>= 1) {
    for (let at = 0; at < actions.length;) {
      if (performance.now() > endMs) return actions;
      const rest = actions.toSpliced(at, part);
      if (await fails(rest, seed) !== undefined) actions = rest;
      else at += part;
    }
  }
  return actions;
}

async function report(error: unknown, seed: number): Promise<void> {
  console.log(`seed ${seed}: ${(error as Error).stack}`);
  const script = await shrink(actionsOf(seed, EPISODE_ACTIONS), seed);
  console.log(`cut down to ${script.length} actions:`);
  for (const action of script) console.log(`  ${JSON.stringify(action)}`);
  console.log(`${await fails(script, seed) ?? "(this time it did not fail)"}`);
  const flag = options.faults ? " --faults" : "";
  console.log(`again: deno task fuzz --seed ${seed} --ops 1${flag}`);
}

// What Deno opens when it needs it first (a pair of sockets) is no leak.
await play(actionsOf(0, EPISODE_ACTIONS), 0).catch(() => {});

const startMs = performance.now();
let operations = 0;
let seed = firstSeed;
for (; operations < operationsMax; seed++) {
  try {
    operations += await play(actionsOf(seed, EPISODE_ACTIONS), seed);
  } catch (error) {
    await report(error, seed);
    Deno.exit(1);
  }
}
const seconds = (performance.now() - startMs) / 1000;
console.log(
  `${operations} operations, seeds ${firstSeed} to ${seed - 1}, ${
    seconds.toFixed(1)
  } s: nothing wrong`,
);
