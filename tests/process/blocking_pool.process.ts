import { assertEquals, assertMatch } from "@std/assert";
import {
  assertPrinted,
  ROOT,
  runScript,
  startScript,
  temporaryFolder,
} from "./support.ts";

Deno.test("an idle BlockingPool lets the process exit", async () => {
  const ended = await runScript(`
    const ctx = new kio.IoContext();
    const pool = new kio.BlockingPool(2);
    console.log(await kio.offload(ctx, pool, (a, b) => a + b, 1, 2).orThrow());
  `);
  assertPrinted(ended, "3\n");
});

Deno.test("a job has the environment of the process", async () => {
  const ended = await runScript(
    `
    const ctx = new kio.IoContext();
    const pool = new kio.BlockingPool(1);
    const read = () => [process.env.KIO_TEST, Deno.env.get("KIO_TEST")];
    console.log(...await kio.offload(ctx, pool, read).orThrow());
    process.env.KIO_TEST = "two";
    console.log(...await kio.offload(ctx, pool, read).orThrow());
  `,
    {
      flags: ["--allow-ffi", "--allow-env=KIO_TEST"],
      env: { KIO_TEST: "one" },
    },
  );
  assertPrinted(ended, "one one\ntwo two\n");
});

Deno.test("a job keeps the process alive", async () => {
  const ended = await runScript(`
    const ctx = new kio.IoContext();
    const pool = new kio.BlockingPool(1);
    kio.offload(ctx, pool, () =>
      new Promise((done) => setTimeout(done, 300, "done"))
    ).orThrow().then(console.log);
  `);
  assertPrinted(ended, "done\n");
});

Deno.test("a job that was given up does not keep the process alive", async () => {
  const ended = await runScript(`
    const ctx = new kio.IoContext();
    const pool = new kio.BlockingPool(2);
    for (const run of [() => { for (;;); }, () => new Promise(() => {})]) {
      await kio.offload(ctx, pool, { run, timeoutMs: 200 }).orThrow()
        .catch(({ code }) => console.log(code));
    }
  `);
  assertPrinted(ended, "ETIMEDOUT\nETIMEDOUT\n");
});

Deno.test("BlockingPool.close() settles at the top level, where nothing else is alive", async () => {
  const ended = await runScript(`
    const ctx = new kio.IoContext();
    const pool = new kio.BlockingPool(1);
    // Leaves something that keeps the thread busy.
    await kio.offload(ctx, pool, () => {
      setTimeout(() => {
        for (const end = Date.now() + 500; Date.now() < end;);
      });
    }).orThrow();
    await kio.asyncSleep(ctx, 100);
    await pool.close();
    console.log("closed");
  `);
  assertPrinted(ended, "closed\n");
});

Deno.test("offload() fails over an uncaught error that an earlier job has left", async () => {
  const ended = await runScript(`
    const ctx = new kio.IoContext();
    const pool = new kio.BlockingPool(1);
    await kio.offload(ctx, pool, () => {
      setTimeout(() => { throw new RangeError("left") }, 100);
    }).orThrow();
    await kio.offload(ctx, pool, () => new Promise(() => {})).orThrow()
      .catch((error) => console.log(error.code, error.message, error.cause.name));
    console.log(await kio.offload(ctx, pool, () => "next").orThrow());
  `);
  assertEquals(
    ended.out,
    "EOWNERDEAD Cannot offload a job: Owner died: " +
      "its thread has ended (RangeError: left) (EOWNERDEAD) RangeError\nnext\n",
  );
  assertEquals(ended.code, 0);
});

Deno.test("offload() of a file needs --allow-read, and says so", async () => {
  using folder = temporaryFolder();
  const file = `${folder.path}/jobs.ts`;
  Deno.writeTextFileSync(
    file,
    `export function add(a: number, b: number): number { return a + b; }`,
  );
  const script = `
    const ctx = new kio.IoContext();
    const pool = new kio.BlockingPool(1);
    const job = { module: new URL("file://${file}"), name: "add" };
    console.log(await kio.offload(ctx, pool, job, 1, 2).orThrow()
      .catch((error) => error.name + ": " + error.message));
    console.log(await kio.offload(ctx, pool, () => "next").orThrow());
  `;
  const refused = await runScript(script);
  assertMatch(refused.out, /^TypeError: Requires read access to .*jobs.ts/);
  assertMatch(refused.out, /next\n$/);
  const flags = ["--allow-ffi", `--allow-read=${folder.path}`];
  assertPrinted(await runScript(script, { flags }), "3\nnext\n");
});

Deno.test("offload() works in a worker, whose end ends its threads", async () => {
  await using program = startScript(
    `
    const source = \`
      import * as kio from "\${import.meta.resolve("@kio/kio")}";
      const ctx = new kio.IoContext();
      const pool = new kio.BlockingPool(1);
      postMessage(await kio.offload(ctx, pool, (n) => n + 1, 1).orThrow());
    \`;
    const url = URL.createObjectURL(
      new Blob([source], { type: "text/javascript" }));
    const worker = new Worker(url, { type: "module" });
    worker.onmessage = ({ data }) => {
      console.log(data);
      worker.terminate();
    };
  `,
    { flags: ["-A"] },
  );
  assertPrinted(await program.ended(), "2\n");
});

Deno.test("TcpStream.connect() to a name needs --allow-ffi only, and lets the process exit", async () => {
  const ended = await runScript(`
    const ctx = new kio.IoContext();
    const listener = kio.unwrap(kio.TcpListener.bind(0));
    const { port } = listener.localAddress;
    const made = await kio.TcpStream.connect(ctx, "localhost", port);
    console.log(kio.unwrap(made).peerAddress.port === port);
  `);
  assertPrinted(ended, "true\n");
});

Deno.test("SocketAddress.resolveAsync() works where --allow-ffi is limited to the library", async () => {
  const library = `${ROOT}ffi/build/libkio.so`;
  const ended = await runScript(
    `
    const ctx = new kio.IoContext();
    const pool = new kio.BlockingPool(1);
    const found = await kio.SocketAddress.resolveAsync(ctx, pool, "localhost", 1);
    console.log(kio.unwrap(found).port);
  `,
    { flags: [`--allow-ffi=${library}`] },
  );
  assertPrinted(ended, "1\n");
});
