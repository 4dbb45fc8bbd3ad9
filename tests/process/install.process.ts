/** From `jsr:@kio/kio` to a running program, by a registry of the test. */
import { assertEquals, assertMatch } from "@std/assert";
import { LIBRARY_NAME } from "../../ffi/cache.ts";
import { SOURCES } from "../../ffi/sources.ts";
import { packageOf, publishedFiles, Registry } from "./registry.ts";
import { type Ended, ROOT, run, temporaryFolder } from "./support.ts";

const VERSION: string =
  JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)).version;

const PROGRAM = `
import { asyncSleep, IoContext } from "jsr:@kio/kio@${VERSION}";
using ctx = new IoContext();
console.log((await asyncSleep(ctx, 1)).ok);
`;

/** Owners and mounts can only be changed by root. */
const isRoot = Deno.uid() === 0;

/** A user with only a home and an empty project. */
class User implements Disposable {
  readonly home: string;
  readonly project: string;
  readonly #folder = temporaryFolder();
  readonly #denoDir: string;

  /** @param denoDir Earlier downloads. */
  constructor(denoDir?: string) {
    const { path } = this.#folder;
    this.home = `${path}/home`;
    this.project = `${path}/project`;
    this.#denoDir = denoDir ?? `${path}/deno`;
    Deno.mkdirSync(this.home, { mode: 0o700 });
    Deno.mkdirSync(this.project);
  }

  get cache(): string {
    return `${this.home}/.cache/kio`;
  }

  get library(): string {
    return `${this.cache}/${LIBRARY_NAME}`;
  }

  get denoDir(): string {
    return this.#denoDir;
  }

  deno(
    args: string[],
    env: Record<string, string> = {},
    under: string[] = [],
  ): Promise<Ended> {
    const [command = "", ...rest] = [...under, Deno.execPath(), ...args];
    return run(command, rest, {
      cwd: this.project,
      env: {
        HOME: this.home,
        XDG_CACHE_HOME: "",
        CC: "",
        DENO_DIR: this.#denoDir,
        DENO_NO_UPDATE_CHECK: "1",
        ...env,
      },
    });
  }

  /** Runs a program of the project. */
  program(
    text = PROGRAM,
    flags = ["--allow-ffi"],
    env?: Record<string, string>,
    under?: string[],
  ): Promise<Ended> {
    Deno.writeTextFileSync(`${this.project}/main.ts`, text);
    return this.deno(
      ["run", "--quiet", "--no-prompt", ...flags, "main.ts"],
      env,
      under,
    );
  }

