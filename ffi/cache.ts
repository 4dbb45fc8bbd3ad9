/**
 * The private folder where an installed package keeps its library. It checks
 * that only this user and root can have put anything there, and that the
 * library is whole.
 *
 * It asks libc, so it needs `--allow-ffi` and nothing else. That is no way
 * around the other permissions: `--allow-ffi` without a list of paths contains
 * them, as native code reads HOME and files as it likes. With a list of paths,
 * or with some denied, the folder is not used. `--deny-env` is respected.
 */
import { DIGEST } from "./digest.ts";

/** The name of the library, one for each version of the sources: new ones are
 * built beside old. */
export const LIBRARY_NAME = nameOf("kio");

/** The name of the library with faults, for tests. */
export const FAULTS_LIBRARY_NAME = nameOf("kio-faults");

function nameOf(name: string): string {
  return `lib${name}-${Deno.build.arch}-${DIGEST.slice(0, 16)}.so`;
}

// deno-fmt-ignore
const symbols = {
  secure_getenv: { parameters: ["buffer" /* const char *name */], result: "pointer" },
  geteuid: { parameters: [], result: "u32" },
  realpath: { parameters: ["buffer" /* const char *path */, "buffer" /* char *resolved */], result: "pointer" },
  statx: { parameters: ["i32" /* int directory */, "buffer" /* const char *path */, "i32" /* int flags */, "u32" /* unsigned int mask */, "buffer" /* struct statx *stat */], result: "i32" },
  open: { parameters: ["buffer" /* const char *path */, "i32" /* int flags */], result: "i32" },
  read: { parameters: ["i32" /* int fd */, "buffer" /* void *buffer */, "usize" /* size_t count */], result: "isize" },
  close: { parameters: ["i32" /* int fd */], result: "i32" },
  __errno_location: { parameters: [], result: "pointer" },
} as const satisfies Deno.ForeignLibraryInterface;

const ENOENT = 2;
const PATH_MAX = 4096;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_BASIC_STATS = 0x7ff;
const O_CLOEXEC = 0o2000000;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_ISVTX = 0o001000;
const WRITABLE_BY_OTHERS = 0o022;
/** sizeof(struct statx) and its parts. */
const STAT_SIZE = 256;
const STAT_UID_AT = 20;
const STAT_MODE_AT = 28;
const STAT_FILE_SIZE_AT = 40;
/** The most bytes of a library: many times its real size. */
const SIZE_MAX = 2 ** 26;

/**
 * Tells whether all of a permission is granted. The state alone does not tell:
 * it is "granted" too if a `--deny-…` takes a part back.
 */
export function isWhole(name: Deno.PermissionName): boolean {
  const { state, partial } = Deno.permissions.querySync({ name });
  return state === "granted" && partial !== true;
}

let bound: Deno.DynamicLibrary<typeof symbols>["symbols"] | undefined;

