import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  asyncAccept,
  asyncConnect,
  asyncRecv,
  asyncSend,
  IoContext,
  joinPool,
  Socket,
  SocketAddress,
  TcpListener,
  unwrap,
  wake,
  WorkerPool,
  type WorkerPoolOptions,
} from "@kio/kio";
import { assertPrinted, runScript, sleep } from "./support.ts";

/** A module whose worker runs this as its main function. */
function moduleOf(main: string, before = ""): string {
  const source = `
import * as kio from "@kio/kio";
${before}
void kio.joinPool(async ({ ctx, index, cpu, data, pool }) => {
  const stopped = new Promise((resolve) =>
    pool.stopping.addEventListener("abort", resolve)
  );
  ${main}
});`;
  return rawModule(source);
}

function rawModule(source: string): string {
  return `data:text/javascript,${encodeURIComponent(source)}`;
}

/** Serves no client, until the pool stops it. */
const IDLE = moduleOf("pool.ready(); await stopped;");

/** The rings, sockets and pipes that are open; Deno keeps an eventfd and an
 * epoll of some workers, whatever they do. */
function openFds(): string[] {
  const targets: string[] = [];
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      const target = Deno.readLinkSync(`/proc/self/fd/${name}`);
      if (/io_uring|socket|pipe|memfd/.test(target)) targets.push(target);
    } catch {
      // The one of this loop.
    }
  }
  return targets.sort();
}

/** Threads of workers that run JavaScript. */
function workerThreads(): number {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc/self/task")) {
    try {
      const comm = Deno.readTextFileSync(`/proc/self/task/${name}/comm`);
      if (/worker/.test(comm)) count++;
    } catch {
      // It has ended meanwhile.
    }
  }
  return count;
}

async function settled(isSettled: () => boolean): Promise<boolean> {
  for (let i = 0; i < 1000 && !isSettled(); i++) await sleep(5);
  return isSettled();
}

/** A test after which no ring, socket, pipe and worker is left. */
function poolTest(
  name: string,
  body: () => Promise<void>,
  ignore = false,
): void {
  const fn = async () => {
    // Deno itself opens some when the first worker starts.
    await (await start(IDLE, { workers: 1 })).shutdown();
    await settled(() => workerThreads() === 0);
    const before = openFds();
    await body();
    await settled(() => openFds().length === before.length);
    assertEquals(openFds(), before);
    assert(await settled(() => workerThreads() === 0), "a worker is left");
  };
  Deno.test({ name, ignore, fn });
}

function start<T>(
  module: string,
  options: WorkerPoolOptions<T> = {},
): Promise<WorkerPool> {
  // Deno checks the types of each module first, which may take its time.
  const readyTimeoutMs = 60_000;
  return WorkerPool.start(module, { workers: 2, readyTimeoutMs, ...options });
}

// ---- starting ------------------------------------------------------------------

poolTest(
  "start() gives each worker a context, its index and the data",
  async () => {
    const shared = new Int32Array(new SharedArrayBuffer(64));
    await using pool = await start(
      moduleOf(`
      await kio.asyncSleep(ctx, 1).orThrow();
      Atomics.add(data.shared, index, data.value + pool.workers);
      pool.ready();
      await stopped;
    `),
      { workers: 3, entries: 8, data: { shared, value: 7 } },
    );
    assertEquals([...shared.subarray(0, 4)], [10, 10, 10, 0]);
    assertEquals(new Set(pool.ringFds).size, 3);
    for (const ringFd of pool.ringFds) assertEquals(wake(ringFd).ok, true);
  },
);

