/**
 * Runs every block of TypeScript in README.md and docs/ as a program of its own,
 * with the permissions that its page claims. In the source of a page, a comment
 * before a block has further facts:
 *
 *     <!-- worker.ts -->              its name, by which others load it
 *     <!-- deno run --allow-read -->  more permissions than --allow-ffi
 *     <!-- test:clients -->           the task that runs it, in place of this
 *
 * A block that listens on port 8080 is a server: the test expects an echo. A
 * program in `USES` uses a block that exports a function. A comment of the form
 * `// → text` is the output of a program.
 */
import { assert, assertEquals } from "@std/assert";
import {
  type Ended,
  Program,
  ROOT,
  sleep,
  temporaryFolder,
} from "./support.ts";

/** The pages of a folder, by their paths. */
function pagesIn(folder: string): string[] {
  return [...Deno.readDirSync(ROOT + folder)]
    .map(({ name }) => `${folder}/${name}`)
    .filter((path) => path.endsWith(".md")).sort();
}

const PAGES = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "SECURITY.md",
  ...pagesIn("docs"),
  ...pagesIn("docs/guide"),
  ...pagesIn("docs/decisions"),
];

interface Block {
  page: string;
  line: number;
  text: string;
  /** The text of the comment before it. */
  note: string;
}

function blocksOf(page: string): Block[] {
  const source = Deno.readTextFileSync(ROOT + page);
  const fence = /(?:^<!-- ([^\n]*) -->\n\n?)?^```ts\n(.*?)^```$/gms;
  return [...source.matchAll(fence)].map(
    ({ index, 1: note = "", 2: text = "" }) => {
      const line = source.slice(0, index).split("\n").length;
      return { page, line, text, note };
    },
  );
}

const blocks = PAGES.flatMap(blocksOf);

/** Programs for the functions that blocks export, which are `block.ts`. */
const USES: Record<string, string> = {
  copyFile: `
    import { copyFile } from "./block.ts";
    import * as kio from "@kio/kio";

    using ctx = new kio.IoContext();
    const [source, target] = await Promise.all(["a", "b"].map((path) =>
      kio.asyncOpen(ctx, path, kio.O_RDWR | kio.O_CREAT).orThrow()
    ));
    const data = new Uint8Array(100_000).map((_, i) => i % 251);
    await kio.asyncWriteExact(ctx, source, data).orThrow();
    const steps: number[] = [];
    kio.unwrap(
      await copyFile(ctx, source, target, data.length, (it) => steps.push(it)),
    );
    const copy = new Uint8Array(data.length);
    await kio.asyncReadExact(ctx, target, copy).orThrow();
    console.log(copy.every((byte, i) => byte === data[i]), steps);
    // → true [ 65536, 100000 ]
  `,
  fetchAll: `
    import { fetchAll } from "./block.ts";
    import * as kio from "@kio/kio";

    using ctx = new kio.IoContext();
    await using listener = kio.unwrap(kio.TcpListener.bind(0));
    const url = \`http://127.0.0.1:\${listener.localAddress!.port}/path\`;
    const answers = fetchAll(ctx, [url, url]);
    const answer = new TextEncoder().encode("HTTP/1.1 200 OK\\r\\n\\r\\nhello");
    for (let i = 0; i < 2; i++) {
      const fd = await kio.asyncAccept(ctx, listener).orThrow();
      await using client = new kio.Socket(fd);
      await kio.asyncRecv(ctx, client, new Uint8Array(1024)).orThrow();
      await kio.asyncSendExact(ctx, client, answer).orThrow();
    }
    console.log((await answers).map((it) => it.slice(-5)));
    // → [ "hello", "hello" ]
  `,
};

/** Gives the output that the text of a program promises. */
function outputOf(text: string): string {
  return [...text.matchAll(/\/\/ → (.*)\n/g)].map(([, it]) => `${it}\n`).join(
    "",
  );
}

let nextPort = 10_000 + Deno.pid % 20_000;

/**
 * Finds a port without a listener, below those that the system chooses from. No
 * test that runs beside this one gets it meanwhile.
 */
