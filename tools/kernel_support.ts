/**
 * Writes docs/kernel-support.md from the table of operations:
 * `deno task support`.
 */
import { ROWS } from "../lib/ops/rows.ts";
import type { Row } from "../lib/ops/table.ts";

const FILE = new URL("../docs/kernel-support.md", import.meta.url);

const HEAD = `# Kernel support

All operations, by the opcode of \`struct io_uring_sqe\` and the first Linux that
has it. \`IoContext.probe()\` and \`deno task doctor\` ask the kernel that runs. kio
is tested with Linux 6.1 and later.

"Fault" is the operation's name in a rule of \`FaultPlan\`. Without its opcode an
operation fails with \`EINVAL\`, or the calling thread makes a system call, which
is no part of a chain.

<!-- Made by "deno task support" from lib/ops/table.ts. -->
`;

function cellsOf(row: Row): string[] {
  const { name, opcode, since, fallback, fault } = row;
  const isOfKernel = opcode >= 0;
  return [
    `\`${name}()\``,
    isOfKernel ? `${opcode}` : "none",
    isOfKernel ? since : "any",
    fallback === undefined ? "`EINVAL`" : `\`${fallback}\``,
    fault === undefined ? "none" : `\`"${fault}"\``,
  ];
}

/** Gives the text of docs/kernel-support.md. */
export function kernelSupport(): string {
  const titles = ["operation", "opcode", "Linux", "without it", "fault"];
  const rows = [titles, ...ROWS.map(cellsOf)];
  const widths = titles.map((_, at) =>
    Math.max(...rows.map((cells) => cells[at]!.length))
  );
  const [head, ...body] = rows.map((cells) =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at]!)).join(" | ")} |`
  );
  const line = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return `${HEAD}\n${[head, line, ...body].join("\n")}\n`;
}

if (import.meta.main) await Deno.writeTextFile(FILE, kernelSupport());
