/**
 * Direct descriptors where an isolate ends, or the kernel has a bad day. The
 * result of an operation that makes one is a place, and never an fd to close.
 */
import "./fault_library.ts";
import { assertEquals } from "@std/assert";
import {
  asyncAccept,
  asyncAcceptMultishot,
  asyncClose,
  asyncConnect,
  asyncInstallFd,
  asyncOpen,
  asyncRead,
  asyncRecv,
  asyncSend,
  asyncWrite,
  type DirectFd,
  type IoContext,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  Socket,
  unwrap,
} from "@kio/kio";
import { FaultPlan } from "@kio/kio/testing";
import { bytes, kioTest, listen, openFds, turn, value } from "../support.ts";
import { runScript } from "./support.ts";

const DIRECT = { direct: true } as const;

// ---- the end of an isolate --------------------------------------------------------

const WORKER = `
import * as kio from "@kio/kio";
const direct = true;
onmessage = async ({ data: { fd, how } }) => {
  const ctx = new kio.IoContext(16);
  kio.unwrap(ctx.reserveFiles(64));
  const accepted = await kio.asyncAccept(ctx, fd, { direct }).orThrow();
  kio.asyncRecv(ctx, accepted, new Uint8Array(64));
  const file = await kio.asyncOpen(ctx, "/proc/version", 0, { direct }).orThrow();
  const stream = kio.asyncAcceptMultishot(ctx, fd, { direct, queueMax: 3 });
  await new Promise((resolve) => setTimeout(resolve, 20));
  stream.take().value;
  postMessage("ready");
  // These are not submitted any more, or complete when nothing takes it.
  for (let i = 0; i < 20; i++) kio.asyncOpen(ctx, "/proc/version", 0, { direct });
  kio.asyncAccept(ctx, fd, { direct });
  kio.asyncClose(ctx, file);
  if (how === "close") self.close();
  if (how === "exit") Deno.exit();
  if (how === "throw") throw new Error("on purpose");
};
`;

