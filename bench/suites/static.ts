/** Files over HTTP. */

import {
  BUILD_FOLDER,
  bun,
  CLIENT_CORE,
  type Command,
  denoWithFlags,
  example,
  onCore,
  SERVER_CORE,
  versions,
} from "../programs.ts";
import { freePort, run, Server } from "../run.ts";
import {
  type Bar,
  type Case,
  type Figures,
  type Options,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";

const CONNECTIONS = 64;
/** Time until a JIT has compiled the measured code: V8's threads take 3 to 6 µs
 * of CPU a request in the first four seconds, and less than 1 after that. */
const WARM_UP_SECONDS = 4;
const SIZES = [
  { bytes: 1024, name: "1k.bin", title: "1 KiB", limit: 1.2 },
  { bytes: 1 << 20, name: "1m.bin", title: "1 MiB", limit: 1 },
];
const ROOT = `${BUILD_FOLDER}/static`;
const NGINX_CONF = `${BUILD_FOLDER}/nginx.conf`;

const KIO = "kio";
const NGINX = "nginx";

/** One process with all that nginx has for files; it writes nothing down. */
function nginxConf(port: number): string {
  const folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${BUILD_FOLDER}/nginx_temp;`);
  return `
daemon off;
master_process off;
pid ${BUILD_FOLDER}/nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
  access_log off;
  ${folders.join(" ")}
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  open_file_cache max=1000 inactive=60s;
  open_file_cache_valid 1s;
  server { listen 127.0.0.1:${port} backlog=4096; root ${ROOT}; }
}
`;
}

/** The CPU time of a process with its threads, in ticks of 10 ms. */
function cpuSeconds(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The name, in parentheses, may hold anything; what follows are numbers.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Seconds for which the cores of server and client were idle, by the tick of
 * 10 ms. */
function idleSeconds(): number {
  const stat = Deno.readTextFileSync("/proc/stat");
  return [SERVER_CORE, CLIENT_CORE].reduce((sum, core) => {
    const line = new RegExp(`^cpu${core} (.*)$`, "m").exec(stat)![1]!;
    const [, , , idle, iowait] = line.split(" ").map(Number);
    return sum + (idle! + iowait!) / 100;
  }, 0);
}

/** A number out of what wrk prints: "Requests/sec:  1234.5", "50%  1.20ms". */
function figureOf(output: string, label: string): number {
  const match = new RegExp(`^\\s*${label}\\s+([\\d.]+)(us|ms|s|)`, "m")
    .exec(output);
  if (match === null) throw new Error(`Cannot measure wrk: no ${label}`);
  const unit = { us: 1, ms: 1e3, s: 1e6, "": 1 }[match[2]!]!;
  return Number(match[1]) * unit;
}

/** Runs wrk for some seconds, and gives its output. */
function wrk(port: number, name: string, seconds: number): Promise<string> {
  const command = onCore(CLIENT_CORE, [
    "wrk",
    "--threads=1",
    `--connections=${CONNECTIONS}`,
    `--duration=${Math.ceil(seconds)}s`,
    "--latency",
    `http://127.0.0.1:${port}/${name}`,
  ]);
  return run(command, seconds);
}

/** Puts load on a server; figures are per request. */
async function sample(
  commandOn: (port: number) => Command,
  name: string,
  seconds: number,
): Promise<Sample> {
  const port = freePort();
  await using server = await Server.startOn(commandOn(port), port);
  await wrk(port, name, WARM_UP_SECONDS);
  const before = cpuSeconds(server.pid);
  const idleBefore = idleSeconds();
  const fromMs = performance.now();
  const output = await wrk(port, name, seconds);
  const wall = (performance.now() - fromMs) / 1000;
  const idle = idleSeconds() - idleBefore;
  const cpu = cpuSeconds(server.pid) - before;
  const errors = /^\s*(Socket errors|Non-2xx).*$/m.exec(output);
  if (errors !== null) throw new Error(errors[0].trim());
  const requests = Number(/(\d+) requests in/.exec(output)![1]);
  return {
    reqPerS: figureOf(output, "Requests/sec:"),
    cpuUs: cpu * 1e6 / requests,
    bothUs: Math.max(0, 2 * wall - idle) * 1e6 / requests,
    p50Us: figureOf(output, "50%"),
    p99Us: figureOf(output, "99%"),
  };
}

