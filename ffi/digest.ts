/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "567787ae59f75c6969b139f6585527a867a61dd32fbf3e69c8f919dbe0080c83";
/** The version of that release. */
export const VERSION = "0.1.0";
