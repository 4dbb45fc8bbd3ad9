/**
 * Reads small files whole, again and again.
 * Usage: small_files_kio.ts FOLDER FILES DEPTH SECONDS
 */

import { IoContext, readFile, unwrap } from "../../mod.ts";
import { fileSource, Window } from "./window.mjs";

const [folder, files, depth, seconds] = Deno.args;
if (folder === undefined || seconds === undefined) {
  throw new TypeError("Usage: small_files_kio.ts FOLDER FILES DEPTH SECONDS");
}

using ctx = new IoContext();
const next = fileSource(folder, Number(files));
const window = new Window(Number(seconds));

async function readFiles(): Promise<void> {
  let file;
  do {
    file = next();
    file.check(unwrap(await readFile(ctx, file.path)));
  } while (window.tick(1));
}

await Promise.all(Array.from({ length: Number(depth) }, readFiles));