poolTest(
  "messages reach an `exclusive` worker though nothing turns its loop",
  async () => {
    const counts = new Int32Array(new SharedArrayBuffer(4));
    const module = moduleOf(`
    ctx.onMessage = () => {
      Atomics.add(data, 0, 1);
      Atomics.notify(data, 0);
    };
    pool.ready();
    await new Promise((end) => pool.stopping.addEventListener("abort", end));
  `);
    const options = { workers: 1, exclusive: true, data: counts };
    await using pool = await start(module, options);
    for (let i = 0; i < 40; i++) {
      unwrap(wake(pool.ringFds[0]!, 0, i));
      // This thread sends it nothing meanwhile.
      assert(Atomics.wait(counts, 0, i, 5000) !== "timed-out");
      await sleep(i % 4);
    }
    assertEquals(await pool.shutdown(), 0);
  },
);

poolTest(
  "start() with `exclusive` has its workers wait in the kernel",
  async () => {
    using listener = unwrap(
      TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")),
    );
    const waits = new Int32Array(new SharedArrayBuffer(8));
    const module = moduleOf(`
    const buffer = new Uint8Array(64);
    pool.ready();
    await kio.acceptLoop(ctx, data.listener, async (fd) => {
      await using socket = new kio.Socket(fd);
      for (;;) {
        const count = await kio.asyncRecv(ctx, socket, buffer);
        if (!count.ok || count.value === 0) break;
        await kio.asyncSend(ctx, socket, buffer.subarray(0, count.value));
      }
      data.waits[index] = ctx.stats().exclusiveWaits;
    }, pool.stopping);
    data.waits[index] = ctx.stats().exclusiveWaits;
  `);
    const data = { listener: listener.fd, waits };
    for (const exclusive of [true, false]) {
      waits.fill(-1);
      await using pool = await start(module, { exclusive, data });
      using ctx = new IoContext(8);
      await using client = unwrap(Socket.open("ipv4"));
      await asyncConnect(ctx, client, listener.localAddress!).orThrow();
      for (let i = 0; i < 30; i++) {
        await asyncSend(ctx, client, new Uint8Array(1)).orThrow();
        await asyncRecv(ctx, client, new Uint8Array(1)).orThrow();
        await sleep(2);
      }
      await client.close();
      assertEquals(await pool.shutdown(), 0);
      // One worker has the connection; the other one only listens.
      assertEquals(Math.max(...waits) > 5, exclusive, `${waits}`);
    }
  },
);

poolTest("start() waits until all workers are ready", async () => {
  const gate = new Int32Array(new SharedArrayBuffer(8));
  const starting = start(
    moduleOf(`
      Atomics.add(data, 1, 1);
      while (index === 1 && Atomics.load(data, 0) === 0) {
        await kio.asyncSleep(ctx, 1);
      }
      pool.ready();
      await stopped;
    `),
    { data: gate },
  );
  let isReady = false;
  void starting.then(() => isReady = true);
  assert(await settled(() => Atomics.load(gate, 1) === 2));
  await sleep(20);
  assertEquals(isReady, false);
  Atomics.store(gate, 0, 1);
  await using _ = await starting;
});

poolTest(
  "start() pins worker i to the i-th CPU, and tells it which",
  async () => {
    const allowed = allowedCpus();
    const workers = allowed.length + 1;
    // For each worker the CPU that it is pinned to, and the one that it hears
    // of.
    const seen = new Int32Array(new SharedArrayBuffer(8 * workers));
    const main = `
    const status = Deno.readTextFileSync("/proc/thread-self/status");
    const list = /Cpus_allowed_list:\\s*(\\S+)/.exec(status)[1];
    data[2 * index] = /^\\d+$/.test(list) ? Number(list) : -1;
    data[2 * index + 1] = cpu ?? -1;
    pool.ready();
    await stopped;
  `;
    await (await start(moduleOf(main), {
      workers,
      cpuAffinity: true,
      data: seen,
    }))
      .shutdown();
    const pinned = [...allowed, allowed[0]];
    assertEquals([...seen], pinned.flatMap((cpu) => [cpu, cpu]));
    await (await start(moduleOf(main), { workers: 1, data: seen })).shutdown();
    assertEquals(seen[0], allowed.length > 1 ? -1 : allowed[0]);
    assertEquals(seen[1], -1);
  },
);

