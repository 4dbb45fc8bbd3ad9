/** Receiving as fast as it comes. */

import {
  BUN,
  C,
  C_MULTISHOT,
  DENO,
  KIO,
  KIO_MULTISHOT,
  KIO_ON_CHUNK,
  NODE,
} from "../echo_servers.ts";
import {
  bun,
  c,
  CLIENT_CORE,
  type Command,
  deno,
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

const CONNECTIONS = 4;
const TITLE = `${CONNECTIONS} connections that pour`;

/** Receives of up to 64 KiB. */
export function bulk({ seconds }: Options): Suite {
  const peer = (name: string, command: Command, installed = true): Peer => ({
    name,
    installed,
    async sample() {
      await using server = await Server.start(command);
      const { mibPerS, cpuUs, userUs } = await runForJson(
        onCore(
          CLIENT_CORE,
          c("pour", server.port, CONNECTIONS, seconds, "--pid", server.pid),
        ),
        seconds,
      );
      return { mibPerS: mibPerS!, cpuUs: cpuUs!, userUs: userUs! };
    },
  });
  const table: Case = {
    title: TITLE,
    base: KIO,
    columns: [
      {
        head: "server CPU µs/MiB",
        metric: "cpuUs",
        digits: 1,
        spread: true,
        ratio: true,
      },
      { head: "user", metric: "userUs", digits: 1 },
      { head: "MiB/s", metric: "mibPerS", digits: 0, ratio: true },
    ],
    peers: [
      peer(KIO, deno("ffi", "sink_kio.ts", "single")),
      peer(KIO_MULTISHOT, deno("ffi", "sink_kio.ts", "iterator")),
      peer(KIO_ON_CHUNK, deno("ffi", "sink_kio.ts", "onChunk")),
      peer(C, c("sink_liburing", "single")),
      peer(C_MULTISHOT, c("sink_liburing", "multishot")),
      peer(BUN, bun("sink_bun.ts"), !!versions.bun),
      peer(DENO, deno("net", "sink_deno.ts")),
      peer(NODE, node("sink_node.mjs"), !!versions.node),
    ],
  };
  return {
    turnSeconds: seconds + 1,
    notes: [
      "The client sends as fast as the server receives, and the server tells how",
      "many bytes came. kio, C, Deno and Node with a buffer of 64 KiB a connection,",
      "multishot and onChunk with a pool of 64 such buffers; Bun chooses its own.",
      "Server on core 0, client on core 1.",
    ],
    cases: [table],
    bars: (figures) =>
      [KIO_MULTISHOT, KIO_ON_CHUNK].map((name) => ({
        text: `${TITLE}: server CPU a MiB of ${name}, of ${KIO}`,
        figure: figures.compare(TITLE, name, KIO, "cpuUs", ratio),
        limit: 0.75,
        kind: "at most",
      })),
  };
}
