/** The same with Deno's own functions, which may hash as well.
 * Usage: tree_deno.ts FOLDER list|hash sync|async */

import { hash } from "node:crypto";

const [root, work, way] = Deno.args;
if (root === undefined || way === undefined) {
  throw new TypeError("Usage: tree_deno.ts FOLDER list|hash sync|async");
}

let [files, bytes] = [0, 0];

function count({ size }: Deno.FileInfo, data?: Uint8Array): void {
  files++;
  bytes += size;
  if (data !== undefined) hash("sha256", data);
}

function goSync(folder: string): void {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) goSync(path);
    else {
      const facts = Deno.lstatSync(path);
      count(facts, work === "hash" ? Deno.readFileSync(path) : undefined);
    }
  }
}

async function look(path: string): Promise<void> {
  const facts = await Deno.lstat(path);
  count(facts, work === "hash" ? await Deno.readFile(path) : undefined);
}

async function go(folder: string): Promise<void> {
  const all: Promise<void>[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    all.push(isDirectory ? go(path) : look(path));
  }
  await Promise.all(all);
}

const startMs = performance.now();
if (way === "sync") goSync(root);
else await go(root);
const seconds = (performance.now() - startMs) / 1000;
console.log(JSON.stringify({ files, bytes, seconds }));
