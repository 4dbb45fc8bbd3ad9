/**
 * `sequential.c` on kio.
 * Usage: sequential_kio.ts PATH SIZE DEPTH direct|cached SECONDS blocks|readable
 */

import { File, IoContext, O_DIRECT, O_RDONLY, unwrap } from "../../mod.ts";
import { checkBlock, Window } from "./window.mjs";

const [path, size, depth, mode, seconds, way] = Deno.args;
if (path === undefined || way === undefined) {
  throw new TypeError(
    "Usage: sequential_kio.ts PATH SIZE DEPTH direct|cached SECONDS blocks|readable",
  );
}
const options = { size: Number(size), inFlight: Number(depth) };
const flags = O_RDONLY | (mode === "direct" ? O_DIRECT : 0);

using ctx = new IoContext();
const window = new Window(Number(seconds));

/** Reads the file once; false once the window has closed. */
async function pass(): Promise<boolean> {
  await using file = unwrap(await File.open(ctx, path!, flags));
  const blocks = way === "readable" ? file.readable : file.blocks(options);
  let at = 0;
  for await (const block of blocks) {
    checkBlock(block, at);
    at += block.length;
    if (!window.tick(block.length / options.size)) return false;
  }
  return true;
}

while (await pass());