function libc(): Deno.DynamicLibrary<typeof symbols>["symbols"] {
  if (bound === undefined) {
    // Without it Deno takes the name for a path, of a file in the current
    // folder.
    if (!isWhole("ffi")) {
      throw new Deno.errors.NotCapable(
        "Cannot look into the cache of kio: run Deno with --allow-ffi, without a list of paths or --deny-ffi",
      );
    }
    const library = Deno.dlopen("libc.so.6", symbols);
    // Deno itself needs it, so it stays in memory.
    library.close();
    bound = library.symbols;
  }
  return bound;
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

function errno(): number {
  return new Deno.UnsafePointerView(libc().__errno_location()!).getInt32();
}

function environment(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  if (state === "denied") return undefined;
  const value = libc().secure_getenv(cString(name));
  if (value === null) return undefined;
  return Deno.UnsafePointerView.getCString(value);
}

/** The place of the cache: a folder that must exist, and the folders below. */
interface Place {
  base: string;
  below: string[];
}

function place(): Place {
  const cache = environment("XDG_CACHE_HOME");
  const home = environment("HOME");
  // The XDG specification demands to ignore a relative one.
  const isCache = cache?.startsWith("/") === true;
  const from = isCache ? cache : home;
  if (!from?.startsWith("/")) {
    throw new Deno.errors.NotFound(
      "there is no cache: neither XDG_CACHE_HOME nor HOME is an absolute path that may be read",
    );
  }
  const resolved = new Uint8Array(PATH_MAX);
  if (libc().realpath(cString(from), resolved) === null) {
    throw new Deno.errors.NotFound(
      `there is no cache: cannot find ${from} (errno ${errno()})`,
    );
  }
  return {
    base: new TextDecoder().decode(resolved.subarray(0, resolved.indexOf(0))),
    below: isCache ? ["kio"] : [".cache", "kio"],
  };
}

interface Stat {
  uid: number;
  mode: number;
  size: number;
}

/** Looks at a path by statx(2), and at a link itself; undefined if nothing is
 * there. */
function stat(path: string): Stat | undefined {
  const out = new DataView(new ArrayBuffer(STAT_SIZE));
  const status = libc().statx(
    AT_FDCWD,
    cString(path),
    AT_SYMLINK_NOFOLLOW,
    STATX_BASIC_STATS,
    out.buffer,
  );
  if (status !== 0) {
    const code = errno();
    if (code === ENOENT) return undefined;
    throw new Error(
      `Cannot use ${path}: it cannot be looked at (errno ${code})`,
    );
  }
  return {
    uid: out.getUint32(STAT_UID_AT, true),
    mode: out.getUint16(STAT_MODE_AT, true),
    size: Number(out.getBigUint64(STAT_FILE_SIZE_AT, true)),
  };
}

/** Refuses a file or folder that another user can have changed. */
function checkOwner(path: string, { uid, mode }: Stat): void {
  if (uid !== 0 && uid !== libc().geteuid()) {
    throw new Error(
      `Cannot use ${path}: it belongs to user ${uid}, who could have put any code there; remove it or set another XDG_CACHE_HOME`,
    );
  }
  if ((mode & WRITABLE_BY_OTHERS) !== 0) {
    throw new Error(
      `Cannot use ${path}: other users can write to it (mode ${
        (mode & 0o7777).toString(8)
      }) and could have put any code there; look at what is in it, then: chmod go-w ${path}`,
    );
  }
}

function checkType(path: string, { mode }: Stat, wanted: number): void {
  if ((mode & S_IFMT) === wanted) return;
  const is = (mode & S_IFMT) === S_IFLNK ? "a symbolic link" : "something else";
  const should = wanted === S_IFDIR ? "a folder" : "a file";
  throw new Error(
    `Cannot use ${path}: it is ${is} where ${should} of kio has to be; remove it and build again`,
  );
}

function checkFolder(path: string): boolean {
  const found = stat(path);
  if (found === undefined) return false;
  checkType(path, found, S_IFDIR);
  checkOwner(path, found);
  return true;
}

/** Checks the base and the folders above it, which `realpath` has resolved. */
function checkBase(base: string): void {
  for (let end = 0; end >= 0;) {
    const path = base.slice(0, end) || "/";
    const found = stat(path);
    // In a folder with the sticky bit (/tmp) only the owner of a file and the
    // owner of the folder can replace it.
    const isSticky = found !== undefined && (found.mode & S_ISVTX) !== 0;
    if (found !== undefined) {
      checkOwner(path, isSticky ? { ...found, mode: 0 } : found);
    }
    end = base.indexOf("/", end + 1);
  }
  if (!checkFolder(base)) {
    throw new Deno.errors.NotFound(`there is no cache: cannot find ${base}`);
  }
}

/**
 * Gives the folder of the cache, checked.
 *
 * @param make Makes one of its folders that is missing, with mode 0700.
 * @throws {Deno.errors.NotFound} If there is no home, or a folder is missing
 * and cannot be made.
 * @throws {Error} If others could have changed it.
 */
export function cacheFolder(make: (path: string) => void): string {
  const { base, below } = place();
  checkBase(base);
  return below.reduce((above, name) => {
    const path = `${above}/${name}`;
    if (!checkFolder(path)) {
      make(path);
      checkFolder(path);
    }
    return path;
  }, base === "/" ? "" : base);
}

/**
 * Gives the path of this version's library in the cache, checked.
 *
 * @throws {Deno.errors.NotFound} If there is none.
 * @throws {Error} If it must not be loaded.
 */
export function cachedLibrary(name: string): string {
  const folder = cacheFolder((path) => {
    throw new Deno.errors.NotFound(`${path}: not there`);
  });
  const path = `${folder}/${name}`;
  const found = stat(path);
  if (found === undefined) {
    throw new Deno.errors.NotFound(`${path}: not there`);
  }
  checkType(path, found, S_IFREG);
  checkOwner(path, found);
  if (found.size > SIZE_MAX || !isSealed(contentOf(path, found.size))) {
    throw new Error(
      `Cannot use ${path}: it is not what was built there, but cut off or changed; build it again`,
    );
  }
  return path;
}

function contentOf(path: string, size: number): Uint8Array<ArrayBuffer> {
  const fd = libc().open(cString(path), O_CLOEXEC);
  if (fd < 0) {
    throw new Error(
      `Cannot use ${path}: it cannot be opened (errno ${errno()})`,
    );
  }
  try {
    const content = new Uint8Array(size);
    for (let at = 0; at < size;) {
      const rest = content.subarray(at);
      const count = Number(libc().read(fd, rest, BigInt(rest.length)));
      if (count <= 0) return content.subarray(0, at);
      at += count;
    }
    return content;
  } finally {
    libc().close(fd);
  }
}

/** The end of a library's file, behind the library: a mark, and a checksum. */
const SEAL = new TextEncoder().encode("kio-crc32:");

/** Appends its check sum to a library, where the loader of the system does not
 * look. Both are in one file, so that one rename replaces both. */
export function sealed(library: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(library.length + SEAL.length + 4);
  out.set(library);
  out.set(SEAL, library.length);
  new DataView(out.buffer).setUint32(out.length - 4, crc32(library));
  return out;
}

function isSealed(content: Uint8Array): boolean {
  const end = content.length - SEAL.length - 4;
  if (end <= 0) return false;
  const expected = sealed(content.subarray(0, end)).subarray(end);
  return expected.every((byte, i) => byte === content[end + i]);
}

/**
 * Computes a check sum against accidents: a full disk, a bad copy. Against
 * people the owners are checked, as who can write the library can write its
 * check sum. A cryptographic one would take two to three times as long at each
 * start of a program, or 35 ms by `node:crypto`.
 */
function crc32(data: Uint8Array): number {
  const table = Int32Array.from({ length: 256 }, (_, index) => {
    let value = index;
    for (let bit = 0; bit < 8; bit++) {
      value = (value & 1) === 0 ? value >>> 1 : value >>> 1 ^ 0xedb88320;
    }
    return value;
  });
  let crc = -1;
  for (let i = 0; i < data.length; i++) {
    crc = table[(crc ^ data[i]!) & 255]! ^ crc >>> 8;
  }
  return ~crc >>> 0;
}
