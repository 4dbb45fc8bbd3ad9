/**
 * Things made of several operations: transfers that count as one, files that
 * are read and written whole, and the owner of a file.
 *
 * @module
 */
export type { BlocksOptions } from "./blocks.ts";
export { File, type FileOpenOptions } from "./File.ts";
export { asyncReadExact, asyncRecvExact, asyncSendExact } from "./exact.ts";
export { readFile, type ReadFileOptions, readTextFile } from "./read_file.ts";
export { asyncSendfile } from "./sendfile.ts";
export { asyncWriteExact, type WriteExactOptions } from "./write_exact.ts";
export { writeFile, type WriteFileOptions } from "./write_file.ts";
