import { assert, assertEquals, assertMatch } from "@std/assert";
import { hasProgram, Program, run, sleep, temporaryFolder } from "./support.ts";

const SERVER = ["run", "--allow-ffi", "examples/static_sendfile.ts"];
const LARGE = 3 * 2 ** 20 + 5;
const encoder = new TextEncoder();
const decoder = new TextDecoder("latin1");

const hasCurl = await hasProgram("curl");

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !hasCurl, fn });
}

/** Bytes that tell where they are. */
function pattern(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 255);
}

/** A server with a folder of its own. */
class Site implements AsyncDisposable {
  readonly #folder = temporaryFolder();
  readonly root = `${this.#folder.path}/root`;
  readonly server: Program;
  port = 0;

  private constructor() {
    const path = this.#folder.path;
    Deno.mkdirSync(`${this.root}/folder/.git`, { recursive: true });
    Deno.mkdirSync(`${this.root}/empty`);
    Deno.writeTextFileSync(`${path}/secret`, "SECRET");
    this.write("index.html", "<p>index</p>");
    this.write("folder/index.html", "<p>folder</p>");
    this.write("folder/.git/config", "SECRET");
    this.write(".hidden", "SECRET");
    this.write("a b%.txt", "blank");
    this.write("nothing.css", "");
    this.write("tiny.txt", "0123456789");
    this.write("large.bin", pattern(LARGE));
    Deno.symlinkSync("../secret", `${this.root}/link`);
    Deno.symlinkSync(`${path}/secret`, `${this.root}/absolute`);
    Deno.symlinkSync(".hidden", `${this.root}/shown`);
    Deno.symlinkSync("..", `${this.root}/up`);
    this.server = new Program(Deno.execPath(), [
      ...SERVER,
      "--port=0",
      `--root=${this.root}`,
    ]);
  }

  static async start(): Promise<Site> {
    const site = new Site();
    const said = /on http:\/\/127\.0\.0\.1:(\d+)\/\n/;
    const [, port] = await site.server.printed(said);
    site.port = Number(port);
    return site;
  }

  write(name: string, content: string | Uint8Array): void {
    const data = typeof content === "string"
      ? encoder.encode(content)
      : content;
    Deno.writeFileSync(`${this.root}/${name}`, data);
  }

  /** Fetches by curl: everything, head and body. */
  async curl(path: string, ...options: string[]): Promise<string> {
    const { code, out, err } = await run("curl", [
      ...["--silent", "--show-error", "--include", "--path-as-is"],
      ...options,
      `http://127.0.0.1:${this.port}${path}`,
    ]);
    assertEquals([code, err], [0, ""]);
    return out;
  }

  connect(): Promise<Client> {
    return Client.connect(this.port);
  }

  /** Sends bytes and gives all that comes until the server closes. */
  async ask(...parts: string[]): Promise<string> {
    using client = await this.connect();
    for (const part of parts) await client.send(part);
    return await client.rest();
  }

  /** Lists the files that the server has open. */
  opened(): string[] {
    const folder = `/proc/${this.server.pid}/fd`;
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
    assert(names.length > 0, "the server was killed because it took too long");
    return names.map((name) => {
      try {
        return Deno.readLinkSync(`${folder}/${name}`);
      } catch {
        return "closed meanwhile";
      }
    });
  }

  fdCount(): number {
    return this.opened().length;
  }

  /** Waits until the server has given back what clients made it open. */
  async fdsBackTo(count: number): Promise<void> {
    while (this.fdCount() > count) await sleep(20);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    this.#folder[Symbol.dispose]();
  }
}

/** A connection that says and hears nothing but bytes. */
class Client implements Disposable {
  readonly #connection: Deno.TcpConn;
  #text = "";

