/**
 * Waits in the kernel and what Deno has completed meanwhile: its continuations,
 * some microtasks later, run before. The kernel is entered for nothing else
 * here, so that the number of its entries tells the order.
 */
import { assertPrinted, runScript } from "./support.ts";

/** What completes at once, and goes on some microtasks later. */
const COMPLETING: Record<string, string> = {
  "Blob.text()": 'await new Blob(["x"]).text()',
  "Response.text()": 'await new Response("x").text()',
  "a stream": "await new ReadableStream({ start: (it) => it.close() })" +
    ".getReader().read()",
  "15 microtasks": "for (let i = 0; i < 15; i++) await null",
};

for (const [name, completing] of Object.entries(COMPLETING)) {
  Deno.test(`a program goes on after ${name} before a wait in the kernel`, async () => {
    assertPrinted(
      await runScript(`
        using ctx = new kio.IoContext(16);
        const [left, right] = kio.unwrap(kio.Socket.pair());
        const data = new Uint8Array(4);
        const { kernelEntries } = ctx.stats();
        // It waits for what follows.
        const received = kio.asyncRecv(ctx, right, data);
        ${completing};
        console.log(ctx.stats().kernelEntries - kernelEntries);
        await kio.asyncSend(ctx, left, data).orThrow();
        console.log(await received.orThrow());
        await Promise.all([left.close(), right.close()]);
      `),
      "0\n4\n",
    );
  });
}
