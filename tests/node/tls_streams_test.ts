/** All tests of TLS on a Deno that has no such engine as kio drives: bytes go
 * through the streams of Node. */
import { Duplex } from "node:stream";
import tls from "node:tls";

const { _handle: handle } = new tls.TLSSocket(
  new Duplex() as never,
) as unknown as {
  _handle: object;
};
const methods = Object.getPrototypeOf(handle);
const { attachJsStream, drainEncOut } = methods;
// Deno's own code finds it in the handle.
methods.attachJsStream = function (this: object): number {
  Object.assign(this, { drainEncOut });
  return attachJsStream.call(this);
};
delete methods.drainEncOut;

await import("./tls_test.ts");