  private constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
  }

  static async connect(port: number): Promise<Client> {
    return new Client(await Deno.connect({ hostname: "127.0.0.1", port }));
  }

  async send(text: string): Promise<void> {
    let data = encoder.encode(text);
    while (data.length > 0) {
      data = data.subarray(await this.#connection.write(data));
    }
  }

  /** Reads once; false at the end, also if that is a reset. */
  async read(): Promise<boolean> {
    const buffer = new Uint8Array(65536);
    const count = await this.#connection.read(buffer).catch(() => null);
    if (count === null) return false;
    this.#text += decoder.decode(buffer.subarray(0, count));
    return true;
  }

  /** Takes the received text up to a pattern. */
  async until(pattern: RegExp): Promise<string> {
    for (;;) {
      const match = pattern.exec(this.#text);
      if (match !== null) {
        const end = match.index + match[0].length;
        const taken = this.#text.slice(0, end);
        this.#text = this.#text.slice(end);
        return taken;
      }
      assert(await this.read(), `no ${pattern} in ${this.#text}`);
    }
  }

  /** All that comes until the end. */
  async rest(): Promise<string> {
    while (await this.read());
    return this.#text;
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}

const HOST = "Host: x\r\n";
const get = (path: string, headers = "") =>
  `GET ${path} HTTP/1.1\r\n${HOST}${headers}\r\n`;
const CLOSE = "Connection: close\r\n";

function statusOf(answer: string): number {
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1]);
}

function headerOf(answer: string, name: string): string | undefined {
  const head = answer.slice(0, answer.indexOf("\r\n\r\n"));
  return new RegExp(`^${name}: (.*)\r?$`, "im").exec(head)?.[1];
}

function bodyOf(answer: string): string {
  return answer.slice(answer.indexOf("\r\n\r\n") + 4);
}

// ---- what it serves ------------------------------------------------------------------

test(
  "static_sendfile serves files with their type and length",
  async () => {
    await using site = await Site.start();
    const files: [path: string, type: string, body: string][] = [
      ["/", "text/html; charset=utf-8", "<p>index</p>"],
      ["/index.html", "text/html; charset=utf-8", "<p>index</p>"],
      ["/folder/", "text/html; charset=utf-8", "<p>folder</p>"],
      ["/tiny.txt?query", "text/plain; charset=utf-8", "0123456789"],
      ["/a%20b%25.txt", "text/plain; charset=utf-8", "blank"],
      ["/nothing.css", "text/css; charset=utf-8", ""],
    ];
    // Twice: the answer from the cache is the same.
    for (const [path, type, body] of [...files, ...files]) {
      const answer = await site.curl(path);
      assertEquals(statusOf(answer), 200, path);
      assertEquals(headerOf(answer, "Content-Type"), type);
      assertEquals(headerOf(answer, "Content-Length"), `${body.length}`);
      assertMatch(headerOf(answer, "Date") ?? "", / GMT$/);
      assertEquals(bodyOf(answer), body);
    }
  },
);

Deno.test("static_sendfile sends large files whole", async () => {
  await using site = await Site.start();
  const url = `http://127.0.0.1:${site.port}/large.bin`;
  const bodies = await Promise.all(
    Array.from({ length: 10 }, async () => (await fetch(url)).bytes()),
  );
  for (const body of bodies) assertEquals(body, pattern(LARGE));
});

test("static_sendfile answers HEAD as GET, without a body", async () => {
  await using site = await Site.start();
  for (const path of ["/tiny.txt", "/large.bin", "/no", "/folder"]) {
    const answers = [await site.curl(path), await site.curl(path, "--head")];
    const heads = answers.map((answer) =>
      answer.slice(0, answer.indexOf("\r\n\r\n")).replace(
        /^Date: [^\n]*\n/im,
        "",
      )
    );
    assertEquals(heads[1], heads[0]);
    assertEquals(bodyOf(answers[1]!), "");
  }
});

test(
  "static_sendfile sends who forgot the slash of a folder to it",
  async () => {
    await using site = await Site.start();
    const answer = await site.curl("/folder?a=b");
    assertEquals(statusOf(answer), 301);
    assertEquals(headerOf(answer, "Location"), "/folder/?a=b");
  },
);

