/**
 * Workers that die under traffic, in all ways by turns: the kernel must not
 * write into memory that was theirs, and their rings, sockets and threads must
 * go. `ROUNDS=500 deno test -A tests/process/worker_death.process.ts` runs it
 * for longer.
 */
import { assert, assertEquals } from "@std/assert";
import {
  compile,
  type Ended,
  mutantOf,
  ROOT,
  runScript,
  temporaryFolder,
} from "./support.ts";

const ROUNDS = Number(Deno.env.get("ROUNDS") ?? 50);

/** Large enough for a mapping of its own, which goes when the worker does. */
const SIZE = 32 << 20;

/** Receives on its connections, reads memory, splices; then dies as told. */
const WORKER = `
import * as kio from "@kio/kio";
import { loadShim } from "file://${ROOT}ffi/load.ts";

/** An empty pipe that blocks, to be closed with the worker. */
function pipe() {
  const fds = new Int32Array(2);
  const shim = loadShim();
  shim.kio_pipe(fds, 65536);
  for (const fd of fds) shim.kio_nonblocking_set(fd, false);
  return fds;
}

await kio.joinPool(async ({ ctx, index, data, pool }) => {
  ctx.onFd = (fd) => void serve(new kio.Socket(fd));
  async function serve(socket) {
    const buffer = new Uint8Array(4096);
    for (;;) {
      const received = await kio.asyncRecv(ctx, socket, buffer);
      if (!received.ok || received.value === 0) return;
      await kio.asyncSend(ctx, socket, buffer.subarray(0, received.value));
    }
  }
  const memory = await kio.asyncOpen(ctx, "/proc/self/mem", kio.O_RDONLY)
    .orThrow();
  const end = new Promise((resolve, reject) => {
    ctx.onMessage = async (how) => {
      // Held by the kernel when the worker dies: a read of much memory, and a
      // splice of a pipe that gets nothing.
      const target = new Uint8Array(${SIZE});
      kio.asyncRead(ctx, memory, target, data.address);
      const [from, to] = kio.unwrap(kio.Socket.pair());
      kio.asyncRecv(ctx, from, new Uint8Array(65536));
      const splice = kio.asyncSplice(ctx, pipe()[0], to, 4096);
      while (target[0] !== 0xa5) await kio.asyncSleep(ctx, 1);
      let isOver = false;
      void splice.then(() => isOver = true);
      await null;
      if (isOver) throw new Error("the splice does not wait");
      // Its number is known to nobody but this worker.
      data.memory[index] = memory;
      if (how === 1) self.close();
      if (how === 2) Deno.exit();
      if (how === 3) reject(new Error("on purpose"));
      if (how === 4) setTimeout(() => { throw new Error("on purpose"); });
      Atomics.store(data.dying, 0, 1);
    };
  });
  pool.ready();
  await end;
});
`;

