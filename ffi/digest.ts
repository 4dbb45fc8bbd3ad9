/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "fad517a63a0ebd430206e3d9ec523156eae9f413348b4c54e1474d7647b26505";
/** The version of that release. */
export const VERSION = "0.1.0";
