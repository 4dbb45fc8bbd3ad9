/** What the figures were measured on. */

import { firstLine, versions } from "./programs.ts";

/** The machine and the versions of what ran on it. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
  readonly deno: string;
  readonly node: string;
  readonly bun: string;
  readonly liburing: string;
  readonly fio: string;
}

/** Finds out about this machine. */
export async function describeMachine(): Promise<Machine> {
  const cpuInfo = await Deno.readTextFile("/proc/cpuinfo");
  const liburing = await firstLine(["pkg-config", "--modversion", "liburing"]);
  return {
    cpu: /^model name\s*:\s*(.+)$/m.exec(cpuInfo)?.[1] ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    kernel: Deno.osRelease(),
    deno: Deno.version.deno,
    node: versions.node ?? "not installed",
    bun: versions.bun ?? "not installed",
    liburing: liburing ?? "unknown",
    fio: versions.fio ?? "not installed",
  };
}