const SCRIPT = `
const module = "data:text/javascript,${encodeURIComponent(WORKER)}";
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
using ctx = new kio.IoContext();
globalThis.source = new Uint8Array(${SIZE}).fill(0xa5);
const address = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(source)));

function openFds() {
  const counts = { rings: 0, sockets: 0, pipes: 0 };
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    let target = "";
    try {
      target = Deno.readLinkSync("/proc/self/fd/" + name);
    } catch {
      // The one of this loop.
    }
    if (target.includes("io_uring")) counts.rings++;
    if (target.startsWith("socket:")) counts.sockets++;
    if (target.startsWith("pipe:")) counts.pipes++;
  }
  return counts;
}

function threads() {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc/self/task")) {
    try {
      const path = "/proc/self/task/" + name + "/comm";
      if (/worker/.test(Deno.readTextFileSync(path))) count++;
    } catch {
      // It has ended.
    }
  }
  return count;
}

function residentMB() {
  const status = Deno.readTextFileSync("/proc/self/status");
  return Number(/VmRSS:\\s*(\\d+)/.exec(status)[1]) / 1024;
}

/** Sends and receives until its worker dies; gives how it ended. */
async function peer(socket) {
  const buffer = new Uint8Array(2048);
  for (;;) {
    const sent = await kio.asyncSend(ctx, socket, buffer);
    if (!sent.ok) break;
    const received = await kio.asyncRecv(ctx, socket, buffer);
    if (!received.ok || received.value === 0) break;
  }
  await socket.close();
  return true;
}

const listener = kio.unwrap(
  kio.TcpListener.bind(kio.SocketAddress.v4(0, "127.0.0.1")),
);
let corrupted = 0, stuck = 0, slowestMs = 0;

async function round(how) {
  const data = {
    address,
    memory: new Int32Array(new SharedArrayBuffer(4)),
    dying: new Int32Array(new SharedArrayBuffer(4)),
  };
  const pool = await kio.WorkerPool.start(module, {
    workers: 1,
    data,
    onError: () => {},
  });
  const peers = [];
  for (let i = 0; i < 20; i++) {
    const client = kio.unwrap(kio.Socket.open("ipv4"));
    const [connected, accepted] = await Promise.all([
      kio.asyncConnect(ctx, client, listener.localAddress),
      kio.asyncAccept(ctx, listener),
    ]);
    kio.unwrap(connected);
    kio.unwrap(pool.handOver(kio.unwrap(accepted)));
    peers.push(peer(client));
  }
  const startMs = performance.now();
  kio.unwrap(kio.wake(pool.ringFds[0], how, 0));
  if (how === 0) {
    while (Atomics.load(data.dying, 0) === 0) await sleep(1);
    void pool.shutdown({ graceMs: 0 });
  }
  // What is allocated from now on may get the memory of the dead.
  const canaries = [];
  for (let i = 0; i < 4; i++) {
    await sleep(1);
    canaries.push(new Uint8Array(${SIZE}));
  }
  const ended = await Promise.race([Promise.all(peers), sleep(END_MS)]);
  slowestMs = Math.max(slowestMs, performance.now() - startMs);
  if (ended === undefined) stuck++;
  if (ended !== undefined) await pool.closed;
  await sleep(10);
  const isHit = (memory) => {
    for (let i = 0; i < memory.length; i += 65536) if (memory[i]) return true;
    return false;
  };
  if (canaries.some(isHit)) corrupted++;
  // The fd of a file that the worker has not closed is not a socket's.
  await kio.asyncClose(ctx, data.memory[0]).orThrow();
}

let before, beforeMB;
for (let i = -5; i < ROUNDS && !(STOPS && corrupted + stuck > 0); i++) {
  if (i === 0) {
    // What the first rounds have made Deno load and keep is in here.
    before = { ...openFds(), threads: threads() };
    beforeMB = residentMB();
  }
  await round((i + 5) % 5);
}
let after = { ...openFds(), threads: threads() };
const isSettled = () => JSON.stringify(after) === JSON.stringify(before);
for (let i = 0; i < 200 && !isSettled(); i++) {
  await sleep(10);
  after = { ...openFds(), threads: threads() };
}
console.log(JSON.stringify({
  corrupted,
  stuck,
  isSettled: isSettled(),
  grownMB: residentMB() - beforeMB,
  slowestMs,
}));
Deno.exit();
`;

/** Runs the rounds; with a library that is a mutant until it shows. */
function runRounds(library?: string): Promise<Ended> {
  const isMutant = library !== undefined;
  // A peer has to see its end within a second; twenty seconds would be wrong,
  // too, but say nothing about a machine that is busy.
  const limits = `const ROUNDS = ${isMutant ? 20 : ROUNDS}, STOPS = ${isMutant},
    END_MS = ${isMutant ? 3000 : 20_000};\n`;
  return runScript(limits + SCRIPT, {
    flags: ["-A"],
    env: isMutant ? { KIO_LIB: library } : {},
  });
}

function mutant(folder: string, from: string, to: string): string {
  const library = `${folder}/libkio.so`;
  compile(mutantOf(from, to), library);
  return library;
}

Deno.test(`a worker that dies leaves nothing, ${ROUNDS} times`, async () => {
  const { code, signal, out, err } = await runRounds();
  assertEquals([code, signal], [0, null], err);
  const { grownMB, slowestMs, ...found } = JSON.parse(
    out.trim().split("\n").at(-1)!,
  );
  console.log(
    `slowest end ${slowestMs.toFixed()} ms, ${grownMB.toFixed()} MiB more`,
  );
  assertEquals(found, { corrupted: 0, stuck: 0, isSettled: true });
  // One buffer a round would be 32 MiB each.
  assert(grownMB < 4 * SIZE / 2 ** 20 + 64, `${grownMB} MiB more`);
});

Deno.test("sockets that are not closed with their worker would be noticed", async () => {
  using folder = temporaryFolder();
  const library = mutant(
    folder.path,
    "\towned_close();\n",
    "\t(void)owned_close;\n",
  );
  const { signal, out, err } = await runRounds(library);
  assertEquals(signal, null, err);
  assert(JSON.parse(out.trim().split("\n").at(-1)!).stuck > 0, out);
});
