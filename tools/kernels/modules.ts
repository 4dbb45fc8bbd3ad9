/** The modules of a kernel that a guest needs, as files that insmod(8) takes. */
import { run } from "./run.ts";

/** What Debian does not build in: a disk, its file system, and kernel TLS. */
const NEEDED = ["virtio_pci", "virtio_blk", "ext4", "tls"];

/** Lists the regular files below a folder. */
export function* filesIn(
  folder: string,
): Generator<{ name: string; path: string }> {
  for (const { name, isDirectory, isFile } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* filesIn(path);
    if (isFile) yield { name, path };
  }
}

/** The modules, each behind those that it depends on. */
export function neededModules(
  folder: string,
): { name: string; content: Uint8Array }[] {
  const all = new Map<string, string>();
  for (const { name, path } of filesIn(folder)) {
    const [, module] = /^(.*)\.ko(\.xz)?$/.exec(name) ?? [];
    if (module) all.set(module.replaceAll("-", "_"), path);
  }
  const taken = new Map<string, Uint8Array>();
  const take = (name: string) => {
    const path = all.get(name);
    // A kernel may have it built in.
    if (path === undefined || taken.has(name)) return;
    if (path.endsWith(".xz")) run("xz", ["--decompress", "--force", path]);
    const content = Deno.readFileSync(path.replace(/\.xz$/, ""));
    for (const other of dependenciesOf(content)) take(other);
    taken.set(name, content);
  };
  for (const name of NEEDED) take(name);
  return Array.from(taken, ([name, content]) => ({ name, content }));
}

/** The names in a module's section ".modinfo". Soft ones as well: without
 * crc32c there is no ext4. */
function dependenciesOf(module: Uint8Array): string[] {
  const text = new TextDecoder("latin1").decode(module);
  const names: string[] = [];
  for (
    const [, kind, list] of text.matchAll(/\0(depends|softdep)=([^\0]*)/g)
  ) {
    names.push(
      ...(kind === "depends"
        ? list!.split(",")
        : list!.replace("pre:", "").split(" ")),
    );
  }
  return names.filter((it) => it !== "").map((it) => it.replaceAll("-", "_"));
}
