/**
 * A model fuzzer: random operations in random states, each result checked
 * against what a model allows. A failure is cut down to a short script.
 *
 *     deno task fuzz [--seed 1] [--ops 100000] [--faults]
 *
 * Each episode is a world of its own; what fails can be repeated with the seed
 * that is printed, as far as the kernel does the same again.
 */
import { readArguments, wholeNumber } from "../../examples/command_line.ts";
import { LiveLine, minutesOf } from "../../examples/terminal.ts";
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

const options = readArguments({
  command: "deno task fuzz",
  about: "Tries random operations, and checks each result against a model.",
  options: {
    seed: {
      value: "N",
      default: "1",
      help: "where to begin; each has its own",
    },
    ops: { value: "N", default: "100000", help: "operations at least" },
    faults: { help: "with faults of the kernel that no program notices" },
  },
}, ({ seed, ops, faults }) => ({
  firstSeed: wholeNumber("--seed", seed, 0, 2 ** 32 - 1),
  operationsMax: wholeNumber("--ops", ops, 1, 1e12),
  faults,
}));
const { firstSeed, operationsMax } = options;
// Choose the library first: the modules below open a context.
if (options.faults) FaultPlan.load();
const { actionsOf } = await import("./actions.ts");
const { World } = await import("./world.ts");
const { shrink } = await import("./shrink.ts");
const { randomOf } = await import("../support.ts");

/** The exit code of a signal that has come. */
let interrupted = 0;
for (const [name, number] of [["SIGINT", 2], ["SIGTERM", 15]] as const) {
  Deno.addSignalListener(name, () => interrupted = 128 + number);
}

async function play(
  actions: readonly Action[],
  seed: number,
): Promise<Outcome> {
  using _ = options.faults
    ? FaultPlan.install({ seed, rules: RULES })
    : undefined;
  const outcome = await World.run(actions, randomOf(seed), options.faults);
  // Not before: a world removes its files.
  if (interrupted > 0) Deno.exit(interrupted);
  return outcome;
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

const live = new LiveLine(0);
// An fd that Deno opens at first need (a pair of sockets) is no leak.
await play(actionsOf(0, EPISODE_ACTIONS), 0);

const startMs = performance.now();
const counts = new Map<string, number>();
let operations = 0;
let seed = firstSeed;
for (; operations < operationsMax; seed++) {
  // Before the episode, which may end the process.
  live.show(`seed ${seed}, ${progress()}`);
  const outcome = await play(actionsOf(seed, EPISODE_ACTIONS), seed);
  if (outcome.error !== undefined) {
    live[Symbol.dispose]();
    await report(outcome, seed);
    Deno.exit(1);
  }
  for (const [result, count] of outcome.counts) {
    counts.set(result, (counts.get(result) ?? 0) + count);
    operations += count;
  }
}
live[Symbol.dispose]();
const results = [...counts].sort(([, a], [, b]) => b - a)
  .map(([result, count]) => `${count} ${result}`);
console.log(results.join(", "));
console.log(
  `${operations} operations, seeds ${firstSeed} to ${seed - 1}, ${
    passedS().toFixed(1)
  } s: nothing wrong`,
);

function passedS(): number {
  return (performance.now() - startMs) / 1000;
}

function progress(): string {
  const [done, all] = [operations, operationsMax].map((count) =>
    count.toLocaleString("en")
  );
  const leftS = passedS() * (operationsMax / operations - 1);
  const left = operations === 0 ? "" : `, about ${minutesOf(leftS)} left`;
  return `${done} of ${all} operations${left}`;
}
