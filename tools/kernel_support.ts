/**
 * Writes docs/kernel-support.md from the table of operations:
 * `deno task support`.
 */
import { readArguments } from "../examples/command_line.ts";
import { ROWS } from "../lib/ops/rows.ts";
import type { Row } from "../lib/ops/table.ts";
import { FEATURE_NAMES, FEATURES } from "../lib/ring/features.ts";

const FILE = new URL("../docs/kernel-support.md", import.meta.url);

const HEAD = `# Kernel support

## Tested kernels

\`deno task test:kernels --short bookworm trixie sid\` on 29 November 2026:
Debian's kernels under QEMU with two emulated processors, on a machine that was
busy with other things. First the tests in C, then those of the library that
would notice most.

| kernel                       | liburing | passed    | failed | without                                       |
| ---------------------------- | -------- | --------- | ------ | --------------------------------------------- |
| 6.1.176, x86_64 and aarch64  | 2.3      | 158 + 435 | 0      | \`NO_IOWAIT\`, \`SYNC_MSG_RING\`, six operations  |
| 6.12.117, x86_64 and aarch64 | 2.9      | 158 + 435 | 0      | \`DEFER_TASKRUN\`, \`NO_IOWAIT\`, \`SYNC_MSG_RING\` |
| 7.2.13, x86_64 and aarch64   | 2.15     | 158 + 435 | 0      | \`DEFER_TASKRUN\`                               |

The long form, and the tests of processes, have not been run to their end there.

On 6.1 \`readMultishot\` is emulated, on the others \`deferTaskrun\`; the trials of
all other features pass.

6.12.117 and 7.2.13 have \`DEFER_TASKRUN\`, but signal eventfds late with it: see
[0008](decisions/0008-foreign-eventfds.md). The six operations are those newer
than 6.1 in the table below.

## Operations

All operations, by the opcode of \`struct io_uring_sqe\` and the first Linux that
has it. \`IoContext.probe()\` and \`deno task doctor\` ask the kernel that runs. kio
is tested with Linux 6.1 and later.

"Fault" is the operation's name in a rule of \`FaultPlan\`. "Without it": the
calling thread makes that system call, which is no part of a chain. Linux 6.1
has all other opcodes. An operation with two rows has an opcode for each form:
of a path and of an fd, or without and with restrictions.

<!-- Made by "deno task support" from lib/ops/table.ts. -->
`;

const FEATURES_HEAD = `
## Features

What operations are made of. \`KIO_DISABLE\` and the option \`features\` switch them
off by these names, and \`require\` asks for them. "Tried" are those that kernels
had faults in: each is used only after a trial in the same process.
`;

/** The oldest Linux that kio is tested with. */
const SUPPORTED = [6, 1] as const;

function withoutIt(since: string): string {
  const [major = 0, minor = 0] = since.split(".").map(Number);
  const isNewer = major > SUPPORTED[0] ||
    major === SUPPORTED[0] && minor > SUPPORTED[1];
  return isNewer ? "`EINVAL`" : "";
}

function cellsOf(row: Row): string[] {
  const { name, opcode, since, fallback, fault } = row;
  const isOfKernel = opcode >= 0;
  return [
    `\`${name}()\``,
    isOfKernel ? `${opcode}` : "none",
    isOfKernel ? since : "any",
    fallback === undefined ? withoutIt(since) : `\`${fallback}\``,
    fault === undefined ? "none" : `\`"${fault}"\``,
  ];
}

function featureCells(): string[][] {
  return FEATURE_NAMES.map((name) => {
    const { since, trial, unused, without } = FEATURES[name];
    const tried = trial === undefined ? "" : "tried";
    const otherwise = unused ?? without ?? "`reserveFiles()`: `EOPNOTSUPP`";
    return [`\`${name}\``, since, tried, otherwise];
  });
}

function tableOf(titles: string[], cells: string[][]): string {
  const rows = [titles, ...cells];
  const widths = titles.map((_, at) =>
    Math.max(...rows.map((cells) => cells[at]!.length))
  );
  const [head, ...body] = rows.map((cells) =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at]!)).join(" | ")} |`
  );
  const line = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  // Of an fd and of a direct descriptor: the same.
  return [head, line, ...new Set(body)].join("\n");
}

/** Gives the text of docs/kernel-support.md. */
export function kernelSupport(): string {
  const titles = ["operation", "opcode", "Linux", "without it", "fault"];
  const operations = tableOf(titles, ROWS.map(cellsOf));
  const features = tableOf(
    ["feature", "Linux", "tried", "without it"],
    featureCells(),
  );
  return `${HEAD}\n${operations}\n${FEATURES_HEAD}\n${features}\n`;
}

if (import.meta.main) {
  readArguments({
    command: "deno task support",
    about: "Writes docs/kernel-support.md from the table of operations.",
    options: {},
  }, () => {});
  await Deno.writeTextFile(FILE, kernelSupport());
}
