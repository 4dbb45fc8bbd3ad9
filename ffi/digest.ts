/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "296d654e98e32486a15403f7dbdbd60d9809a45d8d7f35c0f8ce0afc09750ca4";
/** The version of that release. */
export const VERSION = "0.1.0";