test("static_sendfile sends ranges", async () => {
  await using site = await Site.start();
  const ranges: [range: string, status: number, at: string, body: string][] = [
    ["bytes=0-0", 206, "bytes 0-0/10", "0"],
    ["bytes=2-5", 206, "bytes 2-5/10", "2345"],
    ["bytes=7-", 206, "bytes 7-9/10", "789"],
    ["bytes=-3", 206, "bytes 7-9/10", "789"],
    ["bytes=8-999", 206, "bytes 8-9/10", "89"],
    // All of it is a part as well.
    ["bytes=0-", 206, "bytes 0-9/10", "0123456789"],
    ["bytes=0-9", 206, "bytes 0-9/10", "0123456789"],
    ["bytes=-999", 206, "bytes 0-9/10", "0123456789"],
    ["bytes=10-", 416, "bytes */10", ""],
    ["bytes=-0", 416, "bytes */10", ""],
    ["bytes=999999999999999-", 416, "bytes */10", ""],
    // Not understood, or not wanted: all of it.
    ["bytes=5-2", 200, "", "0123456789"],
    ["bytes=0-1,3-4", 200, "", "0123456789"],
    ["bytes=x-", 200, "", "0123456789"],
    ["bytes=-", 200, "", "0123456789"],
    ["lines=0-1", 200, "", "0123456789"],
  ];
  for (const [range, status, at, body] of ranges) {
    const answer = await site.curl("/tiny.txt", "-H", `Range: ${range}`);
    assertEquals(statusOf(answer), status, range);
    assertEquals(headerOf(answer, "Content-Range") ?? "", at);
    assertEquals(bodyOf(answer), body);
  }
  const response = await fetch(`http://127.0.0.1:${site.port}/large.bin`, {
    headers: { Range: "bytes=1000000-3000000" },
  });
  assertEquals(response.status, 206);
  const part = pattern(LARGE).subarray(1_000_000, 3_000_001);
  assertEquals(await response.bytes(), part);
  const whole = await fetch(`http://127.0.0.1:${site.port}/large.bin`, {
    headers: { Range: "bytes=0-" },
  });
  assertEquals(whole.status, 206);
  assertEquals(
    whole.headers.get("content-range"),
    `bytes 0-${LARGE - 1}/${LARGE}`,
  );
  assertEquals(await whole.bytes(), pattern(LARGE));
  const empty = await site.curl("/nothing.css", "-H", "Range: bytes=0-5");
  assertEquals(statusOf(empty), 200);
});

test(
  "static_sendfile sends only what the client does not have",
  async () => {
    await using site = await Site.start();
    for (const path of ["/tiny.txt", "/large.bin"]) {
      const first = await site.curl(path, "--head");
      const etag = headerOf(first, "ETag")!;
      const modified = headerOf(first, "Last-Modified")!;
      const old = "Thu, 01 Jan 1970 00:00:00 GMT";
      const conditions: [headers: string, status: number][] = [
        [`If-None-Match: ${etag}`, 304],
        [`If-None-Match: "x", W/${etag}`, 304],
        ["If-None-Match: *", 304],
        ['If-None-Match: "x"', 200],
        [`If-Modified-Since: ${modified}`, 304],
        [`If-Modified-Since: ${old}`, 200],
        ["If-Modified-Since: nonsense", 200],
        // Other dates than those of HTTP say nothing.
        ["If-Modified-Since: 2099", 200],
        ["If-Modified-Since: 2099-01-01T00:00:00Z", 200],
        ["If-Modified-Since: Friday, 01-Jan-49 00:00:00 GMT", 304],
        ["If-Modified-Since: Thu Jan  1 00:00:00 2099", 304],
        [`If-Match: ${etag}`, 200],
        [`If-Match: "x", ${etag}`, 200],
        ["If-Match: *", 200],
        ['If-Match: "x"', 412],
        // It may differ in what does not matter: not enough here.
        [`If-Match: W/${etag}`, 412],
        [`If-Unmodified-Since: ${modified}`, 200],
        [`If-Unmodified-Since: ${old}`, 412],
        ["If-Unmodified-Since: nonsense", 200],
        ["If-Unmodified-Since: 0", 200],
        // Each condition counts only if those before it are left out or true.
        [`If-Match: ${etag}\r\nIf-Unmodified-Since: ${old}`, 200],
        [`If-Match: "x"\r\nIf-None-Match: ${etag}`, 412],
        [`If-Unmodified-Since: ${old}\r\nIf-None-Match: ${etag}`, 412],
        [`If-Match: ${etag}\r\nIf-None-Match: ${etag}`, 304],
        [`If-None-Match: "x"\r\nIf-Modified-Since: ${modified}`, 200],
      ];
      for (const [header, status] of conditions) {
        for (const method of ["GET", "HEAD"]) {
          const answer = await site.ask(
            `${method} ${path} HTTP/1.1\r\n${HOST}${CLOSE}${header}\r\n\r\n`,
          );
          assertEquals(statusOf(answer), status, header);
          assertEquals(headerOf(answer, "ETag"), etag);
          const isBodiless = method === "HEAD" || status === 304;
          assertEquals(bodyOf(answer) === "", isBodiless, header);
        }
      }
      // A part of another file than the one it began with is of no use.
      for (const [tag, status] of [[etag, 206], ['"x"', 200]] as const) {
        const range = ["-H", "Range: bytes=0-1", "-H", `If-Range: ${tag}`];
        const answer = await run("curl", [
          ...[
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
          ],
          ...range,
          `http://127.0.0.1:${site.port}${path}`,
        ]);
        assertEquals(answer.out, `${status}`);
      }
    }
  },
);

