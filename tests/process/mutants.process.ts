/**
 * Checks the ground of docs/reliability.md: mutants can be made of the sources
 * as they are, and tests of the named titles exist.
 */
import { assertEquals } from "@std/assert";
import { MUTANTS } from "../../tools/mutant_list.ts";
import { staleMutants } from "../../tools/mutants.ts";
import { ROOT } from "./support.ts";

Deno.test("mutants keep up with the sources", () => {
  assertEquals(staleMutants(), []);
});

/** The tests of a folder and those below it, file by file. */
function* sourcesIn(folder: string): Generator<[name: string, text: string]> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* sourcesIn(path);
    else yield [name, Deno.readTextFileSync(path)];
  }
}

Deno.test("reliability.md names tests and mutants that there are", () => {
  const tests = [...sourcesIn(`${ROOT}tests`)];
  const all = [...tests, ...sourcesIn(`${ROOT}ffi/shim/test`)]
    .map(([, text]) => text).join("\n");
  const lines = all.split("\n");
  const isThere = (name: string) => {
    if (name.endsWith(".ts")) return tests.some(([file]) => file === name);
    if (name.startsWith("deno task")) return true;
    const parts = name.split("…").map((part) => part.trim());
    return lines.some((line) => parts.every((part) => line.includes(part)));
  };
  const missing: string[] = [];
  const text = Deno.readTextFileSync(`${ROOT}docs/reliability.md`);
  for (const table of text.trim().split("\n\n")) {
    const [head = [], , ...rows] = table.split("\n").map((line) =>
      line.split("|").slice(1, -1).map((cell) => cell.trim())
    );
    if (!["held by", "noticed by"].includes(head.at(-1) ?? "")) continue;
    for (const row of rows) {
      const noticed = row.at(-1)!;
      for (const [, name = ""] of noticed.matchAll(/`([^`]+)`/g)) {
        if (!isThere(name)) missing.push(name);
      }
      const numbers = head[1] === "mutant"
        ? row[1] ?? ""
        : /mutants? ([\d, –]+)/.exec(noticed)?.[1] ?? "";
      for (const [number] of numbers.matchAll(/\d+/g)) {
        if (Number(number) > MUTANTS.length) missing.push(`mutant ${number}`);
      }
    }
  }
  assertEquals(missing, []);
});
