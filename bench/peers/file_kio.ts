/** `file.c` on kio. Usage: file_kio.ts PATH BLOCKS DEPTH SECONDS [WAY] */

import {
  asyncOpen,
  asyncRead,
  asyncReadExact,
  asyncReadFixed,
  IoContext,
  O_DIRECT,
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

const submitMax = way === "by ones" ? 1 : undefined;
using ctx = new IoContext({ entries: 1024, submitMax });
const isRegistered = way === "registered" || way === "by ones";
const isDirect = way === "direct" || isRegistered;
const flags = isDirect ? O_RDONLY | O_DIRECT : O_RDONLY;
const fd = unwrap(await asyncOpen(ctx, path, flags));
// The registered file is the first: its place is 0.
const [read, file] = {
  plain: [asyncRead, fd] as const,
  exact: [asyncReadExact, fd] as const,
  fixed: [asyncReadFixed, 0] as const,
  direct: [asyncRead, fd] as const,
  registered: [asyncRead, fd] as const,
  "by ones": [asyncRead, fd] as const,
}[way]!;
unwrap(ctx.registerFiles([fd]));
const random = randomSource();
const window = new Window(seconds);
const memory = isDirect
  ? ctx.allocate(BLOCK_BYTES * depth!, { registered: isRegistered })
  : new Uint8Array(BLOCK_BYTES * depth!);

async function readBlocks(at: number): Promise<void> {
  const buffer = memory.subarray(at, at + BLOCK_BYTES);
  // Each block of the file begins with its own number.
  const number = new Uint32Array(memory.buffer, at, 1);
  do {
    const block = random() % blocks!;
    const length = unwrap(await read(ctx, file, buffer, block * BLOCK_BYTES));
    if (length !== BLOCK_BYTES || number[0] !== block) {
      throw new Error("Cannot trust the read: another block came");
    }
  } while (window.tick(1));
}

await Promise.all(
  Array.from({ length: depth! }, (_, i) => readBlocks(BLOCK_BYTES * i)),
);
