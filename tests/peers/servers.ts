/**
 * Servers from Debian's packages, each in a folder of its own that goes. They
 * run as nobody if the test runs as root, as some of them insist on it.
 */
import { assert } from "@std/assert";
import { sleep, temporaryFolder } from "../process/support.ts";

const HOST = "127.0.0.1";
/** The user nobody and its group. */
const NOBODY = { uid: 65534, gid: 65534 };
const START_MS_MAX = 60_000;

/** A server that runs until the end of its block. */
export interface Server extends AsyncDisposable {
  readonly port: number;
  readonly folder: string;
  /** The path of its unix socket. */
  readonly path: string;
}

/** A port that nothing has at the moment. */
function freePort(): number {
  using listener = Deno.listen({ port: 0, hostname: HOST });
  return listener.addr.port;
}

/** Finds a program that is not in the path of all systems. */
function found(name: string, ...folders: string[]): string {
  for (const folder of [...folders, "/usr/sbin", "/usr/bin"]) {
    try {
      Deno.statSync(`${folder}/${name}`);
      return `${folder}/${name}`;
    } catch {
      // It is in another one.
    }
  }
  return name;
}

/** Runs a program to its end. */
async function run(
  program: string,
  args: string[],
  cwd: string,
): Promise<void> {
  const command = new Deno.Command(program, { args, cwd, ...user() });
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  assert(code === 0, decoder.decode(stdout) + decoder.decode(stderr));
}

function user(): { uid?: number; gid?: number } {
  return Deno.uid() === 0 ? NOBODY : {};
}

/** Makes a folder, has a program serve from it, and waits until it does. */
async function start(
  socket: string,
  prepare: (
    at: { folder: string; port: number },
  ) => Promise<[string, string[]]>,
): Promise<Server> {
  const temporary = temporaryFolder();
  const { path: folder } = temporary;
  const port = freePort();
  if (Deno.uid() === 0) Deno.chownSync(folder, NOBODY.uid, NOBODY.gid);
  const [program, args] = await prepare({ folder, port });
  const log = `${folder}/log`;
  const child = new Deno.Command(program, {
    args,
    cwd: folder,
    stdout: "piped",
    stderr: "piped",
    ...user(),
  }).spawn();
  const write = async (from: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const chunk of from) {
      Deno.writeFileSync(log, chunk, { append: true });
    }
  };
  const ended = Promise.all([
    write(child.stdout),
    write(child.stderr),
    child.status,
  ]);
  const server = {
    port,
    folder,
    path: `${folder}/${socket}`,
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended.
      }
      await ended;
      temporary[Symbol.dispose]();
    },
  };
  const endMs = performance.now() + START_MS_MAX;
  for (;;) {
    try {
      using _ = await Deno.connect({ hostname: HOST, port });
      return server;
    } catch {
      if (performance.now() > endMs) {
        const text = Deno.readTextFileSync(log);
        await server[Symbol.asyncDispose]();
        throw new Error(`${program} does not serve:\n${text}`);
      }
      await sleep(50);
    }
  }
}

/** The user, the password and the database of all. */
export const ACCOUNT = {
  user: "kio",
  password: "secret",
  database: "kio",
} as const;

export function startPostgres(): Promise<Server> {
  return start(".s.PGSQL", async ({ folder, port }) => {
    const versions = [...Deno.readDirSync("/usr/lib/postgresql")];
    const bin = `/usr/lib/postgresql/${versions.at(-1)?.name}/bin`;
    Deno.writeTextFileSync(`${folder}/password`, ACCOUNT.password);
    await run(found("initdb", bin), [
      ...["-D", `${folder}/data`, "-U", ACCOUNT.user, "--no-sync"],
      ...["--auth=scram-sha-256", `--pwfile=${folder}/password`],
    ], folder);
    const settings = [
      ...["fsync=off", `port=${port}`, `listen_addresses=${HOST}`],
      `unix_socket_directories=${folder}`,
    ];
    return [found("postgres", bin), [
      ...["-D", `${folder}/data`],
      ...settings.flatMap((it) => ["-c", it]),
    ]];
  });
}

export function startMariadb(): Promise<Server> {
  return start("mariadb.sock", async ({ folder, port }) => {
    const data = `--datadir=${folder}/data`;
    await run(found("mariadb-install-db"), [
      ...["--no-defaults", data, "--skip-test-db"],
      "--auth-root-authentication-method=normal",
    ], folder);
    const { user, password, database } = ACCOUNT;
    Deno.writeTextFileSync(
      `${folder}/init.sql`,
      `CREATE DATABASE ${database};
CREATE USER ${user}@'%' IDENTIFIED BY '${password}';
GRANT ALL ON ${database}.* TO ${user}@'%';
`,
    );
    return [found("mariadbd"), [
      ...["--no-defaults", data, `--port=${port}`, `--bind-address=${HOST}`],
      ...[`--socket=${folder}/mariadb.sock`, `--pid-file=${folder}/pid`],
      ...[`--init-file=${folder}/init.sql`, "--skip-name-resolve"],
    ]];
  });
}

export function startRedis(): Promise<Server> {
  return start(
    "redis.sock",
    ({ folder, port }) =>
      Promise.resolve([found("redis-server"), [
        ...["--bind", HOST, "--port", `${port}`, "--save", "", "--dir", folder],
        ...["--unixsocket", `${folder}/redis.sock`],
        ...["--requirepass", ACCOUNT.password],
      ]]),
  );
}

export function startNginx(): Promise<Server> {
  return start("nginx.sock", ({ folder, port }) => {
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
      .map((it) => `${it}_temp_path ${folder}/${it};`);
    Deno.mkdirSync(`${folder}/root`, { mode: 0o755 });
    Deno.chmodSync(folder, 0o755);
    Deno.writeFileSync(`${folder}/root/large`, new Uint8Array(3_000_000));
    Deno.writeTextFileSync(
      `${folder}/conf`,
      `daemon off;
pid ${folder}/pid;
error_log stderr;
events {}
http {
  access_log off;
  ${temporary.join("\n  ")}
  server {
    listen ${HOST}:${port};
    listen unix:${folder}/nginx.sock;
    location / { root ${folder}/root; }
    location /connection { return 200 "$connection $connection_requests"; }
  }
}
`,
    );
    const args = ["-c", `${folder}/conf`, "-e", "stderr", "-p", folder];
    return Promise.resolve([found("nginx"), args]);
  });
}
