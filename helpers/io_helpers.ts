/**
 * Transfers that are made of several operations and count as one: all of a
 * buffer, or a part of a file to a socket.
 *
 * @module
 */
export { asyncReadExact, asyncRecvExact, asyncSendExact } from "./exact.ts";
export { asyncSendfile } from "./sendfile.ts";
export { asyncWriteExact, type WriteExactOptions } from "./write_exact.ts";
