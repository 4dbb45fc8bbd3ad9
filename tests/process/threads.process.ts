import { assertEquals, assertMatch } from "@std/assert";
import { Program, run, sleep } from "./support.ts";

/** The servers, all of which do the same. */
const SERVERS: [name: string, file: string, ...args: string[]][] = [
  ["threads", "multi_thread_echo.ts"],
  ["threads --reuse-port", "multi_thread_echo.ts", "--reuse-port"],
  ["threads --incoming-cpu", "multi_thread_echo.ts", "--incoming-cpu"],
  ["acceptor", "dedicated_acceptor.ts"],
];

const FLAGS = ["run", "--allow-ffi", "--allow-read"];

async function startServer(
  file: string,
  args: string[],
): Promise<{ server: Program; port: number }> {
  const server = new Program(Deno.execPath(), [
    ...[...FLAGS, `examples/${file}`, ...args],
    ...["--host=127.0.0.1", "--port=0", "--workers=2"],
  ]);
  const [, port] = await server.printed(/^listening on 127\.0\.0\.1:(\d+)\n/);
  return { server, port: Number(port) };
}

/** Bytes that a client has sent and got back, and its end. */
interface Count {
  sent: number;
  got: number;
  end: "open" | "end" | "reset";
}

/** Bytes that a client sends ahead of the replies. So the server always has
 * more to read, even in the moment when it closes the connection. */
const AHEAD = 4 * 1024;

/** Sends until the server ends the connection, and checks the bytes that come
 * back. */
async function client(port: number, count: Count): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  let more = () => {};
  const send = async () => {
    const data = new Uint8Array(1000);
    while (count.end === "open") {
      for (let i = 0; i < data.length; i++) data[i] = (count.sent + i) % 251;
      count.sent += await connection.write(data);
      if (count.sent - count.got < AHEAD || count.end !== "open") continue;
      await new Promise<void>((resolve) => more = resolve);
    }
  };
  const receive = async () => {
    const buffer = new Uint8Array(16 * 1024);
    for (;;) {
      const length = await connection.read(buffer);
      if (length === null) break;
      for (let i = 0; i < length; i++) {
        if (buffer[i] !== (count.got + i) % 251) throw new Error("wrong byte");
      }
      count.got += length;
      more();
    }
    count.end = "end";
    more();
  };
  const sending = send().catch(() => {});
  try {
    await receive();
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    count.end = "reset";
    more();
  }
  await sending;
}

for (const [name, file, ...args] of SERVERS) {
  Deno.test(`${name} loses no byte at SIGTERM under the load of 200 connections`, async () => {
    const { server, port } = await startServer(file, args);
    await using _ = server;
    const counts = Array.from(
      { length: 200 },
      (): Count => ({ sent: 0, got: 0, end: "open" }),
    );
    const clients = counts.map((count) => client(port, count));
    while (counts.some(({ got }) => got === 0)) await sleep(5);
    server.kill("SIGTERM");
    const { code, out, err } = await server.ended();
    await Promise.all(clients);
    assertEquals([code, err], [0, ""]);
    const [, connections, bytes] = /\nserved (\d+) connections, (\d+) bytes\n$/
      .exec(out)!.map(Number);
    assertEquals(connections, 200);
    assertEquals(counts.filter(({ end }) => end !== "end"), []);
    // All bytes that the server reports as sent have arrived, to the last one.
    const got = counts.reduce((sum, { got }) => sum + got, 0);
    assertEquals(got, bytes);
  });

  Deno.test(`${name} serves every client that was let in before SIGINT`, async () => {
    const { server, port } = await startServer(file, args);
    await using _ = server;
    // Some of them are accepted by the kernel only, when the signal comes.
    const clients = await Promise.all(Array.from({ length: 300 }, async () => {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      await connection.write(new Uint8Array(1));
      return connection;
    }));
    server.kill("SIGINT");
    for (const connection of clients) {
      const buffer = new Uint8Array(8);
      // Its byte or the end, depending on which was first; never a reset.
      const count = await connection.read(buffer);
      if (count !== null) assertEquals(await connection.read(buffer), null);
      connection.close();
    }
    const { code, out } = await server.ended();
    assertEquals(code, 0);
    assertMatch(out, /\nserved 300 connections, \d+ bytes\n$/);
  });

  Deno.test(`${name} does not wait for a client that says nothing`, async () => {
    const { server, port } = await startServer(file, args);
    await using _ = server;
    using silent = await Deno.connect({ hostname: "127.0.0.1", port });
    // The end is said, and the client does not answer it.
    await silent.write(new Uint8Array(1));
    await silent.read(new Uint8Array(1));
    server.kill("SIGTERM");
    const { code, out } = await server.ended();
    assertEquals(code, 0);
    assertMatch(out, /\nserved 1 connections, 1 bytes\n$/);
  });
}

Deno.test("threads says in one line that its port is in use", async () => {
  const { server, port } = await startServer("multi_thread_echo.ts", []);
  await using _ = server;
  for (const [, file, ...args] of SERVERS) {
    const second = await run(Deno.execPath(), [
      ...[...FLAGS, `examples/${file}`, ...args],
      ...["--host=127.0.0.1", `--port=${port}`],
    ]);
    assertEquals(second, {
      code: 1,
      signal: null,
      out: "",
      err: `Cannot listen on 127.0.0.1:${port}: Address already in use\n`,
    });
  }
});

Deno.test("threads and acceptor explain their arguments", async () => {
  const wrong = [["--port=x"], ["--workers=0"], ["--workers=x"], ["--colour"]];
  for (const [, file] of SERVERS.slice(1)) {
    for (const args of wrong) {
      const { code, out, err } = await run(Deno.execPath(), [
        ...[...FLAGS, `examples/${file}`, ...args],
      ]);
      assertEquals([code, out], [2, ""], args.join(" "));
      assertMatch(
        err,
        /\nusage: deno task \w+ \[--host [^]*\[--workers N\][^]*\n$/,
      );
    }
  }
});
