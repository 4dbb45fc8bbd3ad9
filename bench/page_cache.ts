/** Files that stay in the page cache while they are measured. */

import { c } from "./programs.ts";

/** The programs that keep files in the page cache, by path. */
const keepers = new Map<string, Deno.ChildProcess>();

/** Keeps a file in the page cache until it is removed. Prints a line where the
 * system does not allow it: then the benchmark may measure the disk. */
export async function keep(path: string): Promise<void> {
  const [program, ...args] = c("keep", path);
  const keeper = new Deno.Command(program, {
    args,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const said = keeper.stdout.getReader();
  await said.read();
  await said.cancel();
  keepers.set(path, keeper);
}

/** Lets go of a file, and takes it away. */
export async function remove(path: string): Promise<void> {
  const keeper = keepers.get(path);
  keepers.delete(path);
  await keeper?.stdin.close().catch(() => {});
  await keeper?.status;
  await Deno.remove(path);
}