function freePort(): number {
  for (;;) {
    const port = nextPort++;
    try {
      using _listener = Deno.listen({ hostname: "127.0.0.1", port });
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

/** Sends something to a server, as soon as it listens, and wants it back. */
async function expectEcho(server: Program, port: number): Promise<void> {
  let ended: Ended | undefined;
  void server.ended().then((it) => ended = it);
  for (;;) {
    try {
      using client = await Deno.connect({ hostname: "127.0.0.1", port });
      await client.write(new TextEncoder().encode("hello"));
      const buffer = new Uint8Array(16);
      const count = await client.read(buffer) ?? 0;
      const echo = new TextDecoder().decode(buffer.subarray(0, count));
      assertEquals(echo, "hello");
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      assert(ended === undefined, ended?.err);
      await sleep(20);
    }
  }
}

async function runBlock({ page, text, note }: Block): Promise<void> {
  using folder = temporaryFolder();
  const write = (name: string, text: string) =>
    Deno.writeTextFileSync(`${folder.path}/${name}`, text);
  for (const other of blocks) {
    if (other.page === page && other.note.endsWith(".ts")) {
      write(other.note, other.text);
    }
  }
  const exported = /^export (?:async )?function (\w+)/m.exec(text)?.[1];
  assert(!exported || exported in USES, `nothing uses ${exported}()`);
  const program = exported ? USES[exported]! : text;
  const port = freePort();
  write("block.ts", text.replaceAll("8080", `${port}`));
  write("main.ts", program.replaceAll("8080", `${port}`));

  const flags = note.startsWith("deno run ") ? note.split(" ").slice(2) : [];
  await using running = new Program(Deno.execPath(), [
    "run",
    "--quiet",
    "--no-prompt",
    "--no-lock",
    "--no-check",
    `--config=${ROOT}deno.json`,
    "--allow-ffi",
    ...flags,
    "main.ts",
  ], { cwd: folder.path });
  const isServer = text.includes("bind(8080");
  if (isServer) {
    await expectEcho(running, port);
    running.kill("SIGTERM");
  }
  const { code, signal, out, err } = await running.ended();
  assertEquals(err, "");
  assert(code === 0 || isServer && signal === "SIGTERM", `exit code ${code}`);
  const output = outputOf(program);
  if (output !== "") assertEquals(out, output);
}

for (const block of blocks) {
  if (/\.ts$|^test:/.test(block.note)) continue;
  Deno.test(`${block.page}:${block.line} does what it shows`, () =>
    runBlock(block));
}

/** Gives the text of a page outside of its blocks of code. */
function proseOf(page: string): string {
  return Deno.readTextFileSync(ROOT + page).replaceAll(/^```.*?^```$/gms, "");
}

/** The anchors of a page, as the sites that show it make them of headings. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ""] of proseOf(page).matchAll(/^#+ (.+)$/gm)) {
    const name = heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(/\s/g, "-");
    let anchor = name;
    for (let i = 1; anchors.has(anchor); i++) anchor = `${name}-${i}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** Tells whether a page, or another file, has what a link leads to. */
function leadsSomewhere(page: string, link: string): boolean {
  const { pathname, hash } = new URL(link, `file://${ROOT}${page}`);
  // A link with too many ".." leaves the checkout.
  if (!pathname.startsWith(ROOT)) return false;
  const path = pathname.slice(ROOT.length);
  try {
    return hash === ""
      ? Deno.statSync(ROOT + path).isFile || path.endsWith("/")
      : anchorsOf(path).has(decodeURIComponent(hash.slice(1)));
  } catch {
    return false;
  }
}

Deno.test("documents name tasks, modules, files and headings that are there", () => {
  const { tasks, exports } = JSON.parse(
    Deno.readTextFileSync(`${ROOT}deno.json`),
  );
  const wrong: string[] = [];
  for (const page of PAGES) {
    const source = Deno.readTextFileSync(ROOT + page);
    const check = (pattern: RegExp, isThere: (name: string) => boolean) => {
      for (const [all, name = ""] of source.matchAll(pattern)) {
        if (!isThere(name)) wrong.push(`${page}: ${all}`);
      }
    };
    check(/deno task ([\w:]+)/g, (name) => name in tasks);
    check(/jsr:@kio\/kio\/(\w+)/g, (name) => `./${name}` in exports);
    for (const [, link = ""] of proseOf(page).matchAll(/\]\(([^)]+)\)/g)) {
      const isOutside = link.startsWith("https:");
      if (!isOutside && !leadsSomewhere(page, link)) {
        wrong.push(`${page}: ${link}`);
      }
    }
  }
  assertEquals(wrong, []);
});

Deno.test("sources name documents that are there", () => {
  const wrong: string[] = [];
  const look = (folder: string) => {
    for (const { name, isDirectory } of Deno.readDirSync(ROOT + folder)) {
      const path = `${folder}${name}`;
      if (isDirectory && !/^(build|node_modules|\..*)$/.test(name)) {
        look(`${path}/`);
      }
      if (!/\.(ts|c|h|sh)$/.test(name)) continue;
      const text = Deno.readTextFileSync(ROOT + path);
      for (const [link] of text.matchAll(/\bdocs\/[\w/-]+\.md\b/g)) {
        if (!leadsSomewhere("", link)) wrong.push(`${path}: ${link}`);
      }
    }
  };
  look("");
  assertEquals(wrong, []);
});

Deno.test("docs/decisions/README.md lists each decision once, by its title", () => {
  const list = Deno.readTextFileSync(`${ROOT}docs/decisions/README.md`);
  const listed = [
    ...list.matchAll(/^- \[(\d+)\]\((.+)\): (.+(?:\n {2}.+)*)$/gm),
  ]
    .map(([, number, file, title = ""]) => {
      return `${file}: ${number}: ${title.replaceAll(/\s+/g, " ")}`;
    });
  const written = pagesIn("docs/decisions").map((path) => path.slice(15))
    .filter((file) => file !== "README.md")
    .map((file) => {
      const text = Deno.readTextFileSync(`${ROOT}docs/decisions/${file}`);
      const [title = "", ...sections] = [...text.matchAll(/^##? (.+)$/gm)]
        .map(([, heading = ""]) => heading);
      assertEquals(
        sections,
        ["Question", "Answer", "Measured", "Rejected"],
        file,
      );
      return `${file}: ${title}`;
    });
  assertEquals(listed.sort(), written.sort());
});
