/** HTTPS servers: messages, bulk and handshakes. */
import {
  BUILD_FOLDER,
  CLIENT_CORE,
  type Command,
  deno,
  denoWithFlags,
  node,
  onCore,
  versions,
} from "../programs.ts";
import { run, Server } from "../run.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";

const CERT = `${BUILD_FOLDER}/tls_cert.pem`;
const KEY = `${BUILD_FOLDER}/tls_key.pem`;
const WARM_UP_SECONDS = 1;

const KIO = "kio";
const NODE_IN_DENO = "Deno, node:tls";
const DENO = "Deno.listenTls()";
const NODE = "Node, node:tls";

const MESSAGES = "requests, 64 connections";
const BULK = "answers of 1 MiB, 4 connections";
const HANDSHAKES = "a connection for each request, 16 at a time";

const SERVERS: readonly [name: string, command: Command, installed: boolean][] =
  [
    [KIO, deno("ffi", "tls_kio.ts", CERT, KEY), true],
    [
      NODE_IN_DENO,
      denoWithFlags(["--allow-net", "--allow-read"], "tls_node.mjs", CERT, KEY),
      true,
    ],
    [
      DENO,
      denoWithFlags(["--allow-net", "--allow-read"], "tls_deno.ts", CERT, KEY),
      true,
    ],
    [NODE, node("tls_node.mjs", CERT, KEY), versions.node !== null],
  ];

/** The CPU time of a process. */
function cpuSeconds(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The name, in parentheses, may hold anything; what follows are numbers.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Puts load on a server; gives answers, seconds, and CPU seconds of it. */
async function load(
  server: Command,
  path: string,
  connections: number,
  seconds: number,
): Promise<{ answers: number; timeS: number; cpuS: number }> {
  await using it = await Server.start(server);
  const wrk = (seconds: number) =>
    run(
      onCore(CLIENT_CORE, [
        ...["wrk", "-t1", `-c${connections}`, `-d${seconds}`] as const,
        `https://127.0.0.1:${it.port}${path}`,
      ]),
      seconds,
    );
  await wrk(WARM_UP_SECONDS);
  const before = cpuSeconds(it.pid);
  const output = await wrk(seconds);
  const cpuS = cpuSeconds(it.pid) - before;
  const match = /(\d+) requests in ([\d.]+)s/.exec(output);
  if (match === null) throw new Error(`Cannot measure: ${output}`);
  return { answers: Number(match[1]), timeS: Number(match[2]), cpuS };
}

const each =
  (path: string, connections: number, seconds: number) =>
  async (server: Command): Promise<Sample> => {
    const { answers, timeS, cpuS } = await load(
      ...[server, path, connections, seconds] as const,
    );
    return { reqPerS: answers / timeS, cpuUs: cpuS * 1e6 / answers };
  };

const bulk = (seconds: number) => async (server: Command): Promise<Sample> => {
  const { answers, timeS, cpuS } = await load(server, "/large", 4, seconds);
  const gb = answers * 2 ** 20 / 1e9;
  return { gbPerS: gb / timeS, cpuMsPerGb: cpuS * 1e3 / gb };
};

/** TLS servers under wrk. */
export function tls({ seconds }: Options): Suite {
  const whole = Math.max(1, Math.ceil(seconds));
  const peersOf = (sample: (server: Command) => Promise<Sample>): Peer[] =>
    SERVERS.map(([name, command, installed]) => ({
      name,
      installed: installed && versions.wrk !== null,
      sample: () => sample(command),
    }));
  const column = (head: string, metric: string, digits: number) => ({
    head,
    metric,
    digits,
    spread: true,
    ratio: true,
  });
  const perRequest = [
    column("req/s", "reqPerS", 0),
    column("server CPU µs/req", "cpuUs", 1),
  ];
  const cases: Case[] = [
    {
      title: MESSAGES,
      base: NODE_IN_DENO,
      columns: perRequest,
      peers: peersOf(each("/small", 64, whole)),
    },
    {
      title: BULK,
      base: NODE_IN_DENO,
      columns: [
        column("GB/s", "gbPerS", 2),
        column("server CPU ms/GB", "cpuMsPerGb", 0),
      ],
      peers: peersOf(bulk(whole)),
    },
    {
      title: HANDSHAKES,
      base: NODE_IN_DENO,
      columns: perRequest,
      peers: peersOf(each("/once", 16, whole)),
    },
  ];
  return {
    turnSeconds: whole + WARM_UP_SECONDS + 2,
    async begin() {
      await run([
        ...["openssl", "req", "-x509", "-newkey", "ec", "-nodes"] as const,
        ...["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "30"],
        ...["-subj", "/CN=localhost", "-keyout", KEY, "-out", CERT],
      ], 1);
    },
    async end() {
      await Promise.all([CERT, KEY].map((path) => Deno.remove(path)));
    },
    notes: [
      "TLS 1.3 with an EC certificate. Server on core 0, wrk on core 1 (Debian:",
      "apt-get install wrk). CPU of the server by the tick of 10 ms. wrk takes its",
      "own time for TLS, so what a server takes less shows in its CPU.",
    ],
    cases,
    bars: (figures) => [{
      text: `${MESSAGES}: req/s, of ${NODE_IN_DENO}`,
      figure: figures.compare(MESSAGES, KIO, NODE_IN_DENO, "reqPerS", ratio),
      limit: 0.9,
      kind: "at least",
    }, {
      text: `${BULK}: GB/s, of ${NODE_IN_DENO}`,
      figure: figures.compare(BULK, KIO, NODE_IN_DENO, "gbPerS", ratio),
      limit: 0.9,
      kind: "at least",
    }],
  };
}
