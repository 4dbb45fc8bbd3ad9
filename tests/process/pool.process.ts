/**
 * Pools where the process, the isolate or the kernel is at its end: buffers that
 * are out, sends that wait, receives that fail or come late.
 */
import "./fault_library.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  asyncClose,
  asyncPipe,
  asyncReadExact,
  asyncReadMultishot,
  asyncRecvmsgMultishot,
  asyncRecvMultishot,
  asyncSendExact,
  asyncSendmsg,
  asyncShutdown,
  asyncWrite,
  type BufferLease,
  BufferPool,
  type IoContext,
  parseScmRights,
  scmRights,
  scmRightsSpace,
  SHUT_WR,
  type UringStream,
} from "@kio/kio";
import { FaultPlan, type FaultRule } from "@kio/kio/testing";
import {
  assertCode,
  kioTest,
  pattern,
  tcpPair,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";
import { loadShim } from "../../ffi/load.ts";
import { runScript } from "./support.ts";

// ---- the end of an isolate --------------------------------------------------------

const WORKER = `
import * as kio from "@kio/kio";
onmessage = async ({ data: { fds, full, how } }) => {
  const ctx = new kio.IoContext(16);
  const pool = new kio.BufferPool(ctx, { count: 16, size: 64 });
  const kept = [];
  for (const fd of fds) {
    (async () => {
      for await (const chunk of kio.asyncRecvMultishot(ctx, fd, pool).orThrow()) {
        // Lent, kept, and waiting to be sent.
        if (kept.length < 3) kept.push(chunk.keep());
        else chunk.sendTo(full);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    })();
  }
  await new Promise((resolve) => setTimeout(resolve, 40));
  postMessage(pool.stats().leased);
  if (how === "close") self.close();
  if (how === "exit") Deno.exit();
  if (how === "throw") throw new Error("on purpose");
};
`;

const SCRIPT = `
using ctx = new kio.IoContext();
const url = "data:text/javascript,${encodeURIComponent(WORKER)}";
for (const how of ["terminate", "close", "exit", "throw"]) {
  const pairs = Array.from({ length: 4 }, () => kio.unwrap(kio.Socket.pair()));
  const full = kio.unwrap(kio.Socket.pair());
  const data = new Uint8Array(4096).fill(7);
  while ((await kio.asyncSend(ctx, full[0], data, kio.MSG_DONTWAIT)).ok);
  const worker = new Worker(url, { type: "module" });
  worker.onerror = (event) => event.preventDefault();
  const ready = new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage({
    fds: pairs.map(([fd]) => fd.fd),
    full: full[0].fd,
    how,
  });
  for (const [, peer] of pairs) {
    kio.unwrap(await kio.asyncSend(ctx, peer, data.subarray(0, 300)));
  }
  const { data: leased } = await ready;
  if (!(leased > 3)) throw new Error("nothing is leased: " + leased);
  if (how === "terminate") worker.terminate();
  await new Promise((resolve) => setTimeout(resolve, 50));
  // The kernel takes nothing for the worker any more: this is ours.
  for (const [left, peer] of pairs) {
    const drain = new Uint8Array(65536);
    while ((await kio.asyncRecv(ctx, left, drain, kio.MSG_DONTWAIT)).ok);
    kio.unwrap(await kio.asyncSend(ctx, peer, new Uint8Array([1, 2, 3])));
    const own = new Uint8Array(3);
    kio.unwrap(await kio.asyncRecvExact(ctx, left, own, { timeoutMs: 5000 }));
  }
  for (const it of [...pairs.flat(), ...full]) await it.close();
}
console.log("done");
Deno.exit();
`;

Deno.test("the end of an isolate takes its pools back from the kernel", async () => {
  const { code, signal, out, err } = await runScript(SCRIPT, { flags: ["-A"] });
  assertEquals([code, signal, out], [0, null, "done\n"], err);
});

Deno.test("Deno.exit() does not wait for leases and streams", async () => {
  const { code, out, err } = await runScript(
    `
    const ctx = new kio.IoContext();
    const pool = new kio.BufferPool(ctx, { count: 4, size: 64 });
    const [left, right] = kio.unwrap(kio.Socket.pair());
    await kio.asyncSend(ctx, left, new Uint8Array(64));
    for await (const chunk of kio.asyncRecvMultishot(ctx, right, pool).orThrow()) {
      chunk.keep();
      console.log(pool.stats().leased);
      Deno.exit();
    }
    `,
    { flags: ["--allow-ffi"] },
  );
  assertEquals([code, out], [0, "1\n"], err);
});

// ---- a kernel that lacks something --------------------------------------------------

const ECHO = `
const ctx = new kio.IoContext();
const pool = new kio.BufferPool(ctx, { count: 4, size: 64 });
const [left, right] = kio.unwrap(kio.Socket.pair());
const stream = kio.asyncRecvMultishot(ctx, right, pool);
const before = ctx.stats().submissions;
const buffer = new Uint8Array(64);
const echo = (async () => {
  for await (const chunk of stream.orThrow()) chunk.sendTo(right);
})();
for (let i = 0; i < 40; i++) {
  kio.unwrap(await kio.asyncSend(ctx, left, new Uint8Array(64).fill(i)));
  kio.unwrap(await kio.asyncRecvExact(ctx, left, buffer));
  if (!buffer.every((it) => it === i)) throw new Error("bytes");
}
const count = ctx.stats().submissions - before;
kio.unwrap(await kio.asyncShutdown(ctx, left, kio.SHUT_WR));
await echo;
const { free, isNative } = pool.stats();
const { support, reason } = ctx.capabilities.features.recvMultishot;
console.log(JSON.stringify({ free, isNative, support, reason, count }));
ctx[Symbol.dispose]();
`;

const REASONS = {
  BUFFER_RING:
    "bufferRing: this kernel has none, or no deferTaskrun to try it with",
  RECV_MULTISHOT:
    "its trial failed: the end of a connection may be lost (CVE-2026-23473)",
};

for (const [mask, reason] of Object.entries(REASONS)) {
  Deno.test(`asyncRecvMultishot() does without ${mask}`, async () => {
    const { code, out, err } = await runScript(
      `import { FaultPlan } from "@kio/kio/testing"; FaultPlan.load(); ${ECHO}`,
      { flags: ["--allow-ffi"], env: { KIO_MASK: mask } },
    );
    assertEquals(code, 0, err);
    assertMatch(err, new RegExp(`^kio: ${mask} hidden [1-9]`));
    const { count, ...told } = JSON.parse(out);
    const isNative = mask !== "BUFFER_RING";
    assertEquals(told, { free: 4, isNative, support: "emulated", reason });
    // For each a send, a receive, a send back, and a single shot.
    assert(count >= 160, `${count} submissions`);
  });
}

const MESSAGES = `
const ctx = new kio.IoContext();
const pool = new kio.BufferPool(ctx, { count: 4, size: 256 });
const local = kio.SocketAddress.v4(0, "127.0.0.1");
const server = kio.unwrap(kio.UdpSocket.bind(local));
const client = kio.unwrap(kio.UdpSocket.connect(server.localAddress));
const stream = kio.asyncRecvmsgMultishot(ctx, server, pool).orThrow();
const before = ctx.stats().submissions;
let i = 0;
const send = () => client.send(ctx, new Uint8Array(i).fill(i)).orThrow();
await send();
for await (const { bytes, address, missingBytes } of stream) {
  const isWhole = bytes.length === Math.min(i, 112) &&
    bytes.every((it) => it === i) && missingBytes === i - bytes.length &&
    String(address) === String(client.localAddress);
  if (!isWhole) throw new Error("message " + i);
  if (i++ === 120) break;
  await send();
}
const count = ctx.stats().submissions - before;
const [left, right] = kio.unwrap(kio.Socket.pair());
kio.unwrap(await kio.asyncSend(ctx, left, new Uint8Array(1000)));
kio.unwrap(await kio.asyncShutdown(ctx, left, kio.SHUT_WR));
let total = 0;
for await (const it of kio.asyncRecvmsgMultishot(ctx, right, pool).orThrow()) {
  total += it.length;
}
console.log(JSON.stringify({ free: pool.stats().free, count, total }));
ctx[Symbol.dispose]();
`;

for (const mask of ["BUFFER_RING", "RECV_MULTISHOT"]) {
  Deno.test(`asyncRecvmsgMultishot() does without ${mask}`, async () => {
    const { code, out, err } = await runScript(
      `import { FaultPlan } from "@kio/kio/testing"; FaultPlan.load(); ${MESSAGES}`,
      { flags: ["--allow-ffi"], env: { KIO_MASK: mask } },
    );
    assertEquals(code, 0, err);
    assertMatch(err, new RegExp(`^kio: ${mask} hidden [1-9]`));
    const { free, count, total } = JSON.parse(out);
    assertEquals([free, total], [4, 1000]);
    // For each a send and a single shot.
    assert(count >= 242, `${count} submissions`);
  });
}

const READS = `
const ctx = new kio.IoContext();
const pool = new kio.BufferPool(ctx, { count: 16, size: 64 });
const { readFd, writeFd } = kio.unwrap(await kio.asyncPipe(ctx));
const stream = kio.asyncReadMultishot(ctx, readFd, pool).orThrow();
const before = ctx.stats().submissions;
let i = 0;
const write = () => kio.asyncWrite(ctx, writeFd, new Uint8Array(64).fill(i));
await write().orThrow();
for await (const { bytes } of stream) {
  if (bytes.length !== 64 || !bytes.every((it) => it === i)) throw "bytes";
  if (++i < 100) await write().orThrow();
  if (i === 100) await kio.asyncClose(ctx, writeFd);
}
const { support } = ctx.capabilities.features.readMultishot;
const count = ctx.stats().submissions - before;
console.log(JSON.stringify({ free: pool.stats().free, support, count }));
ctx[Symbol.dispose]();
`;

for (const mask of ["BUFFER_RING", "FTRUNCATE", "RECV_MULTISHOT"]) {
  Deno.test(`asyncReadMultishot() does without ${mask}`, async () => {
    const { code, out, err } = await runScript(
      `import { FaultPlan } from "@kio/kio/testing"; FaultPlan.load(); ${READS}`,
      { flags: ["--allow-ffi"], env: { KIO_MASK: mask } },
    );
    assertEquals(code, 0, err);
    assertMatch(err, new RegExp(`^kio: ${mask} hidden [1-9]`));
    const { count, ...told } = JSON.parse(out);
    assertEquals(told, { free: 16, support: "emulated" });
    // For each a write and a single shot.
    assert(count >= 200, `${count} submissions`);
  });
}

// ---- broken invariants -------------------------------------------------------------

/** Completions that cannot come from a kernel that works. */
const IMPOSSIBLE = {
  "a buffer that is filled while it is leased": [
    "stream.more(64, 1 | lease.id << 16)",
    /^kio: the kernel has filled buffer \d+, which is leased\n/,
  ],
  "bytes without a buffer": [
    "stream.more(64, 0)",
    /^kio: the kernel has received without a buffer\n/,
  ],
} as const;

for (const [what, [completion, message]] of Object.entries(IMPOSSIBLE)) {
  Deno.test(`${what}: the process ends`, async () => {
    const { signal, err } = await runScript(
      `
      const ctx = new kio.IoContext();
      const pool = new kio.BufferPool(ctx, { count: 4, size: 64 });
      const [left, right] = kio.unwrap(kio.Socket.pair());
      await kio.asyncSend(ctx, left, new Uint8Array(64));
      const stream = kio.asyncRecvMultishot(ctx, right, pool);
      const iterator = stream[Symbol.asyncIterator]();
      const { value: { value: lease } } = await iterator.next();
      ${completion};
      console.log("survived");
      `,
      { flags: ["--allow-ffi"] },
    );
    assertEquals(signal, "SIGABRT", err);
    assertMatch(err, message);
  });
}

/** Fields of a struct io_uring_recvmsg_out: an offset and a number. */
const WRONG_HEADS = {
  "a length beyond the name": [0, 129],
  "a length beyond the control data": [4, 25],
  "more bytes than it had": [8, 63],
} as const;

for (const [what, [at, number]] of Object.entries(WRONG_HEADS)) {
  Deno.test(`a message with ${what}: the process ends`, async () => {
    const { signal, err } = await runScript(
      `
      const ctx = new kio.IoContext();
      const pool = new kio.BufferPool(ctx, { count: 4, size: 256 });
      const memory = pool[Object.getOwnPropertySymbols(pool)[0]].memory;
      const [, right] = kio.unwrap(kio.Socket.pair("datagram"));
      const controlSize = 24;
      const stream = kio.asyncRecvmsgMultishot(ctx, right, pool, { controlSize });
      const head = new DataView(memory.buffer, memory.byteOffset + 3 * 256);
      head.setUint32(8, 64, true);
      stream.more(144 + 24 + 64, 1 | 3 << 16);
      const { value } = stream.take();
      if (value.length !== 64 || value.missingBytes !== 0) throw "length";
      value.release();
      await kio.asyncSleep(ctx, 1);
      head.setUint32(8, 64, true);
      head.setUint32(${at}, ${number}, true);
      stream.more(144 + 24 + 64, 1 | 3 << 16);
      console.log("survived");
      Deno.exit();
      `,
      { flags: ["--allow-ffi"] },
    );
    assertEquals(signal, "SIGABRT", err);
    assertMatch(err, /^kio: the kernel has received a wrong message\n/);
  });
}

// ---- a kernel on a bad day ----------------------------------------------------------

/** Sends and gets back as many bytes. Returns how many faults there were. */
async function echoes(ctx: IoContext, isTcp: boolean): Promise<void> {
  using pair = isTcp ? await tcpPair(ctx) : unixPair();
  using pool = new BufferPool(ctx, { count: 8, size: 500 });
  const data = pattern(500 * 60 + 11);
  const back = new Uint8Array(data.length);
  const echo = async () => {
    for await (
      const chunk of asyncRecvMultishot(ctx, pair.right, pool).orThrow()
    ) chunk.sendTo(pair.right);
  };
  const send = async () => {
    value(await asyncSendExact(ctx, pair.left, data));
    value(await asyncShutdown(ctx, pair.left, SHUT_WR));
  };
  await Promise.all([
    echo(),
    send(),
    asyncReadExact(ctx, pair.left, back).then(value),
  ]);
  assertEquals(back, data);
  const { free, leased, starved } = pool.stats();
  assertEquals([free, leased, starved], [8, 0, 0]);
}

const HARMLESS: Record<string, FaultRule[]> = {
  "short sends": [{ operation: "send", fault: "short" }],
  "interrupted receives": [
    { operation: "recv", fault: "error", code: "EINTR", probability: 0.3 },
  ],
  "receives that are restarted": [
    { operation: "recv", fault: "error", code: "ERESTARTSYS", times: 4 },
  ],
  "receives that want a buffer": [
    { operation: "recv", fault: "error", code: "ENOBUFS", probability: 0.3 },
  ],
  "sends that are restarted": [
    {
      operation: "send",
      fault: "error",
      code: "ERESTARTSYS",
      probability: 0.2,
    },
  ],
  "late receives": [{ operation: "recv", fault: "delay", ms: 3 }],
  "receives in another order": [{ operation: "any", fault: "reorder", ms: 5 }],
  "receives in batches": [{ operation: "any", fault: "batch", ms: 4 }],
  "late sends": [{ operation: "send", fault: "delay", ms: 3 }],
  "full queues": [
    { operation: "enter", fault: "error", code: "EAGAIN", probability: 0.2 },
  ],
};

/** Datagrams and their fds. */
async function messages(ctx: IoContext): Promise<void> {
  using pair = unixPair("datagram");
  using pool = new BufferPool(ctx, { count: 8, size: 256 });
  const { length: controlSize } = scmRightsSpace(1);
  const stream = asyncRecvmsgMultishot(ctx, pair.right, pool, { controlSize });
  const send = async () => {
    for (let i = 1; i <= 40; i++) {
      const buffers = [pattern(i)];
      const control = i % 3 === 0 ? scmRights([pair.left]) : undefined;
      value(await asyncSendmsg(ctx, pair.left, { buffers, control }));
    }
  };
  const sent = send();
  let count = 0;
  for await (const { bytes, control } of stream.orThrow()) {
    assertEquals(bytes, pattern(++count));
    const fds = parseScmRights(control);
    assertEquals(fds.length, count % 3 === 0 ? 1 : 0);
    for (const fd of fds) loadShim().kio_fd_close(fd);
    if (count === 40) break;
  }
  await sent;
  const { free, leased, starved } = pool.stats();
  assertEquals([free, leased, starved], [8, 0, 0]);
}

for (const [what, rules] of Object.entries(HARMLESS)) {
  if (rules.some(({ operation }) => operation === "send")) continue;
  kioTest(`streams of messages live with ${what}`, async (ctx) => {
    for (let seed = 1; seed <= 5; seed++) {
      const own = rules.map((rule): FaultRule =>
        rule.operation === "recv"
          ? { ...rule, operation: "recvmsg", probability: 1, times: 3 }
          : rule
      );
      using plan = FaultPlan.install({ seed, rules: own });
      await messages(ctx);
      assert(plan.injectedCount > 0);
    }
  });
}

kioTest("asyncRecvmsgMultishot() goes on with single shots", async (ctx) => {
  using plan = FaultPlan.install({
    rules: [{ operation: "recvmsg", fault: "error", code: "EINVAL", nth: 1 }],
  });
  await messages(ctx);
  assertEquals(plan.injectedCount, 1);
});

for (const [what, rules] of Object.entries(HARMLESS)) {
  for (const isTcp of [false, true]) {
    kioTest(
      `streams of leases live with ${what}: ${isTcp ? "TCP" : "unix"}`,
      async (ctx) => {
        for (let seed = 1; seed <= 5; seed++) {
          using plan = FaultPlan.install({ seed, rules });
          await echoes(ctx, isTcp);
          assert(plan.injectedCount > 0);
        }
      },
    );
  }
}

kioTest("asyncRecvMultishot() goes on with single shots", async (ctx) => {
  using plan = FaultPlan.install({
    rules: [{ operation: "recv", fault: "error", code: "EINVAL", nth: 1 }],
  });
  await echoes(ctx, false);
  assertEquals(plan.injectedCount, 1);
});

kioTest("asyncRecvMultishot() tries single shots once", async (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 8, size: 500 });
  using plan = FaultPlan.install({
    rules: [{ operation: "recv", fault: "error", code: "EINVAL" }],
  });
  const stream = asyncRecvMultishot(ctx, pair.right, pool);
  assertCode(await within(2000, stream.closed, "the end"), "EINVAL");
  assertEquals(plan.injectedCount, 2);
});