const [major = 0, minor = 0] = Deno.osRelease().split(".").map(Number);

poolTest(
  "incomingCpu gives each pinned worker what arrives on its CPU, from Linux 6.2 on",
  async () => {
    const CONNECTIONS = 16;
    // A loopback connection arrives on the CPU that it is made on.
    const main = `
      const listener = kio.unwrap(kio.TcpListener.bind(
        kio.SocketAddress.parse(data.address),
        { incomingCpu: cpu },
      ));
      pool.ready();
      // Not before all listen.
      while (Atomics.load(data.gate, 0) === 0) await kio.asyncSleep(ctx, 1);
      const own = new Map();
      for (let i = 0; i < ${CONNECTIONS}; i++) {
        const socket = kio.unwrap(kio.Socket.open("ipv4"));
        await kio.asyncConnect(ctx, socket, listener.localAddress).orThrow();
        own.set(socket.localAddress.port, socket);
      }
      for (let i = 0; i < ${CONNECTIONS}; i++) {
        const accepted = await kio.asyncAcceptFrom(ctx, listener)
          .withTimeout(5000).withSignal(pool.stopping);
        if (!accepted.ok) break;
        const { fd, address } = accepted.value;
        if (own.has(address.port)) Atomics.add(data.gate, 1, 1);
        await new kio.Socket(fd).close();
      }
      Atomics.add(data.gate, 2, 1);
      for (const socket of own.values()) await socket.close();
      await stopped;
      await listener.close();
    `;
    using reserved = unwrap(Socket.open("ipv4"));
    unwrap(reserved.setReusePort());
    unwrap(reserved.bind(SocketAddress.v4(0, "127.0.0.1")));
    const gate = new Int32Array(new SharedArrayBuffer(12));
    const workers = Math.min(2, allowedCpus().length);
    await using _ = await start(moduleOf(main), {
      workers,
      cpuAffinity: true,
      data: { address: String(reserved.localAddress), gate },
    });
    Atomics.store(gate, 0, 1);
    assert(await settled(() => Atomics.load(gate, 2) === workers));
    assertEquals(gate[1], workers * CONNECTIONS);
  },
  major < 6 || major === 6 && minor < 2,
);

