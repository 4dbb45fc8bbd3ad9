/** Running programs: to the end, or as a server beside a client. */

import type { Command } from "./programs.ts";
import { onCore, SERVER_CORE } from "./programs.ts";

/** Time that a program may take beyond the time that it measures. */
const OVERTIME_MS = 60_000;
const START_MAX_MS = 20_000;

/** The programs that run now. */
const running = new Set<Deno.ChildProcess>();
let isOver = false;

/** Kills all programs that run now, and lets no other begin: a promise of its
 * end is never settled. */
export function endAll(): void {
  isOver = true;
  for (const process of running) kill(process);
}

function kill(process: Deno.ChildProcess): void {
  try {
    process.kill("SIGKILL");
  } catch {
    // It has ended by itself; its client has noticed and said so.
  }
}

async function spawn(
  [program, ...args]: Command,
  stdout: "piped" | "null",
): Promise<Deno.ChildProcess> {
  if (isOver) await new Promise(() => {});
  const process = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout,
    stderr: "piped",
  }).spawn();
  running.add(process);
  void process.status.then(() => running.delete(process));
  return process;
}

/**
 * Runs a program to its end.
 *
 * @param command The program and its arguments.
 * @param seconds How long it is expected to take at most, start-up aside.
 * @returns What it printed.
 */
export async function run(command: Command, seconds: number): Promise<string> {
  const process = await spawn(command, "piped");
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    kill(process);
  }, seconds * 1000 + OVERTIME_MS);
  const { success, code, stdout, stderr } = await process.output();
  clearTimeout(timer);
  if (isOver) await new Promise(() => {});
  if (isLate) {
    throw new Error(`Cannot measure ${command[0]}: it did not end`);
  }
  if (!success) {
    throw new Error(reason(new TextDecoder().decode(stderr), code));
  }
  return new TextDecoder().decode(stdout);
}

/** Finds the lines of JSON in the output of a program. */
export function jsonLines(output: string): Record<string, number>[] {
  return output.split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}

/** Runs a program that prints one line of JSON. */
export async function runForJson(
  command: Command,
  seconds: number,
): Promise<Record<string, number>> {
  const [figures] = jsonLines(await run(command, seconds));
  if (figures === undefined) {
    throw new Error(`Cannot measure ${command[0]}: it printed no figures`);
  }
  return figures;
}

/** A server on its own core; ends with the scope that started it. */
export class Server implements AsyncDisposable {
  readonly port: number;
  readonly #process: Deno.ChildProcess;
  readonly #errors: Promise<string>;

  private constructor(
    process: Deno.ChildProcess,
    errors: Promise<string>,
    port: number,
  ) {
    this.#process = process;
    this.#errors = errors;
    this.port = port;
  }

  /** Starts it, and waits for the line that tells its port. */
  static start(
    command: Command,
    cores: number | string = SERVER_CORE,
  ): Promise<Server> {
    const pinned = onCore(cores, command);
    return Server.#start(pinned, "piped", ({ stdout }) => portFrom(stdout));
  }

  /** Starts what says nothing, and waits until it answers on its port. */
  static startOn(command: Command, port: number): Promise<Server> {
    const pinned = onCore(SERVER_CORE, command);
    return Server.#start(pinned, "null", (process) => answer(process, port));
  }

  static async #start(
    command: Command,
    stdout: "piped" | "null",
    portOf: (process: Deno.ChildProcess) => Promise<number | null>,
  ): Promise<Server> {
    const process = await spawn(command, stdout);
    const errors = new Response(process.stderr).text();
    const timer = setTimeout(() => kill(process), START_MAX_MS);
    const port = await portOf(process);
    clearTimeout(timer);
    if (port !== null) return new Server(process, errors, port);
    if (isOver) await new Promise(() => {});
    const { code } = await process.status;
    throw new Error(reason(await errors, code));
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Ends it. Returns what it wrote to its standard error output. */
  async stop(): Promise<string> {
    kill(this.#process);
    await this.#process.status;
    return this.#errors;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** The port out of "listening PORT", or null if the server ends before. */
async function portFrom(
  stdout: ReadableStream<Uint8Array<ArrayBuffer>>,
): Promise<number | null> {
  let text = "";
  for await (const part of stdout.pipeThrough(new TextDecoderStream())) {
    text += part;
    const port = /^listening (\d+)$/m.exec(text)?.[1];
    if (port !== undefined && text.includes("\n")) return Number(port);
  }
  return null;
}

/** The port when something listens there, or null if the server ends before. */
async function answer(
  process: Deno.ChildProcess,
  port: number,
): Promise<number | null> {
  let hasEnded = false;
  void process.status.then(() => hasEnded = true);
  while (!hasEnded) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return port;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  return null;
}

/** Finds a port that had no listener a moment ago. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Gives a program's last words before it failed, in a line. */
function reason(stderr: string, code: number): string {
  const lines = stderr.split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("at "));
  const line = lines.find((line) => /error|cannot/i.test(line)) ?? lines.at(-1);
  // deno-lint-ignore no-control-regex -- Deno colours its messages.
  return line?.replaceAll(/\x1b\[[0-9;]*m/g, "") ?? `exit code ${code}`;
}
