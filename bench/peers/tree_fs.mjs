/**
 * The same with node:fs. Usage: tree_fs.mjs FOLDER list|hash sync|async
 */

import { createHash, hash } from "node:crypto";
import { lstatSync, promises, readdirSync, readFileSync } from "node:fs";

const [root, work, way] = process.argv.slice(2);
if (root === undefined || way === undefined) {
  throw new TypeError("Usage: tree_fs.mjs FOLDER list|hash sync|async");
}

// Bun may have no hash() yet.
const sha256 = hash === undefined
  ? (/** @type {Uint8Array} */ data) =>
    createHash("sha256").update(data).digest("hex")
  : (/** @type {Uint8Array} */ data) => hash("sha256", data);
const ENTRIES = /** @type {const} */ ({ withFileTypes: true });

const IN_FLIGHT = 64;

let [files, bytes] = [0, 0];
/** @type {string[]} */
const paths = [];

/**
 * @param {number} size
 * @param {Uint8Array | undefined} data
 */
function count(size, data) {
  files++;
  bytes += size;
  if (data !== undefined) sha256(data);
}

/** @param {string} folder */
function goSync(folder) {
  for (const entry of readdirSync(folder, ENTRIES)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) goSync(path);
    else {
      const { size } = lstatSync(path);
      count(size, work === "hash" ? readFileSync(path) : undefined);
    }
  }
}

/** @param {string} path */
async function look(path) {
  const { size } = await promises.lstat(path);
  count(size, work === "hash" ? await promises.readFile(path) : undefined);
}

/**
 * Lists a folder. Files are looked at later, so many at a time: all at once
 * would be too many for Node.
 *
 * @param {string} folder
 */
async function list(folder) {
  const entries = await promises.readdir(folder, ENTRIES);
  await Promise.all(entries.map((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return list(path);
    paths.push(path);
  }));
}

async function lookAtNext() {
  for (let path; (path = paths.pop()) !== undefined;) await look(path);
}

const startMs = performance.now();
if (way === "sync") goSync(root);
else {
  await list(root);
  await Promise.all(Array.from({ length: IN_FLIGHT }, lookAtNext));
}
const seconds = (performance.now() - startMs) / 1000;
console.log(JSON.stringify({ files, bytes, seconds }));
