/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "0da1a885632f55ce032fd18de380c2f5eed5d3f15fbb11c0a51bdad87be2a5f6";
/** The version of that release. */
export const VERSION = "0.2.0";
