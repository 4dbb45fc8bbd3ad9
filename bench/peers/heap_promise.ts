/**
 * The least that an awaited operation allocates: a bare promise and the result
 * it gives. Usage: heap_promise.ts DEPTH
 */

import { measureHeap } from "./heap_meter.ts";

await measureHeap(Number(Deno.args[0]), async (count) => {
  for (let i = 0; i < count; i++) {
    const result = await new Promise<{ ok: boolean; value: number }>(
      (resolve) => resolve({ ok: true, value: i }),
    );
    if (!result.ok) throw new Error("Cannot go on: not resolved");
  }
});
