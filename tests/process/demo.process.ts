import { assert, assertEquals, assertMatch } from "@std/assert";
import { hasProgram, Program, ROOT, run, temporaryFolder } from "./support.ts";

const DEMO = ["run", "-A", "--no-check", `${ROOT}examples/demo.ts`];
const FIGURES = String
  .raw`[\d,]+ requests/s, p50 [\d,]+ µs, p99 [\d,]+ µs, CPU [\d.]+ µs a request`;

/** The servers that a demo has started. */
function serversOf(demo: Program): number[] {
  const path = `/proc/${demo.pid}/task/${demo.pid}/children`;
  return Deno.readTextFileSync(path).trim().split(" ").map(Number);
}

Deno.test("demo measures both servers, and finds every byte", async () => {
  const { code, out, err } = await run(Deno.execPath(), [
    ...DEMO,
    "--seconds=3",
    "--connections=7",
  ]);
  assertEquals([code, err], [0, ""]);
  const [title, progress, ...rest] = out.trimEnd().split("\n");
  assertMatch(title!, /^Echo over 127\.0\.0\.1: 7 connections, /);
  assertMatch(progress!, new RegExp(`^kio: ${FIGURES}; Deno: ${FIGURES}$`));
  const [kio, deno, checked, verdict, ...more] = rest.slice(-4);
  assertMatch(kio!, new RegExp(`^kio: ${FIGURES}$`));
  assertMatch(deno!, new RegExp(`^Deno: ${FIGURES}$`));
  assertMatch(
    checked!,
    /^ok: [\d,]{3,} messages \([\d,]+ MB\) have come back, every byte as it was sent\.$/,
  );
  assertMatch(
    verdict!,
    /^kio answers \d+\.\d\d times as many requests, with \d+\.\d\d of the CPU time for each\.$/,
  );
  assertEquals(more, []);
});

Deno.test("demo fails with each of its servers", async () => {
  for (const index of [0, 1]) {
    await using demo = new Program(Deno.execPath(), DEMO);
    await demo.printed(/requests/);
    Deno.kill(serversOf(demo)[index]!, "SIGKILL");
    const { code, err } = await demo.ended();
    assertEquals(code, 1);
    assertMatch(err, /^The demo failed: /);
  }
});

Deno.test("demo fails if a byte comes back wrong", async () => {
  using folder = temporaryFolder();
  for (const { name } of Deno.readDirSync(`${ROOT}examples`)) {
    if (!/^(demo|command_line|terminal)/.test(name)) continue;
    Deno.copyFileSync(`${ROOT}examples/${name}`, `${folder.path}/${name}`);
  }
  const server = `${folder.path}/demo_deno.ts`;
  const text = Deno.readTextFileSync(server);
  const wrong = "bytes += length;\nif (bytes > 1e6) buffer[0] ^= 1;";
  Deno.writeTextFileSync(
    server,
    text.replace("      bytes += length;\n", "").replace(
      "for (let at = 0;",
      `${wrong}\nfor (let at = 0;`,
    ),
  );
  const imports = { "@kio/kio": `file://${ROOT}mod.ts` };
  const config = JSON.stringify({ imports });
  Deno.writeTextFileSync(`${folder.path}/deno.json`, config);
  const args = ["run", "-A", "--no-check", "demo.ts"];
  const { code, err } = await run(Deno.execPath(), args, { cwd: folder.path });
  assertEquals([code, err], [1, "The demo failed: other bytes came back\n"]);
});

Deno.test({
  name: "demo keeps within its terminal, and leaves the cursor",
  ignore: !await hasProgram("script"),
  async fn() {
    for (const columns of [60, 80, 200]) {
      const demo = [Deno.execPath(), ...DEMO, "--seconds=1.5"].join(" ");
      const { code, out } = await run("script", [
        ...["--quiet", "--return", "--command"],
        `stty columns ${columns}; NO_COLOR= ${demo}`,
        "/dev/null",
      ]);
      assertEquals(code, 0, out);
      assert(out.includes("\x1b[32m"), "no colour");
      // deno-lint-ignore no-control-regex -- Codes of a terminal begin with ESC.
      const lines = out.replace(/\x1b\[[\d;?]*[A-Za-z]/g, "").split(/[\r\n]+/);
      const wide = lines.filter((line) => line.length > Math.min(columns, 100));
      assertEquals(wide, []);
      assert(out.trimEnd().endsWith("\x1b[?25h"));
    }
  },
});

Deno.test("demo explains its arguments", async () => {
  for (
    const args of [["--seconds=x"], ["--seconds=0"], ["--connections=0"]]
  ) {
    const { code, err } = await run(Deno.execPath(), [...DEMO, ...args]);
    assertEquals(code, 2);
    assertMatch(err, /\nusage: deno task demo \[--seconds SECONDS\] .*\n$/);
  }
});
