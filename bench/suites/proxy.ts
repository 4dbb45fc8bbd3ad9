/** A TCP proxy over loopback. */

import { keep, remove } from "../page_cache.ts";
import {
  BUILD_FOLDER,
  c,
  CLIENT_CORE,
  type Command,
  deno,
  onCore,
  versions,
} from "../programs.ts";
import { freePort, runForJson, Server } from "../run.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Sample,
  type Suite,
} from "../suite.ts";

const FILE = `${BUILD_FOLDER}/proxy.bin`;
const FILE_BYTES = 1 << 28;
const CONNECTIONS = 64;
const MESSAGE_BYTES = 64;

const KIO = "kio";
const SOCAT = "socat";
const DENO = "Deno, streams";
const BULK = "256 MiB a connection, one after the other";
const MESSAGES = `${MESSAGE_BYTES} bytes there and back, 64 connections`;

/** A process for each connection, as socat is used; it says nothing when it
 * listens. */
function socat(to: number): Command {
  const port = freePort();
  const listen = `TCP-LISTEN:${port},bind=127.0.0.1,fork,nodelay,backlog=128`;
  const command = `socat ${listen} TCP:127.0.0.1:${to},nodelay`;
  const script = `(sleep 0.3; echo listening ${port}) & exec ${command}`;
  return ["sh", "-c", script];
}

/** The CPU time of a process and of its children that have ended, in ticks of
 * 10 ms. */
function cpuSeconds(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The name, in parentheses, may hold anything; what follows are numbers.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields.slice(11, 15).reduce((sum, it) => sum + Number(it), 0) / 100;
}

/** Puts load on a proxy to an origin; gives what the client printed and the CPU
 * time of the proxy. */
async function through(
  origin: Command,
  proxy: (to: number) => Command,
  load: (port: number, pid: number) => Command,
  seconds: number,
): Promise<{ figures: Record<string, number>; cpuS: number }> {
  await using to = await Server.start(origin, CLIENT_CORE);
  await using server = await Server.start(proxy(to.port));
  const before = cpuSeconds(server.pid);
  const command = onCore(CLIENT_CORE, load(server.port, server.pid));
  const figures = await runForJson(command, seconds);
  // Processes of socat are still to be waited for.
  await new Promise((resolve) => setTimeout(resolve, 200));
  return { figures, cpuS: cpuSeconds(server.pid) - before };
}

async function bulk(
  proxy: (to: number) => Command,
  seconds: number,
): Promise<Sample> {
  const { figures: { gbPerS, gb }, cpuS } = await through(
    c("sendfile", FILE),
    proxy,
    (port, pid) => c("sink", port, seconds, FILE_BYTES, "--pid", pid),
    seconds,
  );
  return { gbPerS: gbPerS!, cpuMsPerGb: cpuS * 1e3 / gb! };
}

async function messages(
  proxy: (to: number) => Command,
  seconds: number,
): Promise<Sample> {
  const { figures: { reqPerS, requests, p50Us }, cpuS } = await through(
    c("echo_liburing"),
    proxy,
    (port, pid) =>
      c(
        "load",
        ...[port, CONNECTIONS, MESSAGE_BYTES, seconds],
        ...["--pid", pid],
      ),
    seconds,
  );
  return { reqPerS: reqPerS!, cpuUs: cpuS * 1e6 / requests!, p50Us: p50Us! };
}

/** A proxy under one busy connection, and under many that wait. */
export function proxy({ seconds }: Options): Suite {
  const peersOf = (
    sample: (
      proxy: (to: number) => Command,
      seconds: number,
    ) => Promise<Sample>,
  ): Peer[] => [
    {
      name: KIO,
      installed: true,
      sample: () => sample((to) => deno("ffi", "proxy_kio.ts", to), seconds),
    },
    {
      name: SOCAT,
      installed: versions.socat !== null,
      sample: () => sample(socat, seconds),
    },
    {
      name: DENO,
      installed: true,
      sample: () => sample((to) => deno("net", "proxy_deno.ts", to), seconds),
    },
  ];
  const column = (head: string, metric: string, digits: number) => ({
    head,
    metric,
    digits,
    spread: true,
    ratio: true,
  });
  const cases: Case[] = [
    {
      title: BULK,
      base: SOCAT,
      columns: [
        column("GB/s", "gbPerS", 2),
        column("proxy CPU ms/GB", "cpuMsPerGb", 0),
      ],
      peers: peersOf(bulk),
    },
    {
      title: MESSAGES,
      base: SOCAT,
      columns: [
        column("req/s", "reqPerS", 0),
        column("proxy CPU µs/req", "cpuUs", 1),
        { head: "p50 µs", metric: "p50Us", digits: 0 },
      ],
      peers: peersOf(messages),
    },
  ];
  return {
    turnSeconds: seconds + 2,
    async begin() {
      await Deno.writeFile(FILE, new Uint8Array(FILE_BYTES).fill(1));
      await keep(FILE);
    },
    end: () => remove(FILE),
    notes: [
      "Proxy on core 0; origin and client, both in C, on core 1. socat (Debian:",
      "apt-get install socat) has a process for each connection. CPU of the proxy",
      "with its children, warm-up included, by the tick of 10 ms.",
    ],
    cases,
    bars: (figures) =>
      [SOCAT, DENO].map((name) => ({
        text: `${BULK}: GB/s, of ${name}`,
        figure: figures.compare(BULK, KIO, name, "gbPerS", ratio),
        limit: 1.2,
        kind: "at least",
      })),
  };
}
