/** A worker of `threads_meter.ts`, on kio. */

import { loadShim } from "../../ffi/load.ts";
import { joinPool } from "../../mod.ts";

void joinPool<Float64Array>(async ({ ctx, data, pool }) => {
  ctx.onMessage = () => data[1] = loadShim().kio_now_ms();
  pool.ready();
  await new Promise((resolve) =>
    pool.stopping.addEventListener("abort", resolve, { once: true })
  );
});