test("static_sendfile sees that a file has changed", async () => {
  await using site = await Site.start();
  assertEquals(bodyOf(await site.curl("/tiny.txt")), "0123456789");
  // The same length, in place; another length; another file; none.
  const changes: [change: () => void, body: string][] = [
    [() => site.write("tiny.txt", "abcdefghij"), "abcdefghij"],
    [() => site.write("tiny.txt", "abc"), "abc"],
    [() => {
      site.write("other", "renamed");
      Deno.renameSync(`${site.root}/other`, `${site.root}/tiny.txt`);
    }, "renamed"],
    [() => Deno.removeSync(`${site.root}/tiny.txt`), "404 Not Found\n"],
  ];
  for (const [change, body] of changes) {
    change();
    while (bodyOf(await site.curl("/tiny.txt")) !== body) await sleep(100);
  }
});

test(
  "static_sendfile finishes a file that is replaced, and lets go of it",
  async () => {
    await using site = await Site.start();
    const old = pattern(32 * 2 ** 20);
    site.write("replaced", old);
    using client = await site.connect();
    await client.send(get("/replaced", CLOSE));
    await client.until(/\r\n\r\n/);
    site.write("other", "new");
    Deno.renameSync(`${site.root}/other`, `${site.root}/replaced`);
    while (bodyOf(await site.curl("/replaced")) !== "new") await sleep(100);
    assertEquals(await client.rest(), decoder.decode(old));
    // Closed, or it would use up the disk.
    while (site.opened().some((path) => path.endsWith("(deleted)"))) {
      await sleep(20);
    }
  },
);

// ---- what it does not serve -------------------------------------------------------------

const FORBIDDEN = [
  "/.hidden",
  "/folder/.git/config",
  "/folder/.git/",
  "/link",
  "/absolute",
  "/shown",
  "/up/secret",
  "/up/root/tiny.txt",
  "/../secret",
  "/folder/../../secret",
  "/folder/../tiny.txt",
  "/./tiny.txt",
  "/.",
  "/..",
  "/%2e%2e/secret",
  "/%2E%2e/secret",
  "/.%2e/secret",
  "/%2e/tiny.txt",
  "/..%2fsecret",
  "/..%2Fsecret",
  "/folder%2findex.html",
  "/..%5csecret",
  "/..\\secret",
  "/%252e%252e/secret",
  "/%2e%2e%2f%2e%2e%2fetc/passwd",
  "//etc/passwd",
  "/folder//index.html",
  "/tiny.txt%00.html",
  "/tiny.txt%00",
  "/%c0%ae%c0%ae/secret",
  "/%uff0e%uff0e/secret",
  "/%",
  "/%zz",
  "/tiny.txt/",
  "/tiny.txt/x",
  "/empty/",
  "/fifo",
  "/no",
  `/${"x".repeat(300)}`,
  `/${"x/".repeat(2000)}`,
];

Deno.test("static_sendfile serves nothing hidden and nothing outside", async () => {
  await using site = await Site.start();
  await run("mkfifo", [`${site.root}/fifo`]);
  using client = await site.connect();
  for (const path of FORBIDDEN) {
    const answer = await site.ask(get(path, CLOSE));
    assert([400, 404].includes(statusOf(answer)), `${path}: ${answer}`);
    const head = await site.ask(get(path, CLOSE).replace("GET", "HEAD"));
    assertEquals(statusOf(head), statusOf(answer), path);
    assertEquals(bodyOf(head), "", path);
    // The connection goes on: there are no bytes that it might mistake.
    await client.send(get(path));
    await client.until(new RegExp(`\\n${statusOf(answer)} [^\\r\\n]*\\n`));
    assert(!answer.includes("SECRET") && !answer.includes("root:"), path);
  }
  const names = ["http://x/../secret", "http://x//etc/passwd", "*", "x", ""];
  for (const target of names) {
    const answer = await site.ask(get(target, CLOSE));
    assert([400, 404].includes(statusOf(answer)), `${target}: ${answer}`);
  }
  const proxied = await site.ask(get("http://x:80/tiny.txt", CLOSE));
  assertEquals(bodyOf(proxied), "0123456789");
});

