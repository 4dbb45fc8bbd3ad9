import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Ended, run } from "./support.ts";

const FETCH = ["run", "--allow-ffi", "examples/fetch_all.ts"];

function fetchAll(...args: string[]): Promise<Ended> {
  return run(Deno.execPath(), [...FETCH, ...args]);
}

/** A server that answers by path, in parts, as no real one would. */
class RawServer implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #answers: Record<string, string[] | null>;
  readonly #connections: Deno.Conn[] = [];
  readonly #serving: Promise<void>;
  readonly requests: string[] = [];

  /** @param answers The parts of each answer; null for nothing, and no end. */
  constructor(answers: Record<string, string[] | null>) {
    this.#answers = answers;
    this.#serving = this.#serve();
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.#listener.addr.port}${path}`;
  }

  async #serve(): Promise<void> {
    const answering: Promise<void>[] = [];
    for await (const connection of this.#listener) {
      this.#connections.push(connection);
      answering.push(this.#answer(connection).catch(() => {}));
    }
    await Promise.all(answering);
  }

  async #answer(connection: Deno.Conn): Promise<void> {
    let request = "";
    const buffer = new Uint8Array(4096);
    while (!request.includes("\r\n\r\n")) {
      const count = await connection.read(buffer);
      if (count === null) return;
      request += new TextDecoder().decode(buffer.subarray(0, count));
    }
    this.requests.push(request);
    const parts = this.#answers[/^GET (\S+)/.exec(request)![1]!];
    if (parts === null || parts === undefined) return;
    for (const part of parts) {
      await connection.write(new TextEncoder().encode(part));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) {
      try {
        connection.close();
      } catch {
        // It is closed.
      }
    }
    await this.#serving;
  }
}

const OK = "HTTP/1.1 200 OK\r\n";

