/** A program that uses the library, seen from outside. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  assertPrinted,
  cpuMs,
  ROOT,
  run,
  runScript,
  sleep,
  startScript,
  temporaryFolder,
} from "./support.ts";

const PENDING = `
const ctx = new kio.IoContext();
const [left, right] = kio.unwrap(kio.Socket.pair());
const buffer = new Uint8Array(64);
const received = kio.asyncRecv(ctx, right, buffer);
const written = kio.asyncWrite(ctx, 1, new TextEncoder().encode("ready\\n"));
`;

Deno.test("IoContext lets the process end when nothing is pending", async () => {
  assertPrinted(
    await runScript(`
      const ctx = new kio.IoContext();
      await kio.asyncSleep(ctx, 20);
      console.log("slept");
    `),
    "slept\n",
  );
});

Deno.test("IoContext of a short program puts nothing into Deno's event loop", async () => {
  const ended = await runScript(
    `
    const watched = () => Array.from(Deno.readDirSync("/proc/self/fdinfo"))
      .map(({ name }) => "/proc/self/fdinfo/" + name)
      .map((path) => {
        try {
          return Deno.readTextFileSync(path).match(/^tfd:/gm)?.length ?? 0;
        } catch {
          return 0; // that of the folder
        }
      });
    const before = watched();
    const ctx = new kio.IoContext();
    const [left, right] = kio.unwrap(kio.Socket.pair());
    const received = kio.asyncRecv(ctx, right, new Uint8Array(1));
    await kio.asyncSend(ctx, left, new Uint8Array(1));
    kio.unwrap(await received);
    // A turn of Deno's, in which nothing is pending.
    await new Promise((resolve) => setTimeout(resolve, 20));
    console.log(Math.max(...watched()) - Math.max(...before));
    // Longer than lulls go on.
    await kio.asyncSleep(ctx, 100);
    console.log(Math.max(...watched()) - Math.max(...before));
  `,
    { flags: ["-A"] },
  );
  assertPrinted(ended, "0\n1\n");
});

Deno.test("IoContext lets the process end after its first steps were refused", async () => {
  assertPrinted(
    await runScript(
      `
    import { FaultPlan } from "@kio/kio/testing";
    FaultPlan.install({
      seed: 1,
      rules: [{ operation: "enter", fault: "error", code: "EAGAIN", nth: 1 }],
    });
    using ctx = new kio.IoContext();
    const [left] = kio.unwrap(kio.Socket.pair());
    const received = kio.asyncRecv(ctx, left, new Uint8Array(1));
    // It is over when the driver tries the step again, which must then wait.
    await kio.asyncSleep(ctx, 1);
    await kio.asyncSleep(ctx, 1);
    received.cancel();
    console.log((await received).error.code);
  `,
      { limitMs: 60_000 },
    ),
    "ECANCELED\n",
  );
});

Deno.test("IoContext keeps the process while a sleep is pending", async () => {
  assertPrinted(
    await runScript(`
      const ctx = new kio.IoContext();
      kio.asyncSleep(ctx, 200).then(() => console.log("slept"));
    `),
    "slept\n",
  );
});

Deno.test("IoContext keeps the process while a receive is pending", async () => {
  await using program = startScript(`${PENDING}
    received.then((result) => console.log(result.value));
    Deno.addSignalListener("SIGTERM", () => kio.asyncSend(ctx, left, buffer));
  `);
  await program.printed(/ready/);
  await sleep(300);
  program.kill("SIGTERM");
  assertPrinted(await program.ended(), "ready\n64\n");
});

const UNREF = `
    const ctx = new kio.IoContext();
    const at = kio.SocketAddress.v4(0, "127.0.0.1");
    const listener = kio.unwrap(kio.TcpListener.bind(at, { ctx }));
    const accepting = listener.accept();
    const { port } = listener.addr;
    const client = kio.unwrap(
      await kio.TcpStream.connect(ctx, "127.0.0.1", port),
    );
    const server = await accepting;
`;

Deno.test("unref() lets the process end while a read, a stream and an accept are pending", async () => {
  assertPrinted(
    await runScript(
      `${UNREF}
    client.read(new Uint8Array(1));
    client.unref();
    server.unref();
    server.readable.getReader().read();
    listener.unref();
    listener.accept();
    console.log("over");
  `,
      { limitMs: 60_000 },
    ),
    "over\n",
  );
});

Deno.test("unref() leaves a read what comes while the process lives, and ref() takes it back", async () => {
  assertPrinted(
    await runScript(
      `${UNREF}
    client.unref();
    const read = client.read(new Uint8Array(8));
    const alive = setInterval(() => {}, 10);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await server.write(new Uint8Array(3));
    console.log(await read);
    clearInterval(alive);
    client.read(new Uint8Array(8)).then((count) => console.log(count));
    client.ref();
    setTimeout(() => server.write(new Uint8Array(4)), 50);
  `,
      { limitMs: 60_000 },
    ),
    "3\n4\n",
  );
});

Deno.test("unref() leaves a read what comes where nothing else is pending in its context, and other operations keep the process", async () => {
  assertPrinted(
    await runScript(
      `
    const ctx = new kio.IoContext();
    const other = new kio.IoContext();
    // From now on a context leaves the thread at once.
    await kio.asyncSleep(other, 20);
    const [left, right] = kio.unwrap(kio.Socket.pair());
    const stream = new kio.UnixStream(left.release(), ctx);
    stream.unref();
    const alive = setInterval(() => {}, 10);
    setTimeout(() => kio.asyncSend(other, right, new Uint8Array(5)), 50);
    console.log(await stream.read(new Uint8Array(8)));
    clearInterval(alive);
    kio.asyncSleep(ctx, 100).then(() => console.log("slept"));
  `,
      { limitMs: 60_000 },
    ),
    "5\nslept\n",
  );
});

Deno.test("IoContext that is busy leaves the thread as soon as Deno has I/O", async () => {
  const { code, out } = await runScript(
    `
    const ctx = new kio.IoContext();
    const byte = new Uint8Array(1);
    let rounds = 0;
    let isOver = false;
    async function keepBusy() {
      const [left, right] = kio.unwrap(kio.Socket.pair());
      for (; !isOver; rounds++) {
        await kio.asyncSend(ctx, left, byte);
        await kio.asyncRecv(ctx, right, byte);
      }
    }
    const busy = Promise.all(Array.from({ length: 32 }, keepBusy));
    async function roundsDuring(times, action) {
      const before = rounds;
      for (let i = 0; i < times; i++) await action();
      return (rounds - before) / times;
    }
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    const [there, here] = await Promise.all([
      Deno.connect({ hostname: "127.0.0.1", port }),
      listener.accept(),
    ]);
    const duringIo = await roundsDuring(200, async () => {
      const read = here.read(new Uint8Array(1));
      await there.write(byte);
      await read;
    });
    // An event without a signal must wait for a whole turn.
    const duringTimer = await roundsDuring(
      50,
      () => new Promise((resolve) => setTimeout(resolve, 0)),
    );
    isOver = true;
    await busy;
    for (const it of [there, here, listener]) it.close();
    console.log(duringIo < duringTimer / 2 || [duringIo, duringTimer]);
  `,
    { flags: ["--allow-ffi", "--allow-net"] },
  );
  assertEquals([code, out], [0, "true\n"]);
});

Deno.test("IoContext does not hold up an uncaught error", async () => {
  for (
    const failing of [
      `throw new Error("on purpose")`,
      `Promise.reject(new Error("on purpose")); await received`,
      `setTimeout(() => { throw new Error("on purpose") }, 10); await received`,
      `received.then(() => { throw new Error("on purpose") });
       await kio.asyncSend(ctx, left, buffer);`,
    ]
  ) {
    const { code, signal, err } = await runScript(PENDING + failing);
    assertEquals([code, signal], [1, null], failing);
    assertMatch(err, /Error: on purpose/);
  }
});

Deno.test("Deno.exit() ends the process with operations in flight", async () => {
  const { code, signal, err } = await runScript(`${PENDING}
    await written;
    Deno.exit(7);
  `);
  assertEquals([code, signal, err], [7, null, ""]);
});

Deno.test("IoContext that is idle hides no promise that never resolves", async () => {
  const { code, err } = await runScript(`
    const ctx = new kio.IoContext();
    await kio.asyncSleep(ctx, 1);
    await new Promise(() => {});
  `);
  assertEquals(code, 1);
  assertMatch(err, /promise never resolved/);
});

Deno.test("IoContext lets a signal listener run while it waits", async () => {
  await using program = startScript(`${PENDING}
    Deno.addSignalListener("SIGINT", () => {
      console.log("interrupted");
      ctx[Symbol.dispose]();
    });
    console.log((await received).error.code);
  `);
  await program.printed(/ready/);
  program.kill("SIGINT");
  assertPrinted(await program.ended(), "ready\ninterrupted\nECANCELED\n");
});

Deno.test("IoContext leaves signals without a listener as they are", async () => {
  await using program = startScript(`${PENDING} await received;`);
  await program.printed(/ready/);
  program.kill("SIGINT");
  const { signal, err } = await program.ended();
  assertEquals([signal, err], ["SIGINT", ""]);
});

Deno.test("IoContext that is idle uses no processor", async () => {
  await using program = startScript(`${PENDING} await received;`);
  await program.printed(/ready/);
  // The engine goes on for a while with its own work. A busy loop would use a
  // processor in every second.
  let spent = Infinity;
  for (let second = 0; second < 30 && spent >= 50; second++) {
    const before = cpuMs(program.pid);
    await sleep(1000);
    spent = cpuMs(program.pid) - before;
  }
  assert(spent < 50, `${spent} ms of a processor in an idle second`);
});

// Two seconds of a context that always has something to do. The turns of the
// others show that none of them waits for its end. The limit is a hundredth of
// their number on a machine without load.
Deno.test("IoContext that is busy leaves their turn to others", async () => {
  const { code, out, err } = await runScript(
    `
    const ctx = new kio.IoContext();
    const [left, right] = kio.unwrap(kio.Socket.pair());
    const counts = { kio: 0, timer: 0, fetch: 0, worker: 0 };
    let isOver = false;

    async function pingPong() {
      const [there, back] = [new Uint8Array(64), new Uint8Array(64)];
      while (!isOver) {
        await Promise.all([
          kio.asyncSend(ctx, left, there), kio.asyncRecv(ctx, right, back),
        ]);
        await Promise.all([
          kio.asyncSend(ctx, right, back), kio.asyncRecv(ctx, left, there),
        ]);
        counts.kio++;
      }
    }
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response("hello"),
    );
    async function fetching() {
      while (!isOver) {
        await (await fetch("http://127.0.0.1:" + server.addr.port)).text();
        counts.fetch++;
      }
    }
    const timer = setInterval(() => counts.timer++, 1);
    const worker = new Worker(
      "data:text/javascript,onmessage = (e) => postMessage(e.data)",
      { type: "module" },
    );
    worker.onmessage = () => {
      counts.worker++;
      worker.postMessage(0);
    };
    worker.postMessage(0);
    setTimeout(() => isOver = true, 2000);
    await Promise.all([pingPong(), fetching()]);
    clearInterval(timer);
    worker.terminate();
    await server.shutdown();
    console.log(JSON.stringify(counts));
  `,
    { flags: ["--allow-ffi", "--allow-net=127.0.0.1"] },
  );
  assertEquals([code, err], [0, ""]);
  const counts = JSON.parse(out) as Record<string, number>;
  const enough = { kio: 500, timer: 10, fetch: 10, worker: 10 };
  for (const [name, least] of Object.entries(enough)) {
    assert(counts[name]! >= least, `${name} had too few turns: ${out}`);
  }
});

Deno.test("trace shows a failing test where it left an operation", async () => {
  using folder = temporaryFolder();
  const file = `${folder.path}/leak_test.ts`;
  Deno.writeTextFileSync(
    file,
    `import { asyncSleep, IoContext } from "@kio/kio";
function forgets(ctx: IoContext) {
  void asyncSleep(ctx, 60_000);
}
Deno.test("leaks", () => {
  using ctx = new IoContext({ trace: true });
  forgets(ctx);
});
`,
  );
  const config = `--config=${ROOT}deno.json`;
  const args = ["test", "--allow-ffi", "--no-check", "--no-lock", config];
  const { code, out } = await run(Deno.execPath(), [...args, file]);
  assertEquals(code, 1);
  assertMatch(
    out,
    /asyncSleep for \d+ ms .*\n +at forgets \(.*leak_test\.ts:3/,
  );
});

Deno.test("withSignal() of AbortSignal.timeout() lets the process end", async () => {
  // Of an operation that is complete, and of one that nobody waits for.
  const ended = await runScript(
    `
    const ctx = new kio.IoContext(16);
    const [left, right] = kio.unwrap(kio.Socket.pair());
    const data = new Uint8Array(4);
    const received = kio.asyncRecv(ctx, right, data)
      .withSignal(AbortSignal.timeout(600_000));
    await kio.asyncSleep(ctx, 5).withSignal(AbortSignal.timeout(600_000));
    await kio.asyncSend(ctx, left, data)
      .withSignal(AbortSignal.timeout(600_000));
    console.log(await received.orThrow(), ctx.pending);
    `,
    { limitMs: 60_000 },
  );
  assertPrinted(ended, "4 0\n");
});

Deno.test("withSignal() of AbortSignal.timeout() ends what the process waits for", async () => {
  const ended = await runScript(
    `
    const ctx = new kio.IoContext(16);
    const [left] = kio.unwrap(kio.Socket.pair());
    const received = await kio.asyncRecv(ctx, left, new Uint8Array(1))
      .withSignal(AbortSignal.timeout(20));
    console.log(received.error.code);
    `,
    { limitMs: 60_000 },
  );
  assertPrinted(ended, "ECANCELED\n");
});
