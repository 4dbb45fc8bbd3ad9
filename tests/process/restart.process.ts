import { assertEquals, assertMatch } from "@std/assert";
import {
  asyncConnect,
  asyncRecvmsg,
  IoContext,
  parseScmRights,
  scmRightsSpace,
  Socket,
  SocketAddress,
  unwrap,
} from "@kio/kio";
import { Program, run } from "./support.ts";

const RESTART = ["run", "--allow-ffi", "examples/restart.ts"];

/** Versions of the server, which meet at a name of their own. */
class Versions {
  readonly name = `kio-restart-${crypto.randomUUID()}`;
  port = 0;

  start(...args: string[]): Program {
    const own = [`--name=${this.name}`, `--port=${this.port}`, ...args];
    return new Program(Deno.execPath(), [...RESTART, ...own]);
  }

  /** Starts a version, and waits until it accepts. */
  async next(...args: string[]): Promise<Program> {
    const version = this.start(...args);
    const [, port] = await version.printed(/listens on 127\.0\.0\.1:(\d+)\n/);
    this.port = Number(port);
    return version;
  }

  /** Connections that were made. */
  visits = 0;

  connect(): Promise<Deno.TcpConn> {
    this.visits++;
    return Deno.connect({ hostname: "127.0.0.1", port: this.port });
  }

  /** Connects until a version answers: its predecessor may still accept. */
  async reach({ pid }: Program): Promise<Deno.TcpConn> {
    for (;;) {
      const client = await this.connect();
      if (await ask(client, "who is it") === pid) return client;
      client.close();
    }
  }
}

/** Asks for a line, and gives the process that has answered. */
async function ask(client: Deno.Conn, line: string): Promise<number> {
  await client.write(new TextEncoder().encode(`${line}\n`));
  const buffer = new Uint8Array(100);
  let answer = "";
  while (!answer.endsWith("\n")) {
    const count = await client.read(buffer);
    if (count === null) throw new Error(`no answer to ${line}`);
    answer += new TextDecoder().decode(buffer.subarray(0, count));
  }
  const [pid, ...rest] = answer.trimEnd().split(" ");
  assertEquals(rest.join(" "), line);
  return Number(pid);
}

Deno.test("restart loses no client and no request under load", async () => {
  const versions = new Versions();
  const programs = [await versions.next()];
  await using stack = new AsyncDisposableStack();
  stack.use(programs[0]!);
  let isOver = false;
  /** A connection for each request. */
  const visitors = Array.from({ length: 16 }, async (_, i) => {
    for (let n = 0; !isOver; n++) {
      using client = await versions.connect();
      await ask(client, `${i}.${n}`);
    }
  });
  /** A connection for all requests of a version. */
  const residents = [];
  for (let i = 0; i < 3; i++) {
    const program = programs.at(-1)!;
    const resident = await versions.reach(program);
    residents.push(resident);
    const successor = stack.use(await versions.next());
    // The one before still serves who is connected to it.
    assertEquals(await ask(resident, "still at home"), program.pid);
    programs.push(successor);
  }
  (await versions.reach(programs.at(-1)!)).close();
  isOver = true;
  await Promise.all(visitors);
  for (const resident of residents) resident.close();
  programs.at(-1)!.kill("SIGTERM");
  let served = 0;
  for (const program of programs) {
    const { code, out, err } = await program.ended();
    assertEquals([code, err], [0, ""]);
    served += Number(/served (\d+) connections/.exec(out)![1]);
  }
  assertEquals(served, versions.visits);
});

Deno.test("restart goes on when a successor fails", async () => {
  const versions = new Versions();
  await using program = await versions.next();
  await using ctx = new IoContext();
  for (let i = 0; i < 3; i++) {
    await using successor = unwrap(Socket.open("unix"));
    const meeting = SocketAddress.unix(`\0${versions.name}`);
    await asyncConnect(ctx, successor, meeting).orThrow();
    const message = await asyncRecvmsg(ctx, successor, {
      buffers: [new Uint8Array(1)],
      control: scmRightsSpace(2),
    }).orThrow();
    for (const fd of parseScmRights(message.control)) {
      await using _ = unwrap(Socket.adopt(fd));
    }
  }
  using client = await versions.connect();
  assertEquals(await ask(client, "hello"), program.pid);
  await using successor = await versions.next();
  (await versions.reach(successor)).close();
});

Deno.test("restart ends its clients when the grace is over", async () => {
  const versions = new Versions();
  await using program = await versions.next("--grace=0.2");
  using client = await versions.connect();
  await ask(client, "hello");
  program.kill("SIGTERM");
  const { code, out, err } = await program.ended();
  assertEquals([code, err], [0, ""]);
  assertMatch(out, /\n\d+ served 1 connections\n$/);
  assertEquals(await client.read(new Uint8Array(1)), null);
});

Deno.test("restart says in one line that its port is in use", async () => {
  const versions = new Versions();
  await using _ = await versions.next();
  const other = new Versions();
  other.port = versions.port;
  const args = [`--name=${other.name}`, `--port=${other.port}`];
  const { code, err } = await run(Deno.execPath(), [...RESTART, ...args]);
  assertEquals(code, 1);
  assertMatch(err, /^Cannot listen on .*: Address already in use\n$/);
});
