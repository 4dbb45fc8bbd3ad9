/**
 * Workers that die under traffic, in all ways by turns: the kernel must not
 * write into memory that was theirs, and their rings, sockets and threads must
 * go. `deno task test:long` does it 500 times.
 */
import { assert, assertEquals } from "@std/assert";
import { sanitizedEnv } from "../../tools/asan.ts";
import {
  compileMutant,
  type Ended,
  ROOT,
  runScript,
  temporaryFolder,
} from "./support.ts";

const ROUNDS = Number(Deno.env.get("ROUNDS") ?? 50);

/** Large enough for a mapping of its own, which goes when the worker does. */
const SIZE = 32 << 20;
/** The capacity of a pipe. Half of it is more than one call sends to a socket.
 */
const PIPE_SIZE = 256 << 10;

/** Makes pipes that block, and are closed with their thread. */
const PIPE = `
import { loadShim } from "file://${ROOT}ffi/load.ts";

function pipe() {
  const fds = new Int32Array(2);
  const shim = loadShim();
  shim.kio_pipe(fds, ${PIPE_SIZE});
  for (const fd of fds) shim.kio_nonblocking_set(fd, false);
  return fds;
}
`;

/** The code of all workers: serve connections, and die on request. */
const SERVE = `
import * as kio from "@kio/kio";
async function serve(ctx, socket) {
  const buffer = new Uint8Array(4096);
  for (;;) {
    const received = await kio.asyncRecv(ctx, socket, buffer);
    if (!received.ok || received.value === 0) return;
    await kio.asyncSend(ctx, socket, buffer.subarray(0, received.value));
  }
}

function die(how, reject) {
  if (how === 1) self.close();
  if (how === 2) Deno.exit();
  if (how === 3) reject(new Error("on purpose"));
  if (how === 4) setTimeout(() => { throw new Error("on purpose"); });
}
`;

/** Reads memory and splices; then dies. */
const WORKER = `
${SERVE}${PIPE}
void kio.joinPool(async ({ ctx, index, data, pool }) => {
  ctx.onFd = (fd) => void serve(ctx, new kio.Socket(fd));
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
      // Only this worker knows its number.
      data.memory[index] = memory;
      die(how, reject);
      Atomics.store(data.dying, 0, 1);
    };
  });
  pool.ready();
  await end;
});
`;

/** Traffic with workers of a module. */
const TRAFFIC = `
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
using ctx = new kio.IoContext();
const listener = kio.unwrap(
  kio.TcpListener.bind(kio.SocketAddress.v4(0, "127.0.0.1")),
);

/** Sends and receives until its worker dies. */
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

/** A pool of one worker, which 20 peers talk to. */
async function startTraffic(module, data) {
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
    kio.unwrap(pool.passFd(kio.unwrap(accepted)));
    peers.push(peer(client));
  }
  return { pool, peers };
}
`;

const SCRIPT = `
const module = "data:text/javascript,${encodeURIComponent(WORKER)}";
${TRAFFIC}
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
  gc();
  const status = Deno.readTextFileSync("/proc/self/status");
  return Number(/VmRSS:\\s*(\\d+)/.exec(status)[1]) / 1024;
}

let corrupted = 0, stuck = 0, slowestMs = 0;

async function round(how) {
  const data = {
    address,
    memory: new Int32Array(new SharedArrayBuffer(4)),
    dying: new Int32Array(new SharedArrayBuffer(4)),
  };
  const { pool, peers } = await startTraffic(module, data);
  const startMs = performance.now();
  kio.unwrap(kio.wake(pool.ringFds[0], how, 0));
  if (how === 0) {
    while (Atomics.load(data.dying, 0) === 0) await sleep(1);
    void pool.shutdown({ graceMs: 0 });
  }
  // Memory that is allocated from now on may be that of the dead.
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

let before;
const residentsMB = [];
for (let i = -5; i < ROUNDS && !(STOPS && corrupted + stuck > 0); i++) {
  if (i === 0) {
    // The last worker may still be ending.
    for (let j = 0; j < 200 && threads() > 0; j++) await sleep(10);
    // These include all that the first rounds have made Deno load and keep.
    before = { ...openFds(), threads: threads() };
  }
  if (i >= 0 && i % 100 === 0) residentsMB.push(residentMB());
  await round((i + 5) % 5);
}
residentsMB.push(residentMB());
let after = { ...openFds(), threads: threads() };
const isLeft = () => JSON.stringify(after) !== JSON.stringify(before);
for (let i = 0; i < 200 && isLeft(); i++) {
  await sleep(10);
  after = { ...openFds(), threads: threads() };
}
console.log(JSON.stringify({
  corrupted,
  stuck,
  before,
  after,
  residentsMB,
  slowestMs,
}));
Deno.exit();
`;

