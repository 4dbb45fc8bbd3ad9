/**
 * Connections of kio for libraries that are made for Node: node:http and what
 * is built on it, `ws`, `pg`, `ioredis` … See {@linkcode serveNode},
 * {@linkcode createNodeSocket} and {@linkcode toNodeSocket}.
 *
 * @module
 */
export { serveNode } from "./server.ts";
export {
  createNodeSocket,
  type NodeSocketOptions,
  toNodeSocket,
} from "./socket.ts";
