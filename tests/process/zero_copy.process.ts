/** Zero-copy sends and registered memory on a bad day: late notifications,
 * kernels that refuse, buffers that are taken away, workers that end. */
import "./fault_library.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  asyncRead,
  asyncRecvExact,
  asyncSendmsgZc,
  asyncSendZc,
  asyncWriteExact,
  type IoContext,
  type Socket,
} from "@kio/kio";
import { FaultPlan, type FaultRule } from "@kio/kio/testing";
import {
  assertCode,
  kioTest,
  pattern,
  tcpPair,
  tempFile,
  turn,
  value,
} from "../support.ts";
import { assertPrinted, run, runScript } from "./support.ts";

const install = (...rules: FaultRule[]) => FaultPlan.install({ rules });

const sendZc: FaultRule["operation"] = "sendZc";

kioTest("asyncSendZc() waits for a notification that is late", async (ctx) => {
  using _ = install({ operation: sendZc, fault: "delay", ms: 20 });
  using pair = await tcpPair(ctx);
  // The peer must read before the notification comes.
  const op = asyncSendZc(ctx, pair.left, pattern(2 ** 20));
  let isOver = false;
  void op.then(() => isOver = true);
  const bytes = value(await op.sent);
  value(await asyncRecvExact(ctx, pair.right, new Uint8Array(bytes)));
  await turn();
  assert(!isOver, "the kernel may still read the buffer");
  op.cancel();
  op.withTimeout(0);
  assertEquals(value(await op), { bytes, copied: true });
});

kioTest("asyncSendZc() tells of a short send", async (ctx) => {
  using _ = install({ operation: sendZc, fault: "short", bytes: 10 });
  using pair = await tcpPair(ctx);
  const op = asyncSendZc(ctx, pair.left, pattern(64));
  assertEquals(value(await op.sent), 10);
  assertEquals(value(await op).bytes, 10);
});

kioTest("asyncSendmsgZc() tells of a short send", async (ctx) => {
  using _ = install({ operation: "sendmsgZc", fault: "short", bytes: 10 });
  using pair = await tcpPair(ctx);
  const buffers = [pattern(8), pattern(8)];
  const op = asyncSendmsgZc(ctx, pair.left, { buffers });
  assertEquals(value(await op.sent), 10);
  assertEquals(value(await op).bytes, 10);
});

kioTest("asyncSendZc() tries again after EAGAIN", async (ctx) => {
  using plan = install({
    operation: sendZc,
    fault: "error",
    code: "EAGAIN",
    times: 3,
  });
  using pair = await tcpPair(ctx);
  const op = asyncSendZc(ctx, pair.left, pattern(64));
  assertEquals(value(await op.sent), 64);
  assertEquals(value(await op).bytes, 64);
  assertEquals(plan.injected.length, 3);
});

async function sendAll(ctx: IoContext, socket: Socket, peer: Socket) {
  const op = asyncSendZc(ctx, socket, pattern(64));
  assertEquals(value(await op.sent), 64);
  const received = new Uint8Array(64);
  value(await asyncRecvExact(ctx, peer, received));
  assertEquals(received, pattern(64));
  return value(await op);
}

for (const code of ["EOPNOTSUPP", "ENOMEM", "EINVAL"] as const) {
  kioTest(`asyncSendZc() copies where ${code} refuses it`, async (ctx) => {
    using plan = install({ operation: sendZc, fault: "error", code });
    using pair = await tcpPair(ctx);
    const sent = await sendAll(ctx, pair.left, pair.right);
    assertEquals(sent, { bytes: 64, copied: true });
    assert(plan.injected.length > 0);
  });
}

kioTest(
  "asyncSendZc() gives the error of the plain send as well",
  async (ctx) => {
    using _ = install(
      { operation: sendZc, fault: "error", code: "EOPNOTSUPP" },
      { operation: "send", fault: "error", code: "EOPNOTSUPP" },
    );
    using pair = await tcpPair(ctx);
    const op = asyncSendZc(ctx, pair.left, pattern(64));
    assertCode(await op, "EOPNOTSUPP");
    assertCode(await op.sent, "EOPNOTSUPP");
  },
);

kioTest(
  "cancel() between a refusal and the plain send ends both",
  async (ctx) => {
    using _ = install(
      { operation: sendZc, fault: "error", code: "EOPNOTSUPP" },
      { operation: "send", fault: "delay", ms: 20 },
    );
    using pair = await tcpPair(ctx);
    const op = asyncSendZc(ctx, pair.left, pattern(64));
    await turn();
    op.cancel();
    const result = await op;
    const sent = await op.sent;
    assertEquals(sent.ok, result.ok);
  },
);

kioTest("a rule for read and write hits registered memory too", async (ctx) => {
  const memory = ctx.allocate(4096, { registered: true });
  await using file = await tempFile(ctx, pattern(4096));
  using plan = install(
    { operation: "read", fault: "error", code: "EIO", times: 1 },
    { operation: "write", fault: "short", bytes: 5, times: 1 },
  );
  assertCode(await asyncRead(ctx, file, memory), "EIO");
  assertEquals(value(await asyncRead(ctx, file, memory)), 4096);
  assertEquals(value(await asyncWriteExact(ctx, file, memory)), 4096);
  const injected = plan.injected.map(({ operation }) => operation);
  assertEquals(injected, ["read", "write"]);
});