/** Requests that make no sense, and their answers. */
const NONSENSE: [request: string, status: number][] = [
  // One empty line may come first, and no more.
  ["\r\n\r\n", 400],
  ["GET\r\n\r\n", 400],
  ["GET /\r\n\r\n", 400],
  [`GET  / HTTP/1.1\r\n${HOST}\r\n`, 400],
  [`get / HTTP/1.1\r\n${HOST}\r\n`, 400],
  [`GET /\x01 HTTP/1.1\r\n${HOST}\r\n`, 400],
  [`GET /ü HTTP/1.1\r\n${HOST}\r\n`, 400],
  [`GET /folder\nSet-Cookie:x HTTP/1.1\r\n${HOST}\r\n`, 400],
  [`GET / HTTP/2.0\r\n${HOST}\r\n`, 505],
  [`GET / HTTP/1.1\r\n\r\n`, 400],
  [`GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`, 400],
  [`GET / HTTP/1.1\r\n${HOST}A : b\r\n\r\n`, 400],
  [`GET / HTTP/1.1\r\n${HOST} folded\r\n\r\n`, 400],
  [`GET / HTTP/1.1\r\n${HOST}A: b\nC: d\r\n\r\n`, 400],
  [`GET / HTTP/1.1\r\n${HOST}A: b\0\r\n\r\n`, 400],
  [`GET / HTTP/1.1\r\n${HOST}nonsense\r\n\r\n`, 400],
  [`POST / HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\nx`, 405],
  [`OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, 400],
  [`DELETE /tiny.txt HTTP/1.1\r\n${HOST}${CLOSE}\r\n`, 405],
  [get("/", "Content-Length: 5\r\n") + "hello", 413],
  [get("/", "Content-Length: 0\r\nContent-Length: 5\r\n") + "hello", 400],
  [get("/", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 413],
  [get(`/${"x".repeat(9000)}`), 431],
  [get("/", `A: ${"x".repeat(9000)}\r\n`), 431],
  [get("/", "A: b\r\n".repeat(2000)), 431],
];

test("static_sendfile answers nonsense and closes", async () => {
  await using site = await Site.start();
  for (const [request, status] of NONSENSE) {
    const answer = await site.ask(request, get("/tiny.txt"));
    const shown = JSON.stringify(request.slice(0, 80));
    assertEquals(statusOf(answer), status, shown);
    assertEquals(headerOf(answer, "Connection"), "close");
    assert(!answer.includes("0123456789"), `${shown} is followed by another`);
  }
  assertEquals(bodyOf(await site.curl("/tiny.txt")), "0123456789");
});

test("static_sendfile sends no body in answer to HEAD, whatever is wrong", async () => {
  await using site = await Site.start();
  const heads = [
    `HEAD /no HTTP/1.1\r\n${HOST}${CLOSE}\r\n`,
    `HEAD /folder HTTP/1.1\r\n${HOST}${CLOSE}\r\n`,
    `HEAD /.hidden HTTP/1.1\r\n${HOST}${CLOSE}\r\n`,
    `HEAD /%zz HTTP/1.1\r\n${HOST}${CLOSE}\r\n`,
    `HEAD / HTTP/1.1\r\n\r\n`,
    `HEAD / HTTP/2.0\r\n${HOST}\r\n`,
    `HEAD / HTTP/1.1\r\n${HOST}nonsense\r\n\r\n`,
    `HEAD / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
    `HEAD /${"x".repeat(9000)} HTTP/1.1\r\n${HOST}\r\n`,
  ];
  for (const head of heads) {
    const answer = await site.ask(head);
    const shown = JSON.stringify(head.slice(0, 60));
    assert(statusOf(answer) > 300, shown);
    assert(Number(headerOf(answer, "Content-Length")) > 0, shown);
    assertEquals(bodyOf(answer), "", shown);
  }
});

