/** Finding the library, and the messages where it is not found. */
import {
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertNotMatch,
  assertStringIncludes,
} from "@std/assert";
import { LIBRARY_NAME } from "../../ffi/cache.ts";
import { compile } from "../../ffi/compile.ts";
import {
  blockingSymbols,
  faultSymbols,
  guardSymbols,
  rareSymbols,
  symbols,
} from "../../ffi/symbols.ts";
import {
  assertPrinted,
  compileMutant,
  ROOT,
  run,
  runScript,
  type ScriptOptions,
  temporaryFolder,
} from "./support.ts";

const OPEN = `
using ctx = new kio.IoContext();
console.log((await kio.asyncSleep(ctx, 1)).ok);
`;

/** Gives the message of the only exception of a script. */
async function complaintOf(options: ScriptOptions): Promise<string> {
  const { code, out, err } = await runScript(
    `try {${OPEN}} catch (error) { console.log(error.name, error.message); }`,
    options,
  );
  assertEquals([code, err], [0, ""]);
  return out;
}

function withLibrary(path: string): ScriptOptions {
  return {
    flags: ["--allow-ffi", "--allow-env=KIO_LIB"],
    env: { KIO_LIB: path },
  };
}

/** The files that an import of the library needs. */
const TREE = [
  "deno.json",
  "mod.ts",
  "imports.ts",
  "examples",
  "tools",
  "ffi",
  "lib",
  "net",
  "helpers",
];

/** Copies the checkout, without the builds. */
function copyTree(folder: string): void {
  for (const name of TREE) {
    copy(ROOT + name, `${folder}/${name}`);
  }
}

function copy(from: string, to: string): void {
  if (Deno.statSync(from).isFile) return Deno.copyFileSync(from, to);
  Deno.mkdirSync(to);
  for (const { name } of Deno.readDirSync(from)) {
    if (name !== "build") copy(`${from}/${name}`, `${to}/${name}`);
  }
}

/** All TypeScript files in a folder and in those below. */
function* modulesIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* modulesIn(path);
    else if (name.endsWith(".ts")) yield path;
  }
}

Deno.test("import needs no permission", async () => {
  assertPrinted(
    await runScript(`console.log(typeof kio.IoContext);`, { flags: [] }),
    "function\n",
  );
});

Deno.test("imports.ts is the first to import each module of mod.ts", async () => {
  const { out } = await run(Deno.execPath(), ["info", "--json", "mod.ts"]);
  const { roots: [root], modules }: {
    roots: string[];
    modules: {
      specifier: string;
      dependencies?: { code?: { specifier: string } }[];
    }[];
  } = JSON.parse(out);
  const importsOf = (module: string | undefined) =>
    modules.find(({ specifier }) => specifier === module)!
      .dependencies?.flatMap(({ code }) => code?.specifier ?? []) ?? [];
  const [list] = importsOf(root);
  assertEquals(list, new URL("imports.ts", root).href);
  const all = new Set(modules.flatMap((it) => importsOf(it.specifier)));
  assertEquals(new Set(importsOf(list)), all.difference(new Set([list])));
});

Deno.test("IoContext needs --allow-ffi and nothing else", async () => {
  assertPrinted(await runScript(OPEN), "true\n");
  assertMatch(
    await complaintOf({ flags: [] }),
    /^NotCapable Cannot open \/.*: run Deno with --allow-ffi\n$/,
  );
});

Deno.test("IoContext is content with --allow-ffi for its library", async () => {
  assertPrinted(
    await runScript(OPEN, { flags: ["--allow-ffi=ffi/build/libkio.so"] }),
    "true\n",
  );
});

