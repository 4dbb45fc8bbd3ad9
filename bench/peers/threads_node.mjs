/**
 * Echo server on a cluster of Node: `echo_node.mjs` in each worker process.
 * Usage: threads_node.mjs WORKERS
 */

import cluster from "node:cluster";
import { fileURLToPath } from "node:url";

cluster.setupPrimary({
  exec: fileURLToPath(new URL("./echo_node.mjs", import.meta.url)),
  silent: true,
});
const workers = Number(process.argv[2]);
let listening = 0;
cluster.on("listening", (_worker, { port }) => {
  if (++listening === workers) console.log(`listening ${port}`);
});
for (let i = 0; i < workers; i++) cluster.fork();
