import { checkArray } from "./check.ts";
import { OPCODES } from "./ops/rows.ts";
import { CLOSE, POLL } from "./ops/table.ts";

const OPCODES_MAX = 256;

/** Gives the operations of a list, and those that are always allowed: 1 in the
 * place of each number. */
export function allowedBy(
  allow: readonly unknown[],
  verb: string,
): Uint8Array<ArrayBuffer> {
  checkArray(allow, "operations", verb);
  const allowed = new Uint8Array(OPCODES_MAX);
  // Waiting is made of polls, and an fd that is given up must be closed.
  for (const { opcode } of [POLL, CLOSE]) allowed[opcode] = 1;
  for (const operation of allow) {
    const opcode = OPCODES.get(operation as string);
    if (opcode === undefined) {
      throw new RangeError(
        `Cannot ${verb}: allow has ${Deno.inspect(operation)}; it takes ${
          [...OPCODES.keys()].join(", ")
        }`,
      );
    }
    allowed[opcode] = 1;
  }
  return allowed;
}
