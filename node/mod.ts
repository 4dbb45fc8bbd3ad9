/**
 * Connections of kio for libraries that are made for Node: node:http, `ws`,
 * `pg`, `ioredis` … See {@linkcode toNodeSocket}.
 *
 * @module
 */
export { type NodeSocketOptions, toNodeSocket } from "./socket.ts";
