/**
 * Things made of several operations: transfers that count as one, files that
 * are read and written whole, the owner of a file, and readers of messages.
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
export { asyncReadExact, asyncRecvExact, asyncSendExact } from "./exact.ts";
export { readFile, type ReadFileOptions, readTextFile } from "./read_file.ts";
export { asyncSendfile } from "./sendfile.ts";
export {
  type ByteSource,
  SocketTransport,
  type Transport,
} from "./transport.ts";
export { asyncWriteExact, type WriteExactOptions } from "./write_exact.ts";
export { writeFile, type WriteFileOptions } from "./write_file.ts";