test("static_sendfile goes on after a request that it refuses", async () => {
  await using site = await Site.start();
  const requests: [request: string, status: number][] = [
    [get("/.hidden"), 404],
    [get("/..%2fsecret"), 400],
    [`DELETE /tiny.txt HTTP/1.1\r\n${HOST}\r\n`, 405],
  ];
  for (const [request, status] of requests) {
    const answer = await site.ask(request + get("/tiny.txt", CLOSE));
    assertEquals(statusOf(answer), status);
    assertEquals(headerOf(answer, "Connection"), undefined);
    assert(answer.endsWith("0123456789"), answer);
  }
});

test("static_sendfile skips an empty line before a request", async () => {
  await using site = await Site.start();
  const answer = await site.ask(
    "\r\n" + get("/tiny.txt") + "\r\n",
    get("/tiny.txt"),
    "\r",
    "\n" + get("/tiny.txt", CLOSE),
  );
  assertEquals(answer.match(/200 OK/g)?.length, 3, answer);
});

// ---- connections ---------------------------------------------------------------------------

Deno.test("static_sendfile keeps connections and answers in order", async () => {
  await using site = await Site.start();
  const paths = ["/tiny.txt", "/no", "/", "/large.bin", "/tiny.txt"];
  const answer = await site.ask(
    paths.map((path) => get(path)).join("") + get("/folder/", CLOSE),
  );
  const large = decoder.decode(pattern(LARGE));
  const bodies = ["0123456789", "404 Not Found\n", "<p>index</p>", large];
  const heads = [...bodies, "0123456789", "<p>folder</p>"]
    .reduce((text, body) => text.replace(body, "|"), answer)
    .split("|").slice(0, -1);
  assertEquals(heads.map(statusOf), [200, 404, 200, 200, 200, 200]);
});

Deno.test("static_sendfile puts a request together from its bytes", async () => {
  await using site = await Site.start();
  using client = await site.connect();
  for (let round = 0; round < 2; round++) {
    for (const byte of get("/tiny.txt")) {
      await client.send(byte);
      await sleep(0);
    }
    assertMatch(await client.until(/0123456789/), /^HTTP\/1\.1 200 OK\r\n/);
  }
});

Deno.test("static_sendfile closes when the client wishes or knows no better", async () => {
  await using site = await Site.start();
  for (
    const request of [
      get("/tiny.txt", CLOSE),
      get("/tiny.txt", "Connection: TE, Close\r\n"),
      get("/no", CLOSE),
      "GET /tiny.txt HTTP/1.0\r\n\r\n",
    ]
  ) {
    const answer = await site.ask(request);
    assertEquals(headerOf(answer, "Connection"), "close", request);
  }
});

test("static_sendfile survives clients that leave or reset", async () => {
  await using site = await Site.start();
  await site.curl("/large.bin", "--output", "/dev/null");
  const before = site.fdCount();
  for (let round = 0; round < 30; round++) {
    using client = await site.connect();
    if (round % 3 === 0) continue;
    await client.send(get("/large.bin").slice(0, round % 3 === 1 ? 9 : 999));
    // Closed with bytes that were not read: that is a reset.
    if (round % 3 === 2) await client.read();
  }
  await site.fdsBackTo(before);
  assertEquals(bodyOf(await site.curl("/tiny.txt")), "0123456789");
});

test("static_sendfile serves others while many do not read", async () => {
  await using site = await Site.start();
  const clients = await Promise.all(
    Array.from({ length: 200 }, () => site.connect()),
  );
  for (const client of clients) await client.send(get("/large.bin"));
  const threads = () =>
    [...Deno.readDirSync(`/proc/${site.server.pid}/task`)].length;
  for (let i = 0; i < 10; i++) {
    assertEquals(bodyOf(await site.curl("/tiny.txt")), "0123456789");
    await sleep(20);
  }
  // A blocking splice would hold a thread of the kernel for each.
  assert(threads() < 120, `${threads()} threads`);
  // And the slow ones get all of it.
  await clients[0]!.send(get("/no", CLOSE));
  const answer = await clients[0]!.rest();
  assert(answer.includes(decoder.decode(pattern(LARGE))));
  for (const client of clients) client[Symbol.dispose]();
});

