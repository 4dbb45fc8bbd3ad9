/**
 * `file.c` on `node:fs`, for Node, Bun and Deno.
 * Usage: file_fs.mjs PATH BLOCKS DEPTH SECONDS
 *
 * Callbacks, as they are faster than `FileHandle.read()` in each of the three;
 * in Bun they are faster than `Bun.file(path).slice()` too.
 */

import { openSync, read } from "node:fs";
import process from "node:process";
import { randomSource, Window } from "./window.mjs";

const BLOCK_BYTES = 4096;

const [path, ...numbers] = process.argv.slice(2);
const [blocks, depth, seconds] = numbers.map(Number);
if (seconds === undefined) {
  throw new TypeError("Usage: file_fs.mjs PATH BLOCKS DEPTH SECONDS");
}

const fd = openSync(path, "r");
const random = randomSource();
const window = new Window(seconds);

function readBlocks() {
  const buffer = new Uint8Array(BLOCK_BYTES);
  // Each block of the file begins with its own number.
  const number = new Uint32Array(buffer.buffer, 0, 1);
  let block = 0;

  function next() {
    block = random() % blocks;
    read(fd, buffer, 0, BLOCK_BYTES, block * BLOCK_BYTES, done);
  }

  /**
   * @param {Error | null} error
   * @param {number} length
   */
  function done(error, length) {
    if (error !== null) throw error;
    if (length !== BLOCK_BYTES || number[0] !== block) {
      throw new Error("Cannot trust the read: another block came");
    }
    if (window.tick(1)) next();
  }

  next();
}

for (let i = 0; i < depth; i++) readBlocks();
