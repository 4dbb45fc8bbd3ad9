/** The file server's parsing of requests, good and hostile. */
import { assert, assertEquals } from "@std/assert";
import { parseRange, parseRequest } from "../../examples/static/request.ts";
import { randomOf } from "../support.ts";

/** Pieces for mutations of a request. */
const PIECES = [
  ..."\0\t\r\n /\\.%:?#;,-=\x7f\xff",
  "\r\n",
  "..",
  "/../",
  "%2e",
  "%2f",
  "%5c",
  "%00",
  "%25",
  "//",
  "/.",
  "http://",
  "HTTP/1.1",
  "Host: x\r\n",
  "Content-Length: 1",
  "Transfer-Encoding: chunked",
  "close",
];
const SEED = "GET /a/b%20c?q HTTP/1.1\r\nHost: x\r\nConnection: keep-alive";

Deno.test("parseRequest() lets no path out, whatever is sent", () => {
  const random = randomOf(7);
  let accepted = 0;
  for (let round = 0; round < 100_000; round++) {
    let head = SEED;
    for (let i = random(4); i >= 0; i--) {
      const at = random(random(2) === 0 ? 24 : head.length);
      const piece = PIECES[random(PIECES.length)];
      head = head.slice(0, at) + piece + head.slice(at + random(3));
    }
    const request = parseRequest(head);
    if ("status" in request) continue;
    accepted++;
    const { path, folder } = request;
    const shown = JSON.stringify(head);
    assert(path !== "" && !path.startsWith("/"), shown);
    // deno-lint-ignore no-control-regex -- NUL ends a path for the kernel.
    assert(!/[\x00\\]|(^|\/)\.|\/\//.test(path), shown);
    // It becomes a header.
    assert(/^(\/[!-~]+)?$/.test(folder ?? ""), shown);
    assert(!folder?.startsWith("//"), shown);
    assert(!request.headers.has("transfer-encoding"), shown);
  }
  // Else it says nothing.
  assert(accepted > 5000, `${accepted}`);
});

Deno.test("parseRequest() takes no longer for hostile requests", () => {
  // A regular expression that goes back and forth takes hours for that, where
  // one that does not takes a fraction of a second.
  const size = 4_000_000;
  const heads = [
    `GET /${"a".repeat(size)} x`,
    `GET ${"http://".repeat(size / 7)}`,
    `GET / HTTP/1.1\r\nConnection: ${", ".repeat(size / 2)}`,
    `GET / HTTP/1.1\r\nConnection:${" ".repeat(size)}\n`,
    `GET / HTTP/1.1\r\nConnection:${" ".repeat(size)}x`,
    `GET / HTTP/1.1\r\n${"a".repeat(size)}`,
    `GET / HTTP/1.1\r\n${"a: \t".repeat(size / 4)}\x01`,
    `GET / HTTP/1.1\r\n${"a:\r\n".repeat(size / 4)}`,
    `GET /${"%20".repeat(size / 3)}%zz HTTP/1.1\r\nHost: x`,
  ];
  for (const head of heads) {
    for (const end of ["", "\r\nHost: x"]) void parseRequest(head + end);
  }
});

Deno.test("parseRange() stays within the file", () => {
  const random = randomOf(11);
  const numbers = ["", "0", "1", "9", "10", "11", "999999999999999"];
  const pick = () => numbers[random(numbers.length)];
  for (let round = 0; round < 10_000; round++) {
    const size = random(3) * random(11);
    const header = `bytes=${pick()}-${pick()}`;
    const range = parseRange(header, size);
    if (typeof range !== "object") continue;
    const { offset, length } = range;
    const shown = `${header} of ${size}: ${offset} + ${length}`;
    assert(offset >= 0 && length > 0 && offset + length <= size, shown);
  }
  assertEquals(parseRange(undefined, 5), undefined);
  assertEquals(parseRange("bytes=5-", 5), "none");
});
