/**
 * Streams where the process, the isolate or the kernel is at its end: fds that
 * nobody took are closed, and single shots do what multishots do.
 */
import "./fault_library.ts";
import { assertEquals } from "@std/assert";
import {
  asyncAcceptMultishot,
  asyncConnect,
  asyncPollMultishot,
  asyncSend,
  type IoContext,
  POLLIN,
  Socket,
  type SocketAddress,
  unwrap,
} from "@kio/kio";
import { FaultPlan } from "@kio/kio/testing";
import { bytes, kioTest, listen, unixPair, value } from "../support.ts";
import { runScript } from "./support.ts";

// ---- the end of an isolate --------------------------------------------------------

const WORKER = `
import * as kio from "@kio/kio";
onmessage = async ({ data: { fd, how } }) => {
  const ctx = new kio.IoContext(16);
  const stream = kio.asyncAcceptMultishot(ctx, fd, { queueMax: 3 });
  // Some wait in the queue, some in the ring, some in the backlog.
  await new Promise((resolve) => setTimeout(resolve, 20));
  postMessage(stream.take().value);
  if (how === "close") self.close();
  if (how === "exit") Deno.exit();
  if (how === "throw") throw new Error("on purpose");
};
`;

const SCRIPT = `
using ctx = new kio.IoContext();
const url = "data:text/javascript,${encodeURIComponent(WORKER)}";
for (const how of ["terminate", "close", "exit", "throw"]) {
  const listener = kio.unwrap(kio.TcpListener.bind(kio.SocketAddress.v4(0)));
  const { port } = listener.localAddress;
  const clients = await Promise.all(Array.from({ length: 10 }, () =>
    kio.TcpStream.connect(ctx, "127.0.0.1", port).then(kio.unwrap)));
  const worker = new Worker(url, { type: "module" });
  worker.onerror = (event) => event.preventDefault();
  const ready = new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage({ fd: listener.fd, how });
  const { data: taken } = await ready;
  if (how === "terminate") worker.terminate();
  await new Promise((resolve) => setTimeout(resolve, 50));
  // Those in the backlog are closed with the listener.
  await listener.close();
  // The worker has given it away.
  kio.unwrap(await kio.asyncSend(ctx, taken, new Uint8Array(1)));
  await kio.asyncClose(ctx, taken);
  for (const client of clients) {
    const buffer = new Uint8Array(1);
    const end = await kio.asyncRecv(ctx, client, buffer).withTimeout(5000);
    if (!end.ok && end.error.code === "ETIMEDOUT") throw new Error(how);
    await client.close();
  }
}
console.log("done");
Deno.exit();
`;

Deno.test("asyncAcceptMultishot() closes what nobody took at the end of the isolate", async () => {
  const { code, signal, out, err } = await runScript(SCRIPT, { flags: ["-A"] });
  assertEquals([code, signal, out], [0, null, "done\n"], err);
});

const FULL_WORKER = `
import * as kio from "@kio/kio";
onmessage = async ({ data: { fd } }) => {
  const other = new kio.IoContext();
  const [left, right] = kio.unwrap(kio.Socket.pair());
  kio.unwrap(await kio.asyncSend(other, right, new Uint8Array(1)));
  const ctx = new kio.IoContext({ operationsMax: 2 });
  // Both are there at once. What goes on first takes all room.
  const received = kio.asyncRecv(ctx, left, new Uint8Array(1));
  kio.acceptLoop(ctx, fd, () => {}, new AbortController().signal);
  await received;
  for (let i = 0; i < 2; i++) kio.asyncSleep(ctx, 1e6);
  setTimeout(() => postMessage("held"), 30);
};
`;

const FULL_SCRIPT = `
using ctx = new kio.IoContext();
const listener = kio.unwrap(kio.TcpListener.bind(kio.SocketAddress.v4(0)));
const { port } = listener.localAddress;
const client = kio.unwrap(await kio.TcpStream.connect(ctx, "127.0.0.1", port));
const url = "data:text/javascript,${encodeURIComponent(FULL_WORKER)}";
const worker = new Worker(url, { type: "module" });
worker.postMessage({ fd: listener.fd });
await new Promise((resolve) => worker.onmessage = resolve);
const receiving = kio.asyncRecv(ctx, client, new Uint8Array(1));
worker.terminate();
console.log(kio.unwrap(await receiving.withTimeout(5000)));
await client.close();
await listener.close();
`;

Deno.test("acceptLoop() closes what waits for a full context at the end of the isolate", async () => {
  const { code, signal, out, err } = await runScript(FULL_SCRIPT, {
    flags: ["-A"],
  });
  assertEquals([code, signal, out], [0, null, "0\n"], err);
});

