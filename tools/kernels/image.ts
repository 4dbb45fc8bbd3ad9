/**
 * The file system of a guest: an archive that its kernel unpacks into memory. The
 * first part is kept: libc, busybox, modules and Deno. The second has the
 * project, its libraries and what its tests import.
 */
import { Cpio } from "./cpio.ts";
import { type Arch, type Debian, DEBIAN_ARCH, type Suite } from "./debian.ts";
import { filesIn, neededModules } from "./modules.ts";
import { run } from "./run.ts";

/** Where a guest's programs come from: its libc is at least as new as the one
 * that the library was compiled with. */
export const USERLAND: Suite = "trixie";
const PROGRAMS = ["libc6", "libgcc-s1", "busybox-static"];

const MINIMAL_ETC = {
  "passwd": "root:x:0:0:root:/root:/bin/sh\n",
  "group": "root:x:0:\n",
  "hosts": "127.0.0.1 localhost\n::1 localhost\n",
  "nsswitch.conf": "hosts: files\n",
};

/** A kernel, and the first part of its archive. */
export interface Base {
  version: string;
  kernel: string;
  archive: string;
}

/** Deno for an architecture: this one, else the same version of npm. */
function denoOf(arch: Arch, cache: string): string {
  if (arch === Deno.build.arch) return Deno.realPathSync(Deno.execPath());
  const name = `linux-${arch === "aarch64" ? "arm64" : "x64"}-glibc`;
  const version = Deno.version.deno;
  run(Deno.execPath(), [
    "cache",
    "--quiet",
    "--no-config",
    `npm:@deno/${name}@${version}`,
  ], { env: { DENO_DIR: cache } });
  for (const { name: registry } of Deno.readDirSync(`${cache}/npm`)) {
    return `${cache}/npm/${registry}/@deno/${name}/${version}/deno`;
  }
  throw new Error(`Cannot find ${name} in ${cache}`);
}

/** The kernel of a suite and its base, from the cache if they are there. */
export function baseOf(
  debian: Debian,
  suite: Suite,
  arch: Arch,
  cache: string,
): Base {
  const { version, packages } = debian.kernel(suite, arch);
  const folder = `${cache}/${arch}-${version}-deno-${Deno.version.deno}`;
  const base = {
    version,
    kernel: `${folder}/linux`,
    archive: `${folder}/base.cpio`,
  };
  try {
    Deno.statSync(folder);
    return base;
  } catch {
    // It is made now.
  }
  const unpacked = Deno.makeTempDirSync();
  const made = Deno.makeTempDirSync({ dir: cache, prefix: "made-" });
  try {
    debian.unpack(packages, suite, DEBIAN_ARCH[arch], `${unpacked}/kernel`);
    debian.unpack(
      PROGRAMS,
      USERLAND,
      DEBIAN_ARCH[arch],
      `${unpacked}/programs`,
    );
    for (const { name, path } of filesIn(`${unpacked}/kernel`)) {
      if (name.startsWith("vmlinuz")) Deno.renameSync(path, `${made}/linux`);
    }
    using cpio = new Cpio(`${made}/base.cpio`);
    for (const name of ["bin", "lib", "sbin", "lib64"]) {
      cpio.link(name, `usr/${name === "sbin" ? "bin" : name}`);
    }
    const library = `usr/lib/${arch}-linux-gnu`;
    cpio.tree(`${unpacked}/programs/${library}`, library);
    if (arch === "x86_64") {
      cpio.tree(`${unpacked}/programs/usr/lib64`, "usr/lib64");
    } else {
      cpio.link(
        "usr/lib/ld-linux-aarch64.so.1",
        "aarch64-linux-gnu/ld-linux-aarch64.so.1",
      );
    }
    cpio.copy(`${unpacked}/programs/usr/bin/busybox`, "usr/bin/busybox");
    cpio.copy(
      denoOf(arch, `${cache}/deno-${DEBIAN_ARCH[arch]}`),
      "usr/bin/deno",
    );
    for (const [name, text] of Object.entries(MINIMAL_ETC)) {
      cpio.file(`etc/${name}`, text);
    }
    for (
      const [at, { name, content }] of neededModules(`${unpacked}/kernel`)
        .entries()
    ) {
      cpio.file(`modules/${`${at}`.padStart(2, "0")}-${name}.ko`, content);
    }
  } catch (error) {
    Deno.removeSync(made, { recursive: true });
    throw error;
  } finally {
    Deno.removeSync(unpacked, { recursive: true });
  }
  Deno.renameSync(made, folder);
  return base;
}

/**
 * The flags with which a compiler takes the liburing of a suite, and headers of
 * Linux for it. Without the package of the library itself the linker takes the
 * archive.
 */
export function liburingOf(
  debian: Debian,
  suite: Suite,
  arch: Arch,
  cache: string,
): string[] {
  const folder = `${cache}/liburing-${suite}-${arch}`;
  try {
    Deno.statSync(folder);
  } catch {
    debian.unpack(["liburing-dev"], suite, DEBIAN_ARCH[arch], folder);
    debian.unpack(["linux-libc-dev"], "sid", "all", folder);
  }
  const include = `${folder}/usr/include`;
  return [
    ...["-isystem", include, "-isystem", `${include}/${arch}-linux-gnu`],
    `-L${folder}/usr/lib/${arch}-linux-gnu`,
  ];
}

/** What a guest has of the project. */
export interface Project {
  /** The folder of the checkout, which has the same path in the guest. */
  root: string;
  /** A folder with what `ffi/build` has in the guest. */
  built: string;
  /** A DENO_DIR with what the tests import. */
  denoDir: string;
  /** What the guest runs in `root`, by a shell. */
  command: string;
}

/** Writes the second part of an archive behind the first. */
export function addProject(
  archive: string,
  { root, built, denoDir, command }: Project,
): void {
  using cpio = new Cpio(archive);
  cpio.copy(`${root}tools/kernels/init.sh`, "init");
  cpio.file("command", `cd '${root}' || exit\n${command}`);
  for (const path of run("git", ["ls-files"], { cwd: root }).split("\n")) {
    if (path !== "") cpio.copy(`${root}${path}`, `${root}${path}`);
  }
  cpio.tree(built, `${root}ffi/build`);
  cpio.tree(`${denoDir}/npm`, "deno/npm");
  cpio.tree(`${denoDir}/gen`, "deno/gen");
}
