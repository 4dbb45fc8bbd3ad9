/**
 * examples/redis_server.ts against the programs of Redis, `deno task test:redis`:
 * it says what redis-server says, and redis-server reads its log.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { run } from "../process/support.ts";
import { bytes, randomOf, text } from "../support.ts";
import {
  benchmark,
  cli,
  type Served,
  startKio,
  startRedis,
} from "./redis_programs.ts";

/** Sends bytes, ends, and gives all that comes. */
async function raw({ port }: Served, sent: string): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const sending = new Blob([bytes(sent)]).stream().pipeTo(
    connection.writable,
    { preventClose: true },
  ).then(() => connection.closeWrite());
  const parts: string[] = [];
  const buffer = new Uint8Array(65536);
  for (;;) {
    const count = await connection.read(buffer).catch(() => null);
    if (count === null) break;
    parts.push(text(buffer.subarray(0, count)));
  }
  await sending.catch(() => {});
  return parts.join("");
}

Deno.test("redis_server says what redis-server says, of random requests", async () => {
  await using kio = await startKio();
  await using redis = await startRedis();
  const random = randomOf(9);
  const pick = <T>(...all: T[]): T => all[random(all.length)]!;
  const key = () => pick("a", "b", "c", "d e", "");
  const word = () =>
    pick(
      "x",
      "10",
      "-3",
      "9223372036854775807",
      "-9223372036854775808",
      "1.5",
      "007",
      "long ".repeat(20),
      "",
      "1000",
      "+1",
      " 1",
    );
  const makers: (() => string[])[] = [
    () => ["set", key(), word()],
    () => ["SET", key(), word(), pick("EX", "px", "NX", "XX", "y"), word()],
    () => ["SET", key(), word(), pick("NX", "xx")],
    () => ["SET", key(), word(), "EX", "1000", pick("NX", "XX", "EX")],
    () => ["GET", key()],
    () => ["DEL", key(), key()],
    () => ["EXISTS", key(), key()],
    () => [pick("INCR", "DECR"), key()],
    () => [pick("INCRBY", "DECRBY"), key(), word()],
    () => ["MGET", key(), key(), key()],
    () => ["MSET", key(), word(), key(), word()],
    () => ["MSET", key(), word(), key()],
    () => ["EXPIRE", key(), pick("1000", "-1", "x", "9223372036854775807")],
    () => ["TTL", key()],
    () => ["PTTL", "none"],
    () => ["DBSIZE"],
    () => [
      pick("get", "SET", "DEL", "ttl", "mget", "ECHO"),
      ...word(),
    ],
    () => ["nonsense", word(), word()],
    () => ["PING", ...pick([], ["x"], ["x", "y"])],
    () => ["ECHO", word()],
    () => pick(["FLUSHALL"], ["GET", "a"], ["GET", "b"], ["GET", "c"]),
    () => ["SELECT", pick("0", "99")],
  ];
  for (let round = 0; round < 20; round++) {
    let sent = "";
    for (let i = 0; i < 1000; i++) {
      const args = pick(...makers)();
      const parts = args.map((arg) => `$${arg.length}\r\n${arg}\r\n`);
      sent += `*${args.length}\r\n${parts.join("")}`;
    }
    const [said, expected] = [await raw(kio, sent), await raw(redis, sent)];
    const answers = said.split("\r\n");
    for (const [i, answer] of expected.split("\r\n").entries()) {
      assertEquals(answers[i], answer, `round ${round}, line ${i}`);
    }
    assertEquals(said, expected);
  }
});

Deno.test("redis_server says what redis-server says, of what is no request", async () => {
  await using kio = await startKio();
  await using redis = await startRedis();
  const requests = [
    "PING\r\n",
    "PING\n",
    "\r\n\r\nPING\r\n",
    "*0\r\nPING\r\n",
    "*-5\r\nPING\r\n",
    "*x\r\n",
    "*\r\n",
    "*1\r\nPING\r\n",
    "*1\r\n$x\r\n",
    "*1\r\n$-1\r\n",
    "*1\r\n$99999999999\r\n",
    "PING\r\n*99999999999\r\nPING\r\n",
    'ECHO "a\r\n',
    'ECHO "a"b\r\n',
    "ECHO 'a\r\n",
    `ECHO "\\x41\\n\\t\\"" \r\n`,
    "ECHO 'it\\'s'\r\n",
    'ECHO a"b"\r\n',
    "QUIT\r\nPING\r\n",
    "x".repeat(70_000),
    `*${"1".repeat(70_000)}`,
    `*1\r\n$${"1".repeat(70_000)}`,
  ];
  for (const sent of requests) {
    const shown = sent.slice(0, 100);
    assertEquals(await raw(kio, sent), await raw(redis, sent), shown);
  }
});

Deno.test("redis-cli and redis_server understand each other", async () => {
  await using server = await startKio("everysec");
  assertEquals(await cli(server, ["PING"]), "PONG\n");
  assertEquals(await cli(server, ["-n", "0", "SET", "a b", "c"]), "OK\n");
  assertEquals(await cli(server, ["GET", "a b"]), "c\n");
  assertEquals(await cli(server, ["-x", "SET", "in"], "x\0\r\n\xff"), "OK\n");
  assertMatch(await cli(server, ["INFO"]), /redis_version:7/);
  // The interactive mode asks for help first.
  assertMatch(await cli(server, [], "GET in\nINCR n\n"), /\(integer\) 1|^1$/m);
  let sent = "";
  for (let i = 0; i < 10_000; i++) sent += `SET key${i} ${i}\r\n`;
  assertMatch(await cli(server, ["--pipe"], sent), /errors: 0, replies: 10000/);
  assertEquals(await cli(server, ["DBSIZE"]), "10003\n");
});

Deno.test("redis-benchmark finds no error in redis_server", async () => {
  await using server = await startKio("everysec");
  for (const pipelined of ["1", "16"]) {
    const rates = await benchmark(server, [
      ...["-t", "ping,set,get,incr,mset", "-n", "20000", "-r", "1000"],
      ...["-P", pipelined, "-d", "100"],
    ]);
    assert(rates.size >= 5, `${[...rates]}`);
  }
});

Deno.test("redis-server reads the log of redis_server", async () => {
  await using kio = await startKio("always");
  for (let i = 0; i < 100; i++) {
    assertEquals(await cli(kio, ["SET", `key${i}`, `${i}`]), "OK\n");
    if (i === 20) break;
  }
  await cli(kio, ["MSET", "a", "1", "b", "2", "c", "x\r\ny"]);
  await cli(kio, ["INCRBY", "a", "41"]);
  await cli(kio, ["DEL", "b"]);
  await cli(kio, ["EXPIRE", "c", "1000"]);
  await cli(kio, ["SET", "d", "x", "PX", "1"]);
  const log = `${kio.folder}/log`;
  const { code, out } = await run("redis-check-aof", [log]);
  assertEquals(code, 0, out);
  await using redis = await startRedis("everysec", undefined, log);
  for (
    const command of ["GET a", "GET b", "GET c", "GET d", "GET key20", "TTL c"]
  ) {
    const args = command.split(" ");
    assertEquals(await cli(redis, args), await cli(kio, args), command);
  }
});
