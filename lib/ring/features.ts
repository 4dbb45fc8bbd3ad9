/**
 * Features of the kernel that may be missing, wrong or switched off. Each is
 * believed after it was seen to work: tried once a process, at its first use.
 */
import { loadShim } from "../../ffi/load.ts";
import { errorOf } from "../result.ts";

/** KIO_TRIAL_* of ffi/shim/kio.h */
const TRIAL_BUFFERS = 0;
const TRIAL_RECEIVE = 1;
const TRIAL_ACCEPT = 2;
const TRIAL_READ = 3;
const TRIAL_WAKE = 4;

/** Bytes for the lines of kio_environment(). */
const ENVIRONMENT_SIZE = 8192;
const LINE_FEED = 10;

/**
 * A feature of the kernel that kio uses, with the first Linux that has it:
 * `"acceptMultishot"` (5.19), `"recvMultishot"` and `"recvmsgMultishot"` (6.0),
 * `"readMultishot"` of pipes (6.12): one operation has many results.
 * `"bufferRing"` (5.19): the kernel picks buffers of a `BufferPool`. `"sendZc"`
 * (6.1): `asyncSendZc()` and `asyncSendmsgZc()` do not copy.
 * `"registeredBuffers"` and `"directDescriptors"` (5.19). `"deferTaskrun"`
 * (6.1): completions are processed when the thread asks for them.
 * `"incrementalBuffers"` and `"bundles"` are never used.
 */
export type Feature =
  | "acceptMultishot"
  | "recvMultishot"
  | "recvmsgMultishot"
  | "readMultishot"
  | "bufferRing"
  | "sendZc"
  | "registeredBuffers"
  | "directDescriptors"
  | "deferTaskrun"
  | "incrementalBuffers"
  | "bundles";

interface Facts {
  /** The first Linux that has it. */
  readonly since: string;
  /** Does the same where it is not used; undefined if nothing does. */
  readonly without?: string;
  /** The trial that shows that it works. */
  readonly trial?: number;
  /** A fault that the trial looks for. */
  readonly fault?: string;
  /** Another feature that it is made of. */
  readonly needs?: Feature;
  /** The reason why the library does not use it. */
  readonly unused?: string;
}

const LOST_END =
  "its trial failed: the end of a connection may be lost (CVE-2026-23473)";

/** The features, by name: options and documents come from here. */
export const FEATURES: Readonly<Record<Feature, Facts>> = {
  acceptMultishot: {
    since: "5.19",
    without: "accepts one by one",
    trial: TRIAL_ACCEPT,
    fault: "its trial failed: connections may be lost",
  },
  recvMultishot: {
    since: "6.0",
    without: "receives one by one",
    trial: TRIAL_RECEIVE,
    fault: LOST_END,
    needs: "bufferRing",
  },
  recvmsgMultishot: {
    since: "6.0",
    without: "receives one by one",
    trial: TRIAL_RECEIVE,
    fault: LOST_END,
    needs: "bufferRing",
  },
  readMultishot: {
    since: "6.12",
    without: "reads one by one",
    trial: TRIAL_READ,
    fault: "this kernel has none that says which buffer it filled",
    needs: "bufferRing",
  },
  bufferRing: {
    since: "5.19",
    without: "polls, and receives into a buffer that the pool picks",
    trial: TRIAL_BUFFERS,
    fault: "this kernel has none, or no deferTaskrun to try it with",
  },
  sendZc: { since: "6.1", without: "sends, which copy" },
  registeredBuffers: {
    since: "5.19",
    without: "memory that is not registered",
  },
  directDescriptors: { since: "5.19" },
  deferTaskrun: {
    since: "6.1",
    without: "completions are processed as they come (COOP_TASKRUN)",
    trial: TRIAL_WAKE,
    fault: "it is not there, or signals of its eventfd are lost or late",
  },
  incrementalBuffers: {
    since: "6.12",
    unused: "not used: kernels say wrong which part of a buffer is free",
  },
  bundles: {
    since: "6.10",
    unused: "not used: kernels give the buffers in a wrong order",
  },
};

/** How a feature is done here. */
export interface FeatureSupport {
  /** `"native"`: by the kernel. `"emulated"`: otherwise, with the same results.
   * `"off"`: not at all. */
  readonly support: "native" | "emulated" | "off";
  /** The reason if it is not native: a switch, the kernel, or a trial. */
  readonly reason: string;
}

export const FEATURE_NAMES = Object.keys(FEATURES) as readonly Feature[];

/** Tells whether it is the name of a feature. */
export function isFeature(name: unknown): name is Feature {
  return typeof name === "string" && Object.hasOwn(FEATURES, name);
}

// ---- kernels ----------------------------------------------------------------

/** Kernels with a fault that no trial sees, as it needs a load. */
const KNOWN_BAD: readonly {
  readonly version: string;
  readonly features: readonly Feature[];
  readonly fault: string;
}[] = [
  {
    version: "6.1.7",
    features: ["recvMultishot", "recvmsgMultishot"],
    fault:
      "receives find no buffers though there are some (liburing issue 778)",
  },
];

