import { assert, assertEquals, assertMatch } from "@std/assert";
import { cpuMs, Program, run, sleep } from "./support.ts";

const SERVER = ["run", "--allow-ffi", "examples/echo_server.ts"];

/** An echo server on a port of its own, and how to reach it. */
async function startServer(
  under: string[] = [],
): Promise<{ server: Program; port: number }> {
  const [command = "", ...args] = [...under, Deno.execPath(), ...SERVER];
  const server = new Program(command, [
    ...args,
    "--host=127.0.0.1",
    "--port=0",
  ]);
  const [, port] = await server.printed(/^listening on 127\.0\.0\.1:(\d+)\n/);
  return { server, port: Number(port) };
}

function connect(port: number): Promise<Deno.TcpConn> {
  return Deno.connect({ hostname: "127.0.0.1", port });
}

/** Sends all of it, shuts down the sending side, and reads to the end. */
async function exchange(port: number, data: Uint8Array): Promise<Uint8Array> {
  using connection = await connect(port);
  const sending = sendAll(connection, data).then(() => connection.closeWrite());
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(65536);
  for (;;) {
    const count = await connection.read(buffer);
    if (count === null) break;
    parts.push(buffer.slice(0, count));
  }
  await sending;
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

async function sendAll(connection: Deno.Conn, data: Uint8Array): Promise<void> {
  while (data.length > 0) data = data.subarray(await connection.write(data));
}

/** Bytes that tell where they are. */
function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from(
    { length },
    (_, i) => (i * 31 + (i >> 8) + seed) & 255,
  );
}

Deno.test("echo_server sends everything back after a half-close", async () => {
  const { server, port } = await startServer();
  await using _ = server;
  for (const length of [1, 16 * 1024, 16 * 1024 + 1, 3_000_000]) {
    const data = pattern(length, length);
    assertEquals(await exchange(port, data), data);
  }
  assertEquals(await exchange(port, new Uint8Array(0)), new Uint8Array(0));
});

Deno.test("echo_server mixes up no connections", async () => {
  const { server, port } = await startServer();
  await using _ = server;
  await Promise.all(Array.from({ length: 100 }, async (_, i) => {
    const data = pattern(20_000 + i, i);
    assertEquals(await exchange(port, data), data);
  }));
  server.kill("SIGINT");
  const { code, out } = await server.ended();
  assertEquals(code, 0);
  assertMatch(out, /\nserved 100 connections, 2004950 bytes\n$/);
});

Deno.test("echo_server survives clients that reset", async () => {
  const { server, port } = await startServer();
  await using _ = server;
  for (let i = 0; i < 20; i++) {
    using connection = await connect(port);
    await sendAll(connection, pattern(100_000, i));
    // Closed with bytes that were not read: that is a reset.
    await sleep(2);
  }
  const data = pattern(1000, 0);
  assertEquals(await exchange(port, data), data);
  server.kill("SIGINT");
  const { code, err } = await server.ended();
  assertEquals([code, err], [0, ""]);
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`echo_server ends cleanly on ${signal}`, async () => {
    const { server, port } = await startServer();
    await using _ = server;
    using idle = await connect(port);
    using busy = await connect(port);
    const data = pattern(5, 1);
    await sendAll(busy, data);
    const buffer = new Uint8Array(64);
    assertEquals(await busy.read(buffer), 5);
    server.kill(signal);
    assertEquals(await server.ended(), {
      code: 0,
      signal: null,
      out: `listening on 127.0.0.1:${port}\nserved 2 connections, 5 bytes\n`,
      err: "",
    });
    assertEquals(await idle.read(buffer), null);
    assertEquals(await busy.read(buffer), null);
  });
}

Deno.test("echo_server ends although a client does not read", async () => {
  const { server, port } = await startServer();
  await using _ = server;
  using connection = await connect(port);
  const data = new Uint8Array(1 << 20);
  let isFull = false;
  while (!isFull) {
    const written = connection.write(data).catch(() => 0);
    isFull = await Promise.race([written.then(() => false), wait(200)]);
  }
  server.kill("SIGTERM");
  assertEquals((await server.ended()).code, 0);

  function wait(ms: number): Promise<true> {
    return sleep(ms).then(() => true);
  }
});

Deno.test("echo_server says in one line that its port is in use", async () => {
  const { server, port } = await startServer();
  await using _ = server;
  const second = await run(Deno.execPath(), [
    ...SERVER,
    "--host=127.0.0.1",
    `--port=${port}`,
  ]);
  assertEquals(second, {
    code: 1,
    signal: null,
    out: "",
    err: `Cannot listen on 127.0.0.1:${port}: Address already in use\n`,
  });
});

Deno.test("echo_server explains its arguments", async () => {
  const wrong = [
    ["--port", "70000"],
    ["--port", "-1"],
    ["--port", "x"],
    ["--port="],
    ["--host", "not.an.address"],
    // It would be a unix socket by the name of the port.
    ["--host", "unix"],
    ["--colour", "red"],
    ["8080"],
  ];
  for (const args of wrong) {
    const { code, out, err } = await run(Deno.execPath(), [...SERVER, ...args]);
    assertEquals([code, out], [2, ""], args.join(" "));
    assertMatch(err, /\nusage: deno task echo \[--host .*\] \[--port .*\]\n$/);
  }
});

Deno.test("echo_server listens on IPv6", async () => {
  await using server = new Program(Deno.execPath(), [
    ...SERVER,
    "--host=::1",
    "--port=0",
  ]);
  const [, port] = await server.printed(/^listening on \[::1\]:(\d+)\n/);
  using connection = await Deno.connect({
    hostname: "::1",
    port: Number(port),
  });
  await sendAll(connection, pattern(3, 0));
  assertEquals(await connection.read(new Uint8Array(9)), 3);
});

Deno.test("asyncAccept() does not spin without fds and recovers", async () => {
  const { server, port } = await startServer(
    ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"],
  );
  await using _ = server;
  // They are connected by the kernel, whether the server accepts them or not.
  const connections: Deno.TcpConn[] = [];
  for (let i = 0; i < 100; i++) connections.push(await connect(port));
  await sleep(300);
  const before = cpuMs(server.pid);
  await sleep(1000);
  const spent = cpuMs(server.pid) - before;
  assert(spent < 300, `${spent} ms of a processor in a second at the limit`);
  for (const connection of connections.splice(0, 90)) connection.close();
  const last = connections.at(-1)!;
  await sendAll(last, pattern(7, 0));
  assertEquals(await last.read(new Uint8Array(64)), 7);
  for (const connection of connections) connection.close();
  server.kill("SIGINT");
  assertMatch(
    (await server.ended()).out,
    /\nserved 100 connections, 7 bytes\n$/,
  );
});
