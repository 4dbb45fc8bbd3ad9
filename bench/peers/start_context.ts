/**
 * Prints the time to open a context, as one line of JSON.
 * Usage: start_context.ts first: the first of a program, which loads the
 * library; start_context.ts next: any other, closed each time; start_context.ts
 * dlopen: no context, Deno opens the library for a single function.
 */

import { IoContext } from "../../mod.ts";

const ROUNDS = 100;
const LIBRARY = new URL("../../ffi/build/libkio.so", import.meta.url);
const SYMBOLS = { kio_abi: { parameters: [], result: "u32" } } as const;

function msOf(act: () => unknown): number {
  const startMs = performance.now();
  act();
  return performance.now() - startMs;
}

function next(): number {
  const first = new IoContext();
  const ms = Array.from({ length: ROUNDS }, () =>
    msOf(() => {
      using _ = new IoContext();
    }));
  first[Symbol.dispose]();
  return ms.sort((left, right) => left - right)[ROUNDS >> 1]!;
}

const MEASURED: Record<string, () => number> = {
  first: () => msOf(() => new IoContext()),
  next,
  dlopen: () => msOf(() => Deno.dlopen(LIBRARY, SYMBOLS)),
};
console.log(JSON.stringify({ ms: MEASURED[Deno.args[0]!]!() }));
