/**
 * Packages of Debian's suites, for any architecture, without a change of this
 * system. apt gets them from the mirror that it is set up with, and checks their
 * signatures.
 */
import { run } from "./run.ts";

/** Names of an architecture. */
export type Arch = "x86_64" | "aarch64";

/** The suites, from the oldest kernel to the newest. */
export const SUITES = ["bookworm", "trixie", "sid"] as const;
export type Suite = typeof SUITES[number];

/** How Debian names an architecture. */
export const DEBIAN_ARCH = { x86_64: "amd64", aarch64: "arm64" } as const;

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const PARTS = /linux-(?:image|binary|modules)-\d[^ ]*/g;
/** How old a list of packages may be. */
const LISTS_MS_MAX = 24 * 3600 * 1000;

/** The mirror that this system's apt has for Debian itself. */
function mirror(): string {
  const printed = run("apt-get", [
    "indextargets",
    "--format",
    "$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)",
    "Created-By: Packages",
  ]);
  // Updates and security have mirrors and suites of their own.
  const [, uri] = /^Debian main [a-z]+ (\S+)$/m.exec(printed) ?? [];
  if (uri === undefined) {
    throw new Error(
      "Cannot find a mirror of Debian: apt of this system has none; run it on Debian, or in a container of it",
    );
  }
  return uri;
}

/** apt with lists of its own, in a folder that is kept. */
export class Debian {
  readonly #folder: string;
  readonly #env: Record<string, string>;

  constructor(folder: string) {
    this.#folder = folder;
    this.#env = { APT_CONFIG: `${folder}/apt.conf` };
    for (
      const path of [
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
      ]
    ) {
      Deno.mkdirSync(`${folder}/${path}`, { recursive: true });
    }
    if (this.#isFresh()) return;
    // A mirror may lag behind: the newest suite is signed for some days only.
    const lines = SUITES.map((suite) =>
      `deb [arch=amd64,arm64 signed-by=${KEYRING}${
        suite === "sid" ? " check-valid-until=no" : ""
      }] ${mirror()} ${suite} main\n`
    );
    Deno.writeTextFileSync(`${folder}/sources.list`, lines.join(""));
    Deno.writeTextFileSync(
      `${folder}/apt.conf`,
      `Dir "${folder}";
Dir::Etc::sourcelist "${folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::status "/dev/null";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
`,
    );
    run("apt-get", ["update", "-qq", "--error-on=any"], { env: this.#env });
    Deno.writeTextFileSync(`${folder}/updated`, "");
  }

  #isFresh(): boolean {
    try {
      const { mtime } = Deno.statSync(`${this.#folder}/updated`);
      return Date.now() - mtime!.getTime() < LISTS_MS_MAX;
    } catch {
      return false;
    }
  }

  /** The fields of a package's newest version in a suite. */
  #show(name: string, suite: Suite, arch: Arch): Map<string, string> {
    const printed = run("apt-cache", [
      "show",
      "--no-all-versions",
      "-o",
      `APT::Default-Release=${suite}`,
      `${name}:${DEBIAN_ARCH[arch]}`,
    ], { env: this.#env });
    return new Map(
      Array.from(
        printed.matchAll(/^([\w-]+): (.*)$/gm),
        ([, field, value]) => [field!, value!],
      ),
    );
  }

  /** The packages of the kernel for virtual machines: the image, and since
   * Linux 6.19 its parts. */
  kernel(suite: Suite, arch: Arch): { version: string; packages: string[] } {
    const packages: string[] = [];
    let version = "";
    const todo = [`linux-image-cloud-${DEBIAN_ARCH[arch]}`];
    for (let name; (name = todo.shift()) !== undefined;) {
      const fields = this.#show(name, suite, arch);
      version = fields.get("Version")!;
      const depends = fields.get("Depends") ?? "";
      for (const [part] of depends.matchAll(PARTS)) {
        packages.push(part);
        todo.push(part);
      }
    }
    return { version, packages };
  }

  /** Unpacks packages into a folder. */
  unpack(
    names: readonly string[],
    suite: Suite,
    arch: "amd64" | "arm64" | "all",
    into: string,
  ): void {
    const cwd = Deno.makeTempDirSync();
    try {
      const wanted = names.map((it) => `${it}:${arch}/${suite}`);
      run("apt-get", ["download", "-qq", ...wanted], { cwd, env: this.#env });
      for (const { name } of Deno.readDirSync(cwd)) {
        run("dpkg-deb", ["-x", `${cwd}/${name}`, into]);
      }
    } finally {
      Deno.removeSync(cwd, { recursive: true });
    }
  }
}
