/**
 * Helpers that are made of several operations: all of a buffer, or a part of a
 * file to a socket, as one operation; directories, and trees of them.
 *
 * @module
 */
export {
  asyncReadExact,
  asyncRecvExact,
  asyncSendExact,
  asyncWriteExact,
} from "./exact.ts";
export { readDir, type ReadDirOptions } from "./read_dir.ts";
export { asyncSendfile } from "./sendfile.ts";
export { walk, type WalkEntry } from "./walk.ts";
export type { WalkOptions } from "./walk_filter.ts";
