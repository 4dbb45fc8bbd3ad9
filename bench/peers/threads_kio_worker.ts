/** A worker of `threads_kio.ts`. */

import { asyncAccept, joinPool, unwrap } from "../../mod.ts";
import { echo } from "./echo.ts";

void joinPool<{ listener: number }>(async ({ ctx, data, pool }) => {
  pool.ready();
  while (true) void echo(ctx, unwrap(await asyncAccept(ctx, data.listener)));
});
