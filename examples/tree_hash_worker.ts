/** A worker of `tree_hash.ts`: gets lists of paths, and answers each with their
 * hashes. */
/// <reference lib="deno.worker" />
import { IoContext, type Path, type Result } from "@kio/kio";
import { type FileHash, hashFile, newBuffer } from "./hash_file.ts";

const ctx = new IoContext();
const buffer = newBuffer();

/** Hashes files, one after the other: the next list waits for this one. */
async function hashAll(paths: readonly Path[]): Promise<void> {
  const all: Result<FileHash>[] = [];
  for (const path of paths) all.push(await hashFile(ctx, path, buffer));
  self.postMessage(all);
}

let last = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<Path[]>) => {
  last = last.then(() => hashAll(data));
};