const SCRIPT = `
using ctx = new kio.IoContext();
const url = "data:text/javascript,${encodeURIComponent(WORKER)}";
const open = () => [...Deno.readDirSync("/proc/self/fd")].map((it) => it.name)
  .filter((name) => Number(name) < 20).sort().join();
for (const how of ["terminate", "close", "exit", "throw"]) {
  const listener = kio.unwrap(kio.TcpListener.bind(kio.SocketAddress.v4(0)));
  const { port } = listener.localAddress;
  const clients = await Promise.all(Array.from({ length: 10 }, () =>
    kio.TcpStream.connect(ctx, "127.0.0.1", port).then(kio.unwrap)));
  const before = open();
  const worker = new Worker(url, { type: "module" });
  worker.onerror = (event) => event.preventDefault();
  const ready = new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage({ fd: listener.fd, how });
  await ready;
  if (how === "terminate") worker.terminate();
  await new Promise((resolve) => setTimeout(resolve, 50));
  // The places of the worker were fds, too: of others.
  const after = open();
  if (after !== before) throw new Error(how + ": " + before + " / " + after);
  await listener.close();
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

Deno.test("direct descriptors end with their isolate, and no fd does", async () => {
  const { code, signal, out, err } = await runScript(SCRIPT, { flags: ["-A"] });
  assertEquals([code, signal, out], [0, null, "done\n"], err);
});

Deno.test("a stream of direct descriptors that is given up closes no fd", async () => {
  const { code, out, err } = await runScript(`
    // One step takes no more than 1024 completions: others come first.
    using ctx = new kio.IoContext(4096);
    kio.unwrap(ctx.reserveFiles(2));
    const at = kio.SocketAddress.v4(0, "127.0.0.1");
    using listener = kio.unwrap(kio.TcpListener.bind(at));
    const clients = [];
    for (let i = 0; i < 2; i++) {
      const client = kio.unwrap(kio.Socket.open("ipv4"));
      await kio.asyncConnect(ctx, client, listener.localAddress).orThrow();
      clients.push(client);
    }
    const polls = Array.from({ length: 1100 }, () =>
      kio.asyncPoll(ctx, clients[0], kio.POLLOUT));
    const lost = kio.asyncAcceptMultishot(ctx, listener, { direct: true });
    await polls[0];
    try {
      lost.withTimeout(-1);
    } catch {
      await lost[Symbol.asyncDispose]();
    }
    // The places 0 and 1 are no fds: this is written to 1.
    console.log("done");
  `);
  assertEquals([code, out], [0, "done\n"], err);
});

// ---- a bad day ---------------------------------------------------------------------

async function file(ctx: IoContext): Promise<DirectFd> {
  const flags = O_TMPFILE | O_RDWR;
  return value(await asyncOpen(ctx, "/tmp", flags, { ...DIRECT, mode: 0o600 }));
}

for (const code of ["EIO", "EINTR", "ECANCELED"]) {
  kioTest(
    `asyncClose() of a direct descriptor that gives ${code} has closed it`,
    async (ctx) => {
      value(ctx.reserveFiles(1));
      const direct = await file(ctx);
      {
        using plan = FaultPlan.install({
          rules: [{ operation: "close", fault: "error", code }],
        });
        const closed = await asyncClose(ctx, direct);
        assertEquals(closed.ok || closed.error.code, code);
        assertEquals(plan.injectedCount, 1);
      }
      // Its place is free.
      const next = await file(ctx);
      value(await next.close());
      value(ctx.unregisterFiles());
    },
  );
}

kioTest(
  "a place is taken until its close is complete, however late",
  async (ctx) => {
    value(ctx.reserveFiles(1));
    const direct = await file(ctx);
    using _ = FaultPlan.install({
      rules: [{ operation: "close", fault: "delay", ms: 20 }],
    });
    const closing = asyncClose(ctx, direct);
    await turn();
    const early = await asyncOpen(ctx, "/proc/version", O_RDONLY, DIRECT);
    assertEquals(early.ok || early.error.code, "ENFILE");
    value(await closing);
    value(await (await file(ctx)).close());
  },
);

kioTest(
  "direct descriptors of a kernel on a bad day lose nothing",
  async (ctx) => {
    value(ctx.reserveFiles(16));
    const before = openFds();
    for (const seed of [1, 2, 3, 4]) {
      using _plan = FaultPlan.install({
        seed,
        rules: [
          {
            operation: "open",
            fault: "error",
            code: "EMFILE",
            probability: 0.2,
          },
          { operation: "open", fault: "reorder", ms: 2, probability: 0.5 },
          {
            operation: "accept",
            fault: "error",
            code: "ENFILE",
            probability: 0.2,
          },
          { operation: "accept", fault: "delay", ms: 1, probability: 0.5 },
          { operation: "read", fault: "short", probability: 0.5 },
          { operation: "write", fault: "short", probability: 0.5 },
          { operation: "recv", fault: "reorder", ms: 2, probability: 0.5 },
          { operation: "close", fault: "reorder", ms: 2, probability: 0.3 },
          { operation: "close", fault: "error", code: "EIO", probability: 0.2 },
        ],
      });
      const { listener, at } = listen();
      await using _ = listener;
      const clients: Socket[] = [];
      for (let i = 0; i < 6; i++) {
        const client = unwrap(Socket.open("ipv4"));
        clients.push(client);
        value(await asyncConnect(ctx, client, at));
      }
      const stream = asyncAcceptMultishot(ctx, listener, DIRECT);
      const accepted: DirectFd[] = [];
      for await (const result of stream) {
        if (result.ok) accepted.push(result.value);
        if (accepted.length === 3) break;
      }
      const single = [asyncAccept(ctx, listener, DIRECT).withTimeout(5)];
      for (const result of await Promise.all(single)) {
        if (result.ok) accepted.push(result.value);
      }
      for (const it of accepted) {
        value(await asyncSend(ctx, it, bytes("hello")));
        const receiving = asyncRecv(ctx, it, new Uint8Array(8));
        // Either way its buffer is the caller's again.
        await receiving.withTimeout(1);
      }
      const files = await Promise.all(Array.from(
        { length: 4 },
        () => asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, DIRECT),
      ));
      for (const result of files) {
        if (!result.ok) continue;
        await asyncWrite(ctx, result.value, bytes("content"));
        await asyncRead(ctx, result.value, new Uint8Array(8));
        accepted.push(result.value);
      }
      for (const [i, it] of accepted.entries()) {
        await (i % 2 === 0 ? it.close() : asyncClose(ctx, it));
      }
      for (const it of clients) await it.close();
    }
    assertEquals(openFds(), before);
    value(ctx.unregisterFiles());
  },
);

kioTest("asyncInstallFd() that fails leaves the descriptor", async (ctx) => {
  if (ctx.capabilities.operations.asyncInstallFd !== "ring") return;
  value(ctx.reserveFiles(1));
  await using direct = await file(ctx);
  using _ = FaultPlan.install({
    rules: [{ operation: "fixedFdInstall", fault: "error", code: "EMFILE" }],
  });
  const installed = await asyncInstallFd(ctx, direct);
  assertEquals(installed.ok || installed.error.code, "EMFILE");
  value(await asyncWrite(ctx, direct, bytes("x")));
});
