/**
 * TLS of kio with other programs, `deno task test:tls`: curl and wrk ask
 * examples/https_server.ts, and openssl is client and server.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { BufferedReader, IoContext, unwrap } from "@kio/kio";
import { connectTls } from "@kio/kio/tls";
import { AUTHORITY, CLIENT, SERVER } from "../node/certificates.ts";
import { Program, run, sleep, temporaryFolder } from "../process/support.ts";

const HURRY_MS = 20_000;

/** The certificates as files. */
function files() {
  const folder = temporaryFolder();
  const { path } = folder;
  for (const [name, { cert, key }] of Object.entries({ SERVER, CLIENT })) {
    Deno.writeTextFileSync(`${path}/${name}.pem`, cert);
    Deno.writeTextFileSync(`${path}/${name}.key`, key);
  }
  Deno.writeTextFileSync(`${path}/ca.pem`, AUTHORITY);
  return folder;
}

async function startServer(path: string): Promise<[Program, string]> {
  const program = new Program(Deno.execPath(), [
    ...["run", "--allow-ffi", "examples/https_server.ts", "--port=0"],
    ...[`--cert=${path}/SERVER.pem`, `--key=${path}/SERVER.key`],
  ]);
  const [, at] = await program.printed(/^listening on https:\/\/(.*)\n/);
  return [program, at!];
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test("curl asks for many pages, by each version of TLS", async () => {
  using folder = files();
  const [server, at] = await startServer(folder.path);
  await using _ = server;
  const trust = ["--cacert", `${folder.path}/ca.pem`, "-sSf"];
  for (const version of [["--tls-max", "1.2"], ["--tlsv1.3"]]) {
    const { code, out, err } = await run("curl", [
      ...[...trust, ...version, `https://${at}/[1-100]`],
    ]);
    assertEquals([code, err], [0, ""]);
    assertEquals(out.match(/Hello, you asked for \/\d+\n/g)?.length, 100);
  }
  const untrusting = await run("curl", ["-sS", `https://${at}/`]);
  assertEquals(untrusting.code, 60, "it does not know the authority");
});

Deno.test("openssl s_client resumes sessions of TLS 1.2, sees ALPN, and its refusal", async () => {
  using folder = files();
  const [server, at] = await startServer(folder.path);
  await using _ = server;
  const { out } = await run("openssl", [
    ...["s_client", "-connect", at, "-CAfile", `${folder.path}/ca.pem`],
    ...["-tls1_2", "-reconnect", "-alpn", "h2,http/1.1"],
  ], { input: "" });
  assertMatch(out, /ALPN protocol: http\/1.1/);
  assertMatch(out, /Verify return code: 0 \(ok\)/);
  assertEquals(out.match(/^Reused, TLSv1.2/gm)?.length, 5);
  const refused = await run("openssl", [
    ...["s_client", "-connect", at, "-alpn", "other"],
  ], { input: "" });
  assertMatch(refused.err, /alert no application protocol/);
});

Deno.test("wrk fills the server over many connections", async () => {
  using folder = files();
  const [server, at] = await startServer(folder.path);
  await using _ = server;
  const url = `https://${at}/`;
  const { code, out } = await run("wrk", ["-t1", "-c100", "-d2", url]);
  assertEquals(code, 0);
  assert(!/Socket errors|Non-2xx/.test(out), out);
  console.log(`  ${/Requests\/sec:.*/.exec(out)}`);
  server.kill("SIGTERM");
  const ended = await server.ended();
  assertEquals([ended.code, ended.err], [0, ""]);
});

Deno.test("connectTls() talks to openssl s_server, with a certificate", async () => {
  using folder = files();
  const { path } = folder;
  const port = freePort();
  await using _ = new Program("openssl", [
    ...["s_server", "-accept", `127.0.0.1:${port}`, "-rev", "-quiet"],
    ...["-cert", `${path}/SERVER.pem`, "-key", `${path}/SERVER.key`],
    ...["-CAfile", `${path}/ca.pem`, "-Verify", "1", "-verify_return_error"],
    ...["-alpn", "kio"],
  ]);
  await using ctx = new IoContext();
  const options = {
    ca: AUTHORITY,
    identity: CLIENT,
    alpnProtocols: ["kio"],
    timeoutMs: HURRY_MS,
  };
  let connected = await connectTls(ctx, "127.0.0.1", port, options);
  while (!connected.ok && connected.error.code === "ECONNREFUSED") {
    await sleep(20);
    connected = await connectTls(ctx, "127.0.0.1", port, options);
  }
  await using client = unwrap(connected);
  assertEquals(client.alpnProtocol, "kio");
  const reader = new BufferedReader(client);
  for (const line of ["hello", "world"]) {
    unwrap(await client.send(new TextEncoder().encode(`${line}\n`)));
    const back = unwrap(await reader.line({ timeoutMs: HURRY_MS }));
    assertEquals(back, [...line].reverse().join(""));
  }
});