Deno.test("allocate() needs --allow-ffi without a list of paths, and says so", async () => {
  const { out } = await runScript(
    `
    using ctx = new kio.IoContext();
    try { ctx.allocate(1); } catch (error) { console.log(\`\${error}\`); }
    `,
    { flags: ["--allow-ffi=ffi/build/libkio.so"] },
  );
  assertMatch(out, /^NotCapable: Cannot allocate: .*; use pin\(/);
});

Deno.test("resolveAsync() and connect() say that the permission was revoked", async () => {
  const { out, err } = await runScript(`
    using ctx = new kio.IoContext();
    const pool = new kio.BlockingPool(1);
    Deno.permissions.revokeSync({ name: "ffi" });
    const found = await kio.SocketAddress.resolveAsync(ctx, pool, "localhost", 1);
    const connected = await kio.TcpStream.connect(ctx, "localhost", 1, { pool });
    for (const { error } of [found, connected]) {
      console.log(error.code, error.message);
    }
  `);
  assertEquals(err, "");
  for (const line of out.trim().split("\n")) {
    assertMatch(
      line,
      /^EAI_FAIL .*: this thread cannot open \/.*\.so; keep the permission/,
    );
  }
});

Deno.test("IoContext works in a worker", async () => {
  const worker = `
    import * as kio from "@kio/kio";
    using ctx = new kio.IoContext();
    postMessage((await kio.asyncSleep(ctx, 1)).ok);
  `;
  assertPrinted(
    await runScript(
      `
      const url = "data:text/javascript,${encodeURIComponent(worker)}";
      const worker = new Worker(url, { type: "module" });
      worker.onmessage = ({ data }) => {
        console.log(data);
        worker.terminate();
      };
    `,
      { flags: ["--allow-ffi", "--allow-read"] },
    ),
    "true\n",
  );
});

Deno.test("IoContext says how to build the library", async () => {
  using folder = temporaryFolder();
  copyTree(folder.path);
  const complaint = await complaintOf({ cwd: folder.path });
  assertMatch(
    complaint,
    /^NotFound Cannot find the library of kio; .*deno task build/,
  );
  assertMatch(complaint, /ffi\/build\/libkio\.so: not there/);
});

Deno.test("build.ts makes what a copy of the checkout needs", async () => {
  using folder = temporaryFolder();
  copyTree(folder.path);
  const build = ["run", "-A", `${folder.path}/ffi/build.ts`];
  assertPrinted(
    await run(Deno.execPath(), build),
    "built ffi/build/libkio.so\n",
  );
  assertPrinted(await run(Deno.execPath(), build), "");
  assertPrinted(await runScript(OPEN, { cwd: folder.path }), "true\n");
});

Deno.test("digest.ts changes with the sources of the library", async () => {
  using folder = temporaryFolder();
  copyTree(folder.path);
  const digestOf = async () => {
    const write = ["run", "-A", `${folder.path}/tools/digest.ts`];
    assertPrinted(await run(Deno.execPath(), write), "");
    return Deno.readTextFileSync(`${folder.path}/ffi/digest.ts`);
  };
  const digest = await digestOf();
  assertMatch(digest, /"[0-9a-f]{64}"/);
  assertEquals(await digestOf(), digest);
  const source = `${folder.path}/ffi/shim/guard.c`;
  Deno.writeTextFileSync(source, "/* changed */\n", { append: true });
  assertNotEquals(await digestOf(), digest);
});

/** A copy of the checkout with the library in the folder of its programs. */
function copyTreeWithLibrary(folder: string): void {
  copyTree(folder);
  Deno.mkdirSync(`${folder}/.kio`);
  Deno.copyFileSync(
    `${ROOT}ffi/build/libkio.so`,
    `${folder}/.kio/${LIBRARY_NAME}`,
  );
}

Deno.test("IoContext finds the library beside the main module", async () => {
  using folder = temporaryFolder();
  copyTreeWithLibrary(folder.path);
  assertPrinted(await runScript(OPEN, { cwd: folder.path }), "true\n");
});

Deno.test("IoContext tries all places that --allow-ffi names", async () => {
  using folder = temporaryFolder();
  copyTreeWithLibrary(folder.path);
  assertPrinted(
    await runScript(OPEN, {
      cwd: folder.path,
      flags: ["--allow-ffi=.kio"],
    }),
    "true\n",
  );
});

Deno.test("KIO_LIB names the only library that is tried", async () => {
  assertPrinted(
    await runScript(OPEN, withLibrary(`${ROOT}ffi/build/libkio.so`)),
    "true\n",
  );
  assertMatch(
    await complaintOf(withLibrary("/nowhere/libkio.so")),
    /^NotFound Cannot find the library of kio; unset KIO_LIB, or .*\n +KIO_LIB=\/nowhere\/libkio\.so: not there\n$/,
  );
  assertMatch(
    await complaintOf({
      ...withLibrary("/nowhere/libkio.so"),
      flags: ["--allow-env=KIO_LIB"],
    }),
    /^NotCapable Cannot open KIO_LIB=\/nowhere\/libkio\.so: run Deno with --allow-ffi\n$/,
  );
});

/** A library of a few lines of C. */
async function compileText(source: string, library: string): Promise<void> {
  using folder = temporaryFolder();
  Deno.writeTextFileSync(`${folder.path}/text.c`, source);
  await compile(["-shared", "-fPIC", `${folder.path}/text.c`, "-o", library]);
}

Deno.test("IoContext names the library that its library lacks", async () => {
  using folder = temporaryFolder();
  const library = `${folder.path}/libkio.so`;
  const needed = `${folder.path}/libneeded.so`;
  await compileText("int needed(void) { return 0; }", needed);
  const link = [
    "-shared",
    "-Wl,--no-as-needed",
    `-L${folder.path}`,
    "-lneeded",
  ];
  assertPrinted(await run("cc", [...link, "-o", library]), "");
  Deno.removeSync(needed);
  assertMatch(
    await complaintOf(withLibrary(library)),
    /^Error Cannot use KIO_LIB=.*libneeded\.so: cannot open .*; unset KIO_LIB/,
  );
});

/** Makes a program believe in another system, or in `deno compile`. */
function pretend(build: Partial<typeof Deno.build>): string {
  const value = `{ ...Deno.build, ...${JSON.stringify(build)} }`;
  return `Object.defineProperty(Deno, "build", { value: ${value} });`;
}

Deno.test("kio says that it is for Linux only, and opens nothing", async () => {
  using folder = temporaryFolder();
  const preload = `${folder.path}/preload.js`;
  Deno.writeTextFileSync(preload, pretend({ os: "darwin", arch: "aarch64" }));
  const says = /kio is for Linux only, this is darwin on aarch64; run it in/;
  const flags = [`--preload=${preload}`];
  assertMatch(await complaintOf({ flags }), says);
  assertMatch(await complaintOf({ flags: ["--allow-ffi", ...flags] }), says);
  for (const [program, code] of [["ffi/build.ts", 1], ["doctor.ts", 1]]) {
    const ended = await run(
      Deno.execPath(),
      ["run", "-A", ...flags, `${ROOT}${program}`],
    );
    assertEquals(ended.code, code);
    assertMatch(ended.out + ended.err, says);
    assertNotMatch(ended.out + ended.err, /compiler|library|built/);
  }
});

Deno.test("IoContext tells a bundle to build by the package", async () => {
  using folder = temporaryFolder();
  copyTree(folder.path);
  const { version } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
  const build =
    `build it once, with: deno run -A jsr:@kio/kio@${version}/build\n`;
  Deno.writeTextFileSync(
    `${folder.path}/preload.js`,
    pretend({ standalone: true }),
  );
  const flags = ["--allow-ffi", "--preload=preload.js"];
  const compiled = await complaintOf({ cwd: folder.path, flags });
  assertStringIncludes(compiled, build);
  // A bundle is one module, which has another name and nothing beside it.
  Deno.mkdirSync(`${folder.path}/ffi/build`);
  Deno.copyFileSync(
    `${ROOT}ffi/build/libkio.so`,
    `${folder.path}/ffi/build/libkio.so`,
  );
  for (const path of modulesIn(folder.path)) {
    const text = Deno.readTextFileSync(path);
    Deno.writeTextFileSync(path, text.replaceAll('/load.ts";', '/bundle.ts";'));
  }
  Deno.renameSync(`${folder.path}/ffi/load.ts`, `${folder.path}/ffi/bundle.ts`);
  const bundled = await complaintOf({ cwd: folder.path });
  assertStringIncludes(bundled, build);
  assertNotMatch(bundled, /ffi\/build/);
});

Deno.test("KIO_LIB is refused when it is relative", async () => {
  assertMatch(
    await complaintOf(withLibrary("ffi/build/libkio.so")),
    /^TypeError Cannot use KIO_LIB: .*absolute/,
  );
});

Deno.test("KIO_LIB means nothing without permission to read it", async () => {
  assertPrinted(
    await runScript(OPEN, { env: { KIO_LIB: "/nowhere/libkio.so" } }),
    "true\n",
  );
});

Deno.test("IoContext refuses a library of another version", async () => {
  using folder = temporaryFolder();
  const library = `${folder.path}/libkio.so`;
  const makers = [
    () =>
      // One digit more.
      compileMutant(folder.path, "#define KIO_ABI ", "#define KIO_ABI 9"),
    () => compileText("int kio_abi(void) { return 99; }", library),
    () => compileText("int other(void) { return 0; }", library),
  ];
  for (const make of makers) {
    await make();
    assertMatch(
      await complaintOf(withLibrary(library)),
      /^Error Cannot use KIO_LIB=\/.*\/libkio\.so: it was built from another version of kio; unset KIO_LIB, or /,
    );
  }
});

Deno.test("the library shows functions of its own only, and is hardened", async () => {
  const library = `${ROOT}ffi/build/libkio.so`;
  const exported = await run("nm", ["-D", "--defined-only", library]);
  const foreign = exported.out.trim().split("\n")
    .map((line) => line.split(" ").at(-1)!)
    .filter((name) => !/^(kio_\w+|napi_register_module_v1)$/.test(name));
  assertEquals([exported.code, foreign], [0, []]);
  const { code, out } = await run("readelf", ["-W", "-l", "-d", library]);
  assertEquals(code, 0);
  for (const wanted of [/GNU_RELRO/, /BIND_NOW|\bNOW\b/, /NODELETE/]) {
    assertMatch(out, wanted);
  }
  assertNotMatch(out, /R(UN)?PATH|TEXTREL|GNU_STACK.*E /);
});

Deno.test("no thread of Deno's pool touches a ring", () => {
  const all = { ...symbols, ...rareSymbols, ...guardSymbols, ...faultSymbols };
  const nonblocking = Object.entries(all)
    .filter(([, definition]) => "nonblocking" in definition);
  assertEquals(nonblocking, []);
  assertEquals(Object.keys(blockingSymbols), ["kio_event_wait"]);
});

Deno.test("IoContext refuses a file that is no library", async () => {
  using folder = temporaryFolder();
  const library = `${folder.path}/libkio.so`;
  Deno.writeTextFileSync(library, "no library");
  assertMatch(
    await complaintOf(withLibrary(library)),
    /^Error Cannot use KIO_LIB=\/.*\/libkio\.so: .*(ELF|too short).*; unset KIO_LIB, or /,
  );
});
