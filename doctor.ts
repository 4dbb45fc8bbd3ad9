/**
 * Examines this system: reports what kio needs and does not find, and says how to
 * get it. With `--all` it lists the operations and features of the kernel, too.
 *
 * ```sh
 * deno run -A jsr:@kio/kio/doctor
 * ```
 *
 * Prints a line for each requirement: `ok`, `note` for a lack that only costs
 * something, `WRONG` for one that keeps kio from running, with the remedy. The
 * last line is the verdict. The exit code is 1 if anything is wrong.
 *
 * @module
 */
import { isWhole, LIBRARY_NAME } from "./ffi/cache.ts";
import { compile } from "./ffi/compile.ts";
import { shimPath, systemComplaint } from "./ffi/load.ts";
import type { Capabilities } from "./lib/capabilities.ts";
import { asyncSleep } from "./lib/io.ts";
import { IoContext } from "./lib/IoContext.ts";
import { ROWS } from "./lib/ops/rows.ts";
import { FEATURE_NAMES, FEATURES } from "./lib/ring/features.ts";
import config from "./deno.json" with { type: "json" };

/** The finding about one requirement. */
interface Finding {
  name: string;
  state: "ok" | "note" | "WRONG";
  is: string;
  fix?: string | undefined;
}

/** The oldest tested kernel, the first that counts rings as locked memory, and
 * comfortable limits. */
const KERNEL_MIN = 6.001;
const KERNEL_COUNTING = 6.014;
const MEMLOCK_MIN_BYTES = 8 << 20;
const NOFILE_MIN = 1024;

/** A file of /proc; empty if there is none. */
function proc(path: string): string {
  try {
    return Deno.readTextFileSync(`/proc/${path}`).trim();
  } catch {
    return "";
  }
}

/** The version of the kernel as a number: 6.018 for 6.18. */
function kernelNumber(): number {
  const [major = 0, minor = 0] = Deno.osRelease().split(".").map(parseFloat);
  return major + minor / 1000;
}

function kernel(): Finding {
  const is = Deno.osRelease();
  if (kernelNumber() >= KERNEL_MIN) return { name: "kernel", state: "ok", is };
  const note = `${is}: kio is tested with 6.1 and later`;
  return { name: "kernel", state: "note", is: note };
}

function architecture(): Finding {
  const { arch, os } = Deno.build;
  const fix = systemComplaint();
  return {
    name: "system",
    state: fix === undefined ? "ok" : "WRONG",
    is: `${os} on ${arch}, Deno ${Deno.version.deno}`,
    fix,
  };
}

function sysctl(works: boolean): Finding {
  const value = proc("sys/kernel/io_uring_disabled");
  const name = "kernel.io_uring_disabled";
  switch (value) {
    case "":
      return { name, state: "ok", is: "not there (before Linux 6.6)" };
    case "0":
      return { name, state: "ok", is: "0: allowed for all" };
    case "1":
      return {
        name,
        state: works ? "ok" : "note",
        is: "1: for root and the members of kernel.io_uring_group",
        fix: works
          ? undefined
          : "for all: sysctl -w kernel.io_uring_disabled=0",
      };
  }
  return {
    name,
    state: "WRONG",
    is: `${value}: forbidden for all`,
    fix: "sysctl -w kernel.io_uring_disabled=0",
  };
}

/** Tells whether a filter decides which system calls the process may make. */
function hasFilter(): boolean {
  return /^Seccomp:\s*2/m.test(proc("self/status"));
}

function seccomp(): Finding {
  const is = hasFilter() ? "a filter, as containers have it" : "no filter";
  return { name: "seccomp", state: "ok", is };
}

/** The smallest change of a filter that forbids io_uring. */
const PROFILE = `
In a container: take the seccomp profile that it has (Docker's is
profiles/seccomp/default.json of moby), and add to its "syscalls":
  {
    "names": ["io_uring_setup", "io_uring_enter", "io_uring_register"],
    "action": "SCMP_ACT_ALLOW"
  }
docker run --security-opt seccomp=profile.json …
With "unconfined" all other calls would be allowed as well.`;

/** The soft limit of a line of /proc/self/limits. */
function limit(line: string): number {
  const value = new RegExp(`^${line}\\s+(\\S+)`, "m").exec(proc("self/limits"));
  return value === null || value[1] === "unlimited"
    ? Infinity
    : Number(value[1]);
}

function memlock(): Finding {
  const bytes = limit("Max locked memory");
  const isEnough = bytes >= MEMLOCK_MIN_BYTES || Deno.uid() === 0 ||
    kernelNumber() < KERNEL_COUNTING;
  const is = bytes === Infinity ? "unlimited" : `${bytes / 1024} KiB`;
  const note = `${is}: rings count here (ulimit -l 8192)`;
  return isEnough
    ? { name: "locked memory", state: "ok", is }
    : { name: "locked memory", state: "note", is: note };
}

