/** `streams_kio.ts` on Node's own streams, or those of the Web made of them.
 * Usage: streams_node.mjs [web] */

import { createServer } from "node:net";
import { Duplex } from "node:stream";
import process from "node:process";

const isWeb = process.argv[2] === "web";

/** @param {import("node:net").Socket} socket */
function echo(socket) {
  // A client that resets its connection ends that connection only.
  socket.on("error", () => {});
  if (!isWeb) return socket.pipe(socket);
  const { readable, writable } = Duplex.toWeb(socket);
  readable.pipeTo(writable).catch(() => {});
}

const server = createServer({ noDelay: true }, echo);
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(`listening ${server.address().port}`);
});
