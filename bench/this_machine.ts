/** The machine that figures are measured on now. */

import deno from "../deno.json" with { type: "json" };
import type { Machine } from "./machine.ts";
import { versions } from "./programs.ts";

/** Finds out about this machine. */
export async function describeMachine(): Promise<Machine> {
  const cpuInfo = await Deno.readTextFile("/proc/cpuinfo");
  const all = {
    kio: deno.version,
    Deno: Deno.version.deno,
    Node: versions.node,
    Bun: versions.bun,
    liburing: versions.liburing,
    fio: versions.fio,
    nginx: versions.nginx,
    socat: versions.socat,
    wrk: versions.wrk,
  };
  return {
    cpu: /^model name\s*:\s*(.+)$/m.exec(cpuInfo)?.[1] ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    // A suffix of a distribution or a provider means nothing elsewhere.
    kernel: /^[\d.]*\d/.exec(Deno.osRelease())?.[0] ?? Deno.osRelease(),
    versions: Object.fromEntries(
      Object.entries(all).filter((entry): entry is [string, string] =>
        entry[1] !== null
      ),
    ),
  };
}
