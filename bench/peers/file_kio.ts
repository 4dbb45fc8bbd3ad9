/** `file.c` on kio. Usage: file_kio.ts PATH BLOCKS DEPTH SECONDS [WAY] */

import {
  asyncOpen,
  asyncRead,
  asyncReadExact,
  asyncReadFixed,
  IoContext,
  O_RDONLY,
  unwrap,
} from "../../mod.ts";
import { randomSource, Window } from "./window.mjs";

const BLOCK_BYTES = 4096;

const [path, ...numbers] = Deno.args;
const [blocks, depth, seconds] = numbers.map(Number);
const way = Deno.args[4] ?? "plain";
if (path === undefined || seconds === undefined) {
  throw new TypeError("Usage: file_kio.ts PATH BLOCKS DEPTH SECONDS");
}

using ctx = new IoContext({ entries: 1024 });
const fd = unwrap(await asyncOpen(ctx, path, O_RDONLY));
// The registered file is the first: its place is 0.
const [read, file] = {
  plain: [asyncRead, fd] as const,
  exact: [asyncReadExact, fd] as const,
  fixed: [asyncReadFixed, 0] as const,
}[way]!;
unwrap(ctx.registerFiles([fd]));
const random = randomSource();
const window = new Window(seconds);

async function readBlocks(): Promise<void> {
  const buffer = new Uint8Array(BLOCK_BYTES);
  // Each block of the file begins with its own number.
  const number = new Uint32Array(buffer.buffer, 0, 1);
  do {
    const block = random() % blocks!;
    const length = unwrap(await read(ctx, file, buffer, block * BLOCK_BYTES));
    if (length !== BLOCK_BYTES || number[0] !== block) {
      throw new Error("Cannot trust the read: another block came");
    }
  } while (window.tick(1));
}

await Promise.all(Array.from({ length: depth! }, readBlocks));
