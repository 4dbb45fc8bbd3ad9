/** A file system of its own, whose disk can be looked at behind its back. */
import { must, Unavailable, undoing } from "./scenario.ts";

const SIZE = 64 << 20;

/** In memory: the file stands for a disk, and the real one is slower. */
const PARENT = "/dev/shm";

/**
 * An ext4 in a file: what is in that file is what the system has written to
 * the disk, and what would be left of it if the power were cut now. Needs root
 * and loop devices.
 */
export class Disk implements Disposable {
  /** Where it is mounted. */
  readonly folder: string;
  readonly #parent: string;
  readonly #image: string;
  readonly #copy: string;
  readonly #mounted: string[] = [];
  readonly #undo = () => {
    for (const path of this.#mounted) {
      new Deno.Command("umount", { args: [path] }).outputSync();
    }
    Deno.removeSync(this.#parent, { recursive: true });
  };

  private constructor() {
    const folder = this.#parent = Deno.makeTempDirSync({ dir: PARENT });
    this.folder = `${folder}/mounted`;
    this.#image = `${folder}/image`;
    this.#copy = `${folder}/copy`;
  }

  static async make(): Promise<Disk> {
    if (Deno.uid() !== 0) throw new Unavailable("it needs root");
    const disk = new Disk();
    undoing.add(disk.#undo);
    try {
      Deno.writeFileSync(disk.#image, new Uint8Array());
      Deno.truncateSync(disk.#image, SIZE);
      await must(`mkfs.ext4 -q ${disk.#image}`);
      await disk.#mount(disk.#image, disk.folder);
    } catch (error) {
      disk[Symbol.dispose]();
      throw error;
    }
    return disk;
  }

  async #mount(image: string, at: string): Promise<void> {
    Deno.mkdirSync(at, { recursive: true });
    await must(`mount -o loop ${image} ${at}`);
    this.#mounted.unshift(at);
  }

  /** A file as it would be after a loss of power. */
  async afterPowerCut(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const at = `${this.#copy}-mounted`;
    await must(`cp --sparse=always ${this.#image} ${this.#copy}`);
    await this.#mount(this.#copy, at);
    const content = Deno.readFileSync(`${at}/${name}`);
    await must(`umount ${at}`);
    this.#mounted.shift();
    return content;
  }

  [Symbol.dispose](): void {
    this.#undo();
    undoing.delete(this.#undo);
  }
}
