/** The shape of the sources: no circles, and no file too long to be read. */
import { assertEquals } from "@std/assert";
import { ROOT, run } from "./support.ts";

interface Module {
  specifier: string;
  dependencies?: {
    code?: { specifier: string };
    type?: { specifier: string };
  }[];
}

/** Gives all that modules of the checkout import, types too. */
async function importsOf(
  entries: readonly string[],
): Promise<Map<string, string[]>> {
  const root = new URL(`file://${ROOT}`).href;
  const graph = new Map<string, string[]>();
  for (const entry of entries) {
    const { out } = await run(Deno.execPath(), ["info", "--json", entry]);
    for (
      const { specifier, dependencies = [] } of JSON.parse(out)
        .modules as Module[]
    ) {
      if (!specifier.startsWith(root)) continue;
      const targets = dependencies
        .flatMap(({ code, type }) => (code ?? type)?.specifier ?? [])
        .filter((target) => target.startsWith(root));
      const pathOf = (url: string) => url.slice(root.length);
      graph.set(pathOf(specifier), targets.map(pathOf));
    }
  }
  return graph;
}

/** Finds the circles of a graph: the first that each module is part of. */
function circlesIn(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const circles: string[] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (module: string) => {
    const at = path.indexOf(module);
    if (at >= 0) {
      circles.push([...path.slice(at), module].join(" → "));
      return;
    }
    if (done.has(module)) return;
    path.push(module);
    for (const target of graph.get(module) ?? []) visit(target);
    path.pop();
    done.add(module);
  };
  for (const module of graph.keys()) visit(module);
  return circles;
}

Deno.test("circlesIn() finds circles, and none where paths only meet", () => {
  const circle = new Map([["a", ["b", "c"]], ["b", ["c"]], ["c", ["b"]]]);
  assertEquals(circlesIn(circle), ["b → c → b"]);
  const meeting = new Map([["a", ["b", "c"]], ["b", ["d"]], ["c", ["d"]]]);
  assertEquals(circlesIn(meeting), []);
});

Deno.test("no modules import each other in a circle, by types neither", async () => {
  const { exports } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
  const graph = await importsOf(Object.values<string>(exports));
  assertEquals(graph.has("lib/threads/blocking_pool.ts"), true);
  assertEquals(circlesIn(graph), []);
});

/** Gives the files of a folder and of those below it. */
function* filesIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(ROOT + folder)) {
    const path = `${folder}/${name}`;
    if (!isDirectory) yield path;
    else if (name !== "build") yield* filesIn(path);
  }
}

Deno.test("no file is too long to be read at a sitting", () => {
  const limits = { lib: 450, net: 450, helpers: 450, ffi: 500 };
  const long: string[] = [];
  for (const [folder, limit] of Object.entries(limits)) {
    for (const path of filesIn(folder)) {
      const lines = Deno.readTextFileSync(ROOT + path).split("\n").length - 1;
      if (lines > limit) long.push(`${path}: ${lines}, at most ${limit}`);
    }
  }
  assertEquals(long, []);
});
