/**
 * Fetches URLs at the same time, each with a time limit of its own. Prints the
 * outcomes in the order of the arguments.
 *
 *     deno task fetch URL... [--timeout 5]
 *
 * Plain HTTP/1.1, no redirects, no https. Exits with 0 if all were answered,
 * with 1 if not, with 2 for wrong arguments.
 */
import {
  asyncRecv,
  asyncSendExact,
  IoContext,
  type Task,
  TcpStream,
} from "@kio/kio";
import { millisecondsOf, readArguments } from "./command_line.ts";

const BUFFER_SIZE = 64 * 1024;
const LINE_MAX = 8 * 1024;
const HEADERS_MAX = 100;

/** The outcome of a request. */
interface Response {
  url: string;
  /** The status, or why there is none. */
  status: number | string;
  /** The length of the body. */
  bytes: number;
  ms: number;
}

/** Starts all requests, then waits for one after the other. */
async function* fetchAll(
  ctx: IoContext,
  urls: readonly string[],
  timeoutMs: number,
): AsyncGenerator<Response> {
  const tasks = urls.map((url) => fetchWithTimeout(ctx, url, timeoutMs));
  for (const task of tasks) yield await task;
}

/** One request, from the connection to the last byte of the body. */
async function fetchWithTimeout(
  ctx: IoContext,
  url: string,
  timeoutMs: number,
): Task<Response> {
  const startMs = performance.now();
  /** Tells how much of the time is left. A timeout of 0 would be no end: what can be done
   * at once still succeeds then, and a server may always have more. */
  const leftMs = () => {
    const ms = startMs + timeoutMs - performance.now();
    if (ms > 0) return ms;
    throw new Error("timed out");
  };
  const response: Response = { url, status: "", bytes: 0, ms: 0 };
  try {
    const { protocol, hostname, port, host, pathname, search } = new URL(url);
    if (protocol !== "http:") {
      throw new Error(
        `only http is possible here, not ${protocol.slice(0, -1)}`,
      );
    }
    const name = hostname.replace(/^\[|\]$/g, "");
    const opened = await TcpStream.connect(ctx, name, Number(port || 80), {
      timeoutMs: leftMs(),
    });
    if (!opened.ok) throw new Error(opened.error.message);
    await using socket = opened.value;
    const request = `GET ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\n` +
      "User-Agent: kio\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    const data = new TextEncoder().encode(request);
    await asyncSendExact(ctx, socket, data, { timeoutMs: leftMs() }).orThrow();
    const input = new Input((buffer) =>
      asyncRecv(ctx, socket, buffer).withTimeout(leftMs()).orThrow()
    );
    const { status, headers } = await readHead(input);
    response.bytes = await readBody(input, status, headers);
    response.status = status;
  } catch (error) {
    response.status = (error as Error).message;
  }
  response.ms = performance.now() - startMs;
  return response;
}

// ---- HTTP ---------------------------------------------------------------------------

interface Head {
  status: number;
  /** Fields by name in lower case. Repeated fields are joined with a comma. */
  headers: Map<string, string>;
}

/** The status line and the headers of the final answer. */
async function readHead(input: Input): Task<Head> {
  for (;;) {
    const start = await input.line();
    const match = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(start);
    if (match === null) throw new Error("it does not speak HTTP/1.1");
    const status = Number(match[1]);
    const headers = await readHeaders(input);
    // "Continue", "Early Hints": another one follows.
    if (status >= 200) return { status, headers };
  }
}

