/** The exports of each module of the package, types included. */
import { assertEquals, assertMatch } from "@std/assert";
import { ROOT, run } from "./support.ts";

const CONFIG = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)) as {
  exports: Record<string, string>;
  imports: Record<string, string>;
  tasks: Record<string, { description: string; command: string }>;
};

/** Gives the names that a module exports, in order. */
async function namesOf(path: string): Promise<string[]> {
  const args = ["doc", "--json", CONFIG.exports[path]!];
  const { code, out, err } = await run(Deno.execPath(), args);
  assertEquals(code, 0, err);
  const nodes: Record<string, { symbols: { name: string }[] }> =
    JSON.parse(out).nodes;
  return Object.values(nodes)
    .flatMap(({ symbols }) => symbols.map(({ name }) => name))
    .sort();
}

/** Parts of `@kio/kio`: all that they export is there, too. */
const PARTS: Record<string, readonly string[]> = {
  "./net": [
    "AcceptLoopOptions",
    "AddressFamily",
    "ConnectAttempt",
    "ConnectError",
    "ConnectFailure",
    "ConnectOptions",
    "ConnectResult",
    "Connections",
    "ConnectionsOptions",
    "Datagram",
    "DatagramError",
    "DatagramsOptions",
    "LentDatagramsOptions",
    "ListenFd",
    "ListenOptions",
    "PeerCredentials",
    "Socket",
    "SocketAddress",
    "SocketBase",
    "SocketOptions",
    "SocketType",
    "StreamListener",
    "StreamSocket",
    "TcpListener",
    "TcpStream",
    "UdpConnectOptions",
    "UdpOptions",
    "UdpSendOptions",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "acceptLoop",
    "listenFds",
  ],
  "./helpers": [
    "BlocksOptions",
    "BufferedReader",
    "BufferedReaderOptions",
    "ByteSource",
    "File",
    "FileOpenOptions",
    "FileSync",
    "ReadDirOptions",
    "ReadFileOptions",
    "RelayOptions",
    "RelayedBytes",
    "SendfileOptions",
    "SocketTransport",
    "Transport",
    "UntilOptions",
    "WalkEntry",
    "WalkOptions",
    "WriteExactOptions",
    "WriteFileOptions",
    "asyncReadExact",
    "asyncRecvExact",
    "asyncSendExact",
    "asyncSendfile",
    "asyncSpliceAll",
    "asyncWriteExact",
    "pipe",
    "readDir",
    "readFile",
    "readTextFile",
    "relay",
    "walk",
    "writeFile",
  ],
  "./threads": [
    "BlockingPool",
    "BlockingPoolOptions",
    "FunctionJob",
    "JobOptions",
    "ModuleJob",
    "PoolMembership",
    "PoolStats",
    "PoolWorker",
    "ShutdownOptions",
    "WorkerMetrics",
    "WorkerPool",
    "WorkerPoolOptions",
    "WorkerState",
    "WorkerStats",
    "joinPool",
    "offload",
  ],
};

for (const [path, expected] of Object.entries(PARTS)) {
  Deno.test(`@kio/kio${path.slice(1)} exports what it should`, async () => {
    assertEquals(await namesOf(path), expected);
    const all = new Set(await namesOf("."));
    assertEquals(expected.filter((name) => !all.has(name)), []);
  });
}

Deno.test("@kio/kio/node exports what it should", async () => {
  assertEquals(await namesOf("./node"), [
    "NodeSocketOptions",
    "createNodeSocket",
    "serveNode",
    "toNodeSocket",
  ]);
});

Deno.test("@kio/kio/constants exports numbers, those of @kio/kio", async () => {
  const kio: Record<string, unknown> = await import("@kio/kio");
  const constants = Object.entries(await import("@kio/kio/constants"));
  const isConstant = ([name, value]: [string, unknown]) =>
    typeof value === "number" && name !== "WAKE_TAG";
  assertEquals(constants.filter((it) => !isConstant(it)), []);
  const all = Object.entries(kio).filter(isConstant);
  assertEquals(new Map(constants), new Map(all));
});

Deno.test("each export has an import here, and its documentation is checked", () => {
  const { exports, imports, tasks } = CONFIG;
  // Programs: nothing imports them.
  const { "./build": build, "./doctor": doctor, ...modules } = exports;
  for (const [path, file] of Object.entries(modules)) {
    assertEquals(imports[`@kio/kio${path.slice(1)}`], file);
  }
  const checked = tasks["lint:doc"]!.command.split(" ").slice(3);
  const files = [...Object.values(modules), build, doctor];
  assertEquals(
    new Set(checked.map((file) => `./${file}`)),
    new Set(files),
  );
});

Deno.test("deno task says in a line what each task is for", () => {
  for (const [name, { description }] of Object.entries(CONFIG.tasks)) {
    assertMatch(description, /^[A-Z].{10,70}[^.]$/, name);
  }
});
