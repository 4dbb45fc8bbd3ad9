/**
 * A log that tells which records are on the disk: it says `durable N` when
 * asyncFdatasync() has said so of the first N records. Opening it drops what a
 * crash has left behind the last whole one.
 *
 *     append_log.ts FOLDER
 */
import {
  asyncClose,
  asyncFdatasync,
  asyncFstat,
  asyncFsync,
  asyncFtruncate,
  asyncOpen,
  asyncReadExact,
  asyncWriteExact,
  IoContext,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  type Task,
} from "@kio/kio";
import { recordOf, wholeRecords } from "../log_format.ts";

/** Writes that wait for one fdatasync together, and records of each. */
const WRITERS = 4;
const BATCH_MAX = 20;

const [folder = ""] = Deno.args;
using ctx = new IoContext();
const flags = O_RDWR | O_CREAT;
const file = await asyncOpen(ctx, `${folder}/log`, flags, 0o600).orThrow();
await syncFolder();
let { count, size: end } = await recover();
console.log(`recovered ${count}`);
for (;;) {
  await Promise.all(Array.from({ length: WRITERS }, append));
  await asyncFdatasync(ctx, file).orThrow();
  console.log(`durable ${count}`);
}

/** A new file is there after a crash only if its folder is. */
async function syncFolder(): Task<void> {
  const fd = await asyncOpen(ctx, folder, O_RDONLY | O_DIRECTORY).orThrow();
  await asyncFsync(ctx, fd).orThrow();
  await asyncClose(ctx, fd).orThrow();
}

/** Cuts off bytes that are no record, and counts the rest. */
async function recover(): Task<{ count: number; size: number }> {
  const { size } = await asyncFstat(ctx, file).orThrow();
  const log = new Uint8Array(size);
  if (size > 0) await asyncReadExact(ctx, file, log).orThrow();
  const found = wholeRecords(log);
  await asyncFtruncate(ctx, file, found.size).orThrow();
  return found;
}

/** Writes some records at the end. */
async function append(): Task<void> {
  const batch: number[] = [];
  for (let left = 1 + BATCH_MAX * Math.random(); left > 1; left--) {
    batch.push(...recordOf(count++));
  }
  const at = end;
  end += batch.length;
  await asyncWriteExact(ctx, file, new Uint8Array(batch), at).orThrow();
}
