/** The project's own lint rules, on sources that break them and some that do
 * not. */
import { assertEquals } from "@std/assert";
import plugin from "../tools/lint.ts";

const ROOT = decodeURIComponent(new URL("../", import.meta.url).pathname);

/** Gives the rules that a source breaks, if it were that file. */
function brokenBy(path: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, ROOT + path, source).map(({ id }) => id);
}

const DOWNWARD = "kio/imports-go-downward";
const NATIVE = "kio/native-calls-in-ffi";
const VERB = "kio/documentation-says-who-does-it";

Deno.test("imports-go-downward refuses each arrow that goes up", () => {
  const order = [
    "ffi/load.ts",
    "lib/result.ts",
    "lib/ring/Ring.ts",
    "lib/IoContext.ts",
    "lib/ops/path.ts",
    "lib/threads/worker.ts",
    "net/Socket.ts",
    "helpers/exact.ts",
    "testing/mod.ts",
  ];
  for (const [i, from] of order.entries()) {
    const up = "../".repeat(from.split("/").length - 1);
    for (const [j, to] of order.entries()) {
      const expected = j > i ? [DOWNWARD] : [];
      for (const kind of ["import {} from", "export * from"]) {
        const source = `${kind} "${up || "./"}${to}";`;
        assertEquals(brokenBy(from, source), expected, `${from}: ${source}`);
      }
    }
    assertEquals(brokenBy(from, `import "${up}mod.ts";`), [DOWNWARD], from);
    assertEquals(brokenBy(from, `import "npm:left-pad";`), [DOWNWARD], from);
  }
});

Deno.test("imports-go-downward lets lib/ name types of above", () => {
  const from = "lib/SocketAddress.ts";
  const pool = `from "./threads/blocking_pool.ts";`;
  assertEquals(brokenBy(from, `import type { A } ${pool}`), []);
  assertEquals(brokenBy(from, `import { type A } ${pool}`), []);
  assertEquals(brokenBy(from, `import { type A, b } ${pool}`), [DOWNWARD]);
  const socket = `import type { A } from "../net/Socket.ts";`;
  assertEquals(brokenBy(from, socket), [DOWNWARD]);
});

Deno.test("native-calls-in-ffi refuses them above", () => {
  const source = `Deno.dlopen("x", {}); Deno.UnsafePointer.of(y);`;
  assertEquals(brokenBy("ffi/load.ts", source), []);
  assertEquals(brokenBy("lib/io.ts", source), [NATIVE, NATIVE]);
  assertEquals(brokenBy("tests/x.ts", source), []);
});

Deno.test("documentation-says-who-does-it refuses What and Whether at the beginning", () => {
  const bad = [
    "/** What it does. */",
    "/** Whether it does. */",
    "/**\n * What it does.\n */",
    "class A {\n  /** What it does. */\n  b = 1;\n}",
  ];
  for (const source of bad) {
    assertEquals(brokenBy("lib/io.ts", source), [VERB], source);
    assertEquals(brokenBy("mod.ts", source), [VERB], source);
    assertEquals(brokenBy("tests/x.ts", source), [], source);
  }
  const good = [
    "/** Tells what it does, and whether. */",
    "// What it does.",
    "/** Whatever it does. */",
    "/**\n * Reads.\n *\n * @returns What it read.\n */",
  ];
  for (const source of good) {
    assertEquals(brokenBy("lib/io.ts", source), [], source);
  }
});