/** Answers, and the expected report of each. */
const ANSWERS: Record<string, [parts: string[], says: string]> = {
  "with a length": [
    [OK, "Content-Length: 5\r\n\r\nhel", "lo"],
    "200, 5 bytes",
  ],
  "with a length of 0": [[`${OK}content-length: 0\r\n\r\n`], "200, 0 bytes"],
  "with the same length twice": [
    [`${OK}Content-Length: 2\r\nContent-Length: 2\r\n\r\nxx`],
    "200, 2 bytes",
  ],
  "with more than its length": [
    [`${OK}Content-Length: 2\r\n\r\nxxxx`],
    "200, 2 bytes",
  ],
  "that ends with the connection": [
    [`${OK}\r\nab`, "cd", "e"],
    "200, 5 bytes",
  ],
  "of another status": [
    ["HTTP/1.0 404 Not Found\r\nContent-Length: 3\r\n\r\nabc"],
    "404, 3 bytes",
  ],
  "with headers that are hard to read": [
    [
      OK,
      `A:x${" ".repeat(8000)}x\r\n`.repeat(90),
      `Content-Length: 3${" ".repeat(8000)}\r\n\r\nabc`,
    ],
    "200, 3 bytes",
  ],
  "without a reason": [
    ["HTTP/1.1 418\r\nContent-Length: 0\r\n\r\n"],
    "418, 0 bytes",
  ],
  "without a body": [
    ["HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n"],
    "304, 0 bytes",
  ],
  "after hints": [
    [
      "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
      `${OK}Content-Length: 1\r\n\r\nx`,
    ],
    "200, 1 bytes",
  ],
  "in chunks": [
    [
      `${OK}Transfer-Encoding: chunked\r\n\r`,
      "\n3\r\nabc\r\n",
      "0000A;x=y\r\n0123456789\r",
      "\n0\r\n\r\n",
    ],
    "200, 13 bytes",
  ],
  "in chunks, with trailers": [
    [`${OK}transfer-encoding: gzip, Chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n`],
    "200, 1 bytes",
  ],
  "in chunks and with a length": [
    [
      `${OK}Content-Length: 999\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
    ],
    "200, 1 bytes",
  ],
  "byte by byte": [
    [...`${OK}Content-Length: 2\r\nX:\r\n\r\nok`],
    "200, 2 bytes",
  ],
  "that is cut off": [
    [`${OK}Content-Length: 5\r\n\r\nhel`],
    "failed, the answer is cut off",
  ],
  "that is cut off in a header": [
    [`${OK}Content-Len`],
    "failed, the answer is cut off",
  ],
  "that is cut off in a chunk": [
    [`${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nabc`],
    "failed, the answer is cut off",
  ],
  "without an end of chunks": [
    [`${OK}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n`],
    "failed, the answer is cut off",
  ],
  "of nothing": [[], "failed, the answer is cut off"],
  "with a chunk that makes no sense": [
    [`${OK}Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n`],
    "failed, a chunk makes no sense",
  ],
  "with a chunk that is too long": [
    [`${OK}Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n`],
    "failed, a chunk is too long",
  ],
  "with a huge chunk": [
    [`${OK}Transfer-Encoding: chunked\r\n\r\n${"f".repeat(40)}\r\nx`],
    "failed, a chunk makes no sense",
  ],
  "with two lengths": [
    [`${OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\nxxx`],
    "failed, its content-length makes no sense",
  ],
  "with a negative length": [
    [`${OK}Content-Length: -2\r\n\r\nxx`],
    "failed, its content-length makes no sense",
  ],
  "with a header without a name": [
    [`${OK}: x\r\n\r\n`],
    "failed, a header makes no sense",
  ],
  "that is not HTTP": [
    ["SSH-2.0-OpenSSH\r\n"],
    "failed, it does not speak HTTP/1.1",
  ],
  "with too many headers": [
    [OK, "A: b\r\n".repeat(200)],
    "failed, too many headers",
  ],
  "with an endless line": [
    [`${OK}A: `, ..."xxxxxxxxxx".split("").map((x) => x.repeat(2000))],
    "failed, a line is too long",
  ],
};

Deno.test("fetch_all understands what comes, and reports it in order", async () => {
  const names = Object.keys(ANSWERS);
  await using server = new RawServer(
    Object.fromEntries(names.map((name, i) => [`/${i}`, ANSWERS[name]![0]])),
  );
  const urls = names.map((_, i) => server.url(`/${i}`));
  const { code, out, err } = await fetchAll("--timeout", "30", ...urls);
  assertEquals(err, "");
  const lines = out.trimEnd().split("\n");
  for (const [i, name] of names.entries()) {
    const got = lines[i]!.replace(/, \d+ ms$/, "");
    assertEquals(got, `${urls[i]}: ${ANSWERS[name]![1]}`, `an answer ${name}`);
  }
  assertEquals([lines.length, code], [names.length, 1]);
});

Deno.test("fetch_all sends a proper request", async () => {
  await using server = new RawServer({
    "/a%20b?c=%0D%0A": [`${OK}\r\n`],
    "/": [`${OK}\r\n`],
  });
  const url = server.url("/a b?c=%0D%0A#fragment");
  const { code, out } = await fetchAll(url, server.url(""));
  assertEquals(code, 0, out);
  const host = new URL(url).host;
  const [, request] = server.requests.sort();
  assertEquals(
    request,
    `GET /a%20b?c=%0D%0A HTTP/1.1\r\nHost: ${host}\r\n` +
      "User-Agent: kio\r\nAccept: */*\r\nConnection: close\r\n\r\n",
  );
});

Deno.test("fetch_all gives up on each after its own time", async () => {
  await using server = new RawServer({
    "/silent": null,
    "/quick": [`${OK}\r\nx`],
  });
  const urls = ["/silent", "/quick", "/silent"].map((path) => server.url(path));
  const { code, out } = await fetchAll("--timeout", "3", ...urls);
  assertEquals(code, 1);
  const [first = "", second = "", third = ""] = out.split("\n");
  assertMatch(first, /: failed, .*timed out.*, \d+ ms$/i);
  assertMatch(second, /: 200, 1 bytes, \d+ ms$/);
  assertMatch(third, /: failed, .*timed out.*, \d+ ms$/i);
  for (const line of [first, third]) {
    const ms = Number(/(\d+) ms$/.exec(line)![1]);
    assert(ms >= 3000, `gave up after ${ms} ms`);
  }
});

Deno.test("fetch_all has one time limit for a whole answer", async () => {
  const drip = Array(100_000).fill("x");
  await using server = new RawServer({ "/": [`${OK}\r\n`, ...drip] });
  const { code, out } = await fetchAll("--timeout", "1", server.url("/"));
  assertEquals(code, 1);
  assertMatch(out, /: failed, .*timed out/i);
});

/** A server that never stops to send the same, as fast as it is taken. */
class EndlessServer implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #serving: Promise<void>;
  readonly url = `http://127.0.0.1:${this.#listener.addr.port}/`;

  constructor(start: string, again: string) {
    this.#serving = this.#serve(start, again.repeat(10_000));
  }

  async #serve(start: string, again: string): Promise<void> {
    using connection = await this.#listener.accept();
    const send = async (text: string) => {
      let data = new TextEncoder().encode(text);
      while (data.length > 0) {
        data = data.subarray(await connection.write(data));
      }
    };
    await connection.read(new Uint8Array(4096));
    try {
      await send(start);
      for (;;) await send(again);
    } catch {
      // The client has left.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#serving;
  }
}

for (
  const [what, start, again] of [
    ["chunks", `${OK}Transfer-Encoding: chunked\r\n\r\n`, "1\r\nx\r\n"],
    ["hints", "", "HTTP/1.1 100 Continue\r\n\r\n"],
    ["bytes", `${OK}\r\n`, "0123456789"],
  ] as const
) {
  Deno.test(`fetch_all ends endless ${what} at its time limit`, async () => {
    await using server = new EndlessServer(start, again);
    const { code, out } = await run(
      Deno.execPath(),
      [...FETCH, "--timeout", "1", server.url],
      { limitMs: 30_000 },
    );
    assertEquals(code, 1, "it was killed: it did not end");
    assertMatch(out, /: failed, .*timed out/i);
  });
}

Deno.test("fetch_all says why there is no answer", async () => {
  const { code, out } = await fetchAll(
    // No program listens there, and no test that runs beside this one.
    "http://127.0.0.1:1/",
    "https://127.0.0.1/",
    "ftp://127.0.0.1/",
    "http://no.such.name.invalid/",
  );
  assertEquals(code, 1);
  const [refused, https, ftp, unknown] = out.split("\n");
  assertMatch(refused, /: failed, Connection refused.*, \d+ ms$/);
  assertMatch(unknown, /^http:\/\/no\.such\.name\.invalid\/: failed, .+ ms$/);
  assertMatch(https, /: failed, only http is possible here, not https, /);
  assertMatch(ftp, /: failed, only http is possible here, not ftp, /);
});

Deno.test("fetch_all looks names up", async () => {
  await using server = new RawServer({ "/": [`${OK}\r\nhello`] });
  const url = server.url("/").replace("127.0.0.1", "localhost");
  const { code, out } = await fetchAll(url);
  assertEquals(code, 0, out);
  assertMatch(out, /: 200, 5 bytes, /);
});

Deno.test("fetch_all speaks IPv6", async () => {
  await using server = Deno.serve(
    { hostname: "::1", port: 0, onListen: () => {} },
    () => new Response("hello"),
  );
  const { port } = server.addr as Deno.NetAddr;
  const { code, out } = await fetchAll(`http://[::1]:${port}/`);
  assertEquals(code, 0, out);
  assertMatch(out, /: 200, 5 bytes, /);
});

Deno.test("fetch_all fetches a hundred at a time", async () => {
  let busy = 0;
  let busiest = 0;
  const all = Promise.withResolvers<void>();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      busiest = Math.max(busiest, ++busy);
      // Answer no client before all have asked.
      if (busy === 100) all.resolve();
      await all.promise;
      return new Response(
        "x".repeat(Number(new URL(request.url).pathname.slice(1))),
      );
    },
  );
  const { port } = server.addr as Deno.NetAddr;
  const urls = Array.from(
    { length: 100 },
    (_, i) => `http://127.0.0.1:${port}/${i * 1000}`,
  );
  const { code, out } = await fetchAll("--timeout", "30", ...urls);
  assertEquals(code, 0, out);
  assertEquals(busiest, 100);
  for (const [i, line] of out.trimEnd().split("\n").entries()) {
    assertMatch(line, new RegExp(`/${i * 1000}: 200, ${i * 1000} bytes, `));
  }
});

Deno.test("fetch_all explains its arguments", async () => {
  const wrong = [
    [],
    ["no url"],
    ["http://"],
    ["--timeout", "0", "http://127.0.0.1/"],
    ["--timeout", "x", "http://127.0.0.1/"],
    ["--proxy", "http://127.0.0.1/"],
  ];
  for (const args of wrong) {
    const { code, out, err } = await fetchAll(...args);
    assertEquals([code, out], [2, ""], args.join(" "));
    assertMatch(
      err,
      /\nusage: deno task fetch URL\.\.\. \[--timeout SECONDS\]\n$/,
    );
  }
});
