/**
 * Things made of several operations: transfers that count as one, files that
 * are read and written whole, the owner of a file, directories and trees of
 * them, and readers of messages.
 *
 * @module
 */
export type { BlocksOptions } from "./blocks.ts";
export {
  BufferedReader,
  type BufferedReaderOptions,
  type UntilOptions,
} from "./BufferedReader.ts";
export { File, type FileOpenOptions } from "./File.ts";
export type { FileSync } from "./FileSync.ts";
export { asyncReadExact, asyncRecvExact, asyncSendExact } from "./exact.ts";
export { readDir, type ReadDirOptions } from "./read_dir.ts";
export { readFile, type ReadFileOptions, readTextFile } from "./read_file.ts";
export { pipe } from "./pipe.ts";
export { relay, type RelayedBytes, type RelayOptions } from "./relay.ts";
export { asyncSendfile, type SendfileOptions } from "./sendfile.ts";
export { asyncSpliceAll } from "./splice_all.ts";
export {
  type ByteSource,
  SocketTransport,
  type Transport,
} from "./transport.ts";
export { walk, type WalkEntry } from "./walk.ts";
export type { WalkOptions } from "./walk_filter.ts";
export { asyncWriteExact, type WriteExactOptions } from "./write_exact.ts";
export { writeFile, type WriteFileOptions } from "./write_file.ts";
