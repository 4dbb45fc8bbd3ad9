/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "fd16f41ff487aeb4cfc9698dde39a082803ab68674bb504684c4d7008c233488";
/** The version of that release. */
export const VERSION = "0.1.0";
