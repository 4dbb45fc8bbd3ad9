/** A worker of `tree_hash.ts`: gets lists of paths, and answers each with their
 * hashes. */
/// <reference lib="deno.worker" />
import { IoContext, type Result } from "@kio/kio";
import {
  type FileHash,
  type FileList,
  hashFile,
  newBuffer,
} from "./hash_file.ts";

const ctx = new IoContext();
/** One each for the files that are read at a time. */
const buffers: Uint8Array<ArrayBuffer>[] = [];

/** Hashes the files of a list. */
async function hashAll({ paths, inFlight }: FileList): Promise<void> {
  const count = Math.min(inFlight, paths.length);
  while (buffers.length < count) buffers.push(newBuffer());
  const all: Result<FileHash>[] = [];
  let next = 0;
  await Promise.all(buffers.map(async (buffer) => {
    for (let i; (i = next++) < paths.length;) {
      all[i] = await hashFile(ctx, paths[i]!, buffer);
    }
  }));
  self.postMessage(all);
}

/** The next list waits for this one: both would need the buffers. */
let last = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<FileList>) => {
  last = last.then(() => hashAll(data));
};
