/**
 * `small_files_kio.ts` on Deno's own functions.
 * Usage: small_files_deno.ts FOLDER FILES DEPTH SECONDS sync|async
 */

import { fileSource, Window } from "./window.mjs";

const [folder, files, depth, seconds, way] = Deno.args;
if (folder === undefined || way === undefined) {
  throw new TypeError(
    "Usage: small_files_deno.ts FOLDER FILES DEPTH SECONDS sync|async",
  );
}

const next = fileSource(folder, Number(files));
const window = new Window(Number(seconds));

async function readFiles(): Promise<void> {
  let file;
  do {
    file = next();
    const { path } = file;
    file.check(
      way === "sync" ? Deno.readFileSync(path) : await Deno.readFile(path),
    );
  } while (window.tick(1));
}

await Promise.all(Array.from({ length: Number(depth) }, readFiles));