function nginxOn(port: number): Command {
  Deno.writeTextFileSync(NGINX_CONF, nginxConf(port));
  return ["nginx", "-c", NGINX_CONF];
}

/** The congestion control of connections that choose none. */
function congestionControl(): string {
  const path = "/proc/sys/net/ipv4/tcp_congestion_control";
  return Deno.readTextFileSync(path).trim();
}

async function makeFiles(): Promise<void> {
  await Deno.mkdir(ROOT, { recursive: true });
  for (const { bytes, name } of SIZES) {
    const content = new Uint8Array(bytes).map((_, i) => i * 31 + (i >> 8));
    await Deno.writeFile(`${ROOT}/${name}`, content);
  }
}

/** Small and large files over HTTP, 64 connections. */
export function staticFiles({ seconds }: Options): Suite {
  const servers: [
    name: string,
    installed: boolean,
    (port: number) => Command,
  ][] = [
    [
      KIO,
      true,
      (port) =>
        example("static_sendfile.ts", ["--allow-ffi"], ...["--root", ROOT], ...[
          "--port",
          port,
        ]),
    ],
    [NGINX, versions.nginx !== null, nginxOn],
    ["Bun", versions.bun !== null, (port) => bun("static_bun.ts", ROOT, port)],
    [
      "Deno",
      true,
      (port) =>
        denoWithFlags(
          ["--allow-net", "--allow-read"],
          "static_deno.ts",
          ROOT,
          port,
        ),
    ],
  ];
  return {
    turnSeconds: WARM_UP_SECONDS + Math.ceil(seconds) + 1,
    begin: makeFiles,
    end: () => Deno.remove(ROOT, { recursive: true }),
    notes: [
      `${CONNECTIONS} connections of wrk (Debian: apt-get install wrk nginx-light),`,
      `one request in flight on each, after ${WARM_UP_SECONDS} s to warm up. Server on core 0,`,
      "wrk on core 1. nginx: one process, sendfile, open_file_cache, no log. kio:",
      "examples/static_sendfile.ts.",
      "CPU of the server with its threads, by the tick of 10 ms. Both cores: the",
      "time in which they were not idle, whoever had them. Congestion control:",
      `${congestionControl()}. With BBR the acknowledgements send what a large call`,
      "leaves in the socket, on the core of wrk, which is full.",
    ],
    cases: SIZES.map(({ title, name, bytes }): Case => ({
      title,
      parameters: { bytes },
      base: NGINX,
      columns: [
        {
          head: "req/s",
          metric: "reqPerS",
          digits: 0,
          spread: true,
          ratio: true,
        },
        { head: "server CPU µs/req", metric: "cpuUs", digits: 1, ratio: true },
        { head: "both cores µs/req", metric: "bothUs", digits: 1, ratio: true },
        { head: "p50 µs", metric: "p50Us", digits: 0 },
        { head: "p99 µs", metric: "p99Us", digits: 0 },
      ],
      peers: servers.map(([peer, installed, commandOn]): Peer => ({
        name: peer,
        installed: installed && versions.wrk !== null,
        sample: () => sample(commandOn, name, seconds),
      })),
    })),
    bars: (figures) => SIZES.flatMap((size) => barsOf(size, figures)),
  };
}

/** wrk takes more CPU than the servers: what one of them takes less shows in
 * requests a second only as far as wrk keeps up. */
function barsOf(
  { title, limit }: typeof SIZES[number],
  figures: Figures,
): Bar[] {
  const compare = (metric: string) =>
    figures.compare(title, KIO, NGINX, metric, ratio);
  return [
    {
      text: `${title}: requests a second, of nginx`,
      figure: compare("reqPerS"),
      limit,
      kind: "at least",
    },
    {
      text: `${title}: server CPU a request, of nginx`,
      figure: compare("cpuUs"),
      limit: 1 / limit,
      kind: "at most",
    },
  ];
}
