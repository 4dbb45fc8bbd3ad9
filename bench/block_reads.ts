/** Programs that read random blocks of the file. */

import { BLOCK_FILE } from "./block_file.ts";
import type { Command } from "./programs.ts";
import { run, runForJson } from "./run.ts";
import type { Sample } from "./suite.ts";

/** Runs a program that reads blocks, and counts. */
export async function sampleWindow(
  command: Command,
  seconds: number,
): Promise<Sample> {
  const { ops, seconds: measured } = await runForJson(command, seconds);
  return { opsPerS: ops! / measured! };
}

/** Runs fio's random reads of the file. */
export async function sampleFio(
  depth: number,
  seconds: number,
  options: readonly string[],
): Promise<Sample> {
  const output = await run([
    "fio",
    "--name=reads",
    `--filename=${BLOCK_FILE}`,
    "--readonly",
    "--ioengine=io_uring",
    "--rw=randread",
    "--bs=4k",
    `--iodepth=${depth}`,
    // fio would empty the page cache first.
    "--invalidate=0",
    // Like the other peers: any block, any number of times.
    "--norandommap",
    "--randrepeat=0",
    "--time_based",
    "--ramp_time=500ms",
    `--runtime=${seconds * 1000}ms`,
    "--output-format=json",
    ...options,
  ], seconds);
  // Notes of fio's come before the JSON.
  const { jobs } = JSON.parse(output.slice(output.indexOf("{")));
  return { opsPerS: jobs[0].read.iops };
}
