/** The echo servers that take part, by their names in the tables. */

import { bun, c, type Command, deno, node, versions } from "./programs.ts";

/** Receives by single shots, into a buffer of each connection's own. */
export const KIO = "kio";
/** The same in a context with the option `exclusive`. */
export const KIO_EXCLUSIVE = "kio, exclusive";
export const C = "C, liburing";
/** Receive by multishots, into a pool of buffers. */
export const KIO_MULTISHOT = "kio, multishot";
export const KIO_SEND_TO = "kio, sendTo()";
export const KIO_ON_CHUNK = "kio, onChunk";
export const C_MULTISHOT = "C, multishot";
export const BUN = "Bun";
export const DENO = "Deno";
export const NODE = "Node";

/** Bytes of a buffer of the pools. */
const SIZE = 4096;

/** A server that takes part. */
export interface EchoServer {
  readonly name: string;
  readonly installed: boolean;
  readonly command: Command;
}

/** The servers with a buffer a connection. */
export const ECHO_SERVERS: readonly EchoServer[] = [
  { name: KIO, installed: true, command: deno("ffi", "echo_kio.ts") },
  { name: C, installed: true, command: c("echo_liburing") },
  { name: BUN, installed: !!versions.bun, command: bun("echo_bun.ts") },
  { name: DENO, installed: true, command: deno("net", "echo_deno.ts") },
  { name: NODE, installed: !!versions.node, command: node("echo_node.mjs") },
];

/** The servers on kio with a pool, and what they do with a chunk. */
export const POOLED: readonly [name: string, shape: string][] = [
  [KIO_MULTISHOT, "awaitedSend"],
  [KIO_SEND_TO, "sendTo"],
  [KIO_ON_CHUNK, "onChunk"],
];

/**
 * Lists the servers, with those that have a pool beside their like.
 *
 * @param buffers The number of its buffers. For C it must be a power of two, and
 * at least that of the connections.
 */
export function serversWithPools(buffers: number): EchoServer[] {
  const [kio, plain, ...others] = ECHO_SERVERS;
  return [
    kio!,
    ...POOLED.map(([name, shape]) => ({
      name,
      installed: true,
      command: deno("ffi", "echo_kio_pool.ts", shape, buffers, SIZE),
    })),
    plain!,
    {
      name: C_MULTISHOT,
      installed: true,
      command: c("echo_multishot", buffers, SIZE),
    },
    ...others,
  ];
}
