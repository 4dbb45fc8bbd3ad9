/**
 * Clients from npm that are made for Node, over connections of kio, against real
 * servers: `deno task test:clients`. It starts the servers, which leave nothing
 * behind.
 */
// deno-lint-ignore-file no-import-prefix -- the library itself needs none of them
import { Redis } from "npm:ioredis@6.0.0";
import mysql from "npm:mysql2@3.24.6/promise";
// @ts-types="npm:@types/pg@8.23.1"
import pg from "npm:pg@8.23.1";
import postgres from "npm:postgres@3.4.9";
import { Agent, request } from "npm:undici@8.13.1";
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { IoContext, SocketTransport, TcpStream, unwrap } from "@kio/kio";
import { createNodeSocket, toNodeSocket } from "@kio/kio/node";
import { once } from "node:events";
import http from "node:http";
import type net from "node:net";
import { run, sleep } from "../process/support.ts";
import {
  ACCOUNT,
  startMariadb,
  startNginx,
  startPostgres,
  startRedis,
} from "./servers.ts";

const { user, password, database } = ACCOUNT;
const host = "127.0.0.1";
/** Larger than what a socket takes at once. */
const LARGE = "é".repeat(3_000_000);

/** Sockets that are not closed. */
const open = new Set<net.Socket>();

/** A socket for a client. */
function socketOf(ctx: IoContext): net.Socket {
  const socket = createNodeSocket(ctx);
  open.add(socket);
  return socket.once("close", () => open.delete(socket));
}

/** Waits until all is closed, and closes the context. */
async function end(ctx: IoContext): Promise<void> {
  for (let i = 0; i < 500 && (ctx.pending > 0 || open.size > 0); i++) {
    await sleep(10);
  }
  assertEquals([open.size, ctx.inspect()], [0, []]);
  ctx[Symbol.dispose]();
}

Deno.test("postgres talks to PostgreSQL over toNodeSocket()", async () => {
  await using server = await startPostgres();
  const ctx = new IoContext();
  // Its types do not know the option `socket`.
  const options = {
    ...{ host, port: server.port, user, password, database: "postgres" },
    max: 3,
    socket: async ({ host, port }: { host: string[]; port: number[] }) => {
      const connected = await TcpStream.connect(ctx, host[0]!, port[0]!);
      return toNodeSocket(new SocketTransport(ctx, unwrap(connected)));
    },
  };
  const sql = postgres(options);
  await sql`CREATE TABLE words (id int PRIMARY KEY, word text)`;
  await sql.begin(async (sql) => {
    const rows = [{ id: 1, word: "kio" }, { id: 2, word: LARGE }];
    await sql`INSERT INTO words ${sql(rows)}`;
  });
  const found = await Promise.all(
    Array.from(
      { length: 20 },
      (_, i) =>
        sql`SELECT ${i}::int AS i, word FROM words WHERE id = ${1 + i % 2}`,
    ),
  );
  for (const [i, [row]] of found.entries()) {
    assertEquals({ ...row }, { i, word: i % 2 === 0 ? "kio" : LARGE });
  }
  // Rows by a cursor: the socket is paused in between.
  let sum = 0;
  for await (
    const rows of sql`SELECT n FROM generate_series(1, 10000) n`.cursor(100)
  ) {
    for (const { n } of rows) sum += n;
  }
  assertEquals(sum, 50_005_000);
  const failed = await assertRejects(() => sql`SELECT nonsense`);
  assertEquals((failed as { code?: string }).code, "42703");
  await sql.end();
  await end(ctx);
});

Deno.test("pg talks to PostgreSQL over createNodeSocket()", async () => {
  await using server = await startPostgres();
  const ctx = new IoContext();
  for (const target of [host, server.folder]) {
    const pool = new pg.Pool({
      ...{ host: target, port: server.port, user, password },
      database: "postgres",
      max: 3,
      keepAlive: true,
      stream: () => socketOf(ctx),
    });
    const texts = Array.from({ length: 20 }, (_, i) => i % 2 ? LARGE : `${i}`);
    const answers = await Promise.all(
      texts.map((it) => pool.query("SELECT $1::text AS it", [it])),
    );
    assertEquals(answers.map(({ rows: [row] }) => row.it), texts);
    await pool.end();
  }
  const refused = new pg.Client({
    ...{ host, port: 1, stream: () => socketOf(ctx) },
  });
  const error = await assertRejects(() => refused.connect());
  assertEquals((error as { code?: string }).code, "ECONNREFUSED");
  await end(ctx);
});

