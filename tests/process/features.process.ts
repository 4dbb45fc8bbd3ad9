/** Features that the environment switches off, or that a trial does not
 * believe. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { assertPrinted, runScript } from "./support.ts";

const ACCEPTS = `
const ctx = new kio.IoContext();
const at = kio.SocketAddress.v4(0, "127.0.0.1");
const listener = kio.unwrap(kio.TcpListener.bind(at));
const stream = kio.asyncAcceptMultishot(ctx, listener);
const before = ctx.stats().submissions;
for (let i = 0; i < 20; i++) {
  const client = kio.unwrap(kio.Socket.open("ipv4"));
  await kio.asyncConnect(ctx, client, listener.localAddress).orThrow();
  const { value } = await stream[Symbol.asyncIterator]().next();
  const accepted = new kio.Socket(kio.unwrap(value));
  await kio.asyncSend(ctx, accepted, new Uint8Array([i])).orThrow();
  const buffer = new Uint8Array(1);
  await kio.asyncRecv(ctx, client, buffer).orThrow();
  if (buffer[0] !== i) throw new Error("another connection");
  await Promise.all([client.close(), accepted.close()]);
}
const count = ctx.stats().submissions - before;
await stream[Symbol.asyncDispose]();
await listener.close();
const { support, reason } = ctx.capabilities.features.acceptMultishot;
console.log(JSON.stringify({ support, reason, isSingle: count >= 80 }));
ctx[Symbol.dispose]();
`;

Deno.test("asyncAcceptMultishot() loses nothing where its trial fails", async () => {
  const { code, out, err } = await runScript(
    `import { FaultPlan } from "@kio/kio/testing"; FaultPlan.load(); ${ACCEPTS}`,
    { env: { KIO_MASK: "ACCEPT_MULTISHOT" } },
  );
  assertEquals(code, 0, err);
  // It is tried once.
  assertEquals(err, "kio: ACCEPT_MULTISHOT hidden 1 times\n");
  assertEquals(JSON.parse(out), {
    support: "emulated",
    reason: "its trial failed: connections may be lost",
    isSingle: true,
  });
});

Deno.test("KIO_DISABLE switches features off without a permission", async () => {
  const ended = await runScript(
    `${ACCEPTS}
    const { features } = kio.IoContext.probe();
    for (const name of ["acceptMultishot", "sendZc", "recvMultishot"]) {
      console.log(features[name].reason);
    }`,
    { env: { KIO_DISABLE: " acceptMultishot,, sendZc" } },
  );
  const told = { support: "emulated", reason: "KIO_DISABLE", isSingle: true };
  assertEquals(ended.err, "");
  const lines = ended.out.split("\n");
  assertEquals(JSON.parse(lines[0]!), told);
  assertEquals(lines.slice(1, 3), ["KIO_DISABLE", "KIO_DISABLE"]);
  assert(lines[3] !== "KIO_DISABLE");
});

Deno.test("KIO_DISABLE is stronger than the option", async () => {
  assertPrinted(
    await runScript(
      `using ctx = new kio.IoContext({ features: { sendZc: true } });
      console.log(ctx.capabilities.features.sendZc.reason);`,
      { env: { KIO_DISABLE: "sendZc" } },
    ),
    "KIO_DISABLE\n",
  );
});

Deno.test("KIO_DISABLE with what is no feature is refused", async () => {
  const { out } = await runScript(
    `for (const open of [() => new kio.IoContext(), kio.IoContext.probe]) {
      try {
        open();
      } catch (error) {
        console.log(error.name, error.message);
      }
    }`,
    { env: { KIO_DISABLE: "sendZc,recv" } },
  );
  const line =
    'RangeError Cannot use KIO_DISABLE: it has "recv"; it takes acceptMultishot, .*\n';
  assertMatch(out, new RegExp(`^${line}${line}$`));
  const long = await runScript("new kio.IoContext()", {
    env: { KIO_DISABLE: "sendZc,".repeat(2000) },
  });
  assertMatch(long.err, /Cannot use KIO_DISABLE: it is too long/);
});

Deno.test("an abort tells of the features that are not used", async () => {
  const { signal, err } = await runScript(
    `const ctx = new kio.IoContext({ features: { sendZc: false } });
    const pool = new kio.BufferPool(ctx, { count: 4, size: 64 });
    const [left, right] = kio.unwrap(kio.Socket.pair());
    kio.asyncRecvMultishot(ctx, right, pool).more(64, 0);`,
    { env: { KIO_DISABLE: "acceptMultishot" } },
  );
  assertEquals(signal, "SIGABRT", err);
  assertMatch(
    err,
    /^without features: acceptMultishot \(KIO_DISABLE\), sendZc \(the option features\)$/m,
  );
  assertMatch(err, /^Linux \S+ on \S+, setup .*, \d+ operations$/m);
});
