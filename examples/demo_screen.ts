/** Shows the demo: a table that changes on a terminal, else lines. */
import type { EchoServer } from "./demo_servers.ts";
import { columns, wrapped } from "./terminal.ts";

const isTerminal = Deno.stdout.isTerminal();
const hasColour = isTerminal && !Deno.noColor;
const LOG_EVERY_MS = 1000;
const BAR_MAX = 30;
/** Columns of a line beside its bar. */
const FIGURES = 50;

export class Screen {
  readonly #title: string;
  #lines = 0;
  #nextMs = performance.now() + LOG_EVERY_MS;

  constructor(connections: number, sizeMax: number) {
    this.#title = `Echo over 127.0.0.1: ${connections} connections, messages ` +
      `of 1 to ${sizeMax} bytes`;
    if (isTerminal) this.#draw([...lines(this.#title), "the servers start"]);
    else console.log(this.#title);
  }

  /** Shows the figures until now. */
  show(servers: readonly EchoServer[], leftS: number): void {
    if (isTerminal) {
      const left = `${Math.max(0, Math.ceil(leftS))} s left; Ctrl-C ends it`;
      const checked = `${answersOf(servers)} have come back as sent`;
      return this.#draw([
        ...this.#table(servers),
        "",
        checked,
        painted(left, 2),
      ]);
    }
    if (performance.now() < this.#nextMs) return;
    this.#nextMs = performance.now() + LOG_EVERY_MS;
    console.log(servers.map(lineOf).join("; "));
  }

  /** Shows the figures at the end, and what they say. */
  summarize(servers: readonly EchoServer[]): void {
    const [kio, deno] = servers as [EchoServer, EchoServer];
    const rate = (kio.requestsPerS / deno.requestsPerS).toFixed(2);
    const cpu = (kio.cpuUs / deno.cpuUs).toFixed(2);
    const verdict = [
      `ok: ${answersOf(servers)} have come back, every byte as it was sent.`,
      `kio answers ${rate} times as many requests, with ${cpu} of the CPU time ` +
      "for each.",
    ];
    if (!isTerminal) {
      return console.log([...servers.map(lineOf), ...verdict].join("\n"));
    }
    this.#draw(
      [...this.#table(servers), "", ...verdict.flatMap(lines)].map((line) =>
        line.replace(/^ok/, painted("ok", 32))
      ),
    );
    this.leave();
  }

  /** Leaves the terminal as it was. */
  leave(): void {
    if (isTerminal) write("\x1b[?25h");
  }

  #table(servers: readonly EchoServer[]): string[] {
    const most = Math.max(...servers.map((it) => it.requestsPerS));
    const width = Math.max(0, Math.min(BAR_MAX, columns() - FIGURES - 1));
    const head = "requests/s  p50, µs  p99, µs  CPU, µs";
    return [
      ...lines(this.#title),
      ...lines("one client for both, in turn; CPU: of the server, a request")
        .map((line) => painted(line, 2)),
      "",
      painted(" ".repeat(width + FIGURES - head.length) + head, 2),
      ...servers.map((it, i) => {
        const length = Math.round(width * it.requestsPerS / most);
        const bar = "█".repeat(length).padEnd(width);
        return `${it.name.padEnd(5)} ${painted(bar, i === 0 ? 32 : 34)} ` +
          `${count(it.requestsPerS).padStart(16)} ` +
          `${count(1000 * it.percentileMs(0.5)).padStart(8)} ` +
          `${count(1000 * it.percentileMs(0.99)).padStart(8)} ` +
          `${it.cpuUs.toFixed(1).padStart(8)}`;
      }),
    ];
  }

  /** Writes over what was drawn last, without a cursor. */
  #draw(lines: readonly string[]): void {
    const up = this.#lines === 0 ? "\x1b[?25l" : `\x1b[${this.#lines}A`;
    write(`\r${up}\x1b[J${lines.join("\n")}\n`);
    this.#lines = lines.length;
  }
}

/** Breaks a text into lines of the terminal. */
function lines(text: string): string[] {
  return wrapped(text, 0).split("\n");
}

/** All messages that were checked. */
function answersOf(servers: readonly EchoServer[]): string {
  const sum = (of: (server: EchoServer) => number) =>
    count(servers.reduce((sum, it) => sum + of(it), 0));
  const megabytes = sum((it) => it.bytes / 1e6);
  return `${sum((it) => it.messages)} messages (${megabytes} MB)`;
}

/** The figures of a server in a log. */
function lineOf(server: EchoServer): string {
  const [p50, p99] = [0.5, 0.99].map((it) =>
    count(1000 * server.percentileMs(it))
  );
  return `${server.name}: ${
    count(server.requestsPerS)
  } requests/s, p50 ${p50} µs, ` +
    `p99 ${p99} µs, CPU ${server.cpuUs.toFixed(1)} µs a request`;
}

function count(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** Gives text in a colour (SGR), where colours are wanted. */
function painted(text: string, colour: number): string {
  return hasColour ? `\x1b[${colour}m${text}\x1b[0m` : text;
}

function write(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}
