/** The parts of a benchmark. */

/** Figures of one run of one peer, by the name of the metric. */
export type Sample = Readonly<Record<string, number>>;

/** One program that takes part. */
export interface Peer {
  readonly name: string;
  /** The program can run here. The report names one that cannot. */
  readonly installed: boolean;
  /** Runs it once, from its start to its end. */
  sample(): Promise<Sample>;
}

/** One column of a table. */
export interface Column {
  readonly head: string;
  readonly metric: string;
  readonly digits: number;
  /** Show the lowest and the highest value as well. */
  readonly spread?: boolean;
  /** Show the ratio to the base as well. */
  readonly ratio?: boolean;
}

/** The same work, done by several peers. */
export interface Case {
  readonly title: string;
  /** The numbers that the title has in words, for charts. */
  readonly parameters?: Readonly<Record<string, number>>;
  /** The name of the peer that the others are compared with. */
  readonly base: string;
  readonly columns: readonly Column[];
  readonly peers: readonly Peer[];
}

/** Something that the project promises. */
export interface Bar {
  readonly text: string;
  /** The measured value, or null if a peer that it needs is missing. */
  readonly figure: number | null;
  readonly limit: number;
  readonly kind: "at least" | "at most";
}

/** The figures of all rounds, as far as bars look at them. */
export interface Figures {
  /** Median over the rounds of a peer's metric; null if it did not run. */
  median(title: string, peer: string, metric: string): number | null;
  /** Median over the rounds of `combine(left, right)`, or null if a peer is
   * missing. */
  compare(
    title: string,
    left: string,
    right: string,
    metric: string,
    combine: (left: number, right: number) => number,
  ): number | null;
}

/** A benchmark: what `main.ts` can be asked for by name. */
export interface Suite {
  /** The way of measuring, line by line. */
  readonly notes: readonly string[];
  /** Seconds of one run of a peer, about, with its start and its warm-up. */
  readonly turnSeconds: number;
  readonly cases: readonly Case[];
  bars(figures: Figures): Bar[];
  /** Further findings in the figures, a sentence each. */
  findings?(figures: Figures): string[];
  /** Makes the files that it needs. */
  begin?(): Promise<void>;
  /** Removes it. */
  end?(): Promise<void>;
}

/** The user's choices. */
export interface Options {
  readonly rounds: number;
  readonly seconds: number;
}

/** Divides `left` by `right`. */
export function ratio(left: number, right: number): number {
  return left / right;
}

/** Subtracts `right` from `left`. */
export function difference(left: number, right: number): number {
  return left - right;
}
