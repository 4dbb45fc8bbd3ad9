/** Reads accepted connections of Node into a buffer, by the option `onread`. */

import { Buffer } from "node:buffer";
import { Socket } from "node:net";

/**
 * `onread` is an option of the constructor only, and a server has no way to pass
 * it on: hands a connection over to a socket of our own making.
 *
 * @param {Socket} accepted paused, so that it has not read anything yet
 * @param {number} bufferBytes
 * @param {(length: number, buffer: Uint8Array) => boolean} callback gives
 * whether to go on reading
 */
export function ownSocket(accepted, bufferBytes, callback) {
  const handle = accepted._handle;
  accepted._handle = null;
  const socket = new Socket({
    handle,
    readable: true,
    writable: true,
    allowHalfOpen: true,
    onread: { buffer: Buffer.allocUnsafeSlow(bufferBytes), callback },
  });
  socket.on("error", () => socket.destroy());
  return socket;
}
