/** The file that reads are measured on. */

import { keep, remove } from "./page_cache.ts";
import { BUILD_FOLDER } from "./programs.ts";

const BLOCK_BYTES = 4096;
const BLOCKS_AT_ONCE = 1024;

/** The path of the file. */
export const BLOCK_FILE = `${BUILD_FOLDER}/blocks`;
/** 256 MiB. */
export const BLOCK_COUNT = 65536;

/** Writes it, anew each time: each block begins with its own number. It stays
 * in the page cache. */
export async function makeBlockFile(): Promise<void> {
  using file = await Deno.create(BLOCK_FILE);
  const bytes = new Uint8Array(BLOCK_BYTES * BLOCKS_AT_ONCE);
  crypto.getRandomValues(bytes.subarray(0, BLOCK_BYTES));
  for (let i = 1; i < BLOCKS_AT_ONCE; i++) {
    bytes.copyWithin(i * BLOCK_BYTES, 0, BLOCK_BYTES);
  }
  const numbers = new Uint32Array(bytes.buffer);
  for (let first = 0; first < BLOCK_COUNT; first += BLOCKS_AT_ONCE) {
    for (let i = 0; i < BLOCKS_AT_ONCE; i++) {
      numbers[i * BLOCK_BYTES / 4] = first + i;
    }
    let written = 0;
    while (written < bytes.length) {
      written += await file.write(bytes.subarray(written));
    }
  }
  // Dirty pages would be written out while the reads are measured.
  await file.sync();
  await keep(BLOCK_FILE);
}

/** Takes it away again. */
export function removeBlockFile(): Promise<void> {
  return remove(BLOCK_FILE);
}