/** Reads a pipe until its end. */
async function reads(ctx: IoContext): Promise<void> {
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  using pool = new BufferPool(ctx, { count: 8, size: 500 });
  const data = pattern(500 * 60 + 11);
  const write = async () => {
    for (let at = 0; at < data.length; at += 500) {
      value(await asyncWrite(ctx, writeFd, data.subarray(at, at + 500)));
    }
    value(await asyncClose(ctx, writeFd));
  };
  const written = write();
  let at = 0;
  for await (
    const { bytes } of asyncReadMultishot(ctx, readFd, pool).orThrow()
  ) {
    assertEquals(bytes, data.subarray(at, at += bytes.length));
  }
  await written;
  assertEquals(at, data.length);
  value(await asyncClose(ctx, readFd));
  const { free, leased, starved } = pool.stats();
  assertEquals([free, leased, starved], [8, 0, 0]);
}

for (const [what, rules] of Object.entries(HARMLESS)) {
  if (rules.some(({ operation }) => operation === "send")) continue;
  kioTest(`streams of reads live with ${what}`, async (ctx) => {
    for (let seed = 1; seed <= 5; seed++) {
      const own = rules.map((rule): FaultRule =>
        rule.operation === "recv"
          ? { ...rule, operation: "read", probability: 1, times: 3 }
          : rule
      );
      using plan = FaultPlan.install({ seed, rules: own });
      await reads(ctx);
      assert(plan.injectedCount > 0);
    }
  });
}

