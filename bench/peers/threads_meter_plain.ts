/** A worker of `threads_meter.ts`, as Deno makes it; the clock is kio's, and
 * what keeps it on a core. */

import { loadShim } from "../../ffi/load.ts";

interface Scope {
  onmessage: (event: MessageEvent<Float64Array | number>) => void;
  postMessage(message: unknown): void;
}
const scope = globalThis as unknown as Scope;

let cells: Float64Array | undefined;
scope.onmessage = ({ data }) => {
  if (typeof data !== "number") {
    cells = data;
    loadShim().kio_thread_pin(0);
    scope.postMessage("ready");
  } else if (cells !== undefined) {
    cells[1] = loadShim().kio_now_ms();
  }
};
scope.postMessage("hello");