function nofile(): Finding {
  const count = limit("Max open files");
  const isEnough = count >= NOFILE_MIN;
  const is = count === Infinity ? "unlimited" : String(count);
  const note = `${is}: each connection is one (ulimit -n 65536)`;
  return isEnough
    ? { name: "open files", state: "ok", is }
    : { name: "open files", state: "note", is: note };
}

/** Compiler and headers, by compiling; only the build needs them. */
async function compiler(hasLibrary: boolean): Promise<Finding> {
  const name = "compiler, headers";
  const folder = Deno.makeTempDirSync();
  try {
    const source = `${folder}/probe.c`;
    Deno.writeTextFileSync(source, "#include <liburing.h>\n");
    await compile(["-fsyntax-only", source]);
    const is = `${Deno.env.get("CC") || "cc"}, liburing.h`;
    return { name, state: "ok", is };
  } catch (error) {
    if (hasLibrary) {
      const is = "not usable, and not needed: the library is there";
      return { name, state: "ok", is };
    }
    const fix = (error as Error).message;
    return { name, state: "WRONG", is: "not usable", fix };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

function library(): Finding {
  try {
    return { name: "library", state: "ok", is: shimPath() };
  } catch (error) {
    // The programs of this folder have it beside them; the doctor is elsewhere.
    const ofProject = `${Deno.cwd()}/.kio/${LIBRARY_NAME}`;
    if (!Deno.env.get("KIO_LIB") && isFile(ofProject)) {
      Deno.env.set("KIO_LIB", ofProject);
      return library();
    }
    return {
      name: "library",
      state: "WRONG",
      is: "not usable",
      fix: (error as Error).message,
    };
  }
}

/** Opens a context and sleeps in it: the sum of all other requirements. */
async function uring(): Promise<Finding> {
  try {
    await using ctx = new IoContext();
    await asyncSleep(ctx, 1).orThrow();
    return { name: "io_uring", state: "ok", is: "works" };
  } catch (error) {
    const { message } = error as Error;
    const isFiltered = error instanceof Deno.errors.PermissionDenied &&
      hasFilter();
    return {
      name: "io_uring",
      state: "WRONG",
      is: "refused",
      fix: isFiltered ? message + PROFILE : message,
    };
  }
}

function operationsOf({ operations }: Capabilities): Finding {
  const by = (support: string) =>
    Object.keys(operations).filter((name) => operations[name] === support);
  const [none, syscall] = [by("none"), by("syscall")];
  const name = "operations";
  if (none.length > 0) {
    return {
      name,
      state: "note",
      is: `without ${none.join(", ")}`,
      fix: "they fail with EINVAL; a later kernel has them",
    };
  }
  const count = Object.keys(operations).length;
  const is = `all ${count}, ${syscall.length} of them by system calls`;
  return { name, state: "ok", is };
}

function featuresOf({ features }: Capabilities): Finding {
  const name = "features";
  const lacks = FEATURE_NAMES.filter((it) =>
    features[it].reason !== "" && FEATURES[it].unused === undefined
  );
  if (lacks.length === 0) return { name, state: "ok", is: "all native" };
  const byKernel = lacks.filter((it) => features[it].reason !== "KIO_DISABLE");
  const list = Map.groupBy(
    lacks,
    (it) => `${features[it].support}: ${features[it].reason}`,
  )
    .entries().map(([how, names]) =>
      `${names.join(", ")} ${names.length > 1 ? "are" : "is"} ${how}`
    );
  return {
    name,
    // A switch is no lack.
    state: byKernel.length === 0 ? "ok" : "note",
    is: `not all native`,
    fix: [...list].join("\n"),
  };
}

/** Lists the operations, features and properties of the ring: the name, how it
 * is done, and the first Linux that has it, or the reason. */
function tableOf({ operations, features, flags }: Capabilities): string[][] {
  return [
    ...Object.entries(operations).map(([name, support]) => [
      name,
      support,
      sinceOf(name),
    ]),
    ...Object.entries(features).map(([name, { support, reason }]) => [
      name,
      support,
      reason,
    ]),
    ...Object.entries(flags).map(([name, isThere]) => [
      name,
      isThere ? "yes" : "no",
    ]),
  ];
}

/** The first Linux that has all opcodes of an operation. */
function sinceOf(name: string): string {
  const versions = ROWS.filter((row) => row.name === name)
    .map(({ since }) => since.split(".").map(Number));
  const [[major, minor] = []] = versions.sort((
    [a = 0, b = 0],
    [c = 0, d = 0],
  ) => c - a || d - b);
  return major ? `since Linux ${major}.${minor}` : "";
}

/** Examines everything. Gives capabilities only where io_uring works. */
async function examine(): Promise<[Finding[], Capabilities?]> {
  const system = architecture();
  // All the rest would be wrong for the same reason.
  if (system.state !== "ok") return [[system]];
  const found = library();
  const hasLibrary = found.state === "ok";
  const ring = hasLibrary ? [await uring()] : [];
  const works = ring.some(({ state }) => state === "ok");
  const findings = [
    system,
    kernel(),
    sysctl(works),
    seccomp(),
    memlock(),
    nofile(),
    await compiler(hasLibrary),
    found,
    ...ring,
  ];
  if (!works) return [findings];
  const capabilities = IoContext.probe();
  const kinds = [operationsOf(capabilities), featuresOf(capabilities)];
  return [[...findings, ...kinds], capabilities];
}

const WIDTH = 80;
const STATE_WIDTH = 7;
const NAME_WIDTH = 26;
/** Colours of the states on a terminal (SGR). */
const COLOURS = { ok: 32, note: 33, WRONG: 31 } as const;

/** Gives a state in its colour, where colours are wanted. */
function painted(state: Finding["state"], text: string): string {
  const hasColour = Deno.stdout.isTerminal() && !Deno.noColor;
  return hasColour ? `\x1b[${COLOURS[state]}m${text}\x1b[0m` : text;
}

/** Breaks a line at spaces, to lines of a terminal that begin at a column. */
function wrapped(line: string, column: number): string[] {
  const lines = [""];
  for (const word of line.split(/(?<=\S) /)) {
    const last = lines.at(-1)!;
    const length = column + last.length + 1 + word.length;
    if (last === "") lines[lines.length - 1] = word;
    else if (length <= WIDTH) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** Says whether kio works here. */
function verdictOf(findings: readonly Finding[]): string {
  const namesOf = (state: Finding["state"]) =>
    findings.filter((it) => it.state === state).map(({ name }) => name);
  const [wrong, notes] = [namesOf("WRONG"), namesOf("note")];
  if (wrong.length > 0) {
    return painted("WRONG", `kio does not work here: ${wrong.join("; ")}`);
  }
  return notes.length === 0
    ? painted("ok", "kio works here")
    : painted("note", `kio works here; see the notes: ${notes.join("; ")}`);
}

function linesOf(
  findings: readonly Finding[],
  capabilities: Capabilities | undefined,
): string[] {
  const lines = [`kio ${config.version}`];
  for (const { name, state, is, fix } of findings) {
    const head = painted(state, state.padEnd(STATE_WIDTH)) +
      name.padEnd(NAME_WIDTH);
    const column = STATE_WIDTH + NAME_WIDTH;
    lines.push(head + wrapped(is, column).join(`\n${" ".repeat(column)}`));
    for (const line of fix?.trimEnd().split("\n") ?? []) {
      for (const part of wrapped(line, STATE_WIDTH)) {
        lines.push(" ".repeat(STATE_WIDTH) + part);
      }
    }
  }
  lines.push("");
  if (capabilities !== undefined) {
    for (const [name = "", by = "", of = ""] of tableOf(capabilities)) {
      lines.push(`${name.padEnd(20)} ${by.padEnd(8)} ${of}`.trimEnd());
    }
    lines.push("");
  }
  return [...lines, verdictOf(findings)];
}

/** Prints a text; gives the exit code, as a disk may be full. */
function print(text: string, code: number): number {
  try {
    console.log(text);
    return code;
  } catch (error) {
    console.error(`Cannot write the output: ${(error as Error).message}`);
    return 1;
  }
}

/** Checks the permissions first: half an examination would mislead. */
function isPermitted(): boolean {
  const names = ["env", "ffi", "read", "run", "sys", "write"] as const;
  return names.every(isWhole);
}

const USAGE = "usage: deno run -A jsr:@kio/kio/doctor [--all]";
const HELP =
  `Examines this system: finds what kio lacks, and says how to get it.

${USAGE}

  --all   list the operations and features of the kernel, too
  --help  print this`;

/** Examines what the arguments ask for; gives the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const unknown = args.find((it) => it !== "--all" && it !== "--help");
  if (unknown !== undefined) {
    console.error(`Unknown argument "${unknown}"\n${USAGE}`);
    return 2;
  }
  if (args.includes("--help")) {
    return print(HELP, 0);
  }
  if (!isPermitted()) {
    console.error(
      "Cannot examine this system: run it with deno run -A, and no --deny-…",
    );
    return 1;
  }
  const [findings, capabilities] = await examine();
  const listed = args.includes("--all") ? capabilities : undefined;
  const code = findings.some(({ state }) => state === "WRONG") ? 1 : 0;
  return print(linesOf(findings, listed).join("\n"), code);
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
