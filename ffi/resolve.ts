import { loadShim, shimPath } from "./load.ts";
import { rareSymbols } from "./symbols.ts";

/** The most addresses of one name, as in shim/kio.h; further ones are left
 * out. */
const ADDRESSES_MAX = 64;
/** Bytes of a record: a struct sockaddr_storage and its length. */
const RECORD_SIZE = 132;
const RECORD_LENGTH_AT = 128;
/** The offset of the port in a struct sockaddr_in and sockaddr_in6. */
const PORT_AT = 2;

/** The answer of `kio_resolve()`: a number of records or an error below 0. */
export interface Resolved {
  readonly status: number;
  readonly records: Uint8Array;
}

/** Makes room for the records of one name. */
export function roomForRecords(): Uint8Array<ArrayBuffer> {
  return new Uint8Array(ADDRESSES_MAX * RECORD_SIZE);
}

/** Looks a name up by getaddrinfo(3), which may block for long. `host` ends
 * with NUL. */
export function resolve(host: Uint8Array<ArrayBuffer>): Resolved {
  const records = roomForRecords();
  const { kio_resolve } = loadShim();
  return { status: kio_resolve(host, records, ADDRESSES_MAX), records };
}

/** Makes the job of a thread that looks a name up: a self-contained function,
 * as text, and its arguments. */
export function resolveJob(
  host: Uint8Array<ArrayBuffer>,
): { source: string; args: Parameters<typeof resolveInThread> } {
  return {
    source: `${resolveInThread}`,
    args: [
      shimPath(),
      rareSymbols.kio_resolve,
      host,
      ADDRESSES_MAX,
      RECORD_SIZE,
    ],
  };
}

/** Looks a name up in a thread. It makes no ring, so its isolate needs no
 * guard. */
function resolveInThread(
  path: string,
  definition: typeof rareSymbols.kio_resolve,
  host: Uint8Array<ArrayBuffer>,
  addressesMax: number,
  recordSize: number,
): Resolved {
  // Before dlopen(), which may prompt at a terminal without permission.
  if (Deno.permissions.querySync({ name: "ffi", path }).state !== "granted") {
    throw new Deno.errors.NotCapable(
      `this thread cannot open ${path}; keep the permission --allow-ffi, or look the name up before it is revoked`,
    );
  }
  const library = Deno.dlopen(path, { kio_resolve: definition });
  try {
    const records = new Uint8Array(addressesMax * recordSize);
    const { kio_resolve } = library.symbols;
    const status = kio_resolve(host, records, addressesMax);
    // Only the used part: the answer is copied.
    const size = Math.max(status, 0) * recordSize;
    return { status, records: records.slice(0, size) };
  } finally {
    library.close();
  }
}

/** Gives the struct sockaddr of each record, with a port in it. */
export function* addressesIn(
  { status, records }: Resolved,
  port: number,
): Generator<Uint8Array> {
  const view = new DataView(records.buffer);
  for (let at = 0; at < status * RECORD_SIZE; at += RECORD_SIZE) {
    const length = view.getUint32(at + RECORD_LENGTH_AT, true);
    view.setUint16(at + PORT_AT, port);
    yield records.subarray(at, at + length);
  }
}
