/** `sink_liburing.c` on Node. */

import { createServer } from "node:net";
import { ownSocket } from "./own_socket.mjs";

const BUFFER_BYTES = 65536;

/** @param {import("node:net").Socket} accepted */
function serve(accepted) {
  let total = 0;
  const socket = ownSocket(accepted, BUFFER_BYTES, (length) => {
    total += length;
    return true;
  });
  socket.on("end", () => {
    socket.end(new Uint8Array(new BigUint64Array([BigInt(total)]).buffer));
  });
  socket.resume();
}

const server = createServer({ pauseOnConnect: true }, serve);
server.listen({ host: "127.0.0.1", port: 0 }, () => {
  console.log(`listening ${server.address().port}`);
});
