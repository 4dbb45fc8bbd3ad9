/**
 * Makes the charts in `docs/charts/` and the tables of the documents out of
 * `bench/results/`: `deno task charts`.
 */

import { drawCharts, fillDocuments, loadAll } from "./files.ts";

const records = await loadAll();
const files = [...await drawCharts(records), ...await fillDocuments(records)];
for (const { url, text } of files) {
  await Deno.mkdir(new URL(".", url), { recursive: true });
  await Deno.writeTextFile(url, text);
  console.log(url.pathname);
}
