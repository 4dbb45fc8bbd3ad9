/** examples/redis_server.ts, over connections that say nothing but bytes. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  BufferedReader,
  IoContext,
  SocketTransport,
  TcpStream,
  unwrap,
} from "@kio/kio";
import { Program, run, sleep, temporaryFolder } from "./support.ts";

const SERVER = ["run", "--allow-ffi", "examples/redis_server.ts", "--port=0"];
const MISCONF = "-MISCONF Errors writing to the AOF file: ENOSPC";

const ctx = new IoContext();
globalThis.addEventListener("unload", () => ctx[Symbol.dispose]());

/** Latin-1, as each byte counts. */
function bytes(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

function request(...args: string[]): string {
  const all = args.map((arg) => `$${arg.length}\r\n${arg}\r\n`);
  return `*${args.length}\r\n${all.join("")}`;
}

type Answer = string | null | Answer[];

/** A connection. Errors are answers that begin with "-". */
class Client implements AsyncDisposable {
  readonly #peer: SocketTransport;
  readonly #reader: BufferedReader;

  constructor(stream: TcpStream) {
    this.#peer = new SocketTransport(ctx, stream);
    this.#reader = new BufferedReader(this.#peer, { sizeMax: 2 ** 25 });
  }

  async send(text: string): Promise<void> {
    unwrap(await this.#peer.send(bytes(text)));
  }

  /** Ends the sending side. */
  async end(): Promise<void> {
    unwrap(await this.#peer.shutdown());
  }

  async answer(): Promise<Answer> {
    const line = latin1(unwrap(await this.#reader.until("\r\n")));
    const [kind, rest] = [line[0], line.slice(1)];
    if (kind === "+" || kind === ":") return rest;
    if (kind === "-") return line;
    if (rest === "-1") return null;
    if (kind === "$") {
      const data = unwrap(await this.#reader.exactly(Number(rest) + 2));
      return latin1(data.subarray(0, -2));
    }
    assertEquals(kind, "*");
    const all: Answer[] = [];
    for (let i = Number(rest); i > 0; i--) all.push(await this.answer());
    return all;
  }

  async ask(...args: string[]): Promise<Answer> {
    await this.send(request(...args));
    return await this.answer();
  }

  /** All that comes until the end. */
  async rest(): Promise<string> {
    let text = "";
    for (;;) {
      const peeked = await this.#reader.peek(1);
      if (!peeked.ok) return text;
      text += latin1(this.#reader.takeExactly(peeked.value.length)!);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#peer.close();
  }
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** A server, with a folder for its log. */
class Server implements AsyncDisposable {
  readonly program: Program;
  #port = 0;

  private constructor(command: string, args: string[]) {
    this.program = new Program(command, args);
  }

  static async start(...options: string[]): Promise<Server> {
    return await this.of(Deno.execPath(), [...SERVER, ...options]);
  }

  static async of(command: string, args: string[]): Promise<Server> {
    const server = new Server(command, args);
    const said = /serving on 127\.0\.0\.1:(\d+)\n/;
    const [, port] = await server.program.printed(said);
    server.#port = Number(port);
    return server;
  }

  async connect(): Promise<Client> {
    const stream = await TcpStream.connect(ctx, "127.0.0.1", this.#port);
    return new Client(unwrap(stream));
  }

  async kill(): Promise<void> {
    this.program.kill("SIGKILL");
    await this.program.ended();
  }

  /** Sends bytes, ends, and gives all that comes. */
  async raw(text: string): Promise<string> {
    await using client = await this.connect();
    await client.send(text);
    await client.end();
    return await client.rest();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
  }
}

// ---- commands ------------------------------------------------------------------

Deno.test("redis_server does what the commands say", async () => {
  await using server = await Server.start();
  await using client = await server.connect();
  const dialog: [line: string, answer: Answer][] = [
    ["PING", "PONG"],
    ["ping hello", "hello"],
    ["PING a b", "-ERR wrong number of arguments for 'ping' command"],
    ["ECHO x", "x"],
    ["GET a", null],
    ["SET a 1", "OK"],
    ["Get a", "1"],
    ["SET a 2 NX", null],
    ["SET b 2 XX", null],
    ["SET b 2 nx", "OK"],
    ["SET b 3 XX", "OK"],
    ["MGET a b c", ["1", "3", null]],
    ["MSET a 4 c 5", "OK"],
    ["MSET a 4 c", "-ERR wrong number of arguments for 'mset' command"],
    ["EXISTS a b c d a", "4"],
    ["DBSIZE", "3"],
    ["INCR a", "5"],
    ["DECR new", "-1"],
    ["INCRBY a -7", "-2"],
    ["DECRBY a 3", "-5"],
    ["INCRBY a x", "-ERR value is not an integer or out of range"],
    ["SET big 9223372036854775807", "OK"],
    ["INCR big", "-ERR increment or decrement would overflow"],
    ["INCRBY big -9223372036854775808", "-1"],
    ["DECRBY a -9223372036854775808", "-ERR decrement would overflow"],
    ["SET text 07", "OK"],
    ["INCR text", "-ERR value is not an integer or out of range"],
    ["DEL a b none", "2"],
    ["TTL c", "-1"],
    ["TTL none", "-2"],
    ["EXPIRE none 10", "0"],
    ["EXPIRE c 100", "1"],
    ["TTL c", "100"],
    ["INCR c", "6"],
    ["TTL c", "100"],
    ["SET c 1", "OK"],
    ["TTL c", "-1"],
    ["EXPIRE c -1", "1"],
    ["EXISTS c", "0"],
    ["EXPIRE big x", "-ERR value is not an integer or out of range"],
    [
      "EXPIRE big 9223372036854775807",
      "-ERR invalid expire time in 'expire' command",
    ],
    ["SET d 1 EX 0", "-ERR invalid expire time in 'set' command"],
    ["SET d 1 EX", "-ERR syntax error"],
    ["SET d 1 EX 1 PX 1", "-ERR syntax error"],
    ["SET d 1 NX XX", "-ERR syntax error"],
    ["SET d 1 EX 1.5", "-ERR value is not an integer or out of range"],
    ["SET d 1 EX 50 NX", "OK"],
    ["TTL d", "50"],
    ["KEYS b?g", ["big"]],
    ["KEYS [^bd]*", ["new", "text"]],
    [`KEYS ${"*".repeat(257)}`, "-ERR the pattern is too long"],
    ["GET", "-ERR wrong number of arguments for 'get' command"],
    [
      "FOO a b",
      "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' ",
    ],
    ["SELECT 0", "OK"],
    ["SELECT 1", "-ERR DB index is out of range"],
    ["CONFIG GET save", ["save", ""]],
    ["CONFIG GET append*", ["appendonly", "no"]],
    ["CONFIG SET a b", "-ERR unknown subcommand 'SET'."],
    ["COMMAND DOCS", []],
    ["FLUSHALL", "OK"],
    ["DBSIZE", "0"],
  ];
  for (const [line, answer] of dialog) {
    assertEquals(await client.ask(...line.split(" ")), answer, line);
  }
  assertMatch(String(await client.ask("INFO")), /\r\nused_memory:0\r\n/);
  assertEquals(await client.ask("QUIT"), "OK");
  assertEquals(await client.rest(), "");
});

Deno.test("redis_server forgets keys when their time is over", async () => {
  await using server = await Server.start();
  await using client = await server.connect();
  for (const key of ["read", "swept"]) {
    assertEquals(await client.ask("SET", key, "x", "PX", "30"), "OK");
  }
  while (await client.ask("GET", "read") !== null) await sleep(5);
  while (await client.ask("DBSIZE") !== "0") await sleep(5);
});

Deno.test("redis_server keeps every byte of keys and values", async () => {
  await using server = await Server.start();
  await using client = await server.connect();
  const all = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i));
  for (const size of [0, 1, 12, 13, 64, 65, 300, 4097, 1_000_000]) {
    const value = all.join("").repeat(size / 256 + 1).slice(-size || 256 * 9);
    const key = `${size}${value.slice(0, 1000)}`;
    assertEquals(await client.ask("SET", key, value), "OK");
    assertEquals(await client.ask("GET", key), value, `${size}`);
    assertEquals(await client.ask("SET", key, value + "!"), "OK");
    assertEquals(await client.ask("GET", key), value + "!", `${size}`);
  }
  await client.ask("SET", "", "");
  assertEquals(await client.ask("GET", ""), "");
});

// ---- bytes ---------------------------------------------------------------------

Deno.test("redis_server understands requests that are cut anywhere", async () => {
  await using server = await Server.start();
  await using client = await server.connect();
  await using other = await server.connect();
  const text = request("SET", "key", "a\r\nb") + "\r\n" +
    request("GET", "key") +
    '*0\r\nSET "a \\x41\\n" \'it\\\'s\'\r\nget "a A\\n"\n' +
    request("MGET", "key", "none");
  const answers = ["OK", "a\r\nb", "OK", "it's", ["a\r\nb", null]];
  for (let at = 1; at < text.length; at++) {
    for (const part of [text.slice(0, at), text.slice(at)]) {
      await client.send(part);
      // The server reads it before the rest comes.
      await other.ask("PING");
    }
    for (const answer of answers) assertEquals(await client.answer(), answer);
  }
  for (const char of text) {
    await client.send(char);
    await other.ask("PING");
  }
  for (const answer of answers) assertEquals(await client.answer(), answer);
});

Deno.test("redis_server answers what is pipelined, in order", async () => {
  await using server = await Server.start();
  await using client = await server.connect();
  const count = 20_000;
  const value = "v".repeat(100);
  let text = "";
  for (let i = 0; i < count; i++) {
    text += request("SET", `key${i}`, `${value}${i}`) +
      request("GET", `key${i}`);
  }
  // Answers are more than the sockets hold: none is read until all is sent.
  const sending = client.send(text);
  for (let i = 0; i < count; i++) {
    assertEquals(await client.answer(), "OK");
    assertEquals(await client.answer(), `${value}${i}`);
  }
  await sending;
});

Deno.test("redis_server says what is wrong with a request, and closes", async () => {
  await using server = await Server.start();
  const error = (text: string) => `-ERR Protocol error: ${text}\r\n`;
  const wrong: [sent: string, says: string][] = [
    ["*x\r\n", error("invalid multibulk length")],
    ["*\r\n", error("invalid multibulk length")],
    ["*65537\r\n", error("invalid multibulk length")],
    [`*${"1".repeat(100)}`, error("too big mbulk count string")],
    ["*1\r\nPING\r\n", error("expected '$', got 'P'")],
    ["*1\r\n\r\n", error("expected '$', got ' '")],
    ["*1\r\n$x\r\n", error("invalid bulk length")],
    ["*1\r\n$-1\r\n", error("invalid bulk length")],
    ["*1\r\n$1048577\r\n", error("invalid bulk length")],
    [`*1\r\n$${"1".repeat(100)}`, error("too big bulk count string")],
    ['GET "a\r\n', error("unbalanced quotes in request")],
    ['GET "a"b\r\n', error("unbalanced quotes in request")],
    ["GET a'\r\n", error("unbalanced quotes in request")],
    ["x".repeat(70_000), error("too big inline request")],
    // All that came before it is answered.
    [
      "PING\r\nPING\r\n*x\r\nPING\r\n",
      "+PONG\r\n+PONG\r\n" +
      error("invalid multibulk length"),
    ],
    // Its end is no error.
    ["*-1\r\n*0\r\n\r\nPING\r\n*1\r\n$4\r\nPI", "+PONG\r\n"],
    [
      request("a\r\n+OK"),
      "-ERR unknown command 'a  +OK', with args beginning with: \r\n",
    ],
  ];
  for (const [sent, says] of wrong) assertEquals(await server.raw(sent), says);
});

// ---- bounds --------------------------------------------------------------------

Deno.test("redis_server is bounded", async () => {
  await using server = await Server.start("--maxmemory", "20");
  await using client = await server.connect();
  const value = "v".repeat(1_000_000);
  const OOM = "-OOM command not allowed when used memory > 'maxmemory'.";
  for (let i = 0; i < 21; i++) {
    assertEquals(await client.ask("SET", `${i}`, value), "OK");
  }
  assertEquals(await client.ask("SET", "21", value), OOM);
  assertEquals(await client.ask("INCR", "22"), OOM);
  const keys = Array.from({ length: 17 }, (_, i) => `${i}`);
  assertMatch(
    String(await client.ask("MGET", ...keys)),
    /^-ERR the answer would /,
  );
  assertEquals(await client.ask("DEL", "0"), "1");
  assertEquals(await client.ask("DEL", "1"), "1");
  assertEquals(await client.ask("SET", "21", "x"), "OK");
});

Deno.test("redis_server refuses more clients than it may have", async () => {
  await using server = await Server.start();
  const clients: Client[] = [];
  for (let i = 0; i < 1000; i++) clients.push(await server.connect());
  assertEquals(await clients[999]!.ask("PING"), "PONG");
  {
    await using late = await server.connect();
    assertEquals(await late.rest(), "-ERR max number of clients reached\r\n");
  }
  await clients.pop()![Symbol.asyncDispose]();
  for (;;) {
    await using next = await server.connect();
    await next.send("PING\r\n");
    if (await next.answer().catch(() => "") === "PONG") break;
  }
  await Promise.all(clients.map((it) => it[Symbol.asyncDispose]()));
});

Deno.test("redis_server waits for a client that reads nothing", async () => {
  await using server = await Server.start();
  await using client = await server.connect();
  const value = "v".repeat(1_000_000);
  assertEquals(await client.ask("SET", "key", value), "OK");
  const count = 2000;
  await client.send(request("GET", "key").repeat(count));
  await using other = await server.connect();
  for (let i = 0; i < 10; i++) {
    assertEquals(await other.ask("PING"), "PONG");
    await sleep(20);
  }
  const status = Deno.readTextFileSync(`/proc/${server.program.pid}/status`);
  // Its answers are 2 GB.
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB/m.exec(status)!;
  assert(Number(kilobytes) < 400_000, kilobytes);
  for (let i = 0; i < 50; i++) assertEquals(await client.answer(), value);
});

Deno.test("redis_server gives up on a request that takes too long", async () => {
  await using server = await Server.start();
  await using idle = await server.connect();
  await using slow = await server.connect();
  await slow.send("*3\r\n$3\r\nSET\r\n");
  const ended = slow.rest();
  // More that comes is no more time.
  await sleep(5000);
  await slow.send("$1\r\nk\r\n");
  assertEquals(await ended, "");
  assertEquals(await idle.ask("EXISTS", "k"), "0");
});

// ---- the log -------------------------------------------------------------------

for (const sync of ["always", "everysec", "no"]) {
  Deno.test(`redis_server has all that it has answered after a kill, ${sync}`, async () => {
    using folder = temporaryFolder();
    const log = `${folder.path}/log`;
    const options = ["--appendonly", log, "--appendfsync", sync];
    const known = new Map<string, number>();
    let deleted = 0;
    for (let round = 0; round < 3; round++) {
      await using server = await Server.start(...options);
      {
        await using client = await server.connect();
        for (const [key, value] of known) {
          const got = Number(await client.ask("GET", key));
          // The last request may have been done, without an answer.
          assert(
            got === value || got === value + 1,
            `${key}: ${got}, ${value}`,
          );
          known.set(key, got);
        }
        assertEquals(await client.ask("EXISTS", "gone"), "0");
        if (round > 0) {
          assertEquals(await client.ask("GET", "\0\xff\r\n"), "\xfe");
          const left = Number(await client.ask("TTL", "timed"));
          assert(left > 900 && left <= 1000, `${left}`);
          deleted++;
        }
        await client.ask(
          "MSET",
          "\0\xff\r\n",
          "\xfe",
          "gone",
          "x",
          "timed",
          "x",
        );
        await client.ask("EXPIRE", "timed", "1000");
        await client.ask("DEL", "gone");
      }
      const counting = Array.from({ length: 20 }, async (_, i) => {
        await using client = await server.connect();
        for (;;) {
          const answer = await client.ask("INCR", `n${i}`).catch(() =>
            undefined
          );
          if (answer === undefined) return;
          known.set(`n${i}`, Number(answer));
        }
      });
      await sleep(200);
      await server.kill();
      await Promise.all(counting);
    }
    assertEquals([known.size, deleted], [20, 2]);
  });
}

Deno.test("redis_server cuts off what is torn, and keeps it aside", async () => {
  using folder = temporaryFolder();
  const log = `${folder.path}/log`;
  const options = ["--appendonly", log, "--appendfsync", "always"];
  const sizes: number[] = [];
  {
    await using server = await Server.start(...options);
    await using client = await server.connect();
    for (const key of ["a", "b"]) {
      assertEquals(await client.ask("SET", key, key), "OK");
      sizes.push(Deno.statSync(log).size);
    }
  }
  const whole = Deno.readFileSync(log);
  const [first = 0, second = 0] = sizes;
  assertEquals(whole.length, second);
  const torn = [first + 1, first + 20, second - 1].map((end) =>
    whole.subarray(0, end)
  );
  // A block that never came, and bytes of another file.
  torn.push(whole.slice().fill(0, second - 5), whole.slice().fill(0, first));
  const other = whole.slice();
  other[second - 3]! ^= 1;
  torn.push(other);
  for (const bytes of torn) {
    Deno.writeFileSync(log, bytes);
    await using server = await Server.start(...options);
    await using client = await server.connect();
    assertEquals(await client.ask("MGET", "a", "b"), ["a", null]);
    assertEquals(Deno.readFileSync(`${log}.torn`), bytes.slice(first));
    assertEquals(Deno.statSync(log).size, first);
    assertEquals(await client.ask("SET", "b", "c"), "OK");
    await server.kill();
    const { err } = await server.program.ended();
    assertMatch(err, /^cut \d+ bytes off .*\n$/);
    await using again = await Server.start(...options);
    await using asking = await again.connect();
    assertEquals(await asking.ask("MGET", "a", "b"), ["a", "c"]);
  }
});

Deno.test("redis_server logs a request as it came, and a line of words as a request", async () => {
  using folder = temporaryFolder();
  const log = `${folder.path}/log`;
  const options = ["--appendonly", log, "--appendfsync", "always"];
  const asItCame = "*03\r\n$3\r\nset\r\n$01\r\nb\r\n$4\r\n\r\n\xff*\r\n";
  const timed = request("SET", "d", "x", "EX", "1000");
  {
    await using server = await Server.start(...options);
    await using client = await server.connect();
    await client.send(`SET a '1 2'\r\n${asItCame}${timed}`);
    for (let i = 0; i < 3; i++) assertEquals(await client.answer(), "OK");
  }
  const text = latin1(Deno.readFileSync(log));
  // Redis would not read the line, nor would the time be the same later.
  const expected = request("SET", "a", "1 2") + asItCame;
  const [, rest = ""] = text.split(expected);
  assertMatch(rest, /^\*5\r\n[^]*\$4\r\nPXAT\r\n\$13\r\n\d{13}\r\n$/);
  await using again = await Server.start(...options);
  await using asking = await again.connect();
  assertEquals(await asking.ask("MGET", "a", "b"), ["1 2", "\r\n\xff*"]);
});

/** Fills a file system. */
function fill(path: string): void {
  using file = Deno.openSync(path, { write: true, create: true });
  const page = new Uint8Array(4096).fill(1);
  try {
    while (file.writeSync(page) > 0);
  } catch {
    // It is full.
  }
}

Deno.test("redis_server takes no answer back, and tells of a full disk", async () => {
  using folder = temporaryFolder();
  const script = `mount -t tmpfs -o size=64k tmpfs /mnt && exec "$0" "$@"`;
  const log = ["--appendonly", "/mnt/log", "--appendfsync", "always"];
  await using server = await Server.of("unshare", [
    ...["-m", "sh", "-c", script, Deno.execPath(), ...SERVER, ...log],
  ]);
  const disk = `/proc/${server.program.pid}/root/mnt`;
  await using client = await server.connect();
  await using other = await server.connect();
  assertEquals(await client.ask("SET", "kept", "1"), "OK");
  fill(`${disk}/filler`);
  const value = "x".repeat(200);
  let count = 0;
  while (await client.ask("SET", `v${count}`, value) === "OK") count++;
  assert(count > 2, `${count}`);
  // No change of these has room, and no answer would be true.
  await client.send(
    `INCR kept\r\nDEL kept\r\nMSET a ${value} b 2\r\nGET kept\r\nFLUSHALL\r\nINCR a\r\n`,
  );
  const reading = other.ask("GET", "b");
  for (let i = 0; i < 6; i++) assertEquals(await client.answer(), MISCONF);
  assert([MISCONF, null].includes(await reading as string | null));
  const keys = ["kept", `v${count - 1}`, `v${count}`, "a", "b"];
  const kept = ["1", value, null, null, null];
  assertEquals(await client.ask("MGET", ...keys), kept);
  assertEquals(await client.ask("DBSIZE"), `${count + 1}`);
  Deno.removeSync(`${disk}/filler`);
  assertEquals(await client.ask("SET", "b", "2"), "OK");
  Deno.copyFileSync(`${disk}/log`, `${folder.path}/log`);
  await server.kill();
  await using again = await Server.start("--appendonly", `${folder.path}/log`);
  await using asking = await again.connect();
  assertEquals(await asking.ask("MGET", ...keys), kept.with(4, "2"));
  await again.kill();
  assertEquals((await again.program.ended()).err, "");
});

// ---- start and end -------------------------------------------------------------

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`redis_server ends well on ${signal}`, async () => {
    using folder = temporaryFolder();
    const log = `${folder.path}/log`;
    await using server = await Server.start("--appendonly", log);
    await using client = await server.connect();
    assertEquals(await client.ask("SET", "a", "1"), "OK");
    server.program.kill(signal);
    assertEquals(await client.rest(), "");
    const { code, err } = await server.program.ended();
    assertEquals([code, err], [0, ""]);
    await using again = await Server.start("--appendonly", log);
    await using asking = await again.connect();
    assertEquals(await asking.ask("GET", "a"), "1");
  });
}

Deno.test("redis_server says in one line why it cannot start", async () => {
  using folder = temporaryFolder();
  const log = `${folder.path}/log`;
  const notes = `${folder.path}/notes`;
  Deno.writeTextFileSync(notes, "these are notes");
  await using _ = await Server.start("--appendonly", log);
  const attempts: [args: string[], says: RegExp][] = [
    [["--appendonly", log], /^Cannot load .*\/log: .*\/log is in use\n$/],
    [["--appendonly", notes], /^Cannot load .* is no log of this server\n$/],
    [["--appendonly", folder.path], /^Cannot load .*: Is a directory.*\n$/],
    [["--host", "192.0.2.1"], /^Cannot listen on .*\n$/],
  ];
  for (const [args, says] of attempts) {
    const { code, out, err } = await run(Deno.execPath(), [...SERVER, ...args]);
    assertEquals([code, out], [1, ""]);
    assertMatch(err, says);
  }
  assertEquals(Deno.readTextFileSync(notes), "these are notes");
  const wrong = [["--appendfsync=never"], ["--maxmemory=0"], ["x"]];
  for (const args of wrong) {
    const { code, out, err } = await run(Deno.execPath(), [...SERVER, ...args]);
    assertEquals([code, out], [2, ""]);
    assertMatch(err, /\nusage: deno task redis /);
  }
});
