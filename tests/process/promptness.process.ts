/**
 * The table of promptness of docs/guide/threads.md: how soon Deno's own events
 * come to a program that gets a message by kio every 25 ms. An exclusive context
 * waits in the kernel meanwhile. An event that does not end the wait comes with the next
 * message: that shows, however busy the machine is.
 */
import { assert, assertEquals } from "@std/assert";
import { runScript, temporaryFolder } from "./support.ts";

const GAP_MS = 25;
/** More than that is late by a wait, which takes until the next message, or until
 * 40 ms after the one before. */
const LATE_MS = 6;
/** EXCLUSIVE_MS of lib/ring/driver.ts, and time for a busy machine. */
const BOUND_MS = 40 + 20;
const ROUNDS = 5;

/** Probes that begin behind a message, and end by themselves. Each gives the
 * milliseconds from the time at which it was due. */
const LOCAL = `{
  async setTimeout() {
    const dueMs = performance.now() + 7;
    await new Promise((resolve) => setTimeout(resolve, 7));
    return performance.now() - dueMs;
  },
  async setInterval() {
    const dueMs = performance.now() + 8;
    let id;
    let left = 2;
    await new Promise((resolve) => {
      id = setInterval(() => --left === 0 && resolve(), 4);
    });
    clearInterval(id);
    return performance.now() - dueMs;
  },
  setImmediate: timed(() => new Promise((resolve) => setImmediate(resolve))),
  "setImmediate() five times": timed(async () => {
    for (let left = 5; left > 0; left--) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }),
  nextTick: timed(() => new Promise((resolve) => process.nextTick(resolve))),
  microtasks: timed(async () => {
    for (let i = 0; i < 2000; i++) await null;
  }),
  readTextFile: timed(() => Deno.readTextFile(Deno.env.get("PROBE_FILE"))),
  stat: timed(() => Deno.stat(Deno.env.get("PROBE_FILE"))),
  digest: timed(() => crypto.subtle.digest("SHA-256", new Uint8Array(64))),
  connect: timed(async () => (await Deno.connect({ port: peer.port })).close()),
  fetch: timed(async () => (await fetch(peer.url)).text()),
  "same-thread MessagePort": timed(() => new Promise((resolve) => {
    port2.onmessage = resolve;
    port1.postMessage(null);
  })),
  "WebAssembly.compile()": timed(() => WebAssembly.compile(WASM)),
  "import()": timed(() => import("data:text/javascript,/*" + count++ + "*/")),
}`;

/** Probes that the other thread begins while this one waits. It writes down the
 * time. */
const REMOTE = `{
  postMessage: () => new Promise((resolve) => onPosted = resolve),
  signal: () => new Promise((resolve) => onSignal = resolve),
  "FIFO that a thread opens": async () => (await Deno.open(fifo)).close(),
  "Deno.listen()": async () => (await listener.accept()).close(),
  "Deno.serve()": () => new Promise((resolve) => onRequest = resolve),
  "Atomics.waitAsync()": () => Atomics.waitAsync(cells, 0, 0).value,
}`;

/** Kinds that leave no trace while the thread is in the kernel. */
const SILENT = ["WebAssembly.compile()", "import()", "Atomics.waitAsync()"];

const PEER = `
import * as kio from "@kio/kio";
let asked = null;
let left = 0;
onmessage = async ({ data: { fd, pid, port, servePort, shared, fifo, ask } }) => {
  if (ask !== undefined) {
    asked = ask;
    // Two wake-ups in a row, and more, until the other thread waits again.
    left = 5;
    return;
  }
  const stamp = new Float64Array(shared, 0, 1);
  const cells = new Int32Array(shared, 8, 1);
  const acts = {
    postMessage: () => postMessage("probe"),
    signal: () => Deno.kill(pid, "SIGUSR2"),
    "FIFO that a thread opens": () =>
      Deno.openSync(fifo, { write: true }).close(),
    "Deno.listen()": async () => (await Deno.connect({ port })).close(),
    "Deno.serve()": async () =>
      await (await fetch("http://127.0.0.1:" + servePort)).text(),
    "Atomics.waitAsync()": () => {
      Atomics.store(cells, 0, 1);
      Atomics.notify(cells, 0);
    },
  };
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  void (async () => {
    for await (const it of listener) it.close();
  })();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response("x"),
  );
  postMessage({ port: listener.addr.port, servePort: server.addr.port });
  using ctx = new kio.IoContext(8);
  const byte = new Uint8Array(1);
  for (;;) {
    await kio.asyncSleep(ctx, ${GAP_MS}).orThrow();
    if (!(await kio.asyncSend(ctx, fd, byte)).ok) break;
    if (asked === null || --left > 0) continue;
    const act = acts[asked];
    asked = null;
    await kio.asyncSleep(ctx, 3).orThrow();
    stamp[0] = performance.timeOrigin + performance.now();
    await act();
  }
};
`;

