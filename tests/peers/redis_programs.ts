/** redis-server and the example, each for itself in a folder that goes. */
import { assert } from "@std/assert";
import { Program, run, temporaryFolder } from "../process/support.ts";

export type Sync = "always" | "everysec" | undefined;

/** A server that runs until the end of its block. */
export interface Served extends AsyncDisposable {
  readonly port: number;
  readonly folder: string;
}

const HOST = "127.0.0.1";

/** A port that nothing has at the moment. */
function freePort(): number {
  using listener = Deno.listen({ port: 0, hostname: HOST });
  return listener.addr.port;
}

/** Starts a program, on a core if there is one to keep to. */
function start(core: number | undefined, ...command: string[]): Program {
  const pinned = core === undefined ? [] : ["taskset", "-c", `${core}`];
  const [program = "", ...args] = [...pinned, ...command];
  return new Program(program, args);
}

function served(
  program: Program,
  port: number,
  folder: Disposable & { path: string },
): Served {
  return {
    port,
    folder: folder.path,
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** Starts the example. */
export async function startKio(sync?: Sync, core?: number): Promise<Served> {
  const folder = temporaryFolder();
  const log = [
    "--appendonly",
    `${folder.path}/log`,
    "--appendfsync",
    `${sync}`,
  ];
  const program = start(core, ...[
    ...[Deno.execPath(), "run", "--allow-ffi", "examples/redis_server.ts"],
    ...["--port", "0", ...sync === undefined ? [] : log],
  ]);
  const [, port] = await program.printed(/serving on [\d.]+:(\d+)\n/);
  return served(program, Number(port), folder);
}

/** Starts redis-server. A log that is in its folder already is read. */
export async function startRedis(
  sync?: Sync,
  core?: number,
  log?: string,
): Promise<Served> {
  const folder = temporaryFolder();
  if (log !== undefined) {
    Deno.copyFileSync(log, `${folder.path}/appendonly.aof`);
  }
  const port = freePort();
  const program = start(core, ...[
    ...["redis-server", "--bind", HOST, "--port", `${port}`, "--save", ""],
    ...[
      "--dir",
      folder.path,
      "--appendonly",
      sync === undefined ? "no" : "yes",
    ],
    ...["--appendfsync", sync ?? "no"],
  ]);
  await program.printed(/Ready to accept connections/);
  return served(program, port, folder);
}

/** Runs redis-cli; gives its output. */
export async function cli(
  { port }: Served,
  args: string[],
  input?: string,
): Promise<string> {
  const all = ["-h", HOST, "-p", `${port}`, ...args];
  const { code, out, err } = await run("redis-cli", all, { input });
  assert(code === 0, `redis-cli ${args}: ${out}${err}`);
  return out;
}

/** Runs redis-benchmark; gives the requests a second of each kind of request. */
export async function benchmark(
  { port }: Served,
  args: string[],
  core?: number,
): Promise<Map<string, number>> {
  await using program = start(core, ...[
    ...["redis-benchmark", "-h", HOST, "-p", `${port}`, "--csv", ...args],
  ]);
  const { code, out, err } = await program.ended();
  assert(code === 0 && !/error/i.test(out + err), `${args}: ${out}${err}`);
  const lines = out.matchAll(/^"([A-Z]+)[^"]*","([\d.]+)"/gm);
  return new Map(
    lines.map(([, name = "", rate]): [string, number] => [name, Number(rate)]),
  );
}
