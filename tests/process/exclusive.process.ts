/** The option `exclusive`: its end in any way, its idleness, and a Deno that
 * does not tell what it takes. */
import { assertPrinted, runScript } from "./support.ts";

/** Gets 30 messages, one each 2 ms, and then waits for one more. */
const TRAFFIC = `
const [left, right] = kio.unwrap(kio.Socket.pair());
const byte = new Uint8Array(1);
for (let i = 0; i < 30; i++) {
  const received = kio.asyncRecv(ctx, right, byte);
  const sent = kio.asyncSleep(ctx, 2).then(() =>
    kio.asyncSend(ctx, left, byte)
  );
  await received.orThrow();
  await sent;
}
`;

Deno.test("exclusive contexts that are idle sleep in Deno's loop", async () => {
  assertPrinted(
    await runScript(`
      using ctx = new kio.IoContext({ exclusive: true });
      ${TRAFFIC}
      console.log(ctx.stats().exclusiveWaits > 10);
      const received = kio.asyncRecv(ctx, right, byte);
      const { wakeUps, exclusiveWaits } = ctx.stats();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      // What was quick ends with one wait in vain.
      console.log(ctx.stats().wakeUps - wakeUps < 5);
      console.log(ctx.stats().exclusiveWaits - exclusiveWaits < 5);
      await kio.asyncSend(ctx, left, byte).orThrow();
      console.log(await received.orThrow());
      await Promise.all([left.close(), right.close()]);
    `),
    "true\ntrue\ntrue\n1\n",
  );
});

Deno.test("a program ends while an exclusive context has nothing to do", async () => {
  assertPrinted(
    await runScript(`
      const ctx = new kio.IoContext({ exclusive: true });
      ${TRAFFIC}
      await Promise.all([left.close(), right.close()]);
      console.log("end");
    `),
    "end\n",
  );
});

Deno.test("a program ends though an exclusive context has an unref'd read", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const feeding = (async () => {
    using peer = await listener.accept();
    try {
      for (;;) {
        await peer.write(new Uint8Array(1));
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    } catch {
      // The program has ended.
    }
  })();
  const ended = await runScript(
    `
      const ctx = new kio.IoContext({ exclusive: true });
      const { port } = ${JSON.stringify(listener.addr)};
      const stream = kio.unwrap(
        await kio.TcpStream.connect(ctx, "127.0.0.1", port),
      );
      const buffer = new Uint8Array(8);
      while (ctx.stats().exclusiveWaits < 10) await stream.read(buffer);
      stream.unref();
      void (async () => {
        for (;;) await stream.read(buffer);
      })();
      console.log("end");
    `,
    { limitMs: 20_000 },
  );
  await feeding;
  assertPrinted(ended, "end\n");
});

const WORKER = `
import * as kio from "@kio/kio";
const ctx = new kio.IoContext({ exclusive: true });
${TRAFFIC}
const buffer = new Uint8Array(65536);
for (let i = 0; i < 4; i++) void kio.asyncRecv(ctx, right, buffer);
let left_ = 10;
const next = async () => {
  for (;;) {
    await kio.asyncSleep(ctx, 15);
    if (left_-- === 0) postMessage(ctx.stats().exclusiveWaits > 10);
  }
};
next();
`;

Deno.test("a worker is terminated while it waits in the kernel", async () => {
  assertPrinted(
    await runScript(
      `
      const url = "data:text/javascript,${encodeURIComponent(WORKER)}";
      const threads = () => [...Deno.readDirSync("/proc/self/task")].length;
      for (let i = 0; i < 10; i++) {
        const worker = new Worker(url, { type: "module" });
        const waits = await new Promise((resolve) => {
          worker.onmessage = ({ data }) => resolve(data);
        });
        if (!waits) console.log("it did not wait");
        // Two wake-ups after the message it waits in the kernel again.
        await new Promise((resolve) => setTimeout(resolve, 100 + i));
        const before = threads();
        worker.terminate();
        const startMs = performance.now();
        while (threads() >= before) {
          if (performance.now() - startMs > 10_000) throw new Error("it hangs");
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      }
      console.log("end");
    `,
      { flags: ["-A"] },
    ),
    "end\n",
  );
});

for (const name of ["createTimer", "setUpAsyncStub", "__processTimers"]) {
  Deno.test(`exclusive contexts wait in Deno's loop without ${name}()`, async () => {
    assertPrinted(
      await runScript(`
        const { core } = Deno[Deno.internal];
        Deno.other = { core: { ...core, "${name}": undefined } };
        Object.defineProperty(Deno, "internal", { value: "other" });
        using ctx = new kio.IoContext({ exclusive: true });
        ${TRAFFIC}
        console.log(ctx.stats().exclusiveWaits);
        await Promise.all([left.close(), right.close()]);
      `),
      "0\n",
    );
  });
}
