/** Where operations are started and leases taken, with the option `trace`. */

/** Notes where the program is. The frames of the library are not shown, so more
 * are kept than usual. */
export function traceHere(): Error {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 64;
  const trace = new Error();
  Error.stackTraceLimit = stackTraceLimit;
  return trace;
}

/** Gives the stack of an operation's start, without the frames of the
 * library. */
export function stackOf(trace: Error | undefined): string {
  const lines = trace?.stack?.split("\n").slice(1) ?? [];
  const folders = ["../", "../../net/", "../../helpers/"]
    .map((name) => new URL(name, import.meta.url).href);
  const isOurs = (line: string) => folders.some((it) => line.includes(it));
  return lines.filter((line) => !isOurs(line)).join("\n");
}
