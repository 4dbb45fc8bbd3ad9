import { checkArray, checkBoolean, type Path } from "../lib/check.ts";
import {
  type DirEntry,
  FOLDER_FOLLOW,
  FOLDER_NOFOLLOW,
  FOLDER_SELF,
  FOLDER_STAT,
} from "../lib/ops/folder.ts";
import { WALK } from "../lib/ops/table.ts";
import { shownPath } from "../lib/path_text.ts";
import type { ReadDirOptions } from "./read_dir.ts";

/** Options of `walk()`. Patterns see a path that is no UTF-8 in the escapes of
 * C, like `name`. */
export interface WalkOptions extends ReadDirOptions {
  /** How many directories deep: 0 gives the root alone, 1 what is in it, too.
   * @default {Infinity} */
  maxDepth?: number | undefined;
  /** Gives files: all that is neither a directory nor a symbolic link.
   * @default {true} */
  includeFiles?: boolean | undefined;
  /** Gives directories. They are entered either way.
   * @default {true} */
  includeDirs?: boolean | undefined;
  /** Gives symbolic links that are not followed.
   * @default {true} */
  includeSymlinks?: boolean | undefined;
  /** Follows symbolic links.
   * @default {false} */
  followSymlinks?: boolean | undefined;
  /** Gives only paths that end with one of these, `".ts"` or `"ts"`. */
  exts?: readonly string[] | undefined;
  /** Gives only paths that one of these matches. */
  match?: readonly RegExp[] | undefined;
  /** Gives no path that one of these matches, and enters no such directory. */
  skip?: readonly RegExp[] | undefined;
}

/** The options of a walk, checked. */
export class Filter {
  readonly maxDepth: number;
  readonly followSymlinks: boolean;
  readonly #stat: boolean;
  readonly #files: boolean;
  readonly #dirs: boolean;
  readonly #symlinks: boolean;
  readonly #exts: readonly string[] | undefined;
  readonly #match: readonly RegExp[] | undefined;
  readonly #skip: readonly RegExp[];

  constructor(options: WalkOptions) {
    const given = (
      name:
        | "stat"
        | "followSymlinks"
        | `include${"Files" | "Dirs" | "Symlinks"}`,
      otherwise: boolean,
    ) => checkBoolean(options[name] ?? otherwise, name, WALK.verb);
    this.#stat = given("stat", false);
    this.followSymlinks = given("followSymlinks", false);
    this.#files = given("includeFiles", true);
    this.#dirs = given("includeDirs", true);
    this.#symlinks = given("includeSymlinks", true);
    const { maxDepth = Infinity, exts, match, skip = [] } = options;
    this.maxDepth = checkDepth(maxDepth);
    this.#exts = exts && extsIn(exts);
    this.#match = match && patternsIn(match, "match");
    this.#skip = patternsIn(skip, "skip");
  }

  /** Flags of kio_folder_begin() for a directory of that depth. */
  flagsFor(depth: number): number {
    const { followSymlinks } = this;
    return (this.#stat ? FOLDER_STAT : 0) |
      (followSymlinks ? FOLDER_FOLLOW : 0) |
      (followSymlinks || depth === 0 ? FOLDER_SELF : FOLDER_NOFOLLOW);
  }

  /** The consumer gets all entries. */
  get wantsAll(): boolean {
    return this.#files && this.#dirs && this.#symlinks &&
      this.#skip.length === 0 &&
      this.#exts === undefined && this.#match === undefined;
  }

  /** Tells whether a path is skipped, with all that is below it. */
  skips(path: Path): boolean {
    return this.#skip.length > 0 && isMatched(this.#skip, textOf(path));
  }

  /** Tells whether the consumer gets an entry. */
  wants(type: DirEntry["type"], path: Path): boolean {
    const isIncluded = type === "directory"
      ? this.#dirs
      : type === "symlink"
      ? this.#symlinks
      : this.#files;
    if (!isIncluded || this.skips(path)) return false;
    const exts = this.#exts;
    const match = this.#match;
    if (exts === undefined && match === undefined) return true;
    const text = textOf(path);
    return (exts?.some((ext) => text.endsWith(ext)) ?? true) &&
      (match === undefined || isMatched(match, text));
  }
}

function textOf(path: Path): string {
  return typeof path === "string" ? path : shownPath(path);
}

/** Unlike test(), search() does not go on where it has stopped before. */
function isMatched(patterns: readonly RegExp[], text: string): boolean {
  return patterns.some((pattern) => text.search(pattern) >= 0);
}

function checkDepth(maxDepth: number): number {
  const isDepth = Number.isInteger(maxDepth) || maxDepth === Infinity;
  if (isDepth && maxDepth >= 0) return maxDepth;
  throw new RangeError(
    `Cannot ${WALK.verb}: maxDepth must be an integer from 0, or Infinity, got ${
      String(maxDepth)
    }`,
  );
}

function extsIn(exts: readonly string[]): string[] {
  checkArray(exts, "exts", WALK.verb);
  return exts.map((ext) => {
    if (typeof ext !== "string") {
      throw new TypeError(
        `Cannot ${WALK.verb}: exts must be strings, got ${typeof ext}`,
      );
    }
    return ext.startsWith(".") ? ext : `.${ext}`;
  });
}

function patternsIn(patterns: readonly RegExp[], name: string): RegExp[] {
  checkArray(patterns, name, WALK.verb);
  return patterns.map((pattern) => {
    if (pattern instanceof RegExp) return pattern;
    throw new TypeError(
      `Cannot ${WALK.verb}: ${name} must be regular expressions, got ${typeof pattern}`,
    );
  });
}
