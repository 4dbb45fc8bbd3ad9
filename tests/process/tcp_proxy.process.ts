import { assert, assertEquals, assertMatch } from "@std/assert";
import { Program, run, sleep } from "./support.ts";

const PROXY = ["run", "--allow-ffi", "examples/tcp_proxy.ts"];
const LOCAL = { hostname: "127.0.0.1" };

/** A proxy to a listener of this process. */
class Proxied implements AsyncDisposable {
  readonly program: Program;
  readonly listener: Deno.TcpListener;
  readonly port: number;
  #listens = true;

  private constructor(
    program: Program,
    listener: Deno.TcpListener,
    port: number,
  ) {
    this.program = program;
    this.listener = listener;
    this.port = port;
  }

  static async start(...args: string[]): Promise<Proxied> {
    const listener = Deno.listen({ ...LOCAL, port: 0 });
    const program = new Program(Deno.execPath(), [
      ...PROXY,
      `--to=127.0.0.1:${listener.addr.port}`,
      "--port=0",
      ...args,
    ]);
    const [, port] = await program.printed(
      /^listening on 127\.0\.0\.1:(\d+)\n/,
    );
    return new Proxied(program, listener, Number(port));
  }

  /** A client, and the server that it is connected to. */
  async connect(): Promise<[Deno.TcpConn, Deno.TcpConn]> {
    const client = await Deno.connect({ ...LOCAL, port: this.port });
    return [client, await this.listener.accept()];
  }

  /** Nothing listens where the proxy connects to. */
  refuse(): void {
    if (this.#listens) this.listener.close();
    this.#listens = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.refuse();
    await this.program[Symbol.asyncDispose]();
  }
}

function pattern(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 255);
}

async function sendAll(to: Deno.Conn, data: Uint8Array): Promise<void> {
  while (data.length > 0) data = data.subarray(await to.write(data));
}

async function readAll(from: Deno.Conn): Promise<Uint8Array> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const buffer = new Uint8Array(65536);
  for (let n; (n = await from.read(buffer)) !== null;) {
    parts.push(buffer.slice(0, n));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** What a peer gets: bytes, an end, or an error. */
function next(from: Deno.Conn): Promise<string> {
  return from.read(new Uint8Array(64)).then(String, (error) => error.name);
}

Deno.test("tcp_proxy forwards both ways, and the end of each", async () => {
  await using proxied = await Proxied.start();
  const [client, server] = await proxied.connect();
  using _c = client, _s = server;
  const [question, answer] = [pattern(3_000_001), pattern(5_000_003)];
  const asked = readAll(server);
  await sendAll(client, question);
  await client.closeWrite();
  assertEquals(await asked, question);
  const answered = readAll(client);
  await sendAll(server, answer);
  await server.closeWrite();
  assertEquals(await answered, answer);
  proxied.program.kill("SIGTERM");
  assertEquals((await proxied.program.ended()).code, 0);
});

Deno.test("tcp_proxy passes resets on", async () => {
  await using proxied = await Proxied.start();
  for (const dies of [0, 1]) {
    const ends = await proxied.connect();
    using _c = ends[0], _s = ends[1];
    await sendAll(ends[1 - dies]!, pattern(100));
    assertEquals(await ends[dies]!.read(new Uint8Array(1)), 1);
    // Closed with bytes that were not read: that is a reset.
    ends[dies]!.close();
    assertEquals(await next(ends[1 - dies]!), "ConnectionReset");
  }
});

Deno.test("tcp_proxy resets a client when it cannot connect", async () => {
  await using proxied = await Proxied.start();
  proxied.refuse();
  using client = await Deno.connect({ ...LOCAL, port: proxied.port });
  assertEquals(await next(client), "ConnectionReset");
  proxied.program.kill("SIGTERM");
  const { code, err } = await proxied.program.ended();
  assertEquals(code, 0);
  assertMatch(err, /^Cannot forward: .*Connection refused.*\n$/);
});

Deno.test("tcp_proxy ends connections that are silent", async () => {
  await using proxied = await Proxied.start("--idle=0.1");
  const [client, server] = await proxied.connect();
  using _c = client, _s = server;
  assertEquals(await next(client), "ConnectionReset");
  assertEquals(await next(server), "ConnectionReset");
});

Deno.test("tcp_proxy takes no more connections than it may", async () => {
  await using proxied = await Proxied.start("--max=1");
  const [client, server] = await proxied.connect();
  const waiting = await Deno.connect({ ...LOCAL, port: proxied.port });
  using _w = waiting;
  await sendAll(waiting, pattern(3));
  const second = proxied.listener.accept();
  const early = second.then(() => true);
  assertEquals(await Promise.race([early, sleep(100)]), undefined);
  client.close();
  server.close();
  using accepted = await second;
  assertEquals(await next(accepted), "3");
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`tcp_proxy finishes open connections on ${signal}`, async () => {
    await using proxied = await Proxied.start();
    const [client, server] = await proxied.connect();
    using _c = client, _s = server;
    await sendAll(client, pattern(5));
    assertEquals(await next(server), "5");
    proxied.program.kill(signal);
    await sleep(50);
    await sendAll(server, pattern(7));
    assertEquals(await next(client), "7");
    await client.closeWrite();
    assertEquals(await next(server), "null");
    await server.closeWrite();
    assertEquals(await next(client), "null");
    assertEquals(await proxied.program.ended(), {
      code: 0,
      signal: null,
      out:
        `listening on 127.0.0.1:${proxied.port}\nserved 1 connections, 12 bytes\n`,
      err: "",
    });
  });
}

Deno.test("tcp_proxy resets open connections on the second signal, and after its time", async () => {
  for (const grace of [60, 0.2]) {
    await using proxied = await Proxied.start(`--grace=${grace}`);
    const [client, server] = await proxied.connect();
    using _c = client, _s = server;
    proxied.program.kill("SIGINT");
    await sleep(50);
    if (grace === 60) proxied.program.kill("SIGINT");
    assertEquals(await next(client), "ConnectionReset");
    assertEquals(await next(server), "ConnectionReset");
    assertEquals((await proxied.program.ended()).code, 0);
  }
});

Deno.test("relay() of a process that is killed resets both connections", async () => {
  await using proxied = await Proxied.start();
  const [client, server] = await proxied.connect();
  using _c = client, _s = server;
  await sendAll(client, pattern(5));
  assertEquals(await next(server), "5");
  proxied.program.kill("SIGKILL");
  assertEquals(await next(client), "ConnectionReset");
  assertEquals(await next(server), "ConnectionReset");
});

Deno.test("tcp_proxy explains its arguments", async () => {
  const wrong = [
    [],
    ["--to", "nowhere"],
    ["--to", "a:0"],
    ["--to", "a:70000"],
    ["--to", "a:1", "--max", "0"],
    ["--to", "a:1", "--idle", "-1"],
  ];
  for (const args of wrong) {
    const { code, out, err } = await run(Deno.execPath(), [...PROXY, ...args]);
    assertEquals([code, out], [2, ""], args.join(" "));
    assert(err.includes("\nusage: deno task proxy --to TARGET"), err);
  }
});
