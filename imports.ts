/**
 * Imports every module of the library, before `mod.ts` does. Deno parses the
 * source map of each module that is the first to import another one, to know
 * where that was: 6 ms of 25 in all. This file is small, so its map costs
 * nothing.
 */
