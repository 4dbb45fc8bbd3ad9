/** The places of the programs, and how each of them is started. */

const here = (path: string) => new URL(path, import.meta.url).pathname;

/** Folder of everything that the benchmark makes; not under version control. */
export const BUILD_FOLDER = here("build");

/** The core reserved for servers. */
export const SERVER_CORE = 0;
/** The core reserved for load generators. */
export const CLIENT_CORE = 1;

/** A program and its arguments. */
export type Command = readonly [program: string, ...args: string[]];

const C_PROGRAMS = [
  "accept_liburing",
  "connect",
  "datagrams",
  "echo_liburing",
  "echo_multishot",
  "file",
  "idle",
  "keep",
  "load",
  "log",
  "message",
  "pour",
  "rusage",
  "sendfile",
  "sequential",
  "sink",
  "sink_liburing",
  "small_files",
  "steady",
  "udp_liburing",
  "waker",
];

/** When a file was changed; 0 if it is not there. */
async function changedMs(path: string): Promise<number> {
  try {
    return (await Deno.stat(path)).mtime!.getTime();
  } catch {
    return 0;
  }
}

/** Compiles the C programs whose sources have changed. */
export async function buildPeers(): Promise<void> {
  await Deno.mkdir(BUILD_FOLDER, { recursive: true });
  const headers = [...Deno.readDirSync(here("peers"))]
    .filter(({ name }) => name.endsWith(".h"));
  const headersMs = Math.max(
    ...await Promise.all(
      headers.map(({ name }) => changedMs(here(`peers/${name}`))),
    ),
  );
  for (const name of C_PROGRAMS) {
    const sourceMs = await changedMs(here(`peers/${name}.c`));
    const builtMs = await changedMs(`${BUILD_FOLDER}/${name}`);
    if (builtMs > Math.max(headersMs, sourceMs)) continue;
    const { success, stderr } = await new Deno.Command("cc", {
      args: [
        ...["-O2", "-Wall", "-Wextra", "-Werror", "-pthread"],
        ...["-o", `${BUILD_FOLDER}/${name}`, here(`peers/${name}.c`)],
        "-luring",
      ],
    }).output();
    if (!success) {
      throw new Error(
        `Cannot compile ${name}.c (it needs a C compiler and liburing-dev):\n` +
          new TextDecoder().decode(stderr),
      );
    }
  }
}

/** The first line that a program prints, or null if it is not installed. */
export async function firstLine(command: Command): Promise<string | null> {
  const [program, ...args] = command;
  try {
    const { success, stdout } = await new Deno.Command(program, {
      args,
      stderr: "null",
    }).output();
    if (!success) return null;
    return new TextDecoder().decode(stdout).split("\n")[0]!.trim();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Asks a program for its version; null if it is not installed. */
async function version(
  command: string,
  pattern: RegExp,
): Promise<string | null> {
  // Some say it on the standard error output, or as a failure.
  const line = await firstLine(["sh", "-c", `${command} 2>&1 || true`]);
  return pattern.exec(line ?? "")?.[1] ?? null;
}

/** Versions of what may be missing; null where it is. */
export const versions = {
  // Deno runs itself as "node" where there is none; Node says "v20.1.2".
  node: await version("node --version", /^v(\d\S*)/),
  bun: await version("bun --version", /^(\d\S*)/),
  liburing: await version("pkg-config --modversion liburing", /^(\d\S*)/),
  fio: await version("fio --version", /^fio-(\S+)/),
  nginx: await version("nginx -v", /nginx\/(\d\S*)/),
  socat: await version("socat -V | grep version", /version (\d\S*)/),
  wrk: await version("wrk -v", /^wrk \D*(\d[\d.]*)/),
};

/** A C program of the benchmark. */
export function c(name: string, ...args: (string | number)[]): Command {
  return [`${BUILD_FOLDER}/${name}`, ...args.map(String)];
}

/** A program for Deno, with the permissions it needs and no more. */
export function deno(
  permission: "ffi" | "ffi,read" | "net" | "read" | "none",
  name: string,
  ...args: (string | number)[]
): Command {
  return [
    Deno.execPath(),
    "run",
    "--quiet",
    ...(permission === "none"
      ? []
      : permission.split(",").map((name) => `--allow-${name}`)),
    here(`peers/${name}`),
    ...args.map(String),
  ];
}

/** A program for Deno, with flags for V8 and whatever else it needs. */
export function denoWithFlags(
  flags: readonly string[],
  name: string,
  ...args: (string | number)[]
): Command {
  return [
    ...[Deno.execPath(), "run", "--quiet", ...flags] as const,
    here(`peers/${name}`),
    ...args.map(String),
  ];
}

/** One of the examples, for Deno. */
export function example(
  name: string,
  flags: readonly string[],
  ...args: (string | number)[]
): Command {
  return [
    ...[Deno.execPath(), "run", "--quiet", ...flags] as const,
    here(`../examples/${name}`),
    ...args.map(String),
  ];
}

/** A program for Node. */
export function node(name: string, ...args: (string | number)[]): Command {
  return ["node", here(`peers/${name}`), ...args.map(String)];
}

/** A program for Bun. */
export function bun(name: string, ...args: (string | number)[]): Command {
  return ["bun", here(`peers/${name}`), ...args.map(String)];
}

/** The command, on one core only, or on those of a list like "0,1". */
export function onCore(core: number | string, command: Command): Command {
  return ["taskset", "-c", String(core), ...command];
}
