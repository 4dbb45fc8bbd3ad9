/** The commands of docs/getting-started.md, as a new user types them. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { packageOf, Registry } from "./registry.ts";
import { Program, ROOT, run, temporaryFolder } from "./support.ts";

const PAGE = Deno.readTextFileSync(`${ROOT}docs/getting-started.md`);

/** The lines of the page's code in a language. */
function blocks(language: string): string[] {
  const fence = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, "gms");
  return [...PAGE.matchAll(fence)].map(([, text = ""]) => text);
}

/** The arguments of each call of Deno on the page. */
const commands = blocks("sh").flatMap((block) => block.trim().split("\n"))
  .map((line) => line.split(" "));

/** The one of them that has all these words. */
function command(...words: string[]): string[] {
  const found = commands.filter((args) =>
    words.every((word) => args.includes(word))
  );
  assert(found.length > 0, `no command with ${words} in getting-started.md`);
  const [deno, ...args] = found[0]!;
  assertEquals(deno, "deno");
  return args;
}

Deno.test("getting-started.md leads from an empty folder to an echo", async () => {
  const { version } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
  await using registry = new Registry(new Map([[version, await packageOf()]]));
  using folder = temporaryFolder();
  const options = {
    cwd: `${folder.path}/project`,
    env: {
      HOME: folder.path,
      XDG_CACHE_HOME: "",
      DENO_DIR: `${folder.path}/deno`,
      DENO_NO_UPDATE_CHECK: "1",
      JSR_URL: registry.url,
    },
  };
  Deno.mkdirSync(options.cwd);
  const deno = (args: string[]) => run(Deno.execPath(), args, options);

  assertEquals((await deno(command("add"))).code, 0);
  const built = await deno(command("jsr:@kio/kio/build"));
  assertEquals(built.code, 0, built.err);
  assertMatch(built.out, /^built \/.*\/\.cache\/kio\/libkio-/);

  // Take another port: that one may be in use.
  const [server = ""] = blocks("ts");
  Deno.writeTextFileSync(
    `${options.cwd}/server.ts`,
    server.replace("bind(8080)", "bind(0)")
      .replace('"listening on port 8080"', "listener.localAddress!.port"),
  );
  await using echo = new Program(
    Deno.execPath(),
    command("--allow-ffi", "server.ts"),
    options,
  );
  const port = Number((await echo.printed(/^(\d+)\n/))[1]);
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await client.write(new TextEncoder().encode("hello"));
  const buffer = new Uint8Array(16);
  const count = await client.read(buffer);
  assertEquals(new TextDecoder().decode(buffer.subarray(0, count!)), "hello");

  const doctor = await deno(command("jsr:@kio/kio/doctor"));
  assertEquals(doctor.code, 0, doctor.out);

  assertEquals((await deno(command("--project"))).code, 0);
  await using scoped = new Program(
    Deno.execPath(),
    command("--allow-ffi=.kio", "server.ts"),
    options,
  );
  await scoped.printed(/^\d+\n/);
});