async function readHeaders(input: Input): Task<Map<string, string>> {
  const headers = new Map<string, string>();
  for (let count = 0; count <= HEADERS_MAX; count++) {
    const line = await input.line();
    if (line === "") return headers;
    const match = /^([^\s:]+):(.*)$/.exec(line);
    if (match === null) throw new Error("a header makes no sense");
    const name = match[1]!.toLowerCase();
    const value = match[2]!.trim();
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before},${value}`);
  }
  throw new Error("too many headers");
}

/** Reads the body to its end; gives its length. */
async function readBody(
  input: Input,
  status: number,
  headers: Map<string, string>,
): Task<number> {
  if (status === 204 || status === 304) return 0;
  const coding = headers.get("transfer-encoding");
  if (coding !== undefined && /(^|[, \t])chunked$/i.test(coding)) {
    return await readChunks(input);
  }
  const length = headers.get("content-length");
  if (coding !== undefined || length === undefined) return await input.skip();
  // The same number twice is no contradiction.
  const [first = "", ...others] = length.split(",").map((one) => one.trim());
  if (!/^\d{1,15}$/.test(first) || others.some((other) => other !== first)) {
    throw new Error("its content-length makes no sense");
  }
  return await input.skip(Number(first));
}

async function readChunks(input: Input): Task<number> {
  for (let sum = 0;;) {
    const match = /^([\da-f]{1,12})[ \t]*(;.*)?$/i.exec(await input.line());
    if (match === null) throw new Error("a chunk makes no sense");
    const length = parseInt(match[1]!, 16);
    if (length === 0) {
      await readHeaders(input); // trailers
      return sum;
    }
    sum += await input.skip(length);
    if (await input.line() !== "") throw new Error("a chunk is too long");
  }
}

/** Reads from a socket, by lines and by bytes. */
class Input {
  readonly #receive: (buffer: Uint8Array) => Promise<number>;
  readonly #buffer = new Uint8Array(BUFFER_SIZE);
  #start = 0;
  #end = 0;

  constructor(receive: (buffer: Uint8Array) => Promise<number>) {
    this.#receive = receive;
  }

  /** A line, without its end. */
  async line(): Task<string> {
    for (;;) {
      const bytes = this.#buffer.subarray(this.#start, this.#end);
      const length = bytes.indexOf(10);
      if (length > LINE_MAX || (length < 0 && bytes.length > LINE_MAX)) {
        throw new Error("a line is too long");
      }
      if (length >= 0) {
        this.#start += length + 1;
        const text = new TextDecoder().decode(bytes.subarray(0, length));
        return text.endsWith("\r") ? text.slice(0, -1) : text;
      }
      if (!await this.#fill()) throw new Error("the answer is cut off");
    }
  }

  /** Takes that many bytes away, or all to the end; gives their number. */
  async skip(count = Infinity): Task<number> {
    for (let taken = 0;;) {
      const some = Math.min(count - taken, this.#end - this.#start);
      this.#start += some;
      taken += some;
      if (taken === count) return taken;
      if (await this.#fill()) continue;
      if (count === Infinity) return taken;
      throw new Error("the answer is cut off");
    }
  }

  /** Receives more; false at the end. */
  async #fill(): Task<boolean> {
    if (this.#start > 0) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    const count = await this.#receive(this.#buffer.subarray(this.#end));
    this.#end += count;
    return count > 0;
  }
}

// ---- the program -----------------------------------------------------------------------

const { urls, timeoutMs } = readArguments({
  command: "deno task fetch",
  about: "Fetches URLs over plain HTTP, all at the same time.",
  operands: "URL...",
  options: {
    timeout: {
      value: "SECONDS",
      default: "5",
      help: "for each URL, from the look-up to the last byte",
    },
  },
}, ({ timeout }, urls) => {
  if (urls.length === 0) throw new TypeError("there is no URL");
  for (const url of urls) {
    if (!URL.canParse(url)) throw new TypeError(`this is no URL: ${url}`);
  }
  return { urls, timeoutMs: millisecondsOf("--timeout", timeout) };
});
using ctx = new IoContext();
for await (const { url, status, bytes, ms } of fetchAll(ctx, urls, timeoutMs)) {
  const isAnswer = typeof status === "number";
  if (!isAnswer) Deno.exitCode = 1;
  console.log(
    isAnswer
      ? `${url}: ${status}, ${bytes} bytes, ${ms.toFixed(0)} ms`
      : `${url}: failed, ${status}, ${ms.toFixed(0)} ms`,
  );
}
