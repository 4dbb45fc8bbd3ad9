/** Writes a cpio archive in the format "newc", of which Linux makes its first
 * file system. */

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const NOTHING = new Uint8Array();

/** An archive that is being written. Later files replace earlier ones. */
export class Cpio implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #folders = new Set([""]);
  #inode = 0;

  /** Begins the archive, or goes on at the end of what the file has. */
  constructor(path: string) {
    this.#file = Deno.openSync(path, { append: true, create: true });
  }

  /** Adds a regular file, and the folders above it. */
  file(path: string, content: Uint8Array | string, mode = 0o644): void {
    const bytes = typeof content === "string"
      ? new TextEncoder().encode(content)
      : content;
    this.#entry(path, S_IFREG | mode, bytes);
  }

  /** Adds a symbolic link. */
  link(path: string, target: string): void {
    this.#entry(path, S_IFLNK | 0o777, new TextEncoder().encode(target));
  }

  /** Adds a folder, and those above it. */
  folder(path: string): void {
    if (this.#folders.has(path)) return;
    this.#folders.add(path);
    this.#entry(path, S_IFDIR | 0o755, NOTHING);
  }

  /** Adds all that a folder of this system has, at a path. */
  tree(from: string, path: string): void {
    for (const { name, isDirectory, isSymlink } of Deno.readDirSync(from)) {
      const [source, target] = [`${from}/${name}`, `${path}/${name}`];
      if (isDirectory) this.tree(source, target);
      else if (isSymlink) this.link(target, Deno.readLinkSync(source));
      else this.copy(source, target);
    }
  }

  /** Adds a file of this system with its mode. */
  copy(from: string, path: string): void {
    const mode = Deno.statSync(from).mode! & 0o777;
    this.file(path, Deno.readFileSync(from), mode);
  }

  [Symbol.dispose](): void {
    this.#entry("TRAILER!!!", 0, NOTHING);
    this.#file.close();
  }

  #entry(path: string, mode: number, content: Uint8Array): void {
    const name = path.replace(/^\//, "");
    const above = name.lastIndexOf("/");
    if (above > 0) this.folder(name.slice(0, above));
    const fields = [
      ++this.#inode,
      mode,
      0, // user
      0, // group
      1, // links
      0, // time
      content.length,
      ...[0, 0, 0, 0], // devices
      new TextEncoder().encode(name).length + 1,
      0, // no checksum
    ];
    const hex = fields.map((it) => it.toString(16).padStart(8, "0")).join("");
    this.#write(new TextEncoder().encode(`070701${hex}${name}\0`));
    this.#write(content);
  }

  /** Writes all of the bytes, and up to three more to a multiple of four. */
  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      at += this.#file.writeSync(bytes.subarray(at));
    }
    const rest = -bytes.length & 3;
    if (rest > 0) this.#file.writeSync(new Uint8Array(rest));
  }
}
