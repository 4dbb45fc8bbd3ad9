/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "2ec492e565358200fbeba2f941ce40de3a27f9bd210d2cd9555be55e077b0625";
/** The version of that release. */
export const VERSION = "0.1.0";
