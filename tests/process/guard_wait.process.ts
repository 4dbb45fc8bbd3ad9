/** The guard's complaint when it waits for long. */
import { assertEquals } from "@std/assert";
import { ROOT, runScript } from "./support.ts";

const SIZE = 256 << 10;

/** Makes pipes that block. */
const PIPE = `
import { loadShim } from "file://${ROOT}ffi/load.ts";
function pipe() {
  const fds = new Int32Array(2);
  loadShim().kio_pipe(fds, ${SIZE});
  for (const fd of fds) loadShim().kio_nonblocking_set(fd, false);
  return fds;
}
`;

/** Reads on a thread of the kernel, which cannot be stopped while it waits for
 * the lock of the pipe. */
const WORKER = `
import * as kio from "@kio/kio";
import { loadShim } from "file://${ROOT}ffi/load.ts";
const READ_ASYNC = 22 | (1 << 4) << 8; // IORING_OP_READ, IOSQE_ASYNC
const shim = loadShim();
shim.kio_read = (handle, id, fd, buffer, length, offset) =>
  shim.kio_sqe(handle, id, READ_ASYNC, fd, buffer, 0, length, offset, 0);
onmessage = ({ data }) => {
  const ctx = new kio.IoContext(16);
  kio.asyncRead(ctx, data, new Uint8Array(16));
  postMessage(shim.kio_thread_id());
};
`;

const SCRIPT = `${PIPE}
using ctx = new kio.IoContext();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const [from, to] = pipe();
await kio.asyncWrite(ctx, to, new Uint8Array(${SIZE})).orThrow();
const [left, right] = kio.unwrap(kio.Socket.pair());
kio.unwrap(left.setNonBlocking(false));
kio.unwrap(left.setSendBuffer(4096));
// It has the lock until somebody reads from the socket.
const splice = kio.asyncSplice(ctx, from, left, ${SIZE / 2});
await kio.asyncPoll(ctx, right, kio.POLLIN).orThrow();

const worker = new Worker(
  "data:text/javascript,${encodeURIComponent(WORKER)}",
  { type: "module" },
);
worker.postMessage(from);
const thread = await new Promise((resolve) =>
  worker.onmessage = ({ data }) => resolve(data)
);
const isStuck = () =>
  [...Deno.readDirSync("/proc/self/task")].some(({ name }) => {
    try {
      const stat = Deno.readTextFileSync("/proc/self/task/" + name + "/stat");
      return stat.includes("(iou-wrk-" + thread + ") D ");
    } catch {
      return false;
    }
  });
while (!isStuck()) await sleep(1);
worker.terminate();
// Longer than the guard waits in silence.
await sleep(WAIT_MS);
const buffer = new Uint8Array(${SIZE / 2});
await kio.asyncRecvExact(ctx, right, buffer).orThrow();
await splice.orThrow();
console.log("over");
Deno.exit();
`;

/** Gives the words of a program whose worker ends while the kernel holds its
 * buffer, for that long. */
async function complaint(waitMs: number): Promise<string> {
  const script = `const WAIT_MS = ${waitMs};\n${SCRIPT}`;
  const { code, out, err } = await runScript(script, { flags: ["-A"] });
  assertEquals([code, out], [0, "over\n"], err);
  return err;
}

Deno.test("isolate_end() says after 5 s that it waits, once", async () => {
  assertEquals(
    await complaint(8000),
    "kio: waiting for 1 operations that the kernel cannot cancel\n",
  );
});

Deno.test("isolate_end() says nothing of a short wait", async () => {
  assertEquals(await complaint(100), "");
});
