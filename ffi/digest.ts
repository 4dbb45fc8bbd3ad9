/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "2e94477ad7d7624878159db32430edc8d32a2925432a0c92c85d7b9a62363328";
