/** Lists a tree with facts about each file. Usage: tree_kio.ts FOLDER */

import { IoContext, walk } from "../../mod.ts";

const [root] = Deno.args;
if (root === undefined) throw new TypeError("Usage: tree_kio.ts FOLDER");

using ctx = new IoContext();
const startMs = performance.now();
let [files, bytes] = [0, 0];
for await (
  const { isFile, stat } of walk(ctx, root, { stat: true }).orThrow()
) {
  if (!isFile || !stat.ok) continue;
  files++;
  bytes += stat.value.size;
}
const seconds = (performance.now() - startMs) / 1000;
console.log(JSON.stringify({ files, bytes, seconds }));