kioTest("asyncReadMultishot() goes on with single shots", async (ctx) => {
  for (const code of ["EINVAL", "EBADFD"]) {
    using plan = FaultPlan.install({
      rules: [{ operation: "read", fault: "error", code, nth: 1 }],
    });
    await reads(ctx);
    assertEquals(plan.injectedCount, 1);
  }
});

kioTest(
  "asyncReadMultishot() polls where a read does not wait",
  async (ctx) => {
    const { readFd, writeFd } = value(await asyncPipe(ctx));
    using pool = new BufferPool(ctx, { count: 8, size: 500 });
    let stream: UringStream<BufferLease>;
    {
      using plan = FaultPlan.install({
        rules: [{ operation: "read", fault: "error", code: "EAGAIN" }],
      });
      stream = asyncReadMultishot(ctx, readFd, pool);
      await turn(50);
      // Once, and then again when there is something to read.
      assertEquals(plan.injectedCount, 1);
      value(await asyncWrite(ctx, writeFd, pattern(500)));
      await turn(5);
      assert(plan.injectedCount > 1);
    }
    for await (const { bytes } of stream.orThrow()) {
      assertEquals(bytes, pattern(500));
      break;
    }
    for (const fd of [readFd, writeFd]) value(await asyncClose(ctx, fd));
  },
);

kioTest("sendTo() that cannot be queued ends the stream", async (ctx) => {
  using pair = unixPair();
  using pool = new BufferPool(ctx, { count: 8, size: 500 });
  using _ = FaultPlan.install({
    rules: [{ operation: "send", fault: "error", code: "ENOMEM", nth: 2 }],
  });
  value(await asyncSendExact(ctx, pair.left, pattern(1500)));
  const codes: string[] = [];
  for await (const result of asyncRecvMultishot(ctx, pair.right, pool)) {
    if (result.ok) result.value.sendTo(pair.right);
    else codes.push(result.error.code);
  }
  assertEquals(codes, ["ENOMEM"]);
  assertEquals([pool.stats().leased, ctx.pending], [0, 0]);
});
