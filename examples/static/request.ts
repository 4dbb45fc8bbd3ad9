/** What a request asks for. Pure functions: nothing here is trusted. */

export interface Request {
  method: "GET" | "HEAD";
  /** The file, relative to the root and decoded. */
  path: string;
  /** The target as it was sent, with the slash that its path lacks; undefined if
   * it has one. */
  folder: string | undefined;
  /** Whether the connection stays open. */
  keepAlive: boolean;
  /** Those that change the answer, by name in lower case. */
  headers: ReadonlyMap<string, string>;
}

/** The answer to what cannot be served. */
export type Status = 400 | 403 | 404 | 405 | 413 | 431 | 500 | 503 | 505;

const WANTED = new Set([
  "connection",
  "content-length",
  "host",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "range",
  "transfer-encoding",
]);
const CLOSE = /(^|,)\s*close\s*(,|$)/i;
const SINGLE = new Set([
  "content-length",
  "host",
  "range",
  "transfer-encoding",
]);

/** Printable ASCII: "/path" and "?query", behind "http://host" for proxies. */
const REQUEST_LINE =
  /^([A-Z]{1,20}) (?:http:\/\/[!-"$-.0->@-~]*)?(\/[!-"$->@-~]*)(\?[!-"$-~]*)? HTTP\/(\d)\.(\d)$/;
/** A header, and no line end or control character that another program might
 * see something else in. */
const HEADER =
  // deno-lint-ignore no-control-regex -- Control characters are the point.
  /([\w!#$%&'*+.^`|~-]+):([^\x00-\x08\x0a-\x1f\x7f]*)(?:\r\n|$)/y;

/**
 * @param head The request line and the headers, without the last line end.
 */
export function parseRequest(head: string): Request | Status {
  const lineEnd = head.indexOf("\r\n");
  const line = REQUEST_LINE.exec(lineEnd < 0 ? head : head.slice(0, lineEnd));
  if (line === null) return 400;
  const [, method, rawPath = "", query = "", major, minor] = line;
  if (major !== "1") return 505;
  const isOld = minor === "0";
  const headers = parseHeaders(head, lineEnd < 0 ? head.length : lineEnd + 2);
  if (headers === undefined) return 400;
  if (!isOld && !headers.has("host")) return 400;
  if (method !== "GET" && method !== "HEAD") return 405;
  if (headers.has("transfer-encoding")) return 413;
  if ((headers.get("content-length") ?? "0") !== "0") return 413;
  const path = parsePath(rawPath);
  if (typeof path === "number") return path;
  const connection = headers.get("connection");
  return {
    method,
    path,
    folder: rawPath.endsWith("/") ? undefined : `${rawPath}/${query}`,
    keepAlive: !isOld &&
      (connection === undefined || !CLOSE.test(connection)),
    headers,
  };
}

/** The headers that are wanted; undefined if any makes no sense. */
function parseHeaders(
  head: string,
  start: number,
): Map<string, string> | undefined {
  const headers = new Map<string, string>();
  for (let at = start; at < head.length; at = HEADER.lastIndex) {
    HEADER.lastIndex = at;
    const header = HEADER.exec(head);
    if (header === null) return undefined;
    const name = header[1]!.toLowerCase();
    if (!WANTED.has(name)) continue;
    const value = header[2]!.trim();
    const before = headers.get(name);
    // Two of these: a proxy in between may have gone by the other one.
    if (before !== undefined && SINGLE.has(name)) return undefined;
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}

/** The name of a file within the root; that of a folder is its index. */
function parsePath(raw: string): string | 400 | 404 {
  // Decoded once; what would be a separator then was meant to deceive.
  if (/%2f|%5c|%00|\\/i.test(raw)) return 400;
  let path = raw;
  if (raw.includes("%")) {
    try {
      path = decodeURIComponent(raw);
    } catch {
      return 400;
    }
  }
  if (path.endsWith("/")) path += "index.html";
  // No "." and "..", nothing hidden, and nothing between two slashes.
  return /\/[./]/.test(path) ? 404 : path.slice(1);
}

/** A part of a file. */
export interface Range {
  offset: number;
  length: number;
}

/**
 * The part of a file that is asked for: all of it for what is not understood or
 * for several parts, undefined if there is nothing of the part.
 */
export function parseRange(
  header: string | undefined,
  size: number,
): Range | undefined {
  const all = { offset: 0, length: size };
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? "");
  if (match === null) return all;
  const [, first, last] = match;
  if (first === "") {
    if (last === "") return all;
    const length = Math.min(Number(last), size);
    return length === 0 ? undefined : { offset: size - length, length };
  }
  const offset = Number(first);
  const end = last === "" ? size : Math.min(Number(last) + 1, size);
  if (last !== "" && Number(last) < offset) return all;
  return offset >= size ? undefined : { offset, length: end - offset };
}
