/**
 * Removes one safety rule after the other from a copy of the checkout, and looks
 * which test notices: `deno task mutants [number …]`. One that no test notices
 * is a failure.
 */
import { type Mutant, MUTANTS } from "./mutant_list.ts";

const ROOT = decodeURIComponent(new URL("../", import.meta.url).pathname);
/** What the tests need; the rest of the checkout is not copied. */
const TREE = [
  "deno.json",
  "mod.ts",
  "ffi",
  "lib",
  "net",
  "helpers",
  "testing",
  "tests",
  "tools",
  "examples",
];
/** A mutant that hangs is noticed too. */
const LIMIT_MS = 60_000;

function copy(from: string, to: string): void {
  if (Deno.statSync(from).isFile) return Deno.copyFileSync(from, to);
  Deno.mkdirSync(to);
  for (const { name } of Deno.readDirSync(from)) {
    copy(`${from}/${name}`, `${to}/${name}`);
  }
}

/** Runs a command in a copy; what it printed if it failed or hung. */
async function complaintOf(
  cwd: string,
  args: readonly string[],
): Promise<string | undefined> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let isOver = false;
  const limit = setTimeout(() => {
    isOver = true;
    child.kill("SIGKILL");
  }, LIMIT_MS);
  const { success, stdout, stderr } = await child.output();
  clearTimeout(limit);
  if (isOver) return "it hangs";
  if (success) return undefined;
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

/** The test that failed, of what a test run printed. */
function nameIn(complaint: string): string {
  const found = /^(.*) \.\.\. .*FAILED/m.exec(complaint) ??
    /^(\w+) FAILED$/m.exec(complaint) ?? /^(kio: .*)$/m.exec(complaint) ??
    /^(seed \d+: .*)$/m.exec(complaint);
  return found?.[1] ?? complaint.trim().split("\n").at(-1) ?? "";
}

function mutate(folder: string, { file, from, to }: Mutant): void {
  const path = `${folder}/${file}`;
  const source = Deno.readTextFileSync(path);
  if (source.split(from).length !== 2) {
    throw new Error(`not once in ${file}: ${from}`);
  }
  Deno.writeTextFileSync(path, source.replace(from, () => to));
}

function commandOf(test: string): string[] {
  if (test === "C") return ["run", "-A", "ffi/run_c_tests.ts"];
  return ["test", "-A", "--no-check", "--fail-fast", test];
}

/** Who noticed; undefined if nobody did. */
async function killerOf(mutant: Mutant): Promise<string | undefined> {
  const folder = Deno.makeTempDirSync();
  try {
    for (const name of TREE) copy(ROOT + name, `${folder}/${name}`);
    mutate(folder, mutant);
    for (const flags of [[], ["--faults"]]) {
      const broken = await complaintOf(folder, [
        "run",
        "-A",
        "ffi/build.ts",
        ...flags,
      ]);
      if (broken !== undefined) throw new Error(`no mutant: ${broken}`);
    }
    for (const test of mutant.tests) {
      const complaint = await complaintOf(folder, commandOf(test));
      if (complaint !== undefined) return `${test}: ${nameIn(complaint)}`;
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const numbers = Deno.args.map(Number);
let survivors = 0;
for (const [i, mutant] of MUTANTS.entries()) {
  if (numbers.length > 0 && !numbers.includes(i + 1)) continue;
  const killer = await killerOf(mutant);
  if (killer === undefined) survivors++;
  console.log(`${i + 1}. ${mutant.rule}\n   ${killer ?? "SURVIVED"}`);
}
console.log(`${survivors} survived`);
Deno.exit(survivors > 0 ? 1 : 0);
