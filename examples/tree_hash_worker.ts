/** A worker of `tree_hash.ts`: gets lists of paths, and answers each with their
 * hashes. */
/// <reference lib="deno.worker" />
import { IoContext, type Path, type Result } from "@kio/kio";
import { type FileHash, hashFile, newBuffer } from "./hash_file.ts";

const ctx = new IoContext();
/** One each for the files that are read at a time; the name is their number. */
const buffers = Array.from({ length: Number(self.name) }, newBuffer);

/** Hashes the files of a list, some at a time; the next list waits for this
 * one. */
async function hashAll(paths: readonly Path[]): Promise<void> {
  const all: Result<FileHash>[] = [];
  let next = 0;
  await Promise.all(buffers.map(async (buffer) => {
    for (let i; (i = next++) < paths.length;) {
      all[i] = await hashFile(ctx, paths[i]!, buffer);
    }
  }));
  self.postMessage(all);
}

let last = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<Path[]>) => {
  last = last.then(() => hashAll(data));
};
