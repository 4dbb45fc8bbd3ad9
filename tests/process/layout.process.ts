import { assert, assertEquals } from "@std/assert";
import { compile, SHIM_FOLDER } from "../../ffi/compile.ts";
import * as constants from "../../lib/constants.ts";
import * as errno from "../../lib/errno.ts";
import * as layout from "../../lib/ops/layout.ts";

/** Each exported number and each of the errno table, by its name in C; a name
 * that is in both is compared twice. */
function numbers(): [name: string, value: number][] {
  const all = Object.entries<unknown>({ ...constants, ...errno, ...layout })
    .filter((entry): entry is [string, number] =>
      typeof entry[1] !== "function"
    );
  for (let number = 1; number < 1100; number++) {
    const [name, meaning] = errno.errnoText(number);
    if (!meaning.startsWith("Unknown error")) all.push([name, number]);
  }
  return all;
}

/** Where C has them. */
const INCLUDES = [
  "fcntl.h",
  "netdb.h",
  "netinet/tcp.h",
  "poll.h",
  "stdio.h",
  "sys/socket.h",
  "sys/stat.h",
  "sys/un.h",
].map((name) => `#include <${name}>\n`).join("");

/** The values that the C compiler has for these names. */
function compiled(names: string[]): [name: string, value: number][] {
  const folder = Deno.makeTempDirSync();
  try {
    const lines = names.map((name) => {
      const value = name.startsWith("EAI_") ? `1000 - (${name})` : name;
      return `printf("${name}=%lld\\n", (long long)(${value}));`;
    });
    Deno.writeTextFileSync(
      `${folder}/layout.c`,
      `#include "${SHIM_FOLDER}/internal.h"\n${INCLUDES}int main(void)\n{\n${
        lines.join("\n")
      }\n}\n`,
    );
    const program = `${folder}/layout`;
    compile(["-std=gnu11", `${folder}/layout.c`, "-o", program]);
    const { success, stdout } = new Deno.Command(program).outputSync();
    assert(success);
    const text = new TextDecoder().decode(stdout).trim();
    return text.split("\n").map((line) => {
      const [name = "", value] = line.split("=");
      return [name, Number(value)];
    });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("lib/constants.ts, lib/errno.ts, lib/ops/layout.ts have the C compiler's numbers", () => {
  const expected = numbers();
  assertEquals(expected, compiled(expected.map(([name]) => name)));
});