const script = (exclusive: boolean) => `
import process from "node:process";
const timed = (probe) => async () => {
  const startMs = performance.now();
  await probe();
  return performance.now() - startMs;
};
const WASM = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
let count = 0;
let onPosted, onSignal, onRequest;
const fifo = Deno.env.get("PROBE_FIFO");
const shared = new SharedArrayBuffer(16);
const stamp = new Float64Array(shared, 0, 1);
const cells = new Int32Array(shared, 8, 1);
const { port1, port2 } = new MessageChannel();
Deno.addSignalListener("SIGUSR2", () => onSignal());
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const server = Deno.serve(
  { hostname: "127.0.0.1", port: 0, onListen() {} },
  async () => {
    onRequest();
    // The answer begins behind a completion of kio.
    await kio.asyncFsync(ctx, 4000);
    return new Response("x");
  },
);
const ctx = new kio.IoContext({ exclusive: ${exclusive} });
const [here, there] = kio.unwrap(kio.Socket.pair());
const worker = new Worker(
  "data:text/javascript,${encodeURIComponent(PEER)}",
  { type: "module" },
);
const peer = await new Promise((resolve) => {
  worker.onmessage = ({ data }) => {
    if (data === "probe") return onPosted();
    resolve({ port: data.port, url: "http://127.0.0.1:" + data.servePort });
  };
  worker.postMessage({
    fd: there.fd, pid: Deno.pid, shared, fifo,
    port: listener.addr.port, servePort: server.addr.port,
  });
});
const buffer = new Uint8Array(1);
/** Waits for messages: the thread then waits in the kernel before the next. */
async function messages(number) {
  for (let i = 0; i < number; i++) {
    await kio.asyncRecv(ctx, here, buffer).orThrow();
  }
}
/** Goes on with the messages until a promise is fulfilled. */
async function beside(promise) {
  let isOver = false;
  const over = promise.then((result) => (isOver = true, result));
  while (!isOver) await messages(1);
  return await over;
}
const LOCAL = ${LOCAL};
const REMOTE = ${REMOTE};
const late = {};
await messages(8);
for (const [name, probe] of Object.entries(LOCAL)) {
  late[name] = [];
  for (let i = 0; i < ${ROUNDS}; i++) {
    await messages(4);
    late[name].push(await beside(probe()));
  }
}
for (const [name, probe] of Object.entries(REMOTE)) {
  late[name] = [];
  for (let i = 0; i < ${ROUNDS}; i++) {
    await messages(4);
    Atomics.store(cells, 0, 0);
    const event = probe().then(() =>
      performance.timeOrigin + performance.now() - stamp[0]
    );
    worker.postMessage({ ask: name });
    late[name].push(await beside(event));
  }
}
console.log(JSON.stringify({ late, waits: ctx.stats().exclusiveWaits }));
Deno.exit();
`;

const median = (values: number[]) =>
  values.toSorted((a, b) => a - b)[values.length >> 1]!;

for (const exclusive of [false, true]) {
  const mode = exclusive ? "exclusive" : "default";
  Deno.test(`an IoContext is as prompt as the table says, ${mode}`, async () => {
    using folder = temporaryFolder();
    const fifo = `${folder.path}/fifo`;
    await new Deno.Command("mkfifo", { args: [fifo] }).output();
    const { code, out, err } = await runScript(script(exclusive), {
      flags: ["-A"],
      env: { PROBE_FILE: import.meta.filename!, PROBE_FIFO: fifo },
    });
    assertEquals({ code, err }, { code: 0, err: "" });
    const { late, waits } = JSON.parse(out) as {
      late: Record<string, number[]>;
      waits: number;
    };
    for (const [name, lateMs] of Object.entries(late)) {
      const isSilent = exclusive && SILENT.includes(name);
      const boundMs = isSilent ? BOUND_MS : LATE_MS;
      assert(median(lateMs) < boundMs, `${name}: ${lateMs} ms`);
    }
    assertEquals(waits > 100, exclusive, `${waits} waits`);
  });
}
