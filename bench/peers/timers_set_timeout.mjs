/** Many sleeps by `setTimeout`, in any runtime. Usage: … COUNT */

import process from "node:process";
import { measureSleeps } from "./sleeps.mjs";

await measureSleeps(
  Number(process.argv[2]),
  (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
);
