/** Heap bytes of `asyncRead`. Usage: heap_kio.ts PATH DEPTH */

import {
  asyncOpen,
  asyncRead,
  IoContext,
  O_RDONLY,
  unwrap,
} from "../../mod.ts";
import { measureHeap } from "./heap_meter.ts";

const [path, depth] = Deno.args;
if (path === undefined || depth === undefined) {
  throw new TypeError("Usage: heap_kio.ts PATH DEPTH");
}

using ctx = new IoContext({ entries: 1024 });
const fd = unwrap(await asyncOpen(ctx, path, O_RDONLY));

await measureHeap(Number(depth), async (count) => {
  const buffer = new Uint8Array(4096);
  for (let i = 0; i < count; i++) {
    const result = await asyncRead(ctx, fd, buffer, i % 1024 * 4096);
    if (!result.ok) throw new Error(result.error.message);
  }
});
