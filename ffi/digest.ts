/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "be9092e959318927af683fb6c7598daf1c3fdd97983ff8900bfad634945fa911";
