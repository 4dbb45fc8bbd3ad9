/** `sendfile.c` on Node's streams. Usage: sendfile_node.mjs PATH */

import { createReadStream } from "node:fs";
import { createServer } from "node:net";
import process from "node:process";

const server = createServer((client) => {
  createReadStream(process.argv[2], { highWaterMark: 1 << 18 }).pipe(client);
});
server.listen(0, "127.0.0.1", () => {
  console.log(`listening ${server.address().port}`);
});