test(
  "static_sendfile ends the connection when a file shrinks",
  async () => {
    await using site = await Site.start();
    const size = 64 * 2 ** 20;
    site.write("shrinks", "");
    Deno.truncateSync(`${site.root}/shrinks`, size);
    using client = await site.connect();
    await client.send(get("/shrinks"));
    const head = await client.until(/\r\n\r\n/);
    assertEquals(headerOf(head, "Content-Length"), `${size}`);
    Deno.truncateSync(`${site.root}/shrinks`, 1000);
    // It cannot have been sent: the client has not read it.
    const rest = await client.rest();
    assert(rest.length < size, `${rest.length}`);
    assertEquals(bodyOf(await site.curl("/tiny.txt")), "0123456789");
  },
);

Deno.test("static_sendfile takes no more connections than it may", async () => {
  await using site = await Site.start();
  const clients: Client[] = [];
  for (let i = 0; i < 1024; i++) clients.push(await site.connect());
  // Accepted, all of them.
  await clients[1023]!.send(get("/tiny.txt"));
  await clients[1023]!.until(/0123456789/);
  using late = await site.connect();
  await late.send(get("/tiny.txt"));
  const answered = late.until(/0123456789/).then(() => "answered");
  const waiting = sleep(300).then(() => "waiting");
  assertEquals(await Promise.race([answered, waiting]), "waiting");
  clients.pop()![Symbol.dispose]();
  assertEquals(await answered, "answered");
  for (const client of clients) client[Symbol.dispose]();
});

Deno.test("static_sendfile gives up on clients that take too long", async () => {
  await using site = await Site.start();
  using silent = await site.connect();
  using slow = await site.connect();
  let isOver = false;
  const dripping = (async () => {
    await slow.send("GET / HTTP/1.1\r\nA: ");
    while (!isOver) {
      await slow.send("x").catch(() => isOver = true);
      await sleep(200);
    }
  })();
  assertEquals(await slow.rest(), "");
  isOver = true;
  assertEquals(await silent.rest(), "");
  await dripping;
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`static_sendfile finishes what it has begun on ${signal}`, async () => {
    await using site = await Site.start();
    using idle = await site.connect();
    using busy = await site.connect();
    // Known to be served, and not to be over.
    await idle.send(get("/tiny.txt"));
    await idle.until(/0123456789/);
    // More than buffers hold: it is under way until the client reads it.
    const size = 32 * 2 ** 20;
    site.write("huge", "");
    Deno.truncateSync(`${site.root}/huge`, size);
    await busy.send(get("/huge"));
    const head = await busy.until(/\r\n\r\n/);
    site.server.kill(signal);
    assertEquals(await idle.rest(), "");
    assertEquals((await busy.rest()).length, size, head);
    const { code, err } = await site.server.ended();
    assertEquals([code, err], [0, ""]);
  });
}

Deno.test("static_sendfile ends at once on the second signal", async () => {
  await using site = await Site.start();
  const size = 64 * 2 ** 20;
  site.write("huge", "");
  Deno.truncateSync(`${site.root}/huge`, size);
  using client = await site.connect();
  await client.send(get("/huge"));
  await client.until(/\r\n\r\n/);
  site.server.kill("SIGINT");
  // It goes on with bytes that no client reads.
  await sleep(300);
  assert(site.fdCount() > 0);
  site.server.kill("SIGINT");
  const { code, err } = await site.server.ended();
  assertEquals([code, err], [0, ""]);
});

Deno.test("static_sendfile says in one line why it cannot start", async () => {
  await using site = await Site.start();
  const attempts: [args: string[], says: RegExp][] = [
    [
      ["--root=/", `--port=${site.port}`],
      /^Cannot listen on .*: Address already in use\n$/,
    ],
    [
      ["--root=/no/such"],
      /^Cannot serve \/no\/such: No such file or directory\n$/,
    ],
    [["--root=/proc/version"], /^Cannot serve .*: Not a directory\n$/],
  ];
  for (const [args, says] of attempts) {
    const { code, out, err } = await run(Deno.execPath(), [...SERVER, ...args]);
    assertEquals([code, out], [1, ""]);
    assertMatch(err, says);
  }
  const wrong = [[], ["--port=x"], ["--host=a.b"], ["--fast"], ["x"]];
  for (const args of wrong) {
    if (args.length > 0) args.push("--root=/no/such");
    const { code, out, err } = await run(Deno.execPath(), [...SERVER, ...args]);
    assertEquals([code, out], [2, ""]);
    assertMatch(err, /\nusage: deno task static --root DIR /);
  }
});
