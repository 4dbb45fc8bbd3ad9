import { Disk } from "../disk.ts";
import { wholeRecords } from "../log_format.ts";
import { type Load, type Scenario, Unavailable } from "../scenario.ts";
import { sleep } from "../../process/support.ts";
import { Subject } from "../subject.ts";

/** Killed at the latest after that. */
const LIFE_MS_MAX = 200;
/** A new log after so many lives, so that it stays small. */
const LIVES_OF_A_LOG = 20;

export const durability: Scenario = {
  about: "kills of a log that tells which records are on the disk",
  long: { seconds: 1, connections: 200 },
  short: { seconds: 1, connections: 4 },
  async run(load) {
    using disk = await diskOf(load);
    const folder = disk?.folder ?? load.folder;
    const log = `${folder}/log`;
    let [promised, records, torn] = [0, 0, 0];
    const lost = { kill: 0, reopening: 0, powerCut: 0 };
    for (let life = 0; life < load.connections; life++) {
      if (life % LIVES_OF_A_LOG === 0) {
        Deno.writeFileSync(log, new Uint8Array());
        promised = 0;
      }
      await using program = new Subject("append_log", [folder]);
      const { 1: found } = await program.printed(/^recovered (\d+)\n/);
      lost.reopening += Math.max(0, promised - Number(found));
      await sleep(LIFE_MS_MAX * Math.random());
      const { out } = await program.kill("SIGKILL");

      const before = promised;
      // Records found in the log are not promised: no fdatasync has come since.
      promised = Number(
        [...out.matchAll(/^durable (\d+)$/gm)].at(-1)?.[1] ?? before,
      );
      records += promised - before;
      const content = Deno.readFileSync(log);
      const { count, size } = wholeRecords(content);
      lost.kill += Math.max(0, promised - count);
      if (size < content.length) torn++;
      if (disk === undefined) continue;
      const left = wholeRecords(await disk.afterPowerCut("log"));
      lost.powerCut += Math.max(0, promised - left.count);
    }
    load.note(`${records} records promised, ${torn} kills in a record`);
    load.check(
      "what was promised is there after a kill",
      records > 0 && lost.kill === 0,
      `${lost.kill} lost`,
    );
    load.check(
      "and when the log is opened again",
      lost.reopening === 0,
      `${lost.reopening} lost`,
    );
    if (disk === undefined) return;
    load.check(
      "and on the disk, had the power been cut as well",
      lost.powerCut === 0,
      `${lost.powerCut} lost`,
    );
  },
};

/** Without one only the kills are looked at. */
async function diskOf(load: Load): Promise<Disk | undefined> {
  try {
    return await Disk.make();
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    load.note(`skipped: the disk itself is not looked at, ${error.message}`);
    return undefined;
  }
}
