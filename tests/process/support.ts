/**
 * Common parts of the tests of this folder. They start programs, talk to them,
 * and end them whatever happens. Run them with `deno task test:process`.
 */
import { assert, assertEquals } from "@std/assert";
import { compileShim, SHIM_FOLDER, type Variant } from "../../ffi/compile.ts";

/** The folder of the checkout, with a slash at its end. */
export const ROOT = decodeURIComponent(
  new URL("../../", import.meta.url).pathname,
);

/** A program that takes longer hangs. This is longer than on any machine,
 * however busy. */
const LIMIT_MS = 600_000;

/** The end of a program, and all of its output. */
export interface Ended {
  code: number;
  signal: Deno.Signal | null;
  out: string;
  err: string;
}

export interface ProgramOptions {
  /** Written to its standard input, which is then closed. */
  input?: string | undefined;
  env?: Record<string, string> | undefined;
  cwd?: string;
  limitMs?: number;
}

/** A program that runs beside the test; it is killed when the test ends. */
export class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #ended: Promise<Ended>;
  #out = "";
  #err = "";
  #onOutput = () => {};

  constructor(
    command: string,
    args: string[],
    { input, env, cwd = ROOT, limitMs = LIMIT_MS }: ProgramOptions = {},
  ) {
    this.#child = new Deno.Command(command, {
      args,
      cwd,
      env: { NO_COLOR: "1", ...env },
      stdin: input === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#ended = this.#run(input, limitMs);
  }

  get pid(): number {
    return this.#child.pid;
  }

  async #run(input: string | undefined, limitMs: number): Promise<Ended> {
    const child = this.#child;
    const limit = setTimeout(() => this.kill("SIGKILL"), limitMs);
    if (input !== undefined) {
      await new Blob([input]).stream().pipeTo(child.stdin);
    }
    const [{ code, signal }] = await Promise.all([
      child.status,
      this.#read(child.stdout, (text) => this.#out += text),
      this.#read(child.stderr, (text) => this.#err += text),
    ]);
    clearTimeout(limit);
    return { code, signal, out: this.#out, err: this.#err };
  }

  async #read(
    stream: ReadableStream<Uint8Array<ArrayBuffer>>,
    add: (text: string) => void,
  ): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      add(text);
      this.#onOutput();
    }
  }

  /** Waits until its output has something that matches. */
  async printed(pattern: RegExp): Promise<RegExpExecArray> {
    for (let isOver = false;;) {
      const match = pattern.exec(this.#out);
      if (match !== null) return match;
      assert(!isOver, `no ${pattern} in\n${this.#out}${this.#err}`);
      const more = new Promise<void>((resolve) => this.#onOutput = resolve);
      isOver = await Promise.race([
        more.then(() => false),
        this.#ended.then(() => true),
      ]);
    }
  }

  kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended.
    }
  }

  /** Waits for its end; one that hangs is killed. */
  ended(): Promise<Ended> {
    return this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.#ended;
  }
}

/** Runs a program to its end. */
export async function run(
  command: string,
  args: string[],
  options?: ProgramOptions,
): Promise<Ended> {
  await using program = new Program(command, args, options);
  return await program.ended();
}

/** Looks for strace, which plays a kernel that fails. */
export function hasStrace(): Promise<boolean> {
  return hasProgram("strace");
}

/** Looks for a program that some tests need, and prints a line if it is
 * missing. */
export async function hasProgram(name: string): Promise<boolean> {
  try {
    await new Deno.Command(name, { args: ["-V"], stdout: "null" }).output();
    return true;
  } catch {
    console.log(`there is no ${name}: the tests that need it are skipped`);
    return false;
  }
}

export interface ScriptOptions extends Omit<ProgramOptions, "input"> {
  /** Options of `deno run`. */
  flags?: string[];
  /** Runs Deno: a command and its arguments, like `strace`. */
  under?: string[];
}

/** Starts a script in Deno; it has the library as `kio`. */
export function startScript(
  script: string,
  { flags = ["--allow-ffi"], under = [], ...options }: ScriptOptions = {},
): Program {
  const [command, ...args] = [
    ...under,
    Deno.execPath(),
    "run",
    "--no-prompt",
    ...flags,
    "-",
  ];
  const input = `import * as kio from "@kio/kio";\n${script}`;
  return new Program(command, args, { ...options, input });
}

/** Runs a script to its end. */
export async function runScript(
  script: string,
  options?: ScriptOptions,
): Promise<Ended> {
  await using program = startScript(script, options);
  return await program.ended();
}

/** Checks that a program ended well, with this output. */
export function assertPrinted(ended: Ended, out: string): void {
  assertEquals(ended, { code: 0, signal: null, out, err: "" });
}

/** The time that a process has spent on a processor, in ms. */
export function cpuMs(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The name, in parentheses, may hold anything; what follows are numbers.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  // User and system time, in ticks of 10 ms.
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A folder that is gone at the end of the test. */
export function temporaryFolder(): Disposable & { path: string } {
  const path = Deno.makeTempDirSync();
  return {
    path,
    [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }),
  };
}

/** The files of the shim, tests of it left out, by their paths in ffi/shim/. */
function shimFiles(): [name: string, text: string][] {
  return ["", "test/"].flatMap((folder) =>
    [...Deno.readDirSync(`${SHIM_FOLDER}/${folder}`)]
      .map(({ name }) => folder + name)
      .filter((name) => /\.[ch]$/.test(name) && !/_test\.c$/.test(name))
      .map((name): [string, string] => [
        name,
        Deno.readTextFileSync(`${SHIM_FOLDER}/${name}`),
      ])
  );
}

/**
 * Compiles the shim with some of its text replaced, which the tests have to
 * notice. The text has to be once in its files.
 */
export async function compileMutant(
  folder: string,
  from: string,
  to: string,
  variant?: Variant,
): Promise<string> {
  const library = `${folder}/libkio.so`;
  using copy = temporaryFolder();
  Deno.mkdirSync(`${copy.path}/test`);
  let count = 0;
  for (const [name, text] of shimFiles()) {
    count += text.split(from).length - 1;
    const mutant = text.replace(from, () => to);
    Deno.writeTextFileSync(`${copy.path}/${name}`, mutant);
  }
  assertEquals(count, 1, `not once in ffi/shim: ${from}`);
  await compileShim(copy.path, library, variant);
  return library;
}
