/**
 * The teardown guard: an isolate may end in any way while the kernel fills its
 * buffers. The tests need a long read, which the kernel does on a thread of its
 * own and which nothing can stop: one of much memory through /proc/self/mem.
 * Most of it goes to memory that stays, again and again to the same. The
 * isolate's own buffer comes last, long after the isolate has ended. By then its
 * successors have taken memory of the same size, which is the same memory. If
 * the kernel still writes there, it shows.
 *
 * Two more tests show that these notice a missing guard. They run the same with a
 * library whose guard does not wait, and with one whose guard does nothing.
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  assertPrinted,
  compileMutant,
  type Ended,
  ROOT,
  run,
  runScript,
  temporaryFolder,
} from "./support.ts";

/** Large enough for an mmap of its own, which is unmapped when it is freed. */
const SIZE = 64 << 20;
/** The part of it that is read into. */
const PART = 1 << 20;
/** The size of the memory that stays, and how often the read goes there. */
const SCRATCH = 16 << 20;
const PASSES = 60;
/** Passes where it is enough that the kernel still reads when the isolate ends.
 */
const FEW_PASSES = 8;
const ROUNDS = 12;
/** For a library that is broken: one corrupted round is enough. */
const BROKEN_ROUNDS = 60;

/** Leaves a read and receives in flight, and says which fds are not closed. */
const LEAVE = `
async function leave({ address, scratch, passes }) {
  const ctx = new kio.IoContext();
  const opened = kio.asyncOpen(ctx, "/proc/self/mem", kio.O_RDONLY);
  const fd = await opened.orThrow();
  const [left] = kio.unwrap(kio.Socket.pair());
  for (let i = 0; i < 4; i++) kio.asyncRecv(ctx, left, new Uint8Array(4096));
  const begun = new Uint8Array(4096);
  const buffer = new Uint8Array(${SIZE}).subarray(0, ${PART});
  const targets = [begun, ...Array(passes).fill(scratch), buffer];
  kio.asyncReadv(ctx, fd, targets, address);
  while (begun[0] === 0) await kio.asyncSleep(ctx, 1);
  // The sockets are closed with the worker; worker_death.process.ts looks.
  return [fd];
}
`;

/**
 * Memory to be read, which is not to be collected, and where it is: zeros, but
 * for the first byte of all, that of the last pass, and the isolate's part.
 */
const sourceOf = (passes: number) => `
const scratch = new Uint8Array(new SharedArrayBuffer(${SCRATCH}));
globalThis.source = new Uint8Array(${4096 + passes * SCRATCH + PART});
source[0] = 1;
source[${4096 + (passes - 1) * SCRATCH}] = 1;
source.fill(0xa5, ${4096 + passes * SCRATCH});
const address = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(source)));
const memory = { address, scratch, passes: ${passes} };
`;

const WORKER = `
import * as kio from "@kio/kio";
${LEAVE}
onmessage = async ({ data: { memory, how } }) => {
  postMessage(await leave(memory));
  if (how === "close") self.close();
  if (how === "exit") Deno.exit();
  if (how === "throw") throw new Error("on purpose");
};
`;

/** Rounds of workers that end, in all ways by turns; prints the findings. */
const WORKERS = `
${sourceOf(PASSES)}
using ctx = new kio.IoContext();
const url = "data:text/javascript,${encodeURIComponent(WORKER)}";
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function openFds() {
  const counts = { io_uring: 0, eventfd: 0, eventpoll: 0 };
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    let target = "";
    try {
      target = Deno.readLinkSync("/proc/self/fd/" + name);
    } catch {
      // The one of this loop.
    }
    for (const kind in counts) if (target.includes(kind)) counts[kind]++;
  }
  // Deno keeps an epoll and an eventfd of some workers, whatever they do: an
  // eventfd of the library is one more.
  return { rings: counts.io_uring, eventfds: counts.eventfd - counts.eventpoll };
}

async function endWorker(how) {
  const worker = new Worker(url, { type: "module" });
  const ready = Promise.withResolvers();
  worker.onmessage = ({ data }) => ready.resolve(data);
  worker.onerror = (event) => event.preventDefault();
  worker.postMessage({ memory, how });
  const fds = await ready.promise;
  if (how === "terminate") worker.terminate();
  return fds;
}

const before = openFds();
let corrupted = 0;
for (let round = 0; round < ROUNDS && !(STOPS && corrupted > 0); round++) {
  const how = ["terminate", "close", "exit", "throw"][round % 4];
  scratch[0] = 0;
  const fds = await endWorker(how);
  const successors = [];
  while (scratch[0] === 0) {
    await sleep(1);
    successors.push(new Uint8Array(${SIZE}));
  }
  await sleep(40);
  const isHit = (memory) => {
    for (let i = 0; i < ${PART}; i += 65536) if (memory[i]) return true;
    return false;
  };
  if (successors.some(isHit)) corrupted++;
  for (const fd of fds) await kio.asyncClose(ctx, fd).orThrow();
}
let after = openFds();
const isSettled = () =>
  after.rings === before.rings && after.eventfds === before.eventfds;
for (let i = 0; i < 500 && !isSettled(); i++) {
  await sleep(10);
  after = openFds();
}
console.log(JSON.stringify({
  corrupted,
  rings: after.rings - before.rings,
  eventfds: after.eventfds - before.eventfds,
}));
`;

function runWorkers(library?: string, rounds = ROUNDS): Promise<Ended> {
  return runScript(
    `const ROUNDS = ${rounds}, STOPS = ${rounds > ROUNDS};\n${WORKERS}`,
    { flags: ["-A"], env: library === undefined ? {} : { KIO_LIB: library } },
  );
}

/** Gives the workers' findings; undefined if the process did not survive them.
 */
