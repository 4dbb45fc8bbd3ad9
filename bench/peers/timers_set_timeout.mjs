/** Many sleeps by `setTimeout`, in any runtime. Usage: … COUNT [over] */

import process from "node:process";
import { measureSleeps } from "./sleeps.mjs";

await measureSleeps(
  process.argv.slice(2),
  (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
);
