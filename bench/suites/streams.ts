/** Echo through streams over loopback TCP. */

import type { EchoServer } from "../echo_servers.ts";
import {
  c,
  CLIENT_CORE,
  type Command,
  deno,
  denoWithFlags,
  node,
  onCore,
  versions,
} from "../programs.ts";
import { runForJson, Server } from "../run.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";
import { sampleOf, SERVER_COLUMNS } from "./echo.ts";

const CASES = [
  { connections: 64, bytes: 64 },
  { connections: 4, bytes: 65536 },
];

const KIO = "kio";
const DENO = "Deno";
const DENO_BESIDE = "Deno, beside kio";

const SERVERS: readonly EchoServer[] = [
  { name: KIO, installed: true, command: deno("ffi", "streams_kio.ts") },
  { name: DENO, installed: true, command: deno("net", "streams_deno.ts") },
  {
    name: DENO_BESIDE,
    installed: true,
    command: denoWithFlags(
      ["--allow-net", "--allow-ffi"],
      "streams_deno_kio.ts",
    ),
  },
  {
    name: "Node",
    installed: !!versions.node,
    command: node("streams_node.mjs"),
  },
  {
    name: "Node, streams of the Web",
    installed: !!versions.node,
    command: node("streams_node.mjs", "web"),
  },
];

async function loadServer(
  command: Command,
  connections: number,
  bytes: number,
  seconds: number,
) {
  await using server = await Server.start(command);
  const load = c(
    "load",
    ...[server.port, connections, bytes, seconds],
    ...["--pid", server.pid],
  );
  return sampleOf(await runForJson(onCore(CLIENT_CORE, load), seconds));
}

/** `readable.pipeTo(writable)` with messages of 64 bytes and of 64 KiB. */
export function streams({ seconds }: Options): Suite {
  const cases = CASES.map(({ connections, bytes }): Case => ({
    title: `${bytes} bytes, ${connections} connections`,
    parameters: { connections, bytes },
    base: DENO,
    columns: SERVER_COLUMNS,
    peers: SERVERS.map(({ name, installed, command }): Peer => ({
      name,
      installed,
      sample: () => loadServer(command, connections, bytes, seconds),
    })),
  }));
  return {
    turnSeconds: seconds + 1,
    notes: [
      "Each server sends back what comes: readable.pipeTo(writable), or Node's",
      "socket.pipe(socket). One message in flight a connection; the load generator",
      "(C, io_uring) checks every byte. Server on core 0, load generator on core 1.",
      "Deno beside kio is the same program with a context: each garbage collection",
      "of chunks looks at the heap of the modules, too.",
    ],
    cases,
    bars: (figures) =>
      cases.flatMap(({ title }) =>
        [DENO, DENO_BESIDE].flatMap((name) => [
          {
            text: `${title}: requests a second, of ${name}`,
            figure: figures.compare(title, KIO, name, "reqPerS", ratio),
            limit: 1,
            kind: "at least" as const,
          },
          {
            text: `${title}: server CPU a request, of ${name}`,
            figure: figures.compare(title, KIO, name, "cpuUs", ratio),
            limit: 1,
            kind: "at most" as const,
          },
        ])
      ),
  };
}
