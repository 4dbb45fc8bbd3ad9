/** That the mutants of tools/mutant_list.ts can be made of the sources. */
import { assertEquals } from "@std/assert";
import { staleMutants } from "../../tools/mutants.ts";

Deno.test("mutants keep up with the sources", () => {
  assertEquals(staleMutants(), []);
});
