/** Waits of the driver in the kernel, and Deno's work that no fd tells of. */
import { assert, assertEquals } from "@std/assert";
import { runScript } from "./support.ts";

/** Answers a byte after as many milliseconds. */
const PEER = `
import * as kio from "@kio/kio";
onmessage = async ({ data: fd }) => {
  using ctx = new kio.IoContext(8);
  const byte = new Uint8Array(1);
  postMessage(null);
  while ((await kio.asyncRecv(ctx, fd, byte)).value) {
    const endMs = performance.now() + byte[0] - 1;
    while (performance.now() < endMs);
    await kio.asyncSend(ctx, fd, byte);
  }
  postMessage(null);
};
`;

const ROUNDS = 20;

for (const what of ["process.nextTick", "setImmediate"]) {
  Deno.test(`${what}() does not wait for a wait in the kernel`, async () => {
    const { code, out, err } = await runScript(
      `
      import process from "node:process";
      import { setImmediate } from "node:timers";
      const [here, there] = kio.unwrap(kio.Socket.pair());
      const worker = new Worker(
        "data:text/javascript,${encodeURIComponent(PEER)}",
        { type: "module" },
      );
      const said = () => new Promise((resolve) => worker.onmessage = resolve);
      worker.postMessage(there.fd);
      await said();
      const ctx = new kio.IoContext(8);
      const byte = new Uint8Array(1);
      async function ask(ms) {
        byte[0] = ms + 1;
        await kio.asyncSend(ctx, here, byte).orThrow();
        const answer = kio.asyncRecv(ctx, here, byte);
        return { answer };
      }
      let first = 0;
      // A thread that gets no core for long finds the answers there: once more.
      for (let tries = 0; tries < 5 && first <= ${ROUNDS} / 2; tries++) {
      first = 0;
      for (let round = 0; round < ${ROUNDS}; round++) {
        // Answers that come soon are waited for in the kernel.
        for (let i = 0; i < 10; i++) await (await ask(0)).answer.orThrow();
        const { answer } = await ask(1);
        let isOver = false;
        const over = new Promise((resolve) =>
          ${what}(() => {
            if (!isOver) first++;
            resolve();
          })
        );
        await answer.orThrow();
        isOver = true;
        await over;
      }
      }
      await kio.asyncShutdown(ctx, here, kio.SHUT_RDWR).orThrow();
      await said();
      worker.terminate();
      console.log(first);
      await Promise.all([here.close(), there.close()]);
      `,
      { flags: ["-A"] },
    );
    assertEquals({ code, err }, { code: 0, err: "" });
    assert(Number(out) > ROUNDS / 2, `${out.trim()} of ${ROUNDS}`);
  });
}
