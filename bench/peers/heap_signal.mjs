/**
 * Loaded before a server: at each SIGUSR2 it tells the size of the JavaScript
 * heap before and after a collection, as a line of JSON on the standard error
 * output. It counts the collections in between, which a heap shows that has
 * got smaller: growth without one is what was allocated.
 */

import process from "node:process";

const LOOK_MS = 20;

const heapBytes = () => process.memoryUsage().heapUsed;
const collect = () =>
  globalThis.Bun ? globalThis.Bun.gc(true) : globalThis.gc();

let collections = 0;
let lastBytes = 0;

function look() {
  const bytes = heapBytes();
  if (bytes < lastBytes) collections++;
  lastBytes = bytes;
}

setInterval(look, LOOK_MS).unref();
process.on("SIGUSR2", () => {
  const beforeBytes = heapBytes();
  look();
  collect();
  lastBytes = heapBytes();
  console.error(
    JSON.stringify({ beforeBytes, afterBytes: lastBytes, collections }),
  );
  collections = 0;
});
