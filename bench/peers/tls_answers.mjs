/** The answers of the servers for `bench tls`: the same bytes in each. */

const SMALL = new TextEncoder().encode(
  "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, world!",
);
const LARGE_SIZE = 2 ** 20;
const HEAD = new TextEncoder().encode(
  `HTTP/1.1 200 OK\r\ncontent-length: ${LARGE_SIZE}\r\n\r\n`,
);
const LARGE = new Uint8Array(HEAD.length + LARGE_SIZE);
LARGE.set(HEAD);

/** "/l…" in "GET /l…". */
const AT = 5;

/**
 * Gives the answer to a request of wrk, which comes whole.
 *
 * @param {Uint8Array} request
 * @returns {{ answer: Uint8Array, isLast: boolean }} whether the server ends the
 * connection: "/o" asks for that
 */
export function answerTo(request) {
  const which = String.fromCharCode(request[AT] ?? 0);
  return { answer: which === "l" ? LARGE : SMALL, isLast: which === "o" };
}
