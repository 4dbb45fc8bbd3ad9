/** Boots a kernel under QEMU, which plays the whole machine: it needs neither
 * privileges nor KVM. */
import type { Arch } from "./debian.ts";

/** The machine of an architecture. */
const MACHINES: Readonly<
  Record<Arch, { emulator: string; options: string[]; console: string }>
> = {
  x86_64: {
    emulator: "qemu-system-x86_64",
    options: ["-machine", "q35", "-cpu", "max"],
    console: "ttyS0",
  },
  aarch64: {
    emulator: "qemu-system-aarch64",
    options: ["-machine", "virt", "-cpu", "neoverse-n1"],
    console: "ttyAMA0",
  },
};

/** What a guest gets. */
export interface Guest {
  arch: Arch;
  kernel: string;
  archive: string;
  /** The image of its disk, which it writes to. */
  disk: string;
  limitS: number;
}

/** Boots it and shows its console. Returns what was there at its end. */
export async function boot(
  { arch, kernel, archive, disk, limitS }: Guest,
): Promise<string> {
  const { emulator, options, console } = MACHINES[arch];
  const child = new Deno.Command(emulator, {
    args: [
      ...options,
      ...["-accel", "tcg,thread=multi", "-smp", "2", "-m", "3G"],
      ...["-nographic", "-nodefaults", "-no-reboot", "-serial", "stdio"],
      ...["-kernel", kernel, "-initrd", archive],
      ...["-drive", `file=${disk},format=raw,if=virtio`],
      "-append",
      // The host may stop the guest for some time, which is no fault of its own.
      `console=${console} loglevel=4 panic=-1 tsc=reliable nosoftlockup rcupdate.rcu_cpu_stall_suppress=1 rdinit=/init`,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const stop = () => child.kill("SIGKILL");
  const limit = setTimeout(stop, limitS * 1000);
  let printed = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    printed += text;
    Deno.stdout.writeSync(new TextEncoder().encode(text));
  }
  await child.status;
  clearTimeout(limit);
  return printed.replaceAll("\r", "");
}