const MESSAGE_WORKER = `
import * as kio from "@kio/kio";
onmessage = async ({ data: { fd, how } }) => {
  const ctx = new kio.IoContext(16);
  const pool = new kio.BufferPool(ctx, { count: 8, size: 256 });
  const { length: controlSize } = kio.scmRightsSpace(1);
  const stream = kio.asyncRecvmsgMultishot(ctx, fd, pool, { controlSize });
  await new Promise((resolve) => setTimeout(resolve, 40));
  const { value } = stream.take();
  postMessage(kio.parseScmRights(value.control)[0]);
  if (how === "close") self.close();
  if (how === "exit") Deno.exit();
  if (how === "throw") throw new Error("on purpose");
};
`;

const MESSAGE_SCRIPT = `
using ctx = new kio.IoContext();
const url = "data:text/javascript,${encodeURIComponent(MESSAGE_WORKER)}";
for (const how of ["terminate", "close", "exit", "throw"]) {
  const [left, right] = kio.unwrap(kio.Socket.pair("datagram"));
  const others = [];
  for (let i = 0; i < 4; i++) {
    const [sent, other] = kio.unwrap(kio.Socket.pair());
    const control = kio.scmRights([sent]);
    const buffers = [new Uint8Array(1)];
    kio.unwrap(await kio.asyncSendmsg(ctx, left, { buffers, control }));
    kio.unwrap(await kio.asyncClose(ctx, sent.release()));
    others.push(other);
  }
  const worker = new Worker(url, { type: "module" });
  worker.onerror = (event) => event.preventDefault();
  const ready = new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage({ fd: right.fd, how });
  const { data: taken } = await ready;
  if (how === "terminate") worker.terminate();
  // The worker has given it away.
  kio.unwrap(await kio.asyncSend(ctx, taken, new Uint8Array(1)));
  await kio.asyncClose(ctx, taken);
  const buffer = new Uint8Array(1);
  kio.unwrap(await kio.asyncRecv(ctx, others[0], buffer));
  for (const other of others) {
    const end = await kio.asyncRecv(ctx, other, buffer).withTimeout(5000);
    if (!end.ok || end.value !== 0) throw new Error(how);
    await other.close();
  }
  await Promise.all([left.close(), right.close()]);
}
console.log("done");
Deno.exit();
`;

Deno.test("asyncRecvmsgMultishot() closes fds that nobody took at the end of the isolate", async () => {
  const { code, signal, out, err } = await runScript(MESSAGE_SCRIPT, {
    flags: ["-A"],
  });
  assertEquals([code, signal, out], [0, null, "done\n"], err);
});

/** It does not look at what comes before it is terminated. */
const BLOCKED_WORKER = `
import * as kio from "@kio/kio";
onmessage = async ({ data: { fd, isStream } }) => {
  const ctx = new kio.IoContext(16);
  const pool = new kio.BufferPool(ctx, { count: 8, size: 256 });
  const control = kio.scmRightsSpace(1);
  if (isStream) {
    kio.asyncRecvmsgMultishot(ctx, fd, pool, { controlSize: control.length });
  } else kio.asyncRecvmsg(ctx, fd, { buffers: [new Uint8Array(1)], control });
  // Outside of the driver, which would look at once.
  await new Promise((resolve) => setTimeout(resolve, 40));
  postMessage("ready");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
};
`;

const BLOCKED_SCRIPT = `
using ctx = new kio.IoContext();
const url = "data:text/javascript,${encodeURIComponent(BLOCKED_WORKER)}";
for (const isStream of [false, true]) {
  const [left, right] = kio.unwrap(kio.Socket.pair("datagram"));
  const worker = new Worker(url, { type: "module" });
  const ready = new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage({ fd: right.fd, isStream });
  await ready;
  const [sent, other] = kio.unwrap(kio.Socket.pair());
  const control = kio.scmRights([sent]);
  const buffers = [new Uint8Array(1)];
  kio.unwrap(await kio.asyncSendmsg(ctx, left, { buffers, control }));
  kio.unwrap(await kio.asyncClose(ctx, sent.release()));
  await kio.asyncSleep(ctx, 20);
  worker.terminate();
  await kio.asyncSleep(ctx, 500);
  // A message that the kernel has not given away ends with its socket.
  await Promise.all([left.close(), right.close()]);
  const end = await kio.asyncRecv(ctx, other, buffers[0]).withTimeout(5000);
  if (!end.ok || end.value !== 0) throw new Error("stream: " + isStream);
  await other.close();
}
console.log("done");
Deno.exit();
`;

Deno.test("fds in messages that come while an isolate ends are closed", async () => {
  const { code, signal, out, err } = await runScript(BLOCKED_SCRIPT, {
    flags: ["-A"],
  });
  assertEquals([code, signal, out], [0, null, "done\n"], err);
});

