/**
 * `small_files_kio.ts` on `node:fs`, for Node and Bun. In the asynchronous way
 * callbacks, as they are faster than promises.
 * Usage: small_files_fs.mjs FOLDER FILES DEPTH SECONDS sync|async
 */

import { readFile, readFileSync } from "node:fs";
import process from "node:process";
import { fileSource, Window } from "./window.mjs";

const [folder, files, depth, seconds, way] = process.argv.slice(2);
if (folder === undefined || way === undefined) {
  throw new TypeError(
    "Usage: small_files_fs.mjs FOLDER FILES DEPTH SECONDS sync|async",
  );
}

const next = fileSource(folder, Number(files));
const window = new Window(Number(seconds));

function readAll() {
  let file;
  do {
    file = next();
    file.check(readFileSync(file.path));
  } while (window.tick(1));
}

function readNext() {
  const file = next();
  readFile(file.path, (error, data) => {
    if (error !== null) throw error;
    file.check(data);
    if (window.tick(1)) readNext();
  });
}

if (way === "sync") readAll();
else for (let i = 0; i < Number(depth); i++) readNext();
