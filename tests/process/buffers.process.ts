/** Buffers that are taken away while the kernel is using them. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { assertPrinted, runScript } from "./support.ts";

// Large, so that memory freed in flight is unmapped, and a late write of the
// kernel hits no other object.
const SETTING = `
using ctx = new kio.IoContext();
const [left, right] = kio.unwrap(kio.Socket.pair());
const buffer = new Uint8Array(1 << 20);
`;

const TAKING = {
  "transfer()": "buffer.buffer.transfer();",
  "transfer() to another size": "buffer.buffer.transfer(0);",
  "structuredClone()":
    "structuredClone(buffer, { transfer: [buffer.buffer] });",
  "postMessage()":
    "new MessageChannel().port1.postMessage(buffer, [buffer.buffer]);",
};

const USING = {
  asyncRecv: "kio.asyncRecv(ctx, right, buffer)",
  asyncReadv: "kio.asyncReadv(ctx, right, [new Uint8Array(1), buffer])",
  asyncRecvmsg: "kio.asyncRecvmsg(ctx, right, { buffers: [buffer] })",
  asyncWriteExact:
    "kio.asyncWriteExact(ctx, right, [new Uint8Array(1), buffer])",
};

async function assertAborts(name: string, script: string): Promise<void> {
  const { signal, out, err } = await runScript(SETTING + script);
  assertEquals([signal, out], ["SIGABRT", ""], err);
  const [message, _versions, _features, count, operation] = err.split("\n");
  assertEquals(
    message,
    `kio: ${name}: a buffer was transferred or detached while the kernel was using it; its memory may be corrupt. pin() prevents this; in place of resizable buffers and WebAssembly memory use IoContext.allocate()`,
  );
  assertMatch(count!, /^[12] operations pending:$/);
  assertMatch(operation!, /^ {2}slot \d+, generation \d+: async/);
}

for (const [how, taking] of Object.entries(TAKING)) {
  Deno.test(`${how} of a buffer in flight ends the process`, async () => {
    await assertAborts(
      "asyncRecv",
      `
      const received = ${USING.asyncRecv};
      await kio.asyncSleep(ctx, 1);
      ${taking}
      await kio.asyncSend(ctx, left, new Uint8Array([1, 2]));
      console.log(await received);
    `,
    );
  });
}

for (const [name, using] of Object.entries(USING)) {
  Deno.test(`${name}() names itself when its buffer is gone`, async () => {
    await assertAborts(
      name,
      `
      const received = ${using};
      await kio.asyncSleep(ctx, 1);
      ${TAKING["transfer()"]}
      await kio.asyncSend(ctx, left, new Uint8Array([1, 2]));
      await kio.asyncRecv(ctx, left, new Uint8Array(1 << 20));
      console.log(await received);
    `,
    );
  });
}

Deno.test("asyncSendExact() of several buffers names itself when one is gone", async () => {
  await assertAborts(
    "asyncSendExact",
    `
    const sent = kio.asyncSendExact(ctx, left, [new Uint8Array(1), buffer]);
    await kio.asyncSleep(ctx, 1);
    ${TAKING["transfer()"]}
    const room = new Uint8Array(65536);
    while (ctx.pending > 0) await kio.asyncRecv(ctx, right, room);
    console.log(await sent);
  `,
  );
});

Deno.test("asyncSendfile() names itself when its head is gone", async () => {
  await assertAborts(
    "asyncSendfile",
    `
    const file = kio.unwrap(await kio.asyncOpen(ctx, "/proc/self/exe", 0));
    await kio.asyncRead(ctx, file, new Uint8Array(9), 0);
    const options = { head: buffer };
    const sent = kio.asyncSendfile(ctx, left, file, 1 << 20, 1, options);
    kio.asyncRecv(ctx, right, new Uint8Array(9)).then(console.log);
    ${TAKING["transfer()"]}
    console.log(await sent);
  `,
  );
});

for (const made of ["kio.pin(new Uint8Array(64))", "ctx.allocate(64)"]) {
  Deno.test(`${made} cannot be taken away`, async () => {
    for (const taking of Object.values(TAKING)) {
      assertPrinted(
        await runScript(`
          using ctx = new kio.IoContext();
          const [left, right] = kio.unwrap(kio.Socket.pair());
          const buffer = ${made};
          const received = ${USING.asyncRecv};
          await kio.asyncSleep(ctx, 1);
          let refused = false;
          try {
            ${taking}
          } catch {
            refused = true;
          }
          await kio.asyncSend(ctx, left, new Uint8Array([1, 2]));
          console.log(refused, (await received).value, buffer[1]);
        `),
        "true 2 2\n",
      );
    }
  });
}

Deno.test("transfer() of a buffer after completion is nobody's concern", async () => {
  const { code, out } = await runScript(`${SETTING}
    await kio.asyncSend(ctx, left, new Uint8Array([1, 2]));
    await kio.asyncRecv(ctx, right, buffer);
    console.log(buffer.buffer.transfer().byteLength);
    await kio.asyncSleep(ctx, 1);
  `);
  assert(code === 0 && out === "1048576\n");
});
