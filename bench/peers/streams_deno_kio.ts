/** `streams_deno.ts` in a process that has a context of kio, too: its heap is
 * the same as that of `streams_kio.ts`. */

import { asyncSleep, IoContext } from "../../mod.ts";

using ctx = new IoContext({ entries: 1024 });
await asyncSleep(ctx, 50);
await import("./streams_deno.ts");
