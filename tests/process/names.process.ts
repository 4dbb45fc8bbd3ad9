/** The names that docs/from-cpp.md promises, against what mod.ts exports. */
import { assert, assertEquals } from "@std/assert";
import { ROOT, run } from "./support.ts";

/** The parts of `deno doc --json` about an export that are used here. */
interface Documented {
  name: string;
  declarations: {
    def?: {
      methods?: { name: string }[];
      properties?: { name: string }[];
      params?: unknown[];
    };
  }[];
}

async function exported(): Promise<Documented[]> {
  const args = ["doc", "--json", "mod.ts"];
  const { code, out, err } = await run(Deno.execPath(), args);
  assertEquals(code, 0, err);
  const nodes: Record<string, { symbols: Documented[] }> =
    JSON.parse(out).nodes;
  return Object.values(nodes).flatMap(({ symbols }) => symbols);
}

/** The code in the TypeScript column of the table. */
function promised(): string[] {
  const text = Deno.readTextFileSync(`${ROOT}docs/from-cpp.md`);
  const rows = text.split("\n").filter((line) => /^\| .* \|$/.test(line));
  assert(rows.length > 30, "the table is gone");
  return rows.slice(1).flatMap((row) => {
    const code = row.split(" | ")[1]!.matchAll(/`([^`]+)`/g);
    // Leave out strings and spread arguments.
    return [...code].map(([, text = ""]) => text.replace(/"[^"]*"|\.{3}/g, ""));
  });
}

Deno.test("docs/from-cpp.md names what there is", async () => {
  const symbols = await exported();
  const names = new Set(["Promise"]);
  const paramsMax = new Map<string, number>();
  for (const { name, declarations } of symbols) {
    names.add(name);
    for (const { def } of declarations) {
      for (const { name } of def?.methods ?? []) names.add(name);
      for (const { name } of def?.properties ?? []) names.add(name);
      const count = def?.params?.length ?? 0;
      paramsMax.set(name, Math.max(count, paramsMax.get(name) ?? 0));
    }
  }
  const used = new Set<string>();
  for (const code of promised()) {
    // Functions that are called, members, types, and single names.
    const found = code.matchAll(/(?<=\.)\w+|\b[A-Z]\w+|\w+(?=\()|^\w+$/g);
    for (const [name] of found) used.add(name);
    for (
      const [, name = "", args = ""] of code.matchAll(
        /\b(async\w+)\(([^)]*)\)/g,
      )
    ) {
      const count = args.replace(/\{[^}]*\}/g, "").split(",").length;
      assert(count <= paramsMax.get(name)!, `${code} has too many arguments`);
    }
  }
  assertEquals([...used].filter((name) => !names.has(name)), []);
  // The table is whole: every operation is in it.
  const missing = symbols.map(({ name }) => name)
    .filter((name) => name.startsWith("async") && !used.has(name));
  assertEquals(missing, []);
});
