/** setup.sh on machines that lack something, played by a PATH of its own. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Ended, ROOT, run, temporaryFolder } from "./support.ts";

/** Tools that setup.sh calls, besides those that are missing or played here. */
const TOOLS = ["awk", "bash", "cc", "dirname", "env", "head"];

/** A program of the machine: its output and its end. It notes each call in the
 * file `calls`. */
type Fake = [name: string, script: string];

function pathOf(tool: string): string {
  for (const folder of ["/usr/bin", "/bin", "/usr/local/bin"]) {
    try {
      return Deno.realPathSync(`${folder}/${tool}`);
    } catch {
      // Not there.
    }
  }
  throw new Error(`no ${tool} on this machine`);
}

interface Machine {
  without?: string[];
  fakes?: Fake[];
  env?: Record<string, string>;
}

/** Runs setup.sh with only these programs in the PATH. Returns its calls. */
async function setUp(
  { without = [], fakes = [], env = {} }: Machine,
): Promise<Ended & { calls: string[] }> {
  using folder = temporaryFolder();
  const { path } = folder;
  Deno.writeTextFileSync(`${path}/calls`, "");
  for (const tool of TOOLS.filter((tool) => !without.includes(tool))) {
    // Not a link: cc looks for its parts beside itself.
    write(`${path}/${tool}`, `exec ${pathOf(tool)} "$@"`);
  }
  const deno = `exec ${Deno.execPath()} "$@"`;
  const all = new Map<string, string>([["deno", deno], ...fakes]);
  for (const [name, script] of all) {
    if (without.includes(name)) continue;
    write(
      `${path}/${name}`,
      `echo "${name} $*" >>${path}/calls\n${script}`,
    );
  }
  const ended = await run("/bin/bash", [`${ROOT}setup.sh`], {
    env: { PATH: path, ...env },
  });
  const calls = Deno.readTextFileSync(`${path}/calls`).trim().split("\n");
  return { ...ended, calls };
}

function write(path: string, script: string): void {
  Deno.writeTextFileSync(path, `#!/bin/bash\n${script}\n`, { mode: 0o755 });
}

/** A compiler that finds no header of liburing. */
const NO_LIBURING: Fake = [
  "cc",
  `read -r line; case $line in *liburing*) exit 1 ;; esac`,
];

Deno.test("setup.sh says nothing when nothing is missing", async () => {
  await run(Deno.execPath(), ["task", "-q", "build"]);
  const { calls, ...ended } = await setUp({
    fakes: [["apt-get", "exit 9"], ["npm", "exit 9"]],
  });
  assertEquals(ended, { code: 0, signal: null, out: "", err: "" });
  assertEquals(calls, ["deno --version", "deno task -q build"]);
});

Deno.test("setup.sh installs only what is missing", async () => {
  const { code, out, calls } = await setUp({
    fakes: [NO_LIBURING, ["id", "echo 0"], ["apt-get", ""]],
  });
  assertEquals([code, out], [0, "installing liburing-dev\n"]);
  assertEquals(calls.filter((call) => call.startsWith("apt-get")), [
    "apt-get update -qq",
    "apt-get install -y -qq --no-install-recommends liburing-dev",
  ]);
});

Deno.test("setup.sh names the packages of other systems", async () => {
  const { code, out, err } = await setUp({ fakes: [NO_LIBURING] });
  assertEquals([code, out], [1, ""]);
  assertMatch(err, /^Cannot install packages here: this is not Debian/);
  for (const command of ["dnf", "pacman", "apk"]) {
    assertMatch(err, new RegExp(`${command} .*liburing`));
  }
});

Deno.test("setup.sh says what to run as root", async () => {
  const { code, err, calls } = await setUp({
    without: ["cc"],
    fakes: [["id", "echo 1000"], ["apt-get", ""]],
  });
  assertEquals(code, 1);
  assertMatch(
    err,
    /without being root.*\n +sudo apt-get update && sudo apt-get install -y gcc libc6-dev liburing-dev\n/,
  );
  assert(!calls.some((call) => call.startsWith("apt-get")));
});

Deno.test("setup.sh says so when packages cannot be installed", async () => {
  const { code, err } = await setUp({
    fakes: [NO_LIBURING, ["id", "echo 0"], ["apt-get", "exit 100"]],
  });
  assertEquals(code, 1);
  assertEquals(err, "Cannot update the list of packages.\n");
});

Deno.test("setup.sh installs Deno if there is none, or an old one", async () => {
  for (const version of ["", "deno 1.46.3 (stable)", "deno 2.8.9 (stable)"]) {
    using prefix = temporaryFolder();
    const { code, out, err, calls } = await setUp({
      fakes: [
        ["deno", `echo "${version}"`],
        ["npm", `case $1 in prefix) echo ${prefix.path} ;; esac`],
      ],
    });
    // It is as old afterwards, as nothing was really installed.
    assertEquals([code, out], [1, "installing Deno\n"]);
    assert(calls.includes("npm install -g deno"));
    assertMatch(err, /^Deno was installed in .*, but what the PATH has is:/);
  }
});

Deno.test("setup.sh says where Deno is to be had", async () => {
  const noNpm = await setUp({ without: ["deno"] });
  assertEquals(noNpm.code, 1);
  assertMatch(noNpm.err, /^Cannot install Deno 2\.9 or later: there is no npm/);
  const noAccess = await setUp({
    without: ["deno"],
    fakes: [["npm", "echo /nonexistent"]],
  });
  assertEquals(noAccess.code, 1);
  assertMatch(
    noAccess.err,
    /^Cannot install Deno: no write access to \/nonexistent/,
  );
});
