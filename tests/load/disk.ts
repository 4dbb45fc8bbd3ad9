/** A file system of its own, whose disk can be looked at behind its back. */
import { run } from "../process/support.ts";
import { must, Unavailable, undoing } from "./scenario.ts";

const SIZE = 64 << 20;

/** In memory: the file stands for a disk, and the real one is slower. */
const PARENT = "/dev/shm";

/**
 * An ext4 in a file. The file has exactly the bytes that the system has written
 * to the disk, and that a power cut would leave now. It needs root and loop
 * devices.
 */
export class Disk implements Disposable {
  /** The folder where it is mounted. */
  readonly folder: string;
  readonly #parent: string;
  readonly #image: string;
  #isMounted = false;
  readonly #undo = () => {
    if (this.#isMounted) {
      new Deno.Command("umount", { args: [this.folder] }).outputSync();
    }
    Deno.removeSync(this.#parent, { recursive: true });
  };

  private constructor() {
    const folder = this.#parent = Deno.makeTempDirSync({ dir: PARENT });
    this.folder = `${folder}/mounted`;
    this.#image = `${folder}/image`;
  }

  static async make(): Promise<Disk> {
    if (Deno.uid() !== 0) throw new Unavailable("it needs root");
    const disk = new Disk();
    undoing.add(disk.#undo);
    try {
      Deno.writeFileSync(disk.#image, new Uint8Array());
      Deno.truncateSync(disk.#image, SIZE);
      await must(`mkfs.ext4 -q ${disk.#image}`);
      Deno.mkdirSync(disk.folder);
      await must(`mount -o loop ${disk.#image} ${disk.folder}`);
      disk.#isMounted = true;
    } catch (error) {
      disk[Symbol.dispose]();
      throw error;
    }
    return disk;
  }

  /**
   * A file as it would be after a loss of power. The copy is not mounted, which
   * would be one more thing to undo.
   */
  async afterPowerCut(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const [copy, file] = [`${this.#parent}/copy`, `${this.#parent}/file`];
    await must(`cp --sparse=always ${this.#image} ${copy}`);
    // Takes over the journal; 1 means that this changed something.
    const { code, out } = await run("e2fsck", ["-fp", copy]);
    if (code > 1) throw new Error(`e2fsck found more than a journal: ${out}`);
    await run("debugfs", ["-R", `dump ${name} ${file}`, copy]);
    const content = Deno.readFileSync(file);
    Deno.removeSync(file);
    return content;
  }

  [Symbol.dispose](): void {
    this.#undo();
    undoing.delete(this.#undo);
  }
}
