/**
 * Chains whose isolate ends: nothing of them happens after that, and the fd of
 * an `asyncClose()` that waits is closed, whatever has been done to the chain.
 */
import { assertEquals } from "@std/assert";
import { runScript } from "./support.ts";

const WORKER = `
import * as kio from "@kio/kio";
const turn = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const byte = new Uint8Array(1);

/** Makes a chain that waits, which the kernel has. */
const chains = {
  asyncClose: (ctx, { silent, doomed }) =>
    kio.link(ctx, () => [
      kio.asyncPoll(ctx, silent, kio.POLLIN),
      kio.asyncClose(ctx, doomed),
    ]),
  "asyncClose between others": (ctx, { silent, doomed, target }) =>
    kio.link(ctx, () => [
      kio.asyncRecv(ctx, silent, byte),
      kio.asyncSend(ctx, target, byte),
      kio.asyncClose(ctx, doomed),
      kio.asyncSend(ctx, target, byte),
    ]),
};

onmessage = async ({ data: { chain, fds, turns, cut, how } }) => {
  const ctx = new kio.IoContext(16);
  const ops = chains[chain](ctx, fds);
  await turn(5);
  if (cut !== undefined) ops[cut].cancel();
  for (let i = 0; i < turns; i++) await turn(0);
  postMessage("ready");
  if (how === "close") self.close();
  if (how === "exit") Deno.exit();
  if (how === "throw") throw new Error("on purpose");
};
`;

const SCRIPT = `
using ctx = new kio.IoContext();
const url = "data:text/javascript,${encodeURIComponent(WORKER)}";
const byte = new Uint8Array(1);

async function round(chain, turns, cut, how) {
  const pairs = [1, 2, 3].map(() => kio.unwrap(kio.Socket.pair()));
  const [silent, doomed, target] = pairs;
  // From here on the worker's: the numbers are known to nobody else.
  const fd = doomed[0].release();
  const worker = new Worker(url, { type: "module" });
  worker.onerror = (event) => event.preventDefault();
  const ready = new Promise((resolve) => worker.onmessage = resolve);
  const fds = { silent: silent[0].fd, doomed: fd, target: target[0].fd };
  worker.postMessage({ chain, turns, cut, how, fds });
  await ready;
  if (how === "terminate") worker.terminate();
  const what = [chain, turns, cut, how].join();
  const end = await kio.asyncRecv(ctx, doomed[1], byte).withTimeout(5000);
  if (!end.ok) throw new Error(what + ": the fd is open");
  await kio.asyncSend(ctx, silent[1], byte).orThrow();
  const came = await kio.asyncRecv(ctx, target[1], byte, kio.MSG_DONTWAIT);
  if (came.ok) throw new Error(what + ": a link has run");
  await Promise.all(
    [...silent, doomed[1], ...target].map((socket) => socket.close()),
  );
}

for (const how of ["terminate", "close", "exit", "throw"]) {
  await round("asyncClose", 0, undefined, how);
  const between = "asyncClose between others";
  await round(between, 0, undefined, how);
  for (const turns of [0, 1, 2]) await round(between, turns, 3, how);
}
console.log("done");
Deno.exit();
`;

Deno.test("link() with an asyncClose() closes its fd at the end of the isolate", async () => {
  const { code, signal, out } = await runScript(SCRIPT, { flags: ["-A"] });
  assertEquals([code, signal, out], [0, null, "done\n"]);
});
