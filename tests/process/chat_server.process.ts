/** examples/chat_server.ts, with clients of Deno's own. */
import { assertEquals, assertMatch } from "@std/assert";
import { Program } from "./support.ts";

/** A client, and the lines that it gets. */
class Guest {
  readonly #socket: WebSocket;
  readonly #lines: string[] = [];
  #wake = () => {};
  readonly closed: Promise<number>;

  constructor(url: string) {
    this.#socket = new WebSocket(url);
    this.#socket.onmessage = ({ data }) => {
      this.#lines.push(data);
      this.#wake();
    };
    this.closed = new Promise((resolve) =>
      this.#socket.onclose = ({ code }) => resolve(code)
    );
  }

  async line(): Promise<string> {
    while (this.#lines.length === 0) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#lines.shift()!;
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  close(): void {
    this.#socket.close();
  }
}

Deno.test("chat_server passes lines to all, and stops", async () => {
  await using server = new Program(Deno.execPath(), [
    ...["run", "--allow-ffi", "--allow-env", "--no-prompt"],
    ...["examples/chat_server.ts", "--port=0"],
  ]);
  const [, url = ""] = await server.printed(/on (http:.*\/)\n/);
  assertMatch(await (await fetch(url)).text(), /^<!doctype html>/);
  const missing = await fetch(`${url}no`);
  assertEquals([missing.status, await missing.text()], [
    404,
    "There is nothing here.\n",
  ]);

  const one = new Guest(url.replace("http", "ws"));
  assertEquals(await one.line(), "guest 1 has come.");
  const two = new Guest(url.replace("http", "ws"));
  assertEquals(await one.line(), "guest 2 has come.");
  assertEquals(await two.line(), "guest 2 has come.");
  one.send("héllo");
  assertEquals(await one.line(), "guest 1: héllo");
  assertEquals(await two.line(), "guest 1: héllo");
  // Too long for the server.
  two.send("x".repeat(5000));
  assertEquals(await two.closed, 1009);
  assertEquals(await one.line(), "guest 2 has gone.");
  server.kill("SIGINT");
  assertEquals(await one.closed, 1001);
  const { code, err } = await server.ended();
  assertEquals([code, err], [0, ""]);
});