  build(
    args: string[] = [],
    env?: Record<string, string>,
    under?: string[],
    version = VERSION,
  ): Promise<Ended> {
    const url = `jsr:@kio/kio@${version}/build`;
    return this.deno(["run", "--quiet", "-A", url, ...args], env, under);
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}

function assertWorks({ code, out, err }: Ended): void {
  assertEquals({ code, out, err }, { code: 0, out: "true\n", err: "" });
}

function assertRefused(ended: Ended, ...reasons: RegExp[]): void {
  assertEquals([ended.code, ended.out], [1, ""], ended.err);
  for (const reason of reasons) assertMatch(ended.err, reason);
}

/** All that can be imported. */
function parts(): string[] {
  const { exports } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
  return Object.keys(exports).map((name) =>
    `jsr:@kio/kio@${VERSION}${name.slice(1)}`
  );
}

/** The start of the tests below; undone at the end of the process. */
let prepared: Promise<User> | undefined;

/** Gives a user who has built; its downloads serve others without the registry.
 */
function installed(): Promise<User> {
  return prepared ??= (async () => {
    const user = new User();
    globalThis.addEventListener("unload", () => user[Symbol.dispose]());
    // Take dependencies of a part from where this process has them.
    const info = await run(Deno.execPath(), ["info", "--json"]);
    Deno.mkdirSync(user.denoDir);
    Deno.symlinkSync(JSON.parse(info.out).npmCache, `${user.denoDir}/npm`);
    await using registry = new Registry(
      new Map([[VERSION, await packageOf()]]),
    );
    const env = { JSR_URL: registry.url };
    const { code, err } = await user.build([], env);
    assertEquals([code, err], [0, ""]);
    assertWorks(await user.program(PROGRAM, ["--allow-ffi"], env));
    const cached = await user.deno(["cache", "--quiet", ...parts()], env);
    assertEquals([cached.code, cached.err], [0, ""]);
    lastUrl = registry.url;
    return user;
  })();
}

/** The last name of the registry, by which Deno knows the downloads. */
let lastUrl = "";

/** Another user, for whom everything is downloaded but nothing built. */
class Newcomer extends User {
  override deno(
    args: string[],
    env?: Record<string, string>,
    under?: string[],
  ): Promise<Ended> {
    return super.deno(args, { JSR_URL: lastUrl, ...env }, under);
  }
}

async function newcomer(): Promise<Newcomer> {
  return new Newcomer((await installed()).denoDir);
}

/** Makes another user, who has the library. */
async function owner(): Promise<Newcomer> {
  const user = await newcomer();
  Deno.mkdirSync(user.cache, { recursive: true, mode: 0o700 });
  Deno.copyFileSync((await installed()).library, user.library);
  return user;
}

Deno.test("jsr:@kio/kio works after one build, with --allow-ffi alone", async () => {
  using user = new User();
  const next = "99.0.0";
  const versions = new Map([
    [VERSION, await packageOf()],
    [
      next,
      await packageOf({
        "ffi/shim/sqe.c": (text) => `${text}\n/* changed */\n`,
        "ffi/digest.ts": (text) => text.replace(/"\w*"/, `"${"0".repeat(64)}"`),
      }),
    ],
  ]);
  await using registry = new Registry(versions);
  const env = { JSR_URL: registry.url };

  const first = await user.program(PROGRAM, ["--allow-ffi"], env);
  assertRefused(first, /Cannot find the library of kio; build it once/);
  assertEquals(
    first.err.match(/deno run -A \S+/g),
    [`deno run -A jsr:@kio/kio@${VERSION}/build`],
  );

  const built = await user.build([], env);
  assertEquals(built, {
    code: 0,
    signal: null,
    out: `built ${user.library}\n`,
    err: "",
  });
  assertEquals(Deno.statSync(user.cache).mode! & 0o777, 0o700);
  assertEquals(Deno.statSync(user.library).mode! & 0o777, 0o600);
  assertWorks(await user.program(PROGRAM, ["--allow-ffi"], env));
  // It has no dependency.
  assertEquals([...Deno.readDirSync(`${user.denoDir}/npm`)], []);

  const newer = PROGRAM.replace(VERSION, next);
  assertRefused(
    await user.program(newer, ["--allow-ffi"], env),
    /run -A jsr:@kio\/kio@99\.0\.0\/build\n/,
  );
  assertEquals((await user.build([], env, [], next)).code, 0);
  assertEquals([...Deno.readDirSync(user.cache)].length, 2);
  assertWorks(await user.program(newer, ["--allow-ffi"], env));
  assertWorks(await user.program(PROGRAM, ["--allow-ffi"], env));
});

Deno.test("jsr:@kio/kio has its parts under their names", async () => {
  using user = await owner();
  const { code, err } = await user.program(
    parts().map((name) => `import ${JSON.stringify(name)};`).join("\n"),
    [],
  );
  assertEquals([code, err], [0, ""]);
});

Deno.test("jsr:@kio/kio/doctor tells where the library is", async () => {
  using user = await owner();
  const url = `jsr:@kio/kio@${VERSION}/doctor`;
  const { code, out } = await user.deno(["run", "--quiet", "-A", url]);
  assertEquals(code, 0, out);
  assertMatch(out, new RegExp(`^ok +library +${user.library}$`, "m"));
});

Deno.test("examples work with jsr:@kio/kio, copied to a project", async () => {
  using user = await owner();
  const imports = { "@kio/kio": `jsr:@kio/kio@${VERSION}` };
  const names: string[] = [];
  Deno.writeTextFileSync(
    `${user.project}/deno.json`,
    JSON.stringify({ imports }),
  );
  await run("cp", ["-r", `${ROOT}examples`, `${user.project}/examples`]);
  for (const { name, isFile } of Deno.readDirSync(`${ROOT}examples`)) {
    if (isFile && !/_worker\.ts$/.test(name)) names.push(`examples/${name}`);
  }
  const flags = ["run", "--quiet", "--no-prompt", "--allow-ffi"];
  for (const name of names) {
    const help = await user.deno([...flags, "--allow-env", name, "--help"]);
    assertEquals([help.code, help.err], [0, ""], name);
  }
  Deno.writeTextFileSync(`${user.project}/source`, "here");
  const copy = ["--allow-sys", "examples/file_copy.ts", "source", "target"];
  const copied = await user.deno([...flags, ...copy]);
  assertEquals(copied.code, 0, copied.err);
  const hashed = await user.deno([...flags, "examples/tree_hash.ts", "."]);
  assertMatch(hashed.out, /^[0-9a-f]{64} {2}\.\/target$/m);
  assertEquals(Deno.readTextFileSync(`${user.project}/target`), "here");
});

Deno.test("build --project serves programs with a list of paths", async () => {
  using user = await newcomer();
  const { code, out } = await user.build(["--project"]);
  const path = `${Deno.realPathSync(user.project)}/.kio/${LIBRARY_NAME}`;
  assertEquals([code, out], [0, `built ${path}\n`]);
  assertWorks(await user.program());
  assertWorks(await user.program(PROGRAM, ["--allow-ffi=.kio"]));
  const url = `jsr:@kio/kio@${VERSION}/doctor`;
  const doctor = await user.deno(["run", "-A", url]);
  assertEquals([doctor.code, doctor.out.includes(path)], [0, true]);
});

Deno.test("what one stage has built works in another without a compiler", async () => {
  using build = await newcomer();
  assertEquals((await build.build(["--project"])).code, 0);
  using final = await newcomer();
  await run("cp", ["-r", `${build.project}/.kio`, `${final.project}/.kio`]);
  assertWorks(
    await final.program(PROGRAM, ["--cached-only", "--allow-ffi=.kio"], {
      CC: "/nowhere/cc",
      PATH: "/nowhere",
    }),
  );
});

Deno.test("deno compile takes the library along", async () => {
  using user = await newcomer();
  assertEquals((await user.build(["--project"])).code, 0);
  assertWorks(await user.program());
  // Deno itself takes the place of the part that Deno downloads. It cannot run
  // the program, but packs the same files at the same places.
  const { code, err } = await user.deno(
    [
      "compile",
      "--no-check",
      "--allow-ffi",
      "--include",
      ".kio",
      "--output=it",
      "main.ts",
    ],
    { DENORT_BIN: Deno.execPath() },
  );
  assertEquals(code, 0, err);
  assertMatch(err, /^├── \.kio\/\* .*\n└── main\.ts /m);
});

Deno.test("build --faults makes jsr:@kio/kio/testing work", async () => {
  using user = await newcomer();
  const program = `
    import { FaultPlan } from "jsr:@kio/kio@${VERSION}/testing";
    FaultPlan.load();
    console.log("loaded");
  `;
  const before = await user.program(program, ["--allow-ffi"]);
  assertRefused(before, /library for it is not there\n.*build --faults\n/);
  assertEquals((await user.build(["--faults"])).code, 0);
  const { code, out } = await user.program(program, ["--allow-ffi"]);
  assertEquals([code, out], [0, "loaded\n"]);
});

Deno.test("build refuses arguments that it does not know", async () => {
  using user = await newcomer();
  const { code, out, err } = await user.build(["--helpp"]);
  assertEquals([code, out], [2, ""]);
  assertMatch(err, /^Unknown argument "--helpp"\nusage: deno run .*\n$/);
});

Deno.test("build can run twice at the same time", async () => {
  using user = await newcomer();
  const ended = await Promise.all([user.build(), user.build(), user.build()]);
  for (const { code, err } of ended) assertEquals([code, err], [0, ""]);
  const names = [...Deno.readDirSync(user.cache)].map(({ name }) => name);
  assertEquals(names, [LIBRARY_NAME]);
  assertWorks(await user.program());
});

Deno.test("build says what to install when there is no compiler", async () => {
  using user = await newcomer();
  assertRefused(
    await user.build([], { CC: "no-such-compiler" }),
    /no C compiler "no-such-compiler"/,
    /apt-get install gcc libc6-dev liburing-dev/,
  );
});

Deno.test("build says what to install when a header is missing", async () => {
  using user = await newcomer();
  const compiler = `${user.project}/cc`;
  Deno.writeTextFileSync(
    compiler,
    `#!/bin/sh
echo "internal.h:12:10: fatal error: liburing.h: No such file or directory" >&2
exit 1`,
    { mode: 0o755 },
  );
  assertRefused(
    await user.build([], { CC: compiler }),
    /liburing\.h is missing/,
    /dnf install gcc glibc-devel liburing-devel/,
  );
});

Deno.test("build shows what a broken compiler says", async () => {
  using user = await newcomer();
  const compiler = `${user.project}/cc`;
  const script = (text: string) =>
    Deno.writeTextFileSync(compiler, `#!/bin/sh\n${text}`, { mode: 0o755 });
  script("echo 'internal compiler error: burp' >&2; exit 4");
  assertRefused(await user.build([], { CC: compiler }), /compiler error: burp/);
  // One that does nothing, and one that writes nonsense where a library
  // should be, say that all is well.
  script("exit 0");
  assertRefused(await user.build([], { CC: compiler }), /No such file/);
  script(
    'while [ "$1" != -o ]; do shift; done; echo "neither is this one" > "$2"',
  );
  assertRefused(await user.build([], { CC: compiler }), /ELF|too short/);
  assertEquals([...Deno.readDirSync(user.cache)], []);
  assertRefused(await user.program(), /Cannot find the library of kio/);
});

Deno.test("build needs a home, and a program says that there is none", async () => {
  using user = await newcomer();
  for (const HOME of ["", "relative", "/nowhere/at/all"]) {
    assertRefused(await user.build([], { HOME }), /there is no cache/);
    assertRefused(
      await user.program(PROGRAM, ["--allow-ffi"], { HOME }),
      /there is no cache/,
      /jsr:@kio\/kio@.*\/build\n/,
    );
  }
});

Deno.test("XDG_CACHE_HOME has precedence over HOME", async () => {
  using user = await newcomer();
  using folder = temporaryFolder();
  const env = { XDG_CACHE_HOME: folder.path };
  const { code, out } = await user.build([], env);
  assertEquals([code, out], [0, `built ${folder.path}/kio/${LIBRARY_NAME}\n`]);
  assertWorks(await user.program(PROGRAM, ["--allow-ffi"], env));
  assertRefused(await user.program(), /Cannot find the library of kio/);
});

Deno.test("the cache is not looked into where the environment is denied", async () => {
  using user = await owner();
  assertWorks(await user.program());
  assertRefused(
    await user.program(PROGRAM, ["--allow-ffi", "--deny-env"]),
    /there is no cache/,
  );
  assertRefused(
    await user.program(PROGRAM, [`--allow-ffi=${user.home}`]),
    /--allow-ffi, without a list of paths/,
  );
});

Deno.test("a file libc.so.6 in the current folder is not loaded", async () => {
  using user = await owner();
  Deno.writeTextFileSync(`${user.project}/libc.so.6`, "planted");
  for (
    const flags of [
      [`--allow-ffi=${user.project}`],
      ["--allow-ffi", "--deny-ffi=/opt/other"],
      ["-A", "--deny-ffi=/opt/other"],
    ]
  ) {
    assertRefused(
      await user.program(PROGRAM, flags),
      /--allow-ffi, without a list of paths or --deny-ffi/,
    );
  }
});

/** Libraries that must not be loaded, and the expected reason. */
const REFUSALS: Record<
  string,
  { spoil: (user: User) => void; reason: RegExp; needsRoot?: true }
> = {
  "a folder that anyone may write to": {
    spoil: ({ cache }) => Deno.chmodSync(cache, 0o777),
    reason: /kio: other users can write to it \(mode 777\)/,
  },
  "a folder with the sticky bit": {
    spoil: ({ cache }) => Deno.chmodSync(cache, 0o1777),
    reason: /kio: other users can write to it \(mode 1777\)/,
  },
  "a .cache that its group may write to": {
    spoil: ({ home }) => Deno.chmodSync(`${home}/.cache`, 0o770),
    reason: /\.cache: other users can write to it \(mode 770\)/,
  },
  "a home that anyone may write to": {
    spoil: ({ home }) => Deno.chmodSync(home, 0o777),
    reason: /home: other users can write to it/,
  },
  "a folder above the home that anyone may write to": {
    spoil: ({ home }) => Deno.chmodSync(`${home}/..`, 0o777),
    reason: /: other users can write to it/,
  },
  "a library that anyone may write to": {
    spoil: ({ library }) => Deno.chmodSync(library, 0o666),
    reason: /\.so: other users can write to it/,
  },
  "a folder of somebody else": {
    spoil: ({ cache }) => Deno.chownSync(cache, 12345, null),
    reason: /kio: it belongs to user 12345/,
    needsRoot: true,
  },
  "a folder above the home of somebody else, with the sticky bit": {
    spoil: ({ home }) => {
      Deno.chownSync(`${home}/..`, 12345, null);
      Deno.chmodSync(`${home}/..`, 0o1777);
    },
    reason: /: it belongs to user 12345/,
    needsRoot: true,
  },
  "a library of somebody else": {
    spoil: ({ library }) => Deno.chownSync(library, 12345, null),
    reason: /\.so: it belongs to user 12345/,
    needsRoot: true,
  },
  "a planted link to a library": {
    spoil: ({ library }) => {
      Deno.renameSync(library, `${library}.moved`);
      Deno.symlinkSync(`${library}.moved`, library);
    },
    reason: /\.so: it is a symbolic link/,
  },
  "a planted link to a folder": {
    spoil: ({ cache }) => {
      Deno.renameSync(cache, `${cache}.moved`);
      Deno.symlinkSync(`${cache}.moved`, cache);
    },
    reason: /kio: it is a symbolic link/,
  },
  "a library that is a folder": {
    spoil: ({ library }) => {
      Deno.removeSync(library);
      Deno.mkdirSync(library);
    },
    reason: /\.so: it is something else/,
  },
  "a library that is cut off": {
    spoil: ({ library }) => {
      Deno.truncateSync(library, Deno.statSync(library).size - 1);
    },
    reason: /\.so: .*cut off or changed/,
  },
  "a library that is empty": {
    spoil: ({ library }) => Deno.truncateSync(library),
    reason: /\.so: .*cut off or changed/,
  },
  "a library that was altered": {
    spoil: ({ library }) => {
      const content = Deno.readFileSync(library);
      content[content.length >> 1]! ^= 1;
      Deno.writeFileSync(library, content);
    },
    reason: /\.so: .*cut off or changed/,
  },
};

for (const [what, { spoil, reason, needsRoot }] of Object.entries(REFUSALS)) {
  Deno.test({
    name: `IoContext refuses ${what}`,
    ignore: needsRoot === true && !isRoot,
    async fn() {
      using user = await owner();
      assertWorks(await user.program());
      spoil(user);
      assertRefused(await user.program(), /Cannot use \//, reason);
    },
  });
}

for (
  const what of [
    "a folder that anyone may write to",
    "a planted link to a folder",
  ]
) {
  Deno.test(`build refuses ${what}`, async () => {
    using user = await owner();
    REFUSALS[what]!.spoil(user);
    assertRefused(await user.build(), REFUSALS[what]!.reason);
  });
}

for (
  const what of ["a library that was altered", "a library that is cut off"]
) {
  Deno.test(`build replaces ${what}`, async () => {
    using user = await owner();
    REFUSALS[what]!.spoil(user);
    assertEquals((await user.build()).code, 0);
    assertWorks(await user.program());
  });
}

/** Runs a command with another file system mounted at a folder. */
function mounted(path: string, options: string): string[] {
  const mount = `mount -t tmpfs -o ${options} none "$0" && exec "$@"`;
  return ["unshare", "--mount", "sh", "-c", mount, path];
}

Deno.test({
  name: "build says that the home is read-only",
  ignore: !isRoot,
  async fn() {
    using user = await newcomer();
    assertRefused(
      await user.build([], {}, mounted(user.home, "ro,mode=0700")),
      /Cannot make .*\.cache: .*[Rr]ead-only/,
      /XDG_CACHE_HOME.*--project/,
    );
  },
});

Deno.test({
  name: "build and IoContext say that the cache is mounted noexec",
  ignore: !isRoot,
  async fn() {
    using user = await owner();
    const library = (await installed()).library;
    const noexec = mounted(user.cache, "noexec,mode=0700");
    assertRefused(await user.build([], {}, noexec), /mounted noexec/);
    assertRefused(
      await user.program(PROGRAM, ["--allow-ffi"], {}, [
        ...noexec,
        "sh",
        "-c",
        `cp ${library} ${user.cache} && exec "$@"`,
        "sh",
      ]),
      /Cannot use \/.*mounted noexec/,
    );
  },
});

Deno.test("deno publish sends what users need and nothing else", async () => {
  const files = await publishedFiles();
  const modules = /^(ffi|lib|net|helpers|node|testing)\/[\w/]+\.ts$/;
  assertEquals(files.filter((path) => !modules.test(path)), [
    "LICENSE",
    "README.md",
    "deno.json",
    "doctor.ts",
    ...Object.keys(SOURCES).map((name) => `ffi/shim/${name}`),
    "imports.ts",
    "mod.ts",
    "otel.ts",
  ]);
});
