/**
 * `sequential.c` on Deno's own files.
 * Usage: sequential_deno.ts PATH SIZE SECONDS read|readable
 */

import { checkBlock, Window } from "./window.mjs";

const [path, size, seconds, way] = Deno.args;
if (path === undefined || way === undefined) {
  throw new TypeError(
    "Usage: sequential_deno.ts PATH SIZE SECONDS read|readable",
  );
}
const block = new Uint8Array(Number(size));
const window = new Window(Number(seconds));

async function* blocksOf(file: Deno.FsFile): AsyncGenerator<Uint8Array> {
  if (way === "readable") return yield* file.readable;
  for (let count; (count = await file.read(block)) !== null;) {
    yield block.subarray(0, count);
  }
}

/** Reads the file once; false once the window has closed. */
async function pass(): Promise<boolean> {
  const file = await Deno.open(path!);
  let at = 0;
  for await (const block of blocksOf(file)) {
    checkBlock(block, at);
    at += block.length;
    if (!window.tick(block.length / Number(size))) return false;
  }
  if (way === "read") file.close();
  return true;
}

while (await pass());
