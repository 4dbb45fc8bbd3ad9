/**
 * Runs the tests on Debian's kernels under QEMU:
 *
 *     deno task test:kernels [--short] [SUITE | ARCH | FILE ...]
 *
 * Suites are bookworm (Linux 6.1), trixie (6.12) and sid (the newest); ARCH is
 * x86_64 or aarch64. Without them it boots each suite on x86_64, and trixie on
 * aarch64. A guest runs the tests in C, and the FILEs or all tests that
 * `deno test` finds; `--short` has those that would notice most.
 *
 * QEMU plays the processor, so it takes some twenty times as long as here, but
 * needs neither privileges nor KVM. On Debian install qemu-system-x86,
 * qemu-system-arm, e2fsprogs, xz-utils, and gcc-aarch64-linux-gnu with
 * libc6-dev-arm64-cross for the other architecture. Packages of the guests are
 * kept in ~/.cache/kio/kernels; nothing of this system is changed.
 */
import { readArguments } from "../examples/command_line.ts";
import { compileShim, compileTests, SHIM_FOLDER } from "../ffi/compile.ts";
import { type Arch, Debian, type Suite, SUITES } from "./kernels/debian.ts";
import { boot } from "./kernels/guest.ts";
import { addProject, baseOf, liburingOf } from "./kernels/image.ts";
import { judge, type Verdict } from "./kernels/judge.ts";
import { run } from "./kernels/run.ts";
import { SHORT_TESTS } from "./short_tests.ts";
import { tidily } from "./tidy.ts";

const ROOT = decodeURIComponent(new URL("../", import.meta.url).pathname);
const ARCHES: readonly Arch[] = ["x86_64", "aarch64"];
/** A guest is stopped after that time. */
const LIMIT_S = 3600;

function cacheFolder(): string {
  const base = Deno.env.get("XDG_CACHE_HOME") ||
    `${Deno.env.get("HOME")}/.cache`;
  const folder = `${base}/kio/kernels`;
  Deno.mkdirSync(folder, { recursive: true });
  return folder;
}

/** Compiles the library and its tests for a guest. */
async function compileFor(
  arch: Arch,
  flags: readonly string[],
  into: string,
): Promise<void> {
  if (arch !== Deno.build.arch) Deno.env.set("CC", `${arch}-linux-gnu-gcc`);
  try {
    await compileShim(SHIM_FOLDER, `${into}/libkio.so`, { flags, sources: [] });
    await compileTests(into, ["-O1", ...flags]);
  } finally {
    Deno.env.delete("CC");
  }
}

/** Makes a sparse disk for /tmp. */
function makeDisk(path: string): void {
  Deno.createSync(path).close();
  Deno.truncateSync(path, 2 ** 33);
  run("/sbin/mkfs.ext4", ["-q", "-O", "^has_journal", path]);
}

/** Fetches and transpiles what the tests import. */
function fillDenoDir(denoDir: string): void {
  const files = run("git", ["ls-files", "*_test.ts"], { cwd: ROOT });
  const modules = [...files.trim().split("\n"), "tools/kernels/lacks.ts"];
  run(Deno.execPath(), ["cache", "--quiet", "--frozen", ...modules], {
    cwd: ROOT,
    env: { DENO_DIR: denoDir },
  });
}

/** Gives the commands of a guest, a line each. */
function commandFor(files: readonly string[]): string {
  return `deno run --cached-only --allow-ffi tools/kernels/lacks.ts
ffi/build/shim_test 2>&1
deno test --no-check --cached-only --allow-ffi ${files.join(" ")} 2>&1 | cat
`;
}
/** The runs of tests among them. */
const RUNS = 2;

/** What is kept from run to run. */
interface Kept {
  cache: string;
  denoDir: string;
  debian: Debian;
}

/** Boots the kernel of a suite, and runs the tests in it. */
async function check(
  suite: Suite,
  arch: Arch,
  files: readonly string[],
  { cache, denoDir, debian }: Kept,
): Promise<Verdict> {
  const startMs = performance.now();
  const folder = Deno.makeTempDirSync();
  const [built, archive, disk] = ["built", "archive", "disk"].map((name) =>
    `${folder}/${name}`
  ) as [string, string, string];
  try {
    const base = baseOf(debian, suite, arch, cache);
    Deno.mkdirSync(built);
    await compileFor(arch, liburingOf(debian, suite, arch, cache), built);
    Deno.copyFileSync(base.archive, archive);
    const command = commandFor(files);
    addProject(archive, { root: ROOT, built, denoDir, command });
    makeDisk(disk);
    const tookS = (performance.now() - startMs) / 1000;
    console.log(`Linux ${base.version}, made in ${tookS.toFixed()} s`);
    const { kernel } = base;
    return judge(
      await boot({ arch, kernel, archive, disk, limitS: LIMIT_S }),
      RUNS,
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** The guests that the arguments choose. */
function guestsOf(args: readonly string[]): [Suite, Arch][] {
  const suites = SUITES.filter((it) => args.includes(it));
  const arches = ARCHES.filter((it) => args.includes(it));
  const isPlain = suites.length === 0 && arches.length === 0;
  return (arches.length > 0 ? arches : ARCHES).flatMap((arch) => {
    const usual = isPlain && arch === "aarch64" ? ["trixie"] as const : SUITES;
    const chosen = suites.length > 0 ? suites : usual;
    return chosen.map((suite): [Suite, Arch] => [suite, arch]);
  });
}

const WORDS: readonly string[] = [...SUITES, ...ARCHES];

async function main(): Promise<number> {
  const { guests, files } = readArguments({
    command: "deno task test:kernels",
    about: "Runs the tests on Debian's kernels under QEMU.",
    operands: `[${WORDS.join(" | ")} | FILE ...]`,
    options: { short: { help: "the tests that would notice most" } },
  }, ({ short }, operands) => {
    const files = operands.filter((it) => !WORDS.includes(it));
    const wrong = files.find((it) => !/^tests\/.*_test\.ts$/.test(it));
    if (wrong !== undefined) {
      throw new TypeError(
        `"${wrong}" is neither ${WORDS.join(", ")} nor a file of tests`,
      );
    }
    return {
      guests: guestsOf(operands),
      files: short && files.length === 0 ? SHORT_TESTS : files,
    };
  });
  const rows: string[] = [];
  let isRight = true;
  const cache = cacheFolder();
  const denoDir = `${cache}/deno`;
  console.log("fetches what the tests import, and Debian's lists of packages");
  fillDenoDir(denoDir);
  const kept = { cache, denoDir, debian: new Debian(`${cache}/apt`) };
  for (const [i, [suite, arch]] of guests.entries()) {
    console.log(`== ${i + 1} of ${guests.length}: ${suite}, ${arch}`);
    const startMs = performance.now();
    const { kernel, lacks, passed, failed, faults } = await check(
      suite,
      arch,
      files,
      kept,
    );
    const tookS = ((performance.now() - startMs) / 1000).toFixed();
    for (const line of faults) console.log(`   ${line}`);
    rows.push(
      `${suite}, ${arch}, Linux ${kernel}: ${
        passed.join(" + ") || 0
      } passed, ${failed} failed, ${tookS} s; without ${lacks}`,
    );
    if (failed > 0) isRight = false;
  }
  console.log(`\n${rows.join("\n")}`);
  return isRight ? 0 : 1;
}

await tidily(import.meta.url, main);
