/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "ad2a37fb8690ac4882c9f5673b34f05a770cd259a55d63d355a4aaa5b443e5fc";
/** The version of that release. */
export const VERSION = "0.1.0";
