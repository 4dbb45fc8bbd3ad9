/** Parses requests. Pure functions: nothing here is trusted. */

export interface Request {
  /** HEAD, which gets no body, and not GET. */
  isHead: boolean;
  /** The file, relative to the root and decoded. */
  path: string;
  /** The target as it was sent, with the slash that its path lacks; undefined if
   * it has one. */
  folder: string | undefined;
  /** True if the connection stays open. */
  keepAlive: boolean;
  /** Those that change the answer, by name in lower case. */
  headers: ReadonlyMap<string, string>;
}

/** The answer to what cannot be served. */
export type Status = 400 | 403 | 404 | 405 | 413 | 431 | 500 | 503 | 505;

/** A request for which no file is looked for. */
export interface Refusal {
  status: Status;
  /** It was HEAD, as far as can be seen. */
  isHead: boolean;
  /** It is known where the next request begins. */
  keepAlive: boolean;
}

const WANTED = new Set([
  "connection",
  "content-length",
  "host",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
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
export function parseRequest(head: string): Request | Refusal {
  const lineEnd = head.indexOf("\r\n");
  const line = REQUEST_LINE.exec(lineEnd < 0 ? head : head.slice(0, lineEnd));
  if (line === null) return refusal(head, 400);
  const [, method, rawPath = "", query = "", major, minor] = line;
  if (major !== "1") return refusal(head, 505);
  const isOld = minor === "0";
  const headers = parseHeaders(head, lineEnd < 0 ? head.length : lineEnd + 2);
  if (headers === undefined) return refusal(head, 400);
  if (!isOld && !headers.has("host")) return refusal(head, 400);
  const hasBody = headers.has("transfer-encoding") ||
    (headers.get("content-length") ?? "0") !== "0";
  const isHead = method === "HEAD";
  const connection = headers.get("connection");
  const keepAlive = !isOld && !hasBody &&
    (connection === undefined || !CLOSE.test(connection));
  if (!isHead && method !== "GET") return refusal(head, 405, keepAlive);
  if (hasBody) return refusal(head, 413);
  const path = parsePath(rawPath);
  if (typeof path === "number") return refusal(head, path, keepAlive);
  return {
    isHead,
    path,
    folder: rawPath.endsWith("/") ? undefined : `${rawPath}/${query}`,
    keepAlive,
    headers,
  };
}

/** Refuses a request, or what there is of it. */
export function refusal(
  head: string,
  status: Status,
  keepAlive = false,
): Refusal {
  return { status, isHead: head.startsWith("HEAD "), keepAlive };
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
 * The part of a file that is asked for; "none" if the file ends before it.
 * Undefined, which is all of it, for what is not understood, for several parts,
 * and of an empty file, which has no parts.
 */
export function parseRange(
  header: string | undefined,
  size: number,
): Range | "none" | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? "");
  if (match === null || size === 0) return undefined;
  const [, first, last] = match;
  if (first === "") {
    if (last === "") return undefined;
    const length = Math.min(Number(last), size);
    return length === 0 ? "none" : { offset: size - length, length };
  }
  const offset = Number(first);
  const end = last === "" ? size : Math.min(Number(last) + 1, size);
  if (last !== "" && Number(last) < offset) return undefined;
  return offset >= size ? "none" : { offset, length: end - offset };
}

/**
 * Evaluates the conditions of a request, in the order of RFC 9110, 13.2.2:
 * undefined for the file, 304 if the client has it, 412 if it is
 * another one than that which the client wants to go on with.
 */
export function parseConditions(
  headers: ReadonlyMap<string, string>,
  { etag, lastModified }: { etag: string; lastModified: string },
): 304 | 412 | undefined {
  const modifiedMs = Date.parse(lastModified);
  const wanted = headers.get("if-match");
  const isWrong = wanted === undefined
    ? modifiedMs > parseDate(headers.get("if-unmodified-since"))
    : !hasTag(wanted, etag);
  if (isWrong) return 412;
  const known = headers.get("if-none-match");
  const isKnown = known === undefined
    ? modifiedMs <= parseDate(headers.get("if-modified-since"))
    : hasTag(known, etag, /^W\//);
  return isKnown ? 304 : undefined;
}

/** Looks for a tag in a list, of whose tags a prefix is ignored. */
function hasTag(list: string, etag: string, prefix: RegExp | "" = ""): boolean {
  return list === "*" ||
    list.split(",").some((tag) => tag.trim().replace(prefix, "") === etag);
}

/** Reads a date in one of the three ways of HTTP; NaN, which is neither before nor
 * after any other, for all else. */
function parseDate(text = ""): number {
  return /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? /.test(text)
    ? Date.parse(text.replace(/( GMT)?$/, " GMT"))
    : NaN;
}
