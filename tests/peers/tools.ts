/**
 * A copy of a tree by operations against `cp -a`, and extended attributes against
 * `getfattr` and `setfattr`, `deno task test:tools`. Each runs on an ext4 of its
 * own, which this mounts (as root), and on a tmpfs.
 */
import { assertEquals } from "@std/assert";
import {
  asyncGetxattr,
  asyncLink,
  asyncMkdir,
  asyncReadlink,
  asyncSetxattr,
  asyncSymlink,
  type IoContext,
  type Path,
  readFile,
  unwrap,
  walk,
  writeFile,
} from "@kio/kio";
import { bytes, kioTest, text } from "../support.ts";

/** Runs a program; gives its output. */
async function run(program: string, ...args: string[]): Promise<Uint8Array> {
  const output = await new Deno.Command(program, { args }).output();
  const { success, stdout, stderr } = output;
  if (!success) throw new Error(`${program}: ${text(stdout)}${text(stderr)}`);
  return stdout;
}

/** A file system of its own. */
class Place implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync();
  readonly root = `${this.folder}/root`;

  static async make(type: string): Promise<Place> {
    const place = new Place();
    const { folder, root } = place;
    Deno.mkdirSync(root);
    const image = `${folder}/image`;
    if (type === "ext4") {
      await run("truncate", "-s", "64M", image);
      await run("mkfs.ext4", "-q", "-F", "-b", "4096", image);
      await run("mount", "-o", "loop", image, root);
    } else await run("mount", "-t", type, "none", root);
    return place;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", this.root);
    Deno.removeSync(this.folder, { recursive: true });
  }
}

const NAME = "user.kio";
const FILL = `
set -e; cd "$1"; mkdir -p names data/deep/er links
for i in $(seq 1 255); do
  printf -v hex '%02x' $i; printf -v name "names/a\\\\x$hex"b.
  [ $i = 47 ] || { printf $i > "$name"; setfattr -n ${NAME} -v "0x$hex" "$name"; }
done
mkdir "names/"$'\\xff\\xfe'; printf in > "names/"$'\\xff\\xfe/\\x80'
for size in 0 1 4095 4096 4097 3000000; do
  head -c $size /dev/urandom > data/$size
done
ln data/4097 data/deep/er/hard; ln -s ../data links/data; ln -s nowhere links/none
ln -s "names/"$'\\xff\\xfe' links/bytes
setfattr -n ${NAME} -v folder data/deep; setfattr -n ${NAME} data/1
`;

/** The same path below another root. */
function below(path: Path, from: string, to: string): Path {
  if (typeof path === "string") return to + path.slice(from.length);
  const rest = path.subarray(bytes(from).length);
  return new Uint8Array([...bytes(to), ...rest]);
}

/** Copies a tree by operations. */
async function copy(ctx: IoContext, from: string, to: string): Promise<void> {
  const copied = new Map<bigint, Path>();
  for await (const entry of walk(ctx, from, { stat: true }).orThrow()) {
    const target = below(entry.path, from, to);
    const { mode, links, inode } = unwrap(entry.stat);
    const first = links > 1 ? copied.get(inode) : undefined;
    if (entry.isDirectory) unwrap(await asyncMkdir(ctx, target, { mode }));
    else if (entry.isSymlink) {
      const leads = unwrap(await asyncReadlink(ctx, entry.path));
      unwrap(await asyncSymlink(ctx, leads, target));
      continue;
    } else if (first !== undefined) {
      unwrap(await asyncLink(ctx, first, target));
      continue;
    } else {
      const content = unwrap(await readFile(ctx, entry.path));
      unwrap(await writeFile(ctx, target, content, { mode }));
      copied.set(inode, target);
    }
    const value = await asyncGetxattr(ctx, entry.path, NAME);
    if (value.ok) unwrap(await asyncSetxattr(ctx, target, NAME, value.value));
    else assertEquals(value.error.code, "ENODATA");
  }
}

/** All of a tree as find(1), getfattr(1) and sha256sum(1) tell of it. */
async function told(root: string): Promise<string[]> {
  const parts = await Promise.all([
    // The size of a directory is the file system's.
    "find . -printf '%P %y %m %n %l\\0'",
    "find . ! -type d -printf '%P %s\\0'",
    "find . -type f -exec sha256sum -z {} +",
    "find . -print0 | sort -z | xargs -0 getfattr -h -d -e hex",
  ].map((script) => run("sh", "-c", `cd "$1" && ${script}`, "sh", root)));
  // One character a byte: names are no text.
  const latin = (part: Uint8Array) =>
    Array.from(part, (byte) => String.fromCharCode(byte)).join("");
  return parts.map((part) => latin(part).split(/\0|\n\n/).sort().join("\n"));
}

for (const type of ["ext4", "tmpfs"]) {
  kioTest(`A copy by operations is that of cp -a, on ${type}`, async (ctx) => {
    await using place = await Place.make(type);
    const [from, ours, theirs] = ["from", "ours", "theirs"].map((name) =>
      `${place.root}/${name}`
    );
    Deno.mkdirSync(from!);
    await run("bash", "-c", FILL, "bash", from!);
    await copy(ctx, from!, ours!);
    await run("cp", "-a", from!, theirs!);
    assertEquals(await told(ours!), await told(theirs!));
    assertEquals(await told(ours!), await told(from!));
  });

  kioTest(
    `asyncSetxattr() sets what getfattr finds, on ${type}`,
    async (ctx) => {
      await using place = await Place.make(type);
      const path = `${place.root}/file`;
      unwrap(await writeFile(ctx, path, bytes("x")));
      for (const length of [0, 1, 255, 1000]) {
        const value = Uint8Array.from({ length }, (_, i) => i);
        unwrap(await asyncSetxattr(ctx, path, NAME, value));
        const read = ["-n", NAME, "--only-values", path];
        assertEquals(await run("getfattr", ...read), value);
        const other = `${NAME}2`;
        const hex = `0x${value.toHex()}`;
        await run("setfattr", "-n", other, "-v", hex, path);
        assertEquals(unwrap(await asyncGetxattr(ctx, path, other)), value);
      }
    },
  );
}
