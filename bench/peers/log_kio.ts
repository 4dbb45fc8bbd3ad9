/** `log.c` on kio. Usage: log_kio.ts DIRECTORY single|group SECONDS */

import {
  asyncFallocate,
  asyncFdatasync,
  asyncFsync,
  asyncOpen,
  asyncWrite,
  IoContext,
  link,
  O_RDWR,
  O_TMPFILE,
  unwrap,
} from "../../mod.ts";
import { Window } from "./window.mjs";

const RECORD_BYTES = 512;
const GROUP_RECORDS = 64;
const FILE_BYTES = 2 ** 30;

const [directory, mode, seconds] = Deno.args;
if (directory === undefined || (mode !== "single" && mode !== "group")) {
  throw new TypeError("Usage: log_kio.ts DIRECTORY single|group SECONDS");
}

using ctx = new IoContext({ entries: 128 });
const fd = unwrap(await asyncOpen(ctx, directory, O_TMPFILE | O_RDWR, 0o600));
unwrap(await asyncFallocate(ctx, fd, 0, 0, FILE_BYTES));
unwrap(await asyncFsync(ctx, fd));

const records = Array.from(
  { length: GROUP_RECORDS },
  () => new Uint8Array(RECORD_BYTES),
);
let offset = 0;

function append(record: Uint8Array<ArrayBuffer>) {
  record.fill(offset / RECORD_BYTES & 0xff, 0, 8);
  const operation = asyncWrite(ctx, fd, record, offset);
  offset = (offset + RECORD_BYTES) % FILE_BYTES;
  return operation;
}

function checkLength(length: number): void {
  if (length !== RECORD_BYTES) {
    throw new Error(`Cannot append a whole record: ${length} bytes`);
  }
}

async function appendSingle(): Promise<number> {
  const [written, synced] = link(
    ctx,
    () => [append(records[0]!), asyncFdatasync(ctx, fd)],
  );
  checkLength(unwrap(await written));
  unwrap(await synced);
  return 1;
}

async function appendGroup(): Promise<number> {
  const written = records.map(append);
  for (const operation of written) checkLength(unwrap(await operation));
  unwrap(await asyncFdatasync(ctx, fd));
  return GROUP_RECORDS;
}

const window = new Window(Number(seconds));
const appendNext = mode === "single" ? appendSingle : appendGroup;
while (window.tick(await appendNext()));