function allowedCpus(): number[] {
  const status = Deno.readTextFileSync("/proc/self/status");
  const [, list = ""] = /Cpus_allowed_list:\s*(\S+)/.exec(status)!;
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

const FAILING: [what: string, module: string, message: RegExp][] = [
  [
    "is not there",
    "file:///nowhere/worker.js",
    /^Worker \d failed: (Module not found.*nowhere|Type checking failed)/,
  ],
  [
    "throws",
    rawModule(`throw new SyntaxError("of the module")`),
    /^Worker \d failed: .*SyntaxError: of the module/,
  ],
  [
    "throws in main",
    moduleOf(`throw new SyntaxError("of main")`),
    /^Worker \d failed: of main$/,
  ],
  [
    "throws what cannot be cloned",
    moduleOf(`throw () => "of main"`),
    /^Worker \d failed: .*of main/,
  ],
  [
    "returns before it is ready",
    moduleOf(""),
    /^Worker \d has ended before it was ready$/,
  ],
  [
    "closes itself",
    moduleOf("self.close(); await stopped;"),
    /^Worker \d failed: it has ended by itself$/,
  ],
  [
    "exits",
    moduleOf("Deno.exit(3); await stopped;"),
    /^Worker \d failed: it has ended by itself$/,
  ],
  [
    "is never ready",
    moduleOf("await stopped;"),
    /^Worker \d failed: not ready within 500 ms; its module has to call joinPool\(\), and in there pool\.ready\(\)$/,
  ],
  [
    "does not join",
    rawModule(`setInterval(() => {}, 1000)`),
    /^Worker \d failed: not ready within 500 ms/,
  ],
  [
    "joins twice",
    moduleOf("await kio.joinPool(async () => {});"),
    /Cannot join a pool: this worker has joined already; call joinPool\(\) once$/,
  ],
  [
    "joins twice, and waits for neither",
    moduleOf("await stopped;", "void kio.joinPool(() => stopped);"),
    /^Worker \d failed: .*Cannot join a pool: this worker has joined already; call joinPool\(\) once$/,
  ],
];

for (const [what, module, message] of FAILING) {
  poolTest(`start() of a module that ${what} is an error`, async () => {
    const readyTimeoutMs = /500 ms/.test(message.source) ? 500 : 60_000;
    const error = await assertRejects(
      () => start(module, { readyTimeoutMs }),
      Error,
    );
    assertMatch((error as Error).message, message);
  });
}

poolTest("start() ends the workers that are ready if one is not", async () => {
  const error = await assertRejects(() =>
    start(
      moduleOf(`
        if (index === 2) throw new RangeError("of worker 2");
        pool.ready();
        await stopped;
      `),
      { workers: 3 },
    ), Error) as Error;
  assertEquals(error.message, "Worker 2 failed: of worker 2");
  assert(error.cause instanceof RangeError);
});

poolTest("start() fails if a worker dies while others start", async () => {
  const error = await assertRejects(() =>
    start(moduleOf(`
      if (index === 0) {
        pool.ready();
        throw new RangeError("early");
      }
      await kio.asyncSleep(ctx, 300);
      pool.ready();
      await stopped;
    `)), Error) as Error;
  assertEquals(error.message, "Worker 0 failed: early");
});

poolTest("start() refuses what makes no sense", async () => {
  const wrong: [unknown, unknown, new () => Error, string][] = [
    ["./worker.ts", {}, TypeError, "moduleUrl must be an absolute URL"],
    [undefined, {}, TypeError, "moduleUrl must be an absolute URL"],
    [IDLE, null, TypeError, "options must be an object"],
    [IDLE, { workers: 0 }, RangeError, "workers must be an integer from 1"],
    [IDLE, { workers: 1.5 }, RangeError, "workers must be an integer from 1"],
    [IDLE, { workers: 1025 }, RangeError, "workers must be an integer from 1"],
    [IDLE, { entries: 3 }, RangeError, "entries must be a power of two"],
    [IDLE, { counters: "x" }, TypeError, "expected an array of names"],
    [IDLE, { onError: 1 }, TypeError, "onError must be a function"],
    [IDLE, { readyTimeoutMs: -1 }, RangeError, "readyTimeoutMs must be"],
  ];
  for (const [url, options, Class, message] of wrong) {
    await assertRejects(
      () => WorkerPool.start(url as string, options as WorkerPoolOptions<void>),
      Class,
      `Cannot start a pool: ${message}`.replace(
        /pool: options/,
        "pool: options",
      ),
    );
  }
  await assertRejects(
    () => start(IDLE, { data: () => {} }),
    DOMException,
    "could not be cloned",
  );
});

Deno.test("joinPool() outside of a pool's worker is an error", async () => {
  await assertRejects(
    () => joinPool(async () => {}),
    TypeError,
    "Cannot join a pool: this is no worker of one; let WorkerPool.start() run this module",
  );
  const worker = new Worker(
    rawModule(`
import { joinPool } from "@kio/kio";
joinPool(async () => {}).catch((error) => postMessage(String(error)));`),
    { type: "module" },
  );
  const message = await new Promise((resolve) =>
    worker.onmessage = ({ data }) => resolve(data)
  );
  worker.terminate();
  assertEquals(
    message,
    "TypeError: Cannot join a pool: this is no worker of one; let WorkerPool.start() run this module",
  );
});

poolTest("a context of another thread is refused", async () => {
  using ctx = new IoContext(4);
  // Classes lose their private parts when they are cloned.
  const pool = await start(
    moduleOf(`
      try {
        kio.asyncSleep(data, 1);
      } catch (error) {
        if (error instanceof TypeError) pool.count(error.message);
      }
      pool.ready();
      await stopped;
    `),
    {
      workers: 1,
      data: ctx,
      counters: ["Cannot sleep: the first argument must be an IoContext"],
    },
  );
  await pool.shutdown();
  assertEquals(Object.values(pool.stats().counters), [1]);
});

// ---- figures -------------------------------------------------------------------

poolTest("stats() adds up what the workers count", async () => {
  const pool = await start(
    moduleOf(`
      pool.count("requests");
      pool.count("requests", 2);
      pool.count("bytes", 100 * (index + 1));
      const thrown = [];
      for (const args of [["other"], ["bytes", NaN], ["bytes", "1"]]) {
        try {
          pool.count(...args);
        } catch (error) {
          thrown.push(error.name);
        }
      }
      if (thrown.join() === "TypeError,RangeError,RangeError") {
        pool.count("errors", 3);
      }
      kio.asyncSleep(ctx, 1e6);
      kio.asyncSleep(ctx, 1e6);
      const endMs = performance.now() + 30;
      while (performance.now() < endMs);
      pool.ready();
      await stopped;
    `),
    { counters: ["requests", "bytes", "errors"] },
  );
  assert(await settled(() => pool.stats().pending === 4));
  const serving = pool.stats();
  assertEquals(serving.counters, { requests: 6, bytes: 300, errors: 6 });
  assertEquals(serving.restarts, 0);
  assertEquals(
    serving.workers.map(({ state, pending, counters }) => [
      state,
      pending,
      counters.bytes,
    ]),
    [["serving", 2, 100], ["serving", 2, 200]],
  );
  // Less than what they have spun is left out if the machine is busy.
  for (const { cpuMs } of serving.workers) assert(cpuMs > 5, `${cpuMs} ms`);
  await pool.shutdown();
  const over = pool.stats();
  assertEquals(over.counters, serving.counters);
  assertEquals(over.pending, 0);
  assert(over.cpuMs >= serving.cpuMs);
  assertEquals(over.workers.map(({ state }) => state), ["ended", "ended"]);
});

// ---- the end -------------------------------------------------------------------

poolTest("shutdown() lets the workers finish", async () => {
  const pool = await start(
    moduleOf(`
      pool.ready();
      await stopped;
      await kio.asyncSleep(ctx, 50);
      pool.count("finished");
    `),
    { counters: ["finished"] },
  );
  const over = pool.shutdown();
  assertStrictEquals(pool.shutdown({ graceMs: 0 }), over);
  assertEquals(await over, 0);
  await pool.closed;
  assertEquals(pool.stats().counters.finished, 2);
  assertEquals(pool.ringFds, [-1, -1]);
});

poolTest("shutdown() closes the context of who is late", async () => {
  const module = moduleOf(`
    pool.ready();
    const result = await kio.asyncSleep(ctx, 1e6);
    if (!result.ok) pool.count(result.error.code);
    await new Promise(() => {});
  `);
  let cancelled = 0;
  // On a busy machine they may be cut off before they have counted.
  for (let i = 0; i < 10 && cancelled < 2; i++) {
    const pool = await start(module, { counters: ["ECANCELED"] });
    assertEquals(await pool.shutdown({ graceMs: 20 }), 2);
    cancelled = pool.stats().counters.ECANCELED!;
  }
  assertEquals(cancelled, 2);
});

poolTest("shutdown() cuts off 200 connections that go on", async () => {
  using ctx = new IoContext();
  const pool = await start(moduleOf(`
    ctx.onFd = async (fd) => {
      const socket = new kio.Socket(fd);
      const buffer = new Uint8Array(4096);
      for (;;) {
        const received = await kio.asyncRecv(ctx, socket, buffer);
        if (!received.ok) return;
        const data = buffer.subarray(0, received.value);
        if (!(await kio.asyncSend(ctx, socket, data)).ok) return;
      }
    };
    pool.ready();
    await new Promise(() => {});
  `));
  using listener = unwrap(TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")));
  let served = 0;
  async function client(): Promise<void> {
    await using socket = unwrap(Socket.open("ipv4"));
    const [, accepted] = await Promise.all([
      asyncConnect(ctx, socket, listener.localAddress!).orThrow(),
      asyncAccept(ctx, listener).orThrow(),
    ]);
    unwrap(pool.passFd(accepted));
    const buffer = new Uint8Array(1000);
    for (let rounds = 0;; rounds++) {
      if (rounds === 1) served++;
      if (!(await asyncSend(ctx, socket, buffer)).ok) return;
      const received = await asyncRecv(ctx, socket, buffer)
        .withTimeout(20_000);
      if (received.ok && received.value > 0) continue;
      assert(received.ok || received.error.code !== "ETIMEDOUT", "no end");
      return;
    }
  }
  const clients = Array.from({ length: 200 }, client);
  assert(await settled(() => served === 200));
  assertEquals(await pool.shutdown({ graceMs: 50 }), 2);
  // Each of them sees the end.
  await Promise.all(clients);
});

poolTest("shutdown() does not report what a late worker throws", async () => {
  const errors: Error[] = [];
  const pool = await start(
    moduleOf(`
      pool.ready();
      for (;;) await kio.asyncSleep(ctx, 1);
    `),
    { onError: (error) => errors.push(error) },
  );
  assertEquals(await pool.shutdown({ graceMs: 20 }), 2);
  assertEquals(errors, []);
});

Deno.test("shutdown() does not wait for a thread that never comes back", async () => {
  const module = moduleOf(`
    pool.ready();
    if (index === 1) return await stopped;
    await kio.asyncSleep(ctx, 10);
    kio.asyncSleep(ctx, 1e6);
    Atomics.store(data, 0, 1);
    for (;;);
  `);
  const ended = await runScript(
    `
const data = new Int32Array(new SharedArrayBuffer(4));
const pool = await kio.WorkerPool.start("${module}", { workers: 2, data });
while (Atomics.load(data, 0) === 0) {
  await new Promise((resolve) => setTimeout(resolve, 1));
}
// Time for the other one, also on a machine that is busy.
console.log(await pool.shutdown({ graceMs: 3000 }));
Deno.exit();
`,
    { flags: ["-A"] },
  );
  assertPrinted(ended, "1\n");
});

poolTest("shutdown() ends a worker that comes back late", async () => {
  const pool = await start(moduleOf(`
    pool.ready();
    kio.asyncSleep(ctx, 1e6);
    await stopped;
    const endMs = performance.now() + 200;
    while (performance.now() < endMs);
    await new Promise(() => {});
  `));
  assertEquals(await pool.shutdown({ graceMs: 0 }), 2);
});

poolTest(
  "shutdown() reports what a worker throws while it finishes",
  async () => {
    const errors: Error[] = [];
    const pool = await start(
      moduleOf(`
      pool.ready();
      await stopped;
      if (index === 1) throw new RangeError("at the end");
    `),
      { onError: (error) => errors.push(error), restart: true },
    );
    assertEquals(await pool.shutdown(), 0);
    assertEquals(errors.map(String), ["Error: Worker 1 failed: at the end"]);
  },
);

poolTest("shutdown() refuses what makes no sense", async () => {
  await using pool = await start(IDLE);
  for (const graceMs of [-1, NaN, Infinity]) {
    assertThrows(() => pool.shutdown({ graceMs }), RangeError, "graceMs");
  }
});

poolTest("closed is resolved when all workers have returned", async () => {
  const pool = await start(moduleOf("pool.ready();"));
  await pool.closed;
  assertEquals(await pool.shutdown(), 0);
});

poolTest("a pool keeps the program alive until it is shut down", async () => {
  const script = (end: string) => `
const pool = await kio.WorkerPool.start("${IDLE}", { workers: 2 });
setTimeout(() => { console.log("alive"); ${end} }, 100);
`;
  assertPrinted(
    await runScript(script("void pool.shutdown();"), { flags: ["-A"] }),
    "alive\n",
  );
});

// ---- death ---------------------------------------------------------------------

const DYING: [what: string, how: string, message: RegExp][] = [
  ["throws", `throw new RangeError("boo")`, /^Worker 0 failed: boo$/],
  [
    "throws in a callback",
    `setTimeout(() => { throw new RangeError("boo") }); await stopped`,
    /^Worker 0 failed: .*boo/,
  ],
  [
    "has a rejection that nobody handles",
    `void Promise.reject(new RangeError("boo")); await stopped`,
    /^Worker 0 failed: .*boo/,
  ],
  ["closes itself", "self.close(); await stopped", /it has ended by itself$/],
  ["exits", "Deno.exit(); await stopped", /it has ended by itself$/],
];

for (const [what, how, message] of DYING) {
  poolTest(`onError is told of a worker that ${what}`, async () => {
    const told = Promise.withResolvers<[Error, number]>();
    await using pool = await start(
      moduleOf(`
        pool.ready();
        kio.asyncSleep(ctx, 1e6);
        const told = new Promise((resolve) => ctx.onMessage = resolve);
        await Promise.race([told, stopped]);
        if (index === 0) { ${how}; }
        await stopped;
      `),
      { onError: (error, index) => told.resolve([error, index]) },
    );
    unwrap(wake(pool.ringFds[0]!, 0, 0));
    const [error, index] = await told.promise;
    assertMatch(error.message, message);
    assertEquals(index, 0);
    assertEquals(
      pool.stats().workers.map(({ state }) => state),
      ["ended", "serving"],
    );
    const [gone = 0, serving = 0] = pool.ringFds;
    assertEquals(gone, -1);
    assertThrows(() => wake(gone), RangeError, "the worker has ended");
    assert(wake(serving).ok);
  });
}

Deno.test("an error of a worker that nobody handles ends the program", async () => {
  const module = moduleOf(`
    pool.ready();
    await kio.asyncSleep(ctx, 20);
    throw new RangeError("of a worker");
  `);
  const { code, err } = await runScript(
    `await kio.WorkerPool.start("${module}", { workers: 1 });`,
    { flags: ["-A"] },
  );
  assertEquals(code, 1);
  assertMatch(err, /Worker 0 failed: of a worker/);
});

poolTest("restart replaces a worker while the others serve", async () => {
  const errors: string[] = [];
  await using pool = await start(
    moduleOf(`
      pool.count("starts");
      pool.ready();
      const die = Promise.withResolvers();
      ctx.onMessage = () => die.reject(new Error("as told"));
      await Promise.race([die.promise, stopped]);
    `),
    {
      restart: true,
      counters: ["starts"],
      onError: (error) => errors.push(error.message),
    },
  );
  const [, other] = pool.ringFds;
  for (let restarts = 1; restarts <= 2; restarts++) {
    unwrap(wake(pool.ringFds[0]!, 0, 0));
    assert(await settled(() => pool.stats().restarts === restarts));
    assert(await settled(() => pool.ringFds[0] !== -1));
  }
  assertEquals(errors, Array(2).fill("Worker 0 failed: as told"));
  assertEquals(pool.ringFds[1], other);
  assertEquals(
    pool.stats().workers.map(({ counters }) => counters.starts),
    [3, 1],
  );
});

poolTest("restart of a worker that dies at once does not spin", async () => {
  let deaths = 0;
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const pool = await start(
    moduleOf(`
      if (index === 0 && Atomics.add(data, 0, 1) > 0) throw new Error("early");
      pool.ready();
      const told = new Promise((resolve) => ctx.onMessage = resolve);
      await Promise.race([told, stopped]);
      if (index === 0) throw new Error("late");
    `),
    { restart: true, data: gate, onError: () => void deaths++ },
  );
  unwrap(wake(pool.ringFds[0]!, 0, 0));
  await sleep(1000);
  // After 100, 200 and 400 ms: never more, however slow the machine is.
  assert(deaths >= 1 && deaths <= 4, `${deaths} deaths`);
  assertEquals(await pool.shutdown(), 0);
  const atEnd = deaths;
  await sleep(300);
  assertEquals(deaths, atEnd, "none is started after shutdown()");
});

// ---- fds -----------------------------------------------------------------------

/** Says its index to each connection that it gets, and closes it. */
const TELLER = moduleOf(`
  ctx.onFd = async (fd, tag) => {
    pool.count("fds");
    if (tag === 13) Deno.exit();
    await using socket = new kio.Socket(fd);
    await kio.asyncSend(ctx, socket, new Uint8Array([index, tag]));
  };
  pool.ready();
  await stopped;
`);

poolTest("passFd() takes turns", async () => {
  using ctx = new IoContext(8);
  const pool = await start(TELLER, { workers: 3, counters: ["fds"] });
  const told: number[][] = [];
  for (let tag = 0; tag < 6; tag++) {
    const [mine, theirs] = unwrap(Socket.pair());
    unwrap(pool.passFd(theirs.release(), tag));
    const buffer = new Uint8Array(8);
    const count = await asyncRecv(ctx, mine, buffer).orThrow();
    told.push([...buffer.subarray(0, count)]);
    await mine.close();
  }
  assertEquals(told, [[0, 0], [1, 1], [2, 2], [0, 3], [1, 4], [2, 5]]);
  await pool.shutdown();
  const [mine, theirs] = unwrap(Socket.pair());
  const refused = pool.passFd(theirs.fd);
  assertEquals(refused.ok ? "" : refused.error.code, "ESRCH");
  await Promise.all([mine.close(), theirs.close()]);
  assertEquals(pool.stats().counters.fds, 6);
});

poolTest("passFd() of what is no fd is an error", async () => {
  await using pool = await start(TELLER, { counters: ["fds"] });
  const refused = pool.passFd(3999);
  assertEquals(refused.ok ? "" : refused.error.code, "EBADF");
  assertThrows(() => pool.passFd(-1), RangeError, "Cannot pass an fd");
  assertThrows(() => pool.passFd(0, -1), RangeError, "tag must be");
});

poolTest("passFd() loses no fd when workers die meanwhile", async () => {
  using ctx = new IoContext(64);
  const pool = await start(TELLER, {
    workers: 4,
    counters: ["fds"],
    restart: true,
    onError: () => {},
  });
  const peers: Socket[] = [];
  for (let i = 0; i < 400; i++) {
    const [mine, theirs] = unwrap(Socket.pair());
    peers.push(mine);
    // Every 20th kills who gets it, with others behind it in the inbox.
    const given = pool.passFd(theirs.fd, i % 20 === 7 ? 13 : 1);
    if (given.ok) theirs.release();
    else await theirs.close();
    if (i % 50 === 0) await sleep(5);
  }
  // Each client gets a reply or sees the end; none is left waiting.
  const buffer = new Uint8Array(8);
  for (const peer of peers) {
    const result = await asyncRecv(ctx, peer, buffer).withTimeout(20_000);
    assert(result.ok || result.error.code === "ECONNRESET");
    await peer.close();
  }
  await pool.shutdown();
});

poolTest("shutdown() serves what was handed over before", async () => {
  using ctx = new IoContext(64);
  const pool = await start(
    moduleOf(`
      const connections = new kio.Connections(ctx, async (socket) => {
        await kio.asyncSend(ctx, socket, new Uint8Array(1));
      });
      ctx.onFd = (fd) => connections.add(fd);
      pool.ready();
      await stopped;
      await connections.closed;
    `),
  );
  const peers: Socket[] = [];
  for (let i = 0; i < 200; i++) {
    const [mine, theirs] = unwrap(Socket.pair());
    peers.push(mine);
    unwrap(pool.passFd(theirs.release()));
  }
  const over = pool.shutdown();
  for (const peer of peers) {
    assertEquals(await asyncRecv(ctx, peer, new Uint8Array(8)).orThrow(), 1);
    await peer.close();
  }
  assertEquals(await over, 0);
});
