/** Many sleeps on kio. Usage: timers_kio.ts COUNT [over] */

import { asyncSleep, IoContext } from "../../mod.ts";
import { measureSleeps } from "./sleeps.mjs";

using ctx = new IoContext({ entries: 1024 });
await measureSleeps(Deno.args, (ms) => asyncSleep(ctx, ms));
