/**
 * `sequential.c` on `node:fs`, for Node and Bun: a stream, as it is faster than
 * a read that is awaited.
 * Usage: sequential_fs.mjs PATH SIZE SECONDS
 */

import { createReadStream } from "node:fs";
import process from "node:process";
import { checkBlock, Window } from "./window.mjs";

const [path, size, seconds] = process.argv.slice(2);
if (seconds === undefined) {
  throw new TypeError("Usage: sequential_fs.mjs PATH SIZE SECONDS");
}
const window = new Window(Number(seconds));
const highWaterMark = Number(size);

/** Reads the file once; false once the window has closed. */
async function pass() {
  let at = 0;
  for await (const block of createReadStream(path, { highWaterMark })) {
    checkBlock(block, at);
    at += block.length;
    if (!window.tick(block.length / highWaterMark)) return false;
  }
  return true;
}

while (await pass());
