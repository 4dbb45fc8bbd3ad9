/**
 * Runs the tests on Debian's kernels under QEMU:
 *
 *     deno task test:kernels [--short] [SUITE | ARCH | FILE …]
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
import { compileShim, compileTests, SHIM_FOLDER } from "../ffi/compile.ts";
import { type Arch, Debian, type Suite, SUITES } from "./kernels/debian.ts";
import { boot } from "./kernels/guest.ts";
import { addProject, baseOf, liburingOf } from "./kernels/image.ts";
import { run } from "./kernels/run.ts";
import { SHORT_TESTS } from "./short_tests.ts";
import { summariesIn } from "./summary.ts";

const ROOT = decodeURIComponent(new URL("../", import.meta.url).pathname);
const ARCHES: readonly Arch[] = ["x86_64", "aarch64"];
/** A guest is stopped after that time. */
const LIMIT_S = 3600;
const COMPLAINTS = /BUG:|WARNING:|Oops|general protection fault|Kernel panic/;

interface Result {
  title: string;
  kernel: string;
  passed: string;
  failed: number;
  lacks: string;
  tookS: number;
}

function cacheFolder(): string {
  const base = Deno.env.get("XDG_CACHE_HOME") ||
    `${Deno.env.get("HOME")}/.cache`;
  const folder = `${base}/kio/kernels`;
  Deno.mkdirSync(folder, { recursive: true });
  return folder;
}

/** Compiles the library and its tests for a guest. */
function compileFor(arch: Arch, flags: readonly string[], into: string): void {
  if (arch !== Deno.build.arch) Deno.env.set("CC", `${arch}-linux-gnu-gcc`);
  try {
    compileShim(SHIM_FOLDER, `${into}/libkio.so`, { flags, sources: [] });
    compileTests(into, ["-O1", ...flags]);
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

/** What a guest has printed, as a row of the table. */
function judge(title: string, printed: string, runs: number): Result {
  const summaries = summariesIn(printed);
  const complaints = printed.split("\n").filter((it) => COMPLAINTS.test(it));
  // A run without a summary has ended early.
  let failed = runs - summaries.length + complaints.length;
  for (const summary of summaries) failed += summary.failed;
  if (!/^kio: ended$/m.test(printed)) {
    console.log(`${title} FAILED: it did not come to its end`);
    failed++;
  }
  return {
    title,
    kernel: /^kio: (\S+) after/m.exec(printed)?.[1] ?? "none",
    passed: summaries.map(({ passed }) => passed).join(" + "),
    failed,
    lacks: /^kio: lacks (.*)$/m.exec(printed)?.[1] ?? "",
    tookS: 0,
  };
}

class Kernels {
  readonly #cache: string = cacheFolder();
  readonly #debian: Debian = new Debian(`${this.#cache}/apt`);
  readonly #files: readonly string[];

  constructor(files: readonly string[]) {
    this.#files = files;
  }

  /** Fetches and transpiles what the tests import. */
  #denoDir(): string {
    const denoDir = `${this.#cache}/deno`;
    const files = run("git", ["ls-files", "*_test.ts"], { cwd: ROOT });
    const modules = [...files.trim().split("\n"), "tools/kernels/lacks.ts"];
    run(Deno.execPath(), ["cache", "--quiet", "--frozen", ...modules], {
      cwd: ROOT,
      env: { DENO_DIR: denoDir },
    });
    return denoDir;
  }

  async check(suite: Suite, arch: Arch): Promise<Result> {
    const startMs = performance.now();
    const folder = Deno.makeTempDirSync();
    try {
      const base = baseOf(this.#debian, suite, arch, this.#cache);
      const [built, archive] = [`${folder}/built`, `${folder}/archive`];
      const disk = `${folder}/disk`;
      Deno.mkdirSync(built);
      compileFor(
        arch,
        liburingOf(this.#debian, suite, arch, this.#cache),
        built,
      );
      Deno.copyFileSync(base.archive, archive);
      const commands = [
        "ffi/build/shim_test 2>&1",
        `deno test --no-check --cached-only --allow-ffi ${
          this.#files.join(" ")
        } 2>&1 | cat`,
      ];
      addProject(archive, {
        root: ROOT,
        built,
        denoDir: this.#denoDir(),
        command: [
          "deno run --cached-only --allow-ffi tools/kernels/lacks.ts",
          ...commands,
        ].join("\n"),
      });
      makeDisk(disk);
      const title = `${suite} ${arch}`;
      const preparedS = (performance.now() - startMs) / 1000;
      console.log(
        `== ${title}: Linux ${base.version}, made in ${preparedS.toFixed()} s`,
      );
      const printed = await boot({
        arch,
        kernel: base.kernel,
        archive,
        disk,
        limitS: LIMIT_S,
      });
      const tookS = (performance.now() - startMs) / 1000;
      return { ...judge(title, printed, commands.length), tookS };
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  }
}

const args = Deno.args.filter((it) => it !== "--short");
const isShort = args.length < Deno.args.length;
const suites = SUITES.filter((it) => args.includes(it));
const arches = ARCHES.filter((it) => args.includes(it));
const files = args.filter((it) =>
  ![...SUITES, ...ARCHES].includes(it as Suite | Arch)
);
const kernels = new Kernels(files.length > 0 || !isShort ? files : SHORT_TESTS);
const results: Result[] = [];
for (const arch of arches.length > 0 ? arches : ARCHES) {
  const all = arch === "x86_64" || arches.length > 0 ? SUITES : ["trixie"];
  for (const suite of suites.length > 0 ? suites : all as Suite[]) {
    results.push(await kernels.check(suite, arch));
  }
}
console.log();
for (const { title, kernel, passed, failed, lacks, tookS } of results) {
  console.log(
    `| ${title} | ${kernel} | ${passed} passed, ${failed} failed | ${lacks} | ${tookS.toFixed()} s |`,
  );
}