/**
 * Reads from a pipe, on a thread of the kernel: kio does not ask for one, so
 * the flag is set here. While the pipe is locked, nothing can stop that thread.
 */
const READER = `
${SERVE}${PIPE}
const READ_ASYNC = 22 | (1 << 4) << 8; // IORING_OP_READ, IOSQE_ASYNC
const shim = loadShim();
shim.kio_read = (handle, id, fd, buffer, length, offset) =>
  shim.kio_sqe(handle, id, READ_ASYNC, fd, buffer, 0, length, offset, 0);

void kio.joinPool(async ({ ctx, data, pool }) => {
  ctx.onFd = (fd) => void serve(ctx, new kio.Socket(fd));
  const end = new Promise((resolve, reject) => {
    ctx.onMessage = (how, isDeath) => {
      if (isDeath) return die(how, reject);
      const target = new Uint8Array(${PIPE_SIZE / 2});
      data.address[0] = Deno.UnsafePointer.value(Deno.UnsafePointer.of(target));
      Atomics.store(data.thread, 0, shim.kio_thread_id());
      kio.asyncRead(ctx, data.from, target);
    };
  });
  pool.ready();
  await end;
});
`;

/**
 * For each way to die: a worker dies while the kernel waits for the lock of the
 * pipe that it reads. A splice from the same pipe to a full socket holds the
 * lock until a program reads from the socket. AddressSanitizer knows when the
 * memory is freed, and gives it to no other.
 */
const FREED_SCRIPT = `
${PIPE}
const module = "data:text/javascript,${encodeURIComponent(READER)}";
${TRAFFIC}
const asan = Deno.dlopen(Deno.env.get("LD_PRELOAD"), {
  __asan_address_is_poisoned: { parameters: ["pointer"], result: "i32" },
}).symbols;

async function until(isSo, limitMs) {
  const endMs = performance.now() + limitMs;
  while (!isSo() && performance.now() < endMs) await sleep(1);
  return isSo();
}

/** True if the kernel worker of a thread cannot be stopped. */
function isStuck(threadId) {
  for (const { name } of Deno.readDirSync("/proc/self/task")) {
    try {
      const stat = Deno.readTextFileSync("/proc/self/task/" + name + "/stat");
      if (stat.includes("(iou-wrk-" + threadId + ") D ")) return true;
    } catch {
      // It has ended.
    }
  }
  return false;
}

async function round(how) {
  const [from, to] = pipe();
  await kio.asyncWrite(ctx, to, new Uint8Array(${PIPE_SIZE}).fill(0xa5))
    .orThrow();
  const [left, right] = kio.unwrap(kio.Socket.pair());
  kio.unwrap(left.setNonBlocking(false));
  kio.unwrap(left.setSendBuffer(4096));
  const splice = kio.asyncSplice(ctx, from, left, ${PIPE_SIZE / 2});
  // The first bytes have come, so it has the lock, and there are too many.
  await kio.asyncPoll(ctx, right, kio.POLLIN).orThrow();

  const data = {
    from,
    address: new BigUint64Array(new SharedArrayBuffer(8)),
    thread: new Int32Array(new SharedArrayBuffer(4)),
  };
  const { pool, peers } = await startTraffic(module, data);
  const [ringFd] = pool.ringFds;
  kio.unwrap(kio.wake(ringFd, 0, 0));
  if (!await until(() => isStuck(Atomics.load(data.thread, 0)), 20_000)) {
    throw new Error("the read does not wait for the lock");
  }
  const memory = Deno.UnsafePointer.create(data.address[0]);
  const view = new Deno.UnsafePointerView(memory);
  const isWritten = () => view.getUint8(${PIPE_SIZE / 2 - 1}) === 0xa5;
  const isFreed = () => asan.__asan_address_is_poisoned(memory) !== 0;
  if (isWritten() || isFreed()) throw new Error("the read does not wait");

  if (how === 0) void pool.shutdown({ graceMs: 0 });
  else kio.unwrap(kio.wake(ringFd, how, 1));
  const isFreedEarly = await until(isFreed, FREED_MS) && !isWritten();
  const buffer = new Uint8Array(${PIPE_SIZE / 2});
  await kio.asyncRecvExact(ctx, right, buffer).orThrow();
  await splice.orThrow();
  if (!await until(() => isFreed() && isWritten(), 20_000)) {
    throw new Error("the read does not end, or the memory is not freed");
  }
  await Promise.all([...peers, pool.closed, left.close(), right.close()]);
  for (const fd of [from, to]) await kio.asyncClose(ctx, fd).orThrow();
  return isFreedEarly;
}

// A worker whose main function throws closes its context, which waits: there the
// guard has nothing to do.
const found = [];
for (const how of [0, 1, 2, 4]) found.push(await round(how));
console.log(JSON.stringify(found));
Deno.exit();
`;

