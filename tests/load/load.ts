/**
 * Load and hostility: a server, and clients that do their worst, in processes of
 * their own.
 *
 *     deno task load [SCENARIO ...] [--short] [--seconds N] [--connections N]
 *
 * Runs all scenarios, or those that are named. Prints the demands of each with
 * the measured values, and exits with 1 if one was not met.
 */
import { IoContext } from "@kio/kio";
import {
  millisecondsOf,
  readArguments,
  wholeNumber,
} from "../../examples/command_line.ts";
import { LiveLine, minutesOf } from "../../examples/terminal.ts";
import { run as program } from "../process/support.ts";
import { writeFile } from "./client.ts";
import {
  Load,
  type Scenario,
  type Size,
  Unavailable,
  undoing,
} from "./scenario.ts";
import { badNetwork } from "./scenarios/bad_network.ts";
import { connections } from "./scenarios/connections.ts";
import { contexts } from "./scenarios/contexts.ts";
import { durability } from "./scenarios/durability.ts";
import { fdLimit } from "./scenarios/fd_limit.ts";
import { halfOpen } from "./scenarios/half_open.ts";
import { resets } from "./scenarios/resets.ts";
import { slowloris } from "./scenarios/slowloris.ts";
import { soak } from "./scenarios/soak.ts";
import { stalled } from "./scenarios/stalled.ts";

const SCENARIOS: Record<string, Scenario> = {
  connections,
  slowloris,
  resets,
  stalled,
  half_open: halfOpen,
  bad_network: badNetwork,
  fd_limit: fdLimit,
  contexts,
  durability,
  soak,
};

const { names, isShort, sizes } = readArguments({
  command: "deno task load",
  about: "Puts a server under load, with clients that do their worst. " +
    `Scenarios: ${Object.keys(SCENARIOS).join(", ")}.`,
  operands: "[SCENARIO ...]",
  options: {
    short: { help: "seconds instead of minutes, and no limits of time" },
    seconds: { value: "SECONDS", help: "how long each goes on" },
    connections: { value: "N", help: "connections, or what it is about" },
  },
}, ({ short, seconds, connections }, operands) => {
  const wrong = operands.find((name) => !Object.hasOwn(SCENARIOS, name));
  if (wrong !== undefined) throw new TypeError(`"${wrong}" is no scenario`);
  const sizes: Partial<Size> = {};
  if (seconds !== undefined) {
    sizes.seconds = millisecondsOf("--seconds", seconds) / 1000;
  }
  if (connections !== undefined) {
    sizes.connections = wholeNumber("--connections", connections, 1, 1e6);
  }
  const names = operands.length > 0 ? operands : Object.keys(SCENARIOS);
  return { names, isShort: short, sizes };
});
const folder = Deno.makeTempDirSync({ prefix: "kio-load-" });
undoing.add(() => Deno.removeSync(folder, { recursive: true }));
for (const [signal, number] of [["SIGINT", 2], ["SIGTERM", 15]] as const) {
  Deno.addSignalListener(signal, () => {
    for (const undo of undoing) undo();
    Deno.exit(128 + number);
  });
}
const live = new LiveLine(30_000);
let passed = 0;
let failed = 0;
try {
  for (const [i, name] of names.entries()) {
    const result = await run(name, `${i + 1} of ${names.length}`);
    if (result) passed++;
    else if (result === false) failed++;
  }
} finally {
  Deno.removeSync(folder, { recursive: true });
  live[Symbol.dispose]();
}
console.log(`${passed} passed, ${failed} failed`);
Deno.exit(failed > 0 ? 1 : 0);

/** Runs a scenario; undefined if this machine cannot. */
async function run(
  name: string,
  part: string,
): Promise<boolean | undefined> {
  const scenario = SCENARIOS[name]!;
  const size = { ...scenario[isShort ? "short" : "long"], ...sizes };
  const { connections, seconds } = size;
  live.print(`${name}: ${connections} ${scenario.about}, ${seconds} s`);
  const startMs = performance.now();
  const passedS = () => (performance.now() - startMs) / 1000;
  live.keep(() => `${part}: ${name}, ${minutesOf(passedS())}`);
  await using ctx = new IoContext(1024);
  const load = new Load(ctx, size, !isShort, folder, live);
  writeFile(load.file);
  try {
    const complaints = await kernelComplaints();
    await scenario.run(load);
    const added = (await kernelComplaints()).slice(complaints.length);
    load.check("the kernel has no complaint", added.length === 0, added.length);
    for (const complaint of added) load.note(complaint);
  } catch (error) {
    if (error instanceof Unavailable) {
      live.print(`${name}: skipped, ${error.message}`);
      return undefined;
    }
    load.check("it goes through", false, (error as Error).stack);
  }
  const isRight = load.failures === 0;
  const tookS = passedS().toFixed();
  live.print(`${name}: ${isRight ? "ok" : "FAILED"} (${tookS} s)`);
  return isRight;
}

/** Its warnings; none where they may not be read. */
async function kernelComplaints(): Promise<string[]> {
  const { out } = await program("dmesg", []);
  const pattern = /\b(BUG|WARNING|Oops)\b|blocked for more than/;
  return out.split("\n").filter((line) => pattern.test(line));
}
