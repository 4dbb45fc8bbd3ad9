/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "5bc8490498a2eee84a9a8cd924bc6dfa6bce02cf3dc195eb11cd3807223a064b";
