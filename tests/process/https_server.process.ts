import { assertEquals, assertMatch } from "@std/assert";
import { BufferedReader, IoContext, SocketAddress, unwrap } from "@kio/kio";
import { connectTls } from "@kio/kio/tls";
import { AUTHORITY, OTHER, SERVER } from "../node/certificates.ts";
import { Program, run, temporaryFolder } from "./support.ts";

const HTTPS = ["run", "--allow-ffi", "--no-prompt", "examples/https_server.ts"];

async function start() {
  const folder = temporaryFolder();
  const [cert, key] = [`${folder.path}/cert.pem`, `${folder.path}/key.pem`];
  Deno.writeTextFileSync(cert, SERVER.cert);
  Deno.writeTextFileSync(key, SERVER.key);
  const program = new Program(Deno.execPath(), [
    ...[...HTTPS, `--cert=${cert}`, `--key=${key}`, "--port=0"],
  ]);
  const [, at] = await program.printed(/^listening on https:\/\/(.*)\n/);
  folder[Symbol.dispose]();
  return { program, port: SocketAddress.parse(at!).port };
}

/** Sends a request and reads an answer. */
async function ask(
  ctx: IoContext,
  port: number,
  request: string,
): Promise<{ status: string; body: string }> {
  await using client = unwrap(
    await connectTls(ctx, "127.0.0.1", port, { ca: AUTHORITY }),
  );
  const reader = new BufferedReader(client);
  unwrap(await client.send(new TextEncoder().encode(request)));
  const status = unwrap(await reader.line())!;
  let length = 0;
  for (let line; (line = unwrap(await reader.line())) !== "";) {
    length = Number(/^content-length: (\d+)$/.exec(line!)?.[1] ?? length);
  }
  const body = unwrap(await reader.exactly(length));
  return { status, body: new TextDecoder().decode(body) };
}

Deno.test("https_server answers, one request and several of a connection", async () => {
  const { program, port } = await start();
  await using _ = program;
  await using ctx = new IoContext();
  const head = "Host: localhost\r\n\r\n";
  assertEquals(await ask(ctx, port, `GET /a HTTP/1.1\r\n${head}`), {
    status: "HTTP/1.1 200 OK",
    body: "Hello, you asked for /a\n",
  });
  for (
    const [request, status] of [
      [`POST / HTTP/1.1\r\ncontent-length: 1\r\n${head}x`, 405],
      [`nonsense\r\n\r\n`, 400],
    ] as const
  ) {
    const answer = await ask(ctx, port, request);
    assertMatch(answer.status, new RegExp(`^HTTP/1.1 ${status} `));
  }
  // fetch() has a TLS of its own, and keeps the connection.
  using http = Deno.createHttpClient({ caCerts: [AUTHORITY] });
  for (let i = 0; i < 100; i++) {
    const url = `https://127.0.0.1:${port}/${i}`;
    const response = await fetch(url, { client: http });
    assertEquals(await response.text(), `Hello, you asked for /${i}\n`);
  }
  program.kill("SIGTERM");
  const { code, out, err } = await program.ended();
  assertEquals([code, err], [0, ""]);
  assertMatch(out, /\nanswered 103 requests\n$/);
});

Deno.test("https_server goes on after clients that do not speak TLS", async () => {
  const { program, port } = await start();
  await using _ = program;
  await using ctx = new IoContext();
  for (const text of ["GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", ""]) {
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    if (text !== "") await client.write(new TextEncoder().encode(text));
  }
  const { status } = await ask(ctx, port, "GET / HTTP/1.1\r\n\r\n");
  assertEquals(status, "HTTP/1.1 200 OK");
  program.kill("SIGINT");
  const { code, err } = await program.ended();
  assertEquals([code, err], [0, ""]);
});

Deno.test("https_server says what is wrong with its files", async () => {
  using folder = temporaryFolder();
  const file = (name: string, text: string) => {
    Deno.writeTextFileSync(`${folder.path}/${name}`, text);
    return `${folder.path}/${name}`;
  };
  const cert = file("cert.pem", SERVER.cert);
  const args = [`--cert=${cert}`, "--port=0"];
  const missing = await run(Deno.execPath(), [...HTTPS, ...args, "--key=no"]);
  assertEquals(missing.code, 1);
  assertEquals(missing.err, "Cannot read no: No such file or directory\n");
  const key = `--key=${file("key.pem", OTHER.key)}`;
  const wrong = await run(Deno.execPath(), [...HTTPS, ...args, key]);
  assertEquals(wrong.code, 1);
  assertMatch(wrong.err, /Cannot accept TLS: key is not that of cert/);
});
