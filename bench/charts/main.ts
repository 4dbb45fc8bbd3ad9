/**
 * Makes the charts in `docs/charts/` and the tables of the documents out of
 * `bench/results/`: `deno task charts`.
 */

import { readArguments } from "../../examples/command_line.ts";
import { drawCharts, fillDocuments, loadAll } from "./files.ts";

readArguments({
  command: "deno task charts",
  about: "Makes charts and tables of documents out of bench/results/.",
  options: {},
}, () => {});
const records = await loadAll();
const files = [...await drawCharts(records), ...await fillDocuments(records)];
for (const { url, text } of files) {
  await Deno.mkdir(new URL(".", url), { recursive: true });
  await Deno.writeTextFile(url, text);
  console.log(url.pathname);
}
