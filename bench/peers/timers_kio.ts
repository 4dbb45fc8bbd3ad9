/** Many sleeps on kio. Usage: timers_kio.ts COUNT */

import { asyncSleep, IoContext } from "../../mod.ts";
import { measureSleeps } from "./sleeps.mjs";

using ctx = new IoContext({ entries: 1024 });
await measureSleeps(Number(Deno.args[0]), (ms) => asyncSleep(ctx, ms));