function findings(
  { code, signal, out, err }: Ended,
): { corrupted: number; rings: number } | undefined {
  assertNotEquals(signal, "SIGKILL", "it took too long");
  // The kernel writes to memory of others, which may be fatal.
  if (signal !== null) return undefined;
  assertEquals(code, 0, err);
  return JSON.parse(out);
}

const NO_WAIT = [
  "\t\tcontext_drain(isolate->contexts);\n",
  "\t\t(void)context_drain;\n",
] as const;
const NO_GUARD_FILE = [
  '\tint fd = memfd_create("kio_guard", MFD_CLOEXEC);\n',
  "\tint fd = -1;\n\n\terrno = EACCES;\n",
] as const;
const NO_GUARD = [
  "\tif (isolate != argument)\n\t\treturn;\n",
  "\tif (isolate || !argument)\n\t\treturn;\n",
] as const;

Deno.test("isolate_end() leaves nothing of a worker behind", async () => {
  const { code, signal, out, err } = await runWorkers();
  assertEquals([code, signal], [0, null], err);
  assertEquals(JSON.parse(out), { corrupted: 0, rings: 0, eventfds: 0 });
});

Deno.test("isolate_end() is called by Node-API where the guard cannot be loaded", async () => {
  using folder = temporaryFolder();
  const library = await compileMutant(folder.path, ...NO_GUARD_FILE);
  const { code, signal, out, err } = await runWorkers(library);
  assertEquals([code, signal], [0, null], err);
  const { corrupted, rings } = JSON.parse(out);
  assertEquals({ corrupted, rings }, { corrupted: 0, rings: 0 });
});

Deno.test("isolate_end() that did not wait would be noticed", async () => {
  using folder = temporaryFolder();
  const library = await compileMutant(folder.path, ...NO_WAIT);
  const found = findings(await runWorkers(library, BROKEN_ROUNDS));
  assert(found === undefined || found.corrupted > 0);
});

Deno.test("isolate_end() that did nothing would be noticed", async () => {
  using folder = temporaryFolder();
  const library = await compileMutant(folder.path, ...NO_GUARD);
  const found = findings(await runWorkers(library, BROKEN_ROUNDS));
  assert(found === undefined || found.rings > 0);
});

Deno.test("isolate_end() lets the main program fail in peace", async () => {
  for (let round = 0; round < 10; round++) {
    for (const failing of ["throw 1", "void Promise.reject(1)"]) {
      const { code, signal } = await runScript(
        `${sourceOf(FEW_PASSES)}${LEAVE} await leave(memory); ${failing};`,
      );
      assertEquals([code, signal], [1, null]);
    }
  }
});

const TEST_FILE = `
import * as kio from "@kio/kio";
${sourceOf(FEW_PASSES)}${LEAVE}
Deno.test({
  name: "leaves operations in flight",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await leave(memory);
  },
});
`;

const LAST_TEST_FILE = `
Deno.test("no ring is left of the files before", () => {
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      const target = Deno.readLinkSync("/proc/self/fd/" + name);
      if (target.includes("io_uring")) throw new Error("a ring is left");
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
});
`;

async function runTestFiles(env: Record<string, string>): Promise<Ended> {
  using folder = temporaryFolder();
  const files: string[] = [];
  for (let i = 0; i < 10; i++) files.push(`${folder.path}/${i}_test.ts`);
  for (const file of files) Deno.writeTextFileSync(file, TEST_FILE);
  const last = `${folder.path}/last_test.ts`;
  Deno.writeTextFileSync(last, LAST_TEST_FILE);
  const config = `--config=${ROOT}deno.json`;
  return await run(
    Deno.execPath(),
    ["test", "-A", "--no-check", "--no-lock", config, ...files, last],
    { env },
  );
}

Deno.test("isolate_end() leaves nothing of a test file behind", async () => {
  const { code, signal, out } = await runTestFiles({});
  assertEquals([code, signal], [0, null], out);
});

Deno.test("isolate_end() that did nothing would fail the next file", async () => {
  using folder = temporaryFolder();
  const library = await compileMutant(folder.path, ...NO_GUARD);
  const { code, signal, out } = await runTestFiles({ KIO_LIB: library });
  assertNotEquals(signal, "SIGKILL", "it took too long");
  assert(code !== 0, out);
});

Deno.test("each worker has a guard of its own, though fds are used again", async () => {
  const worker = `
    import * as kio from "@kio/kio";
    let ctx;
    onmessage = async ({ data }) => {
      ctx = new kio.IoContext();
      if (data === "close") await ctx[Symbol.asyncDispose]();
      postMessage(data);
    };
    postMessage("ready");
  `;
  assertPrinted(
    await runScript(
      `
      const url = "data:text/javascript,${encodeURIComponent(worker)}";
      const reply = (worker) =>
        new Promise((resolve) => worker.onmessage = resolve);
      const ask = (worker, what) => {
        worker.postMessage(what);
        return reply(worker);
      };
      const ringsOpen = () =>
        [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
          try {
            return /io_uring/.test(Deno.readLinkSync("/proc/self/fd/" + name));
          } catch {
            return false;
          }
        }).length;
      const workers = [];
      for (let i = 0; i < 3; i++) {
        workers.push(new Worker(url, { type: "module" }));
        await reply(workers[i]);
      }
      // Closed again, so that the next guard gets the fd that this one had.
      for (const worker of workers) await ask(worker, "close");
      for (const worker of workers) await ask(worker, "open");
      for (const [i, worker] of workers.entries()) {
        worker.terminate();
        const end = performance.now() + 10_000;
        while (ringsOpen() > 2 - i && performance.now() < end) {
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        console.log(ringsOpen());
      }
    `,
      { flags: ["--allow-all"] },
    ),
    "2\n1\n0\n",
  );
});
