/** Echo of datagrams over loopback. */

import { runForJson, Server } from "../run.ts";
import {
  bun,
  c,
  CLIENT_CORE,
  type Command,
  deno,
  denoWithFlags,
  node,
  onCore,
  versions,
} from "../programs.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";
import type { EchoServer } from "../echo_servers.ts";
import { sampleOf, SERVER_COLUMNS } from "./echo.ts";

const CASES = [
  { clients: 1, bytes: 64 },
  { clients: 64, bytes: 64 },
  { clients: 64, bytes: 1200 },
];

const KIO = "kio";
const C = "C, liburing";

const SERVERS: readonly EchoServer[] = [
  { name: KIO, installed: true, command: deno("ffi", "udp_kio.ts") },
  {
    name: "kio, pool",
    installed: true,
    command: deno("ffi", "udp_kio_pool.ts"),
  },
  { name: C, installed: true, command: c("udp_liburing") },
  { name: "Bun", installed: !!versions.bun, command: bun("udp_bun.ts") },
  {
    name: "Deno",
    installed: true,
    command: denoWithFlags(["--unstable-net", "--allow-net"], "udp_deno.ts"),
  },
  { name: "Node", installed: !!versions.node, command: node("udp_node.mjs") },
];

async function loadServer(
  command: Command,
  clients: number,
  bytes: number,
  seconds: number,
) {
  await using server = await Server.start(command);
  const load = c(
    "load",
    ...[server.port, clients, bytes, seconds],
    ...["--pid", server.pid, "udp"],
  );
  return sampleOf(await runForJson(onCore(CLIENT_CORE, load), seconds));
}

/** Echo of datagrams of 64 and 1200 bytes, from 1 and 64 clients. */
export function udp({ seconds }: Options): Suite {
  const cases = CASES.map(({ clients, bytes }): Case => ({
    title: `${bytes} bytes, ${clients} client${clients === 1 ? "" : "s"}`,
    parameters: { clients, bytes },
    base: C,
    columns: [...SERVER_COLUMNS, {
      head: "p50 µs",
      metric: "p50Us",
      digits: 0,
    }],
    peers: SERVERS.map(({ name, installed, command }): Peer => ({
      name,
      installed,
      sample: () => loadServer(command, clients, bytes, seconds),
    })),
  }));
  return {
    turnSeconds: seconds + 1,
    notes: [
      "One datagram in flight a client, each a connected socket; the load",
      "generator (C, io_uring) checks every byte. Server on core 0, load",
      "generator on core 1.",
    ],
    cases,
    bars: (figures) =>
      cases.map(({ title }) => ({
        text: `${title}: requests a second, of Deno`,
        figure: figures.compare(title, KIO, "Deno", "reqPerS", ratio),
        limit: 1,
        kind: "at least",
      })),
  };
}