/** Runs that; gives for each way to die if the kernel wrote to freed memory. */
async function writesToFreed(library?: string): Promise<boolean[]> {
  using folder = temporaryFolder();
  const { LD_PRELOAD = "" } = sanitizedEnv(`${folder.path}/suppressions`);
  // A guard that waits frees nothing, however long one looks; one that does not
  // wait must have the time for it.
  const limits = `const FREED_MS = ${library === undefined ? 200 : 20_000};\n`;
  const { code, signal, out, err } = await runScript(limits + FREED_SCRIPT, {
    flags: ["-A"],
    limitMs: 120_000,
    env: {
      LD_PRELOAD,
      ASAN_OPTIONS: "detect_leaks=0",
      ...library === undefined ? {} : { KIO_LIB: library },
    },
  });
  assertEquals([code, signal], [0, null], err);
  return JSON.parse(out);
}

/** Runs the rounds; with a library that is a mutant until it shows. */
function runRounds(library?: string): Promise<Ended> {
  const isMutant = library !== undefined;
  // A peer must see its end within a second. Twenty seconds would be wrong too,
  // but say nothing about a busy machine.
  const limits = `const ROUNDS = ${isMutant ? 20 : ROUNDS}, STOPS = ${isMutant},
    END_MS = ${isMutant ? 3000 : 20_000};\n`;
  return runScript(limits + SCRIPT, {
    flags: ["-A", "--v8-flags=--expose-gc"],
    env: isMutant ? { KIO_LIB: library } : {},
    limitMs: 60_000 + 5000 * ROUNDS,
  });
}

Deno.test(`a worker that dies leaves nothing, ${ROUNDS} times`, async () => {
  const { code, signal, out, err } = await runRounds();
  assertEquals([code, signal], [0, null], err);
  const { residentsMB, slowestMs, before, after, ...found } = JSON.parse(
    out.trim().split("\n").at(-1)!,
  );
  const resident = residentsMB.map((size: number) => size.toFixed()).join(", ");
  console.log(
    `slowest end ${slowestMs.toFixed()} ms; MiB resident: ${resident}`,
  );
  assertEquals(found, { corrupted: 0, stuck: 0 });
  assertEquals(after, before);
  // One buffer a round would be 32 MiB each.
  const grownMB = residentsMB.at(-1) - residentsMB[0];
  assert(grownMB < 4 * SIZE / 2 ** 20 + 64, `${grownMB} MiB more`);
});

Deno.test("a worker's memory is freed when the kernel is done with it", async () => {
  assertEquals(await writesToFreed(), Array(4).fill(false));
});

Deno.test("a guard that does not wait would be noticed, at every death", async () => {
  using folder = temporaryFolder();
  const library = await compileMutant(
    folder.path,
    "\t\tcontext_drain(isolate->contexts);\n",
    "\t\t(void)context_drain;\n",
  );
  assertEquals(await writesToFreed(library), Array(4).fill(true));
});

Deno.test("sockets that are not closed with their worker would be noticed", async () => {
  using folder = temporaryFolder();
  const library = await compileMutant(
    folder.path,
    "\towned_close();\n",
    "\t(void)owned_close;\n",
  );
  const { signal, out, err } = await runRounds(library);
  assertEquals(signal, null, err);
  assert(JSON.parse(out.trim().split("\n").at(-1)!).stuck > 0, out);
});
