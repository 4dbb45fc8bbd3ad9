/**
 * `file.c` on Deno's own files. Usage: file_deno.ts PATH BLOCKS DEPTH SECONDS
 *
 * A `Deno.FsFile` has one position, so each read in flight has a file of its
 * own. Seeking synchronously, which reads nothing, is faster than awaiting it.
 */

import { randomSource, Window } from "./window.mjs";

const BLOCK_BYTES = 4096;

const [path, ...numbers] = Deno.args;
const [blocks, depth, seconds] = numbers.map(Number);
if (path === undefined || seconds === undefined) {
  throw new TypeError("Usage: file_deno.ts PATH BLOCKS DEPTH SECONDS");
}

const random = randomSource();
const window = new Window(seconds);

async function readBlocks(path: string): Promise<void> {
  using file = await Deno.open(path);
  const buffer = new Uint8Array(BLOCK_BYTES);
  // Each block of the file begins with its own number.
  const number = new Uint32Array(buffer.buffer, 0, 1);
  do {
    const block = random() % blocks!;
    file.seekSync(block * BLOCK_BYTES, Deno.SeekMode.Start);
    const length = await file.read(buffer);
    if (length !== BLOCK_BYTES || number[0] !== block) {
      throw new Error("Cannot trust the read: another block came");
    }
  } while (window.tick(1));
}

await Promise.all(Array.from({ length: depth! }, () => readBlocks(path)));
