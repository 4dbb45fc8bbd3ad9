/** Handlers of a context that throw: nothing of what they were given is lost. */
import { assertEquals } from "@std/assert";
import { runScript } from "./support.ts";

const WORKER = `
import * as kio from "@kio/kio";
const ctx = new kio.IoContext(16);
let count = 0;
ctx.onFd = (fd) => {
  if (++count === 2) throw new Error("on purpose");
};
ctx.onMessage = () => {
  throw new Error("on purpose");
};
postMessage(ctx.ringFd);
`;

const SCRIPT = `
using ctx = new kio.IoContext();
const url = "data:text/javascript,${encodeURIComponent(WORKER)}";
for (const how of ["fd", "message"]) {
  const worker = new Worker(url, { type: "module" });
  const errors = [];
  const failed = new Promise((resolve) =>
    worker.onerror = (event) => {
      event.preventDefault();
      errors.push(event.message);
      resolve();
    }
  );
  const ringFd = await new Promise((resolve) =>
    worker.onmessage = ({ data }) => resolve(data)
  );
  const peers = [];
  const count = how === "fd" ? 4 : 1;
  for (let i = 0; i < count; i++) {
    const [left, right] = kio.unwrap(kio.Socket.pair());
    kio.unwrap(kio.passFd(ringFd, left.release(), i));
    peers.push(right);
  }
  if (how === "message") kio.unwrap(kio.wake(ringFd, 1, 1));
  await failed;
  for (const peer of peers) {
    const end = await kio.asyncRecv(ctx, peer, new Uint8Array(1))
      .withTimeout(10_000);
    console.log(end.ok ? end.value : end.error.code);
    await peer.close();
  }
  // Deno may have ended the worker before it tells why ("Uncaught null").
  console.log(errors.length > 0);
}
`;

Deno.test("onFd and onMessage that throw end their worker, whose fds are closed", async () => {
  const { code, signal, out } = await runScript(SCRIPT, { flags: ["-A"] });
  assertEquals([code, signal, out], [0, null, "0\n0\n0\n0\ntrue\n0\ntrue\n"]);
});

Deno.test("onFd that throws ends the main program", async () => {
  const { code, out, err } = await runScript(
    `
    using ctx = new kio.IoContext();
    ctx.onFd = () => {
      throw new Error("on purpose");
    };
    const [left] = kio.unwrap(kio.Socket.pair());
    kio.unwrap(kio.passFd(ctx.ringFd, left.release(), 1));
    await kio.asyncSleep(ctx, 10_000);
    console.log("it goes on");
    `,
    { flags: ["-A"] },
  );
  assertEquals([code, out], [1, ""]);
  assertEquals(err.includes("on purpose"), true);
});
