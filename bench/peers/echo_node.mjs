/**
 * Echo server on Node, reading into one buffer a connection by the `onread`
 * option: less CPU time a request than "data" events or `pipe`.
 */

import { Buffer } from "node:buffer";
import { createServer, Socket } from "node:net";

const BUFFER_BYTES = 16384;

/**
 * @param {Socket} accepted paused, so that it has not read anything yet
 */
function serve(accepted) {
  // `onread` is an option of the constructor only, and a server has no way to
  // pass it on: hand the connection over to a socket of our own making.
  const handle = accepted._handle;
  accepted._handle = null;
  const socket = new Socket({
    handle,
    readable: true,
    writable: true,
    onread: { buffer: Buffer.allocUnsafeSlow(BUFFER_BYTES), callback: echo },
  });

  /**
   * @param {number} length
   * @param {Uint8Array} buffer
   * @returns {boolean} whether to go on reading
   */
  function echo(length, buffer) {
    socket.write(buffer.subarray(0, length));
    if (socket.writableLength === 0) return true;
    // Not all is in the kernel: the buffer must not be read into before it is.
    socket.write("", () => socket.resume());
    return false;
  }

  socket.on("error", () => socket.destroy());
  socket.resume();
}

const server = createServer({ noDelay: true, pauseOnConnect: true }, serve);
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(`listening ${server.address().port}`);
});
