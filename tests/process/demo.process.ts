import { assert, assertEquals, assertMatch } from "@std/assert";
import { Program, run, sleep } from "./support.ts";

const DEMO = ["run", "-A", "examples/demo.ts"];

/** The echo server that a demo has started. */
function serverOf(demo: Program): number {
  const path = `/proc/${demo.pid}/task/${demo.pid}/children`;
  return Number(Deno.readTextFileSync(path).trim());
}

function isRunning(pid: number): boolean {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return !/\) [ZX] /.test(stat);
  } catch {
    return false;
  }
}

Deno.test("demo finds that every byte came back", async () => {
  const { code, out, err } = await run(Deno.execPath(), [
    ...DEMO,
    "--seconds=1.5",
  ]);
  assertEquals([code, err], [0, ""]);
  const [progress, ...rest] = out.trimEnd().split("\n");
  assertMatch(progress, /^[\d,]+ requests\/s, \d+ connections open$/);
  assertMatch(
    rest.at(-1)!,
    /^[\d,]{3,} connections, [\d,.]{1,5} MB, all as sent: [\d,]+ requests\/s$/,
  );
});

Deno.test("demo stops the server on SIGINT", async () => {
  await using demo = new Program(Deno.execPath(), DEMO);
  await demo.printed(/requests/);
  const server = serverOf(demo);
  assert(isRunning(server));
  demo.kill("SIGINT");
  const { code, err } = await demo.ended();
  assertEquals([code, err], [1, "The demo failed: interrupted\n"]);
  // It was killed; the kernel may need a while to end it.
  for (let i = 0; i < 500 && isRunning(server); i++) await sleep(10);
  assert(!isRunning(server));
});

Deno.test("demo fails with the server", async () => {
  await using demo = new Program(Deno.execPath(), DEMO);
  await demo.printed(/requests/);
  Deno.kill(serverOf(demo), "SIGKILL");
  const { code, err } = await demo.ended();
  assertEquals(code, 1);
  assertMatch(err, /^The demo failed: /);
});

Deno.test("demo explains its arguments", async () => {
  for (const args of [["--seconds=x"], ["--seconds=0"], ["--speed=9"]]) {
    const { code, err } = await run(Deno.execPath(), [...DEMO, ...args]);
    assertEquals(code, 2);
    assertMatch(err, /\nusage: deno task demo \[--seconds N\]\n$/);
  }
});
