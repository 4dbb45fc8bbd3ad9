/** The machine that figures were measured on. */

/** The machine and the versions of what ran on it. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
  /** Versions by the name of the program; one that is not installed is missing.
   */
  readonly versions: Readonly<Record<string, string>>;
}

/** "AMD EPYC, 2 cores, Linux 6.18.44; kio 0.1.0, Deno 2.9.6, …" */
export function machineText({ cpu, cores, kernel, versions }: Machine): string {
  const programs = Object.entries(versions).map((entry) => entry.join(" "));
  return `${cpu}, ${cores} cores, Linux ${kernel}; ${programs.join(", ")}`;
}
