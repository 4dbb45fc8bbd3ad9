/** Reads the command lines of examples and tools, and prints their help. */
import { parseArgs } from "node:util";
import { endWithOutput, wrapped } from "./terminal.ts";

/** An option of a program, `--name`. */
export interface Option {
  /** The name of its value, in capitals. A switch has none. */
  value?: string;
  /** The value if it is left out. */
  default?: string;
  /** The program makes no sense without it. */
  isRequired?: true;
  /** Its purpose, in a few words. */
  help: string;
}

/** Describes the arguments of a program; its help is made from that. */
export interface CommandLine<O extends Record<string, Option>> {
  /** The command that starts it: "deno task copy". */
  command: string;
  /** Its purpose, in a sentence. */
  about: string;
  /** Its arguments beside options, "SOURCE TARGET"; none if left out. */
  operands?: string;
  options: O;
}

/** The values that were given: a string for each option that has a value. */
export type Values<O extends Record<string, Option>> = {
  [K in keyof O]: O[K] extends { value: string }
    ? O[K] extends { default: string } | { isRequired: true } ? string
    : string | undefined
    : boolean;
};

const HELP: Record<string, Option> = { help: { help: "print this" } };

/**
 * Reads the arguments of the program. `--help` prints its help and ends it with
 * 0; what makes no sense ends it with 2, and says why. An output that cannot be
 * written ends it with 1, from then on.
 *
 * @param read Makes what the program needs of the values; what it throws is
 * something that makes no sense.
 */
export function readArguments<O extends Record<string, Option>, T>(
  line: CommandLine<O>,
  read: (values: Values<O>, operands: string[]) => T,
): T {
  endWithOutput();
  try {
    const { values, positionals } = parseArgs({
      args: Deno.args,
      options: Object.fromEntries(
        Object.entries({ ...line.options, ...HELP }).map(
          ([name, option]: [string, Option]) => [name, {
            type: option.value === undefined ? "boolean" : "string",
            default: option.value === undefined ? false : option.default,
          }],
        ),
      ),
      allowPositionals: line.operands !== undefined,
    });
    if (values.help) {
      console.log(helpOf(line));
      Deno.exit(0);
    }
    for (const [name, { isRequired }] of Object.entries(line.options)) {
      if (isRequired && values[name] === undefined) {
        throw new TypeError(`--${name} is missing`);
      }
    }
    return read(values as Values<O>, positionals);
  } catch (error) {
    // Node's has advice about operands that begin with "-".
    const [message] = (error as Error).message.split(". To specify");
    console.error(`${message}\n${usageOf(line)}`);
    Deno.exit(2);
  }
}

function nameOf(name: string, { value }: Option): string {
  return value === undefined ? `--${name}` : `--${name} ${value}`;
}

function usageOf(
  { command, operands, options }: CommandLine<Record<string, Option>>,
): string {
  const parts = Object.entries(options).map(([name, option]) =>
    option.isRequired ? nameOf(name, option) : `[${nameOf(name, option)}]`
  );
  const words = [command, operands ?? [], parts].flat().join(" ");
  return `usage: ${wrapped(words, "usage: ".length)}`;
}

function helpOf(line: CommandLine<Record<string, Option>>): string {
  const options = Object.entries({ ...line.options, ...HELP })
    .map(([name, option]) => [nameOf(name, option), option] as const);
  const width = Math.max(...options.map(([name]) => name.length));
  const lines = options.map(([name, option]) => {
    const end = option.default === undefined
      ? ""
      : ` (default ${option.default})`;
    const head = `  ${name.padEnd(width)}  `;
    return head + wrapped(option.help + end, head.length);
  });
  const about = wrapped(line.about, 0);
  return [about, "", usageOf(line), "", ...lines].join("\n");
}

/** The whole number that an option was given. */
export function wholeNumber(
  name: string,
  text: string,
  min: number,
  max: number,
): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new RangeError(
    `${name} must be a whole number from ${min} to ${max}, got "${text}"`,
  );
}

/** The milliseconds of an option in seconds. */
export function millisecondsOf(name: string, text: string): number {
  const ms = 1000 * Number(text);
  if (ms > 0 && ms <= 3_600_000) return ms;
  throw new RangeError(
    `${name} must be a number of seconds up to 3600, got "${text}"`,
  );
}
