/**
 * examples/tcp_proxy.ts between other programs, `deno task test:proxy`: iperf3
 * fills it in both directions, and curl loads and stores through it.
 */
import { assert, assertEquals } from "@std/assert";
import { Program, run, sleep } from "../process/support.ts";

const SIZE = 30_000_001;
const HURRY_MS = 20_000;

async function startProxy(to: number): Promise<[Program, number]> {
  const program = new Program(Deno.execPath(), [
    ...["run", "--allow-ffi", "examples/tcp_proxy.ts"],
    ...[`--to=127.0.0.1:${to}`, "--port=0"],
  ]);
  const [, port] = await program.printed(/^listening on 127\.0\.0\.1:(\d+)\n/);
  return [program, Number(port)];
}

/** Waits until something listens on a port, without a connection to it. */
async function listening(port: number): Promise<void> {
  const entry = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const deadlineMs = Date.now() + HURRY_MS;
  while (
    !Deno.readTextFileSync("/proc/net/tcp").includes(`${entry} 00000000`)
  ) {
    assert(Date.now() < deadlineMs, `nothing listens on ${port}`);
    await sleep(20);
  }
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

for (
  const [how, args] of [
    ["from the client", []],
    ["from the server", ["-R"]],
    ["both ways", ["--bidir"]],
    ["by 8 connections", ["-P8"]],
  ] as [string, string[]][]
) {
  Deno.test(`iperf3 fills the proxy, ${how}`, async () => {
    const port = freePort();
    await using _server = new Program("iperf3", [
      ...["-s", "-1", "-B", "127.0.0.1", "-p", `${port}`],
    ]);
    await listening(port);
    const [proxy, at] = await startProxy(port);
    await using _ = proxy;
    const { code, out } = await run("iperf3", [
      ...["-c", "127.0.0.1", "-p", `${at}`, "-t", "1", "-J", ...args],
    ]);
    assertEquals(code, 0, out);
    const { end } = JSON.parse(out);
    assert(end.sum_received.bytes > 1e6);
    if (how === "both ways") assert(end.sum_received_bidir_reverse.bytes > 1e6);
    const rate = end.sum_received.bits_per_second / 8e9;
    console.log(`  ${rate.toFixed(2)} GB/s`);
    proxy.kill("SIGTERM");
    const ended = await proxy.ended();
    assertEquals([ended.code, ended.err], [0, ""]);
  });
}

Deno.test("curl loads and stores through the proxy", async () => {
  const data = Uint8Array.from({ length: SIZE }, (_, i) => i * 7 + (i >> 9));
  const stored: number[] = [];
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      if (request.method !== "PUT") return new Response(data);
      const body = new Uint8Array(await request.arrayBuffer());
      stored.push(body.findIndex((byte, i) => byte !== data[i]), body.length);
      return new Response(null, { status: 201 });
    },
  );
  const [proxy, port] = await startProxy(server.addr.port);
  await using _ = proxy;
  const folder = Deno.makeTempDirSync();
  const url = `http://127.0.0.1:${port}/`;
  const loaded = await run("curl", ["-sSf", "-o", `${folder}/a`, url]);
  assertEquals([loaded.code, loaded.err], [0, ""]);
  assertEquals(Deno.readFileSync(`${folder}/a`), data);
  const put = await run("curl", ["-sSf", "-T", `${folder}/a`, url]);
  assertEquals([put.code, put.err], [0, ""]);
  assertEquals(stored, [-1, SIZE]);
  Deno.removeSync(folder, { recursive: true });
  proxy.kill("SIGTERM");
  assertEquals((await proxy.ended()).code, 0);
  await server.shutdown();
});
