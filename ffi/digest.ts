/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "3d46c6caae46184bb2914e3bf7efe3493ec31cc321fee9e5247f7c87aea49df5";
/** The version of that release. */
export const VERSION = "0.1.0";
