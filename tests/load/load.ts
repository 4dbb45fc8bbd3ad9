/**
 * Load and hostility: a server, and clients that do their worst, in processes of
 * their own.
 *
 *     deno task load [scenario …] [--short] [--seconds N] [--connections N]
 *
 * Runs all scenarios, or those that are named. Prints the demands of each with
 * the measured values, and exits with 1 if one was not met.
 */
import { IoContext } from "@kio/kio";
import { parseArgs } from "node:util";
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

const { names, isShort, sizes } = optionsOf(Deno.args);
const folder = Deno.makeTempDirSync({ prefix: "kio-load-" });
undoing.add(() => Deno.removeSync(folder, { recursive: true }));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => {
    for (const undo of undoing) undo();
    Deno.exit(130);
  });
}
let passed = 0;
let failed = 0;
try {
  for (const name of names) {
    const result = await run(name);
    if (result) passed++;
    else if (result === false) failed++;
  }
} finally {
  Deno.removeSync(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
Deno.exit(failed > 0 ? 1 : 0);

/** Runs a scenario; undefined if this machine cannot. */
async function run(name: string): Promise<boolean | undefined> {
  const scenario = SCENARIOS[name]!;
  const size = { ...scenario[isShort ? "short" : "long"], ...sizes };
  const { connections, seconds } = size;
  console.log(`${name}: ${connections} ${scenario.about}, ${seconds} s`);
  const startMs = performance.now();
  await using ctx = new IoContext(1024);
  const load = new Load(ctx, size, !isShort, folder);
  writeFile(load.file);
  try {
    const complaints = await kernelComplaints();
    await scenario.run(load);
    const added = (await kernelComplaints()).slice(complaints.length);
    load.check("the kernel has no complaint", added.length === 0, added.length);
    for (const complaint of added) load.note(complaint);
  } catch (error) {
    if (error instanceof Unavailable) {
      console.log(`${name}: skipped, ${error.message}`);
      return undefined;
    }
    load.check("it goes through", false, (error as Error).stack);
  }
  const isRight = load.failures === 0;
  const tookS = ((performance.now() - startMs) / 1000).toFixed();
  console.log(`${name}: ${isRight ? "ok" : "FAILED"} (${tookS} s)`);
  return isRight;
}

/** Its warnings; none where they may not be read. */
async function kernelComplaints(): Promise<string[]> {
  const { out } = await program("dmesg", []);
  const pattern = /\b(BUG|WARNING|Oops)\b|blocked for more than/;
  return out.split("\n").filter((line) => pattern.test(line));
}

function optionsOf(args: string[]) {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        short: { type: "boolean", default: false },
        seconds: { type: "string" },
        connections: { type: "string" },
      },
    });
    const names = positionals.length > 0 ? positionals : Object.keys(SCENARIOS);
    for (const name of names) {
      if (!(name in SCENARIOS)) throw new Error(`"${name}" is no scenario`);
    }
    const sizes: Partial<Size> = {};
    for (const name of ["seconds", "connections"] as const) {
      const text = values[name];
      if (text === undefined) continue;
      sizes[name] = Number(text);
      if (!(sizes[name]! > 0)) throw new Error(`"${text}" is no number`);
    }
    return { names, isShort: values.short, sizes };
  } catch (error) {
    console.error(`${(error as Error).message}
usage: deno task load [scenario …] [--short] [--seconds N] [--connections N]
scenarios: ${Object.keys(SCENARIOS).join(", ")}`);
    Deno.exit(2);
  }
}
