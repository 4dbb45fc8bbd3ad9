/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "c5b30f8bf1a1452afab0430604df06e89d8c454782b6feef4967b5e8fb3cf219";
/** The version of that release. */
export const VERSION = "0.1.0";