// The last of them: this process takes the kernel for an older one after it.
kioTest(
  "asyncSendZc() does not tell of copies before Linux 6.2",
  async (ctx) => {
    using plan = install({
      operation: sendZc,
      fault: "error",
      code: "EINVAL",
      times: 1,
    });
    using pair = await tcpPair(ctx);
    for (let i = 0; i < 2; i++) {
      const sent = await sendAll(ctx, pair.left, pair.right);
      assertEquals(sent, { bytes: 64, copied: undefined });
    }
    assertEquals(plan.injected.length, 1);
  },
);

// ---- programs ------------------------------------------------------------------

const CONNECTION = `
const address = kio.SocketAddress.v4(0, "127.0.0.1");
const listener = kio.unwrap(kio.TcpListener.bind(address));
const { port } = listener.localAddress;
`;

/** A network without a peer, which drops what is sent: nothing copies it. */
const NETWORK = [
  "set -e",
  "ip link add kio0 type veth peer name kio1",
  "ip address add 10.9.0.1/24 dev kio0",
  "ip link set kio0 up",
  "ip link set kio1 up",
  "tc qdisc add dev kio0 root blackhole",
  "ip neighbour add 10.9.0.2 lladdr 02:00:00:00:00:01 dev kio0",
  'exec "$@"',
].join("; ");
const IN_NETWORK = ["unshare", "--net", "sh", "-c", NETWORK, "sh"];

/** Tells whether this user may have a network of its own. */
async function mayHaveNetwork(): Promise<boolean> {
  const { code } = await run("unshare", [...IN_NETWORK.slice(1), "true"]);
  return code === 0;
}

Deno.test({
  name: "asyncSendZc() sends in place where the network does not copy",
  ignore: !await mayHaveNetwork(),
  async fn() {
    assertPrinted(
      await runScript(
        `
using ctx = new kio.IoContext();
const socket = kio.unwrap(kio.Socket.open("ipv4", "datagram"));
const address = kio.SocketAddress.v4(9, "10.9.0.2");
const [plain, registered] = [false, true].map((registered) =>
  ctx.allocate(1400, { registered })
);
const buffers = [new Uint8Array(64), plain];
const message = kio.asyncSendmsgZc(ctx, socket, { buffers, address });
console.log(await message.orThrow());
await kio.asyncConnect(ctx, socket, address).orThrow();
for (const memory of [plain, registered]) {
  console.log(await kio.asyncSendZc(ctx, socket, memory).orThrow());
}
await socket.close();
`,
        { under: IN_NETWORK },
      ),
      `{ bytes: 1464, copied: false }
{ bytes: 1400, copied: false }
{ bytes: 1400, copied: false }
`,
    );
  },
});

Deno.test("a buffer taken away between the two completions ends the process", async () => {
  const { signal, err } = await runScript(`
using ctx = new kio.IoContext();
${CONNECTION}
const client = kio.unwrap(await kio.TcpStream.connect(ctx, "127.0.0.1", port));
const server = new kio.Socket(await kio.asyncAccept(ctx, listener).orThrow());
const buffer = new Uint8Array(1 << 20);
const op = kio.asyncSendZc(ctx, client, buffer);
const { value } = await op.sent;
buffer.buffer.transfer();
await kio.asyncRecvExact(ctx, server, new Uint8Array(value));
await op;
`);
  assertEquals(signal, "SIGABRT", err);
  assertMatch(err, /^kio: asyncSendZc: a buffer was transferred or detached/);
  assertMatch(err, /asyncSendZc, waits for its notification/);
});

const WORKER = `
import * as kio from "@kio/kio";
onmessage = async ({ data: port }) => {
  const ctx = new kio.IoContext();
  const client = kio.unwrap(await kio.TcpStream.connect(ctx, "127.0.0.1", port));
  const data = new Uint8Array(1 << 20).map((_, i) => i * 31);
  const op = kio.asyncSendZc(ctx, client, data);
  postMessage((await op.sent).value);
};
`;

/** A worker that ends between the two completions; `peer` is what its peer does
 * then. */
const endOfWorker = (peer: string) => `
using ctx = new kio.IoContext();
${CONNECTION}
const url = "data:text/javascript,${encodeURIComponent(WORKER)}";
const worker = new Worker(url, { type: "module" });
const sent = new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
worker.postMessage(port);
const server = new kio.Socket(await kio.asyncAccept(ctx, listener).orThrow());
const count = await sent;
worker.terminate();
${peer}
await Promise.all([server.close(), listener.close()]);
`;

Deno.test("a worker that ends between the two completions sends what it had", async () => {
  assertPrinted(
    await runScript(
      endOfWorker(`
const received = new Uint8Array(count);
await kio.asyncRecvExact(ctx, server, received).orThrow();
console.log(received.every((byte, i) => byte === (i * 31 & 255)));
const end = await kio.asyncRecv(ctx, server, received);
console.log(end.ok ? end.value : end.error.code);
`),
      { flags: ["-A"] },
    ),
    "true\n0\n",
  );
});

Deno.test("a worker that ends resets who does not read what it sends", async () => {
  assertPrinted(
    await runScript(
      endOfWorker(`
const poll = kio.asyncPoll(ctx, server, kio.POLLHUP).withTimeout(30_000);
console.log((await poll.orThrow() & kio.POLLHUP) !== 0);
const buffer = new Uint8Array(1 << 20);
let result;
do result = await kio.asyncRecv(ctx, server, buffer);
while (result.ok && result.value > 0);
console.log(result.error.code);
`),
      { flags: ["-A"] },
    ),
    "true\nECONNRESET\n",
  );
});