Deno.test("a stream keeps the process alive until it ends", async () => {
  const { code, out, err } = await runScript(
    `
    const ctx = new kio.IoContext();
    const listener = kio.unwrap(kio.TcpListener.bind(kio.SocketAddress.v4(0)));
    const signal = AbortSignal.timeout(20);
    const stream = kio.asyncAcceptMultishot(ctx, listener).withSignal(signal);
    for await (const result of stream) console.log(result.error.code);
    addEventListener("unload", () => console.log("unload"));
    `,
    { flags: ["--allow-ffi"] },
  );
  assertEquals([code, out], [0, "ECANCELED\nunload\n"], err);
});

// ---- a kernel that has it not, or a bad day ----------------------------------------

async function connected(
  ctx: IoContext,
  at: SocketAddress,
  count: number,
): Promise<Socket[]> {
  const sockets = Array.from(
    { length: count },
    () => unwrap(Socket.open("ipv4")),
  );
  const all = sockets.map((socket) => asyncConnect(ctx, socket, at));
  for (const result of await Promise.all(all)) value(result);
  return sockets;
}

/** Accepts as many, and tells what came besides. */
async function accepted(ctx: IoContext, count: number): Promise<string[]> {
  const { listener, at } = listen();
  await using _ = listener;
  const stream = asyncAcceptMultishot(ctx, listener);
  const clients = await connected(ctx, at, count);
  const codes: string[] = [];
  let left = count;
  for await (const result of stream) {
    if (result.ok) await new Socket(result.value).close();
    else codes.push(result.error.code);
    if (result.ok && --left === 0) break;
  }
  for (const client of clients) await client.close();
  return codes;
}

kioTest(
  "asyncAcceptMultishot() goes on with single shots where there are no others",
  async (ctx) => {
    using plan = FaultPlan.install({
      rules: [{ operation: "accept", fault: "error", code: "EINVAL", nth: 1 }],
    });
    const before = ctx.stats().submissions;
    assertEquals(await accepted(ctx, 10), []);
    assertEquals(plan.injectedCount, 1);
    // One for each, besides the connects.
    assertEquals(ctx.stats().submissions - before >= 20, true);
  },
);

kioTest(
  "a stream goes on at once where its shot ended by filling the queue",
  async (ctx) => {
    using _ = FaultPlan.install({
      rules: [{ operation: "accept", fault: "error", code: "EINVAL", nth: 1 }],
    });
    const { listener, at } = listen();
    await using _listener = listener;
    const stream = asyncAcceptMultishot(ctx, listener, { queueMax: 1 });
    for (let i = 0; i < 10; i++) {
      // It is accepted in the step that connects it: taken before the next
      // step, which would cancel the shot, it has the next shot armed.
      const [client] = await connected(ctx, at, 1);
      const iterator = stream[Symbol.asyncIterator]();
      const accepted = stream.take() ?? (await iterator.next()).value!;
      await new Socket(value(accepted)).close();
      await client!.close();
    }
    await stream[Symbol.asyncDispose]();
  },
);

for (const code of ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ECONNABORTED"]) {
  kioTest(
    `asyncAcceptMultishot() tells of ${code} and goes on`,
    async (ctx) => {
      using _ = FaultPlan.install({
        rules: [{ operation: "accept", fault: "error", code, nth: 1 }],
      });
      assertEquals(await accepted(ctx, 5), [code]);
      assertEquals(ctx.stats().errors[code], 1);
    },
  );
}

for (const code of ["EAGAIN", "EINTR", "ERESTARTSYS"]) {
  kioTest(`asyncAcceptMultishot() does not tell of ${code}`, async (ctx) => {
    using _ = FaultPlan.install({
      rules: [{ operation: "accept", fault: "error", code, times: 5 }],
    });
    assertEquals(await accepted(ctx, 5), []);
  });
}

kioTest(
  "asyncAcceptMultishot() does not spin while it fails at once",
  async (ctx) => {
    using _ = FaultPlan.install({
      rules: [{ operation: "accept", fault: "error", code: "ECONNABORTED" }],
    });
    const { listener } = listen();
    await using _listener = listener;
    const before = ctx.stats().submissions;
    const stream = asyncAcceptMultishot(ctx, listener).withTimeout(100);
    for await (const _result of stream);
    const count = ctx.stats().submissions - before;
    // Some at once, then one each 10 ms, each with the timeout of the ring.
    assertEquals(count < 80, true, `${count} submissions`);
  },
);

kioTest("asyncPollMultishot() goes on after EINTR", async (ctx) => {
  using _ = FaultPlan.install({
    rules: [{ operation: "poll", fault: "error", code: "EINTR", nth: 1 }],
  });
  using pair = unixPair();
  const stream = asyncPollMultishot(ctx, pair.left, POLLIN);
  value(await asyncSend(ctx, pair.right, bytes("x")));
  for await (const events of stream.orThrow()) {
    assertEquals(events & POLLIN, POLLIN);
    break;
  }
});
