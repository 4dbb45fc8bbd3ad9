/** Leaves nothing behind when a signal ends a tool: no process and no file. */

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
/** Names the process that waits for this one. */
const WAITING = "KIO_TIDY";
/** Longer than a process takes to end. */
const END_MS_MAX = 10_000;

/**
 * Runs the main function of a tool. The process that the user has started runs
 * the tool as a child, which has a temporary folder of its own. At a signal the
 * child ends, and all that it has started, whatever they wait for. Then the
 * folder goes.
 *
 * @param url The `import.meta.url` of the tool.
 * @param main Gives the exit code.
 */
export async function tidily(
  url: string,
  main: () => number | Promise<number>,
): Promise<void> {
  if (Deno.env.get(WAITING) === `${Deno.ppid}`) Deno.exit(await main());
  const folder = Deno.makeTempDirSync();
  // Like /tmp: programs of other users may pass.
  Deno.chmodSync(folder, 0o1777);
  for (const [name, number] of Object.entries(SIGNALS)) {
    Deno.addSignalListener(name as keyof typeof SIGNALS, () => {
      endAll(folder);
      remove(folder);
      Deno.exit(128 + number);
    });
  }
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", url, ...Deno.args],
    env: { [WAITING]: `${Deno.pid}`, TMPDIR: folder },
  }).spawn().status;
  remove(folder);
  Deno.exit(code);
}

/** Kills the processes that have the folder: some have a group of their own, and
 * others no parent any more. */
function endAll(folder: string): void {
  const endMs = performance.now() + END_MS_MAX;
  for (let found = true; found && performance.now() < endMs;) {
    found = false;
    for (const { name } of Deno.readDirSync("/proc")) {
      if (!/^\d+$/.test(name) || !environmentOf(name).includes(folder)) {
        continue;
      }
      found = true;
      try {
        Deno.kill(Number(name), "SIGKILL");
      } catch {
        // It has ended.
      }
    }
  }
}

/** The environment of a process; empty if it has ended, or is another user's. */
function environmentOf(pid: string): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/environ`);
  } catch {
    return "";
  }
}

function remove(folder: string): void {
  Deno.removeSync(folder, { recursive: true });
}
