/** A server of the demo: its process, and what is measured of it. */

/** Times are counted by their logarithm, to 2 %. */
const BUCKETS_PER_DOUBLING = 32;
const TIME_MIN_MS = 2 ** -12;

/** The sums of a measurement. */
class Figures {
  requests = 0;
  seconds = 0;
  cpuMs = 0;
  readonly times = new Uint32Array(BUCKETS_PER_DOUBLING * 32);
}

export class EchoServer {
  readonly name: string;
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncGenerator<string, undefined>;
  #figures = new Figures();
  #messages = 0;
  #bytes = 0;
  #startMs = 0;
  #startCpuMs = 0;

  constructor(name: string, file: string, permission: string) {
    this.name = name;
    const path = import.meta.resolve(`./${file}`);
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-check", permission, path],
      // It ends with the demo, however that ends.
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#lines = linesOf(this.#child.stdout);
  }

  /** Waits until it listens; gives its address. */
  listening(): Promise<string> {
    return this.#said(/^listening on (.+)$/);
  }

  /** Begins its turn. */
  begin(): void {
    this.#startMs = performance.now();
    this.#startCpuMs = this.#cpuMs();
  }

  /** Counts an answer. */
  count(bytes: number, ms: number): void {
    this.#messages++;
    this.#bytes += bytes;
    this.#figures.requests++;
    const doublings = Math.log2(Math.max(1, ms / TIME_MIN_MS));
    this.#figures.times[Math.floor(BUCKETS_PER_DOUBLING * doublings)]!++;
  }

  /** Ends its turn. */
  finish(): void {
    this.#figures.seconds += (performance.now() - this.#startMs) / 1000;
    this.#figures.cpuMs += this.#cpuMs() - this.#startCpuMs;
  }

  /** Leaves out of the figures what was measured until now. */
  forget(): void {
    this.#figures = new Figures();
  }

  /** All messages, those before `forget()` too. */
  get messages(): number {
    return this.#messages;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get requestsPerS(): number {
    return this.#figures.requests / this.#figures.seconds || 0;
  }

  /** Time of all its threads on processors for a request. */
  get cpuUs(): number {
    return 1000 * this.#figures.cpuMs / this.#figures.requests || 0;
  }

  /** The time within which that part of the answers came. */
  percentileMs(part: number): number {
    let left = this.#figures.requests * part;
    const bucket = this.#figures.times.findIndex((count) =>
      (left -= count) <= 0
    );
    return TIME_MIN_MS * 2 ** ((bucket + 1) / BUCKETS_PER_DOUBLING);
  }

  /** Stops it, and compares its counts with those of the client. */
  async stop(connections: number): Promise<void> {
    this.#child.kill("SIGINT");
    const counted = await this.#said(/^served (.+)$/);
    const { code } = await this.#child.status;
    const expected = `${connections} connections, ${this.#bytes} bytes`;
    if (counted === expected && code === 0) return;
    throw new Error(
      `${this.name} counts ${counted} (exit code ${code}), but there were ${expected}`,
    );
  }

  kill(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
  }

  /** The time of its threads on processors. */
  #cpuMs(): number {
    const tasks = `/proc/${this.#child.pid}/task`;
    let ns = 0;
    for (const { name } of Deno.readDirSync(tasks)) {
      const stat = Deno.readTextFileSync(`${tasks}/${name}/schedstat`);
      ns += Number(stat.split(" ", 1)[0]);
    }
    return ns / 1e6;
  }

  /** Waits for its next line. */
  async #said(pattern: RegExp): Promise<string> {
    const { value } = await this.#lines.next();
    const match = pattern.exec(value ?? "");
    if (match !== null) return match[1]!;
    throw new Error(`${this.name} says "${value ?? ""}"`);
  }
}

async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string, undefined> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}