Deno.test("mysql2 talks to MariaDB over createNodeSocket()", async () => {
  await using server = await startMariadb();
  const ctx = new IoContext();
  const targets = [[server.port, host], [server.path]] as const;
  for (const [first, second] of targets) {
    const pool = mysql.createPool({
      ...{ user, password, database, connectionLimit: 3 },
      stream: () => {
        const socket = socketOf(ctx);
        return typeof first === "string"
          ? socket.connect(first)
          : socket.connect(first, second!);
      },
    });
    await pool.query("CREATE OR REPLACE TABLE words (id int, word longtext)");
    await pool.execute("INSERT INTO words VALUES (?, ?), (?, ?)", [
      ...[1, "kio", 2, LARGE],
    ]);
    const found = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        pool.execute<mysql.RowDataPacket[]>(
          "SELECT word FROM words WHERE id = ?",
          [1 + i % 2],
        )),
    );
    for (const [i, [rows]] of found.entries()) {
      assertEquals(rows[0]?.word, i % 2 === 0 ? "kio" : LARGE);
    }
    await pool.end();
  }
  await end(ctx);
});

Deno.test("ioredis talks to Redis over createNodeSocket()", async () => {
  await using server = await startRedis();
  const ctx = new IoContext();
  const targets = [{ port: server.port, host }, { path: server.path }];
  for (const target of targets) {
    /** Makes the connections of a client. */
    class Connector {
      readonly #sockets = new Set<net.Socket>();

      connect() {
        const socket = socketOf(ctx).connect(target);
        this.#sockets.add(
          socket.once("close", () => this.#sockets.delete(socket)),
        );
        return Promise.resolve(socket);
      }

      check() {
        return true;
      }

      disconnect() {
        for (const socket of this.#sockets) socket.end();
      }
    }
    const redis = new Redis({
      password,
      Connector: Connector as unknown as never,
    });
    await redis.set("large", LARGE);
    const values = await Promise.all(
      Array.from({ length: 100 }, (_, i) => redis.incr(`n${i % 10}`)),
    );
    assertEquals(values.filter((it) => it === 10).length, 10);
    assertEquals(await redis.get("large"), LARGE);
    await redis.flushall();

    const heard = new Promise((resolve) => {
      const listener = redis.duplicate();
      listener.on("message", async (channel: string, text: string) => {
        await listener.quit();
        resolve(`${channel}: ${text}`);
      });
      void listener.subscribe("news").then(() => redis.publish("news", "kio"));
    });
    assertEquals(await heard, "news: kio");
    await redis.quit();
  }
  await end(ctx);
});

Deno.test("node:http talks to nginx over createNodeSocket()", async () => {
  await using server = await startNginx();
  const ctx = new IoContext();
  const { port, path: socketPath } = server;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  agent.createConnection = (options) =>
    socketOf(ctx).connect(options as { port: number });
  for (const at of [{ host, port }, { socketPath }]) {
    for (let i = 1; i <= 3; i++) {
      const [answer] = await once(
        http.get({ agent, path: "/connection", ...at }),
        "response",
      ) as [http.IncomingMessage];
      const [text] = await answer.setEncoding("utf8").toArray();
      assertMatch(text, new RegExp(`^\\d+ ${i}$`));
    }
    const [answer] = await once(
      http.get({ agent, path: "/large", ...at }),
      "response",
    ) as [http.IncomingMessage];
    let size = 0;
    for await (const chunk of answer) size += chunk.length;
    assertEquals(size, 3_000_000);
  }
  agent.destroy();
  await end(ctx);
});

Deno.test("docs/node.md shows a query to PostgreSQL that works", async () => {
  await using server = await startPostgres();
  const page = Deno.readTextFileSync("docs/node.md");
  const [, program = ""] =
    /^<!-- test:clients -->\n\n```ts\n(.*?)^```$/ms.exec(page) ?? [];
  const url = `postgres://${user}:${password}@${host}:${server.port}/postgres`;
  const { code, out, err } = await run(Deno.execPath(), [
    "eval",
    "--no-lock",
    program.replace(/postgres:\/\/[^"]+/, url),
  ]);
  assertEquals([code, out, err], [0, /\/\/ → (.*\n)/.exec(program)?.[1], ""]);
});

Deno.test({
  name: "undici talks to nginx over createNodeSocket()",
  // It keeps a timer of its own.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await using server = await startNginx();
    const ctx = new IoContext();
    const { port } = server;
    const dispatcher = new Agent({
      connections: 1,
      connect: ({ port, hostname }, callback) => {
        const socket = socketOf(ctx);
        const onError = (error: Error) => callback(error, null);
        socket.once("error", onError);
        socket.connect(Number(port), hostname, () => {
          socket.off("error", onError);
          callback(null, socket);
        });
      },
    });
    for (let i = 1; i <= 3; i++) {
      const url = `http://${host}:${port}/connection`;
      const answer = await request(url, { dispatcher });
      assertMatch(await answer.body.text(), new RegExp(`^\\d+ ${i}$`));
    }
    await dispatcher.close();
    await end(ctx);
  },
});
