/** Options of a command. */
export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
}

/** Runs a command to its end. Gives what it has printed, or throws. */
export function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): string {
  const { success, stdout, stderr } = new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    ...options,
  }).outputSync();
  if (success) return new TextDecoder().decode(stdout);
  const said = new TextDecoder().decode(stderr);
  throw new Error(`Cannot run ${command} ${args.join(" ")}: ${said}`);
}