/** Features that some kernel has wrong. */
const FAULTY = new Set(KNOWN_BAD.flatMap(({ features }) => features));

/** Gives the known faults of a kernel, by feature. `release` and `version` are
 * those of uname(2): Debian has the upstream number in the second only. */
export function knownFaults(
  release: string,
  version: string,
): ReadonlyMap<Feature, string> {
  const number = /Debian (\d+\.\d+\.\d+)/.exec(version)?.[1] ??
    /^\d+\.\d+\.\d+/.exec(release)?.[0];
  return new Map(
    KNOWN_BAD.filter((it) => it.version === number).flatMap((it) =>
      it.features.map((name) => [name, `Linux ${number}: ${it.fault}`])
    ),
  );
}

// ---- the process --------------------------------------------------------------

interface Environment {
  /** The known faults of the kernel. */
  readonly faults: ReadonlyMap<Feature, string>;
  readonly disabled: ReadonlySet<Feature>;
}

let environment: Environment | undefined;

/** Reads KIO_DISABLE and the kernel's version, without permissions. */
function environmentOf(): Environment {
  if (environment !== undefined) return environment;
  const bytes = new Uint8Array(ENVIRONMENT_SIZE);
  const length = loadShim().kio_environment(bytes, bytes.length);
  if (length < 0) {
    throw new RangeError("Cannot use KIO_DISABLE: it is too long");
  }
  const kernelEnd = bytes.indexOf(LINE_FEED, bytes.indexOf(LINE_FEED) + 1);
  const text = (from: number, to: number) =>
    new TextDecoder().decode(bytes.subarray(from, to));
  let faults: ReadonlyMap<Feature, string> | undefined;
  return environment = {
    // The first context of a program asks for none: it would cost a part of its
    // time.
    get faults() {
      if (faults !== undefined) return faults;
      const [release = "", version = ""] = text(0, kernelEnd).split("\n");
      return faults = knownFaults(release, version);
    },
    disabled: kernelEnd + 1 === length
      ? new Set()
      : namesIn(text(kernelEnd + 1, length)),
  };
}

/** Gives the features of KIO_DISABLE: names, with commas between. */
function namesIn(list: string): Set<Feature> {
  const names = list.split(",").map((name) => name.trim());
  return new Set(
    names.filter((name) => name !== "").map((name) => {
      if (isFeature(name)) return name;
      throw new RangeError(
        `Cannot use KIO_DISABLE: it has "${name}"; it takes ${
          FEATURE_NAMES.join(", ")
        }`,
      );
    }),
  );
}

/** The answers of trials, by their numbers. */
const answers: (boolean | undefined)[] = [];

// ---- a context ----------------------------------------------------------------

/** The features of a context: its switches, and what is known of the kernel. */
export class Features {
  readonly #switchedOff: ReadonlySet<Feature>;
  readonly #environment = environmentOf();

  /** @throws {RangeError} If KIO_DISABLE has what is no feature. */
  constructor(switchedOff: ReadonlySet<Feature> = new Set()) {
    this.#switchedOff = switchedOff;
  }

  /** Tells whether operations may use a feature. It is tried if it never was. */
  uses(feature: Feature): boolean {
    return this.reason(feature) === "";
  }

  /** Gives the reason for which a feature is not used; empty if it is. It is
   * tried if it never was. */
  reason(feature: Feature): string {
    const known = this.known(feature);
    if (known !== undefined) return known;
    const { needs, trial } = FEATURES[feature];
    const lack = needs === undefined ? "" : this.reason(needs);
    if (lack !== "") return `${needs}: ${lack}`;
    const answer = loadShim().kio_trial(trial!);
    // For want of fds or memory; the next time it may have them.
    if (answer < 0) return `it could not be tried (${errorOf(-answer).code})`;
    answers[trial!] = answer > 0;
    return this.known(feature)!;
  }

  /** Gives that reason; undefined if only a trial could tell. */
  known(feature: Feature): string | undefined {
    const { unused, needs, trial, fault } = FEATURES[feature];
    if (unused !== undefined) return unused;
    if (this.#switchedOff.has(feature)) return "the option features";
    if (this.#environment.disabled.has(feature)) return "KIO_DISABLE";
    const lack = FAULTY.has(feature) && this.#environment.faults.get(feature);
    if (lack) return lack;
    const missing = needs && this.known(needs);
    if (missing) return `${needs}: ${missing}`;
    const works = trial === undefined || answers[trial];
    return works === false ? fault : works && "";
  }
}

/** Gives how a feature is done that is not used for a reason. */
export function supportOf(feature: Feature, reason: string): FeatureSupport {
  const support = reason === ""
    ? "native"
    : FEATURES[feature].without === undefined
    ? "off"
    : "emulated";
  return Object.freeze({ support, reason });
}

/** Lists the features that a context is known to do without, for people. The
 * ones that it never uses are left out. */
export function listLacks(features: Features): string {
  return FEATURE_NAMES.filter((name) => FEATURES[name].unused === undefined)
    .map((name) => ({ name, reason: features.known(name) }))
    .filter(({ reason }) => reason)
    .map(({ name, reason }) => `${name} (${reason})`)
    .join(", ");
}
