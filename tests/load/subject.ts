/** The program under load: how it is started, looked at from outside, ended. */
import { SocketAddress } from "@kio/kio";
import { cpuMs, type Ended, Program, ROOT } from "../process/support.ts";
import type { Network } from "./network.ts";
import type { Report } from "./programs/report.ts";
import {
  eventually,
  type Load,
  quantile,
  summary,
  undoing,
} from "./scenario.ts";

/** Longer than any run. */
const LIMIT_MS = 24 * 3600_000;

export interface SubjectOptions {
  /** The network that it runs in; this machine if left out. */
  network?: Network;
  /** Its limit of fds. */
  fdsMax?: number;
}

/** Numbers of fds by their kind. */
export interface FdCounts {
  sockets: number;
  pipes: number;
  others: number;
}

export class Subject implements AsyncDisposable {
  readonly network: Network | undefined;
  readonly #program: Program;
  readonly #undo = () => this.#program.kill("SIGKILL");
  #reports = 0;

  constructor(
    name: string,
    args: string[],
    { network, fdsMax }: SubjectOptions = {},
  ) {
    this.network = network;
    const [command = "", ...rest] = [
      ...network?.enter ?? [],
      ...fdsMax === undefined ? [] : ["prlimit", `--nofile=${fdsMax}`],
      Deno.execPath(),
      "run",
      "--allow-ffi",
      "--v8-flags=--expose-gc",
      `${ROOT}tests/load/programs/${name}.ts`,
      ...args,
    ];
    this.#program = new Program(command, rest, { limitMs: LIMIT_MS });
    undoing.add(this.#undo);
  }

  /** Waits until the output matches, and gives the match. */
  printed(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#program.printed(pattern);
  }

  get #proc(): string {
    return `/proc/${this.#program.pid}`;
  }

  /** Asks for its report about itself, after a garbage collection. */
  async report(): Promise<Report> {
    this.#program.kill("SIGUSR2");
    const pattern = new RegExp(`^report ${++this.#reports} (.*)\n`, "m");
    return JSON.parse((await this.printed(pattern))[1]!);
  }

  fds(): FdCounts {
    const counts = { sockets: 0, pipes: 0, others: 0 };
    for (const { name } of Deno.readDirSync(`${this.#proc}/fd`)) {
      let target = "";
      try {
        target = Deno.readLinkSync(`${this.#proc}/fd/${name}`);
      } catch {
        continue; // It was closed meanwhile.
      }
      if (target.startsWith("socket:")) counts.sockets++;
      else if (target.startsWith("pipe:")) counts.pipes++;
      else counts.others++;
    }
    return counts;
  }

  /** Its own threads, and those that the kernel has started for it. */
  threads(): { own: number; kernel: number } {
    const counts = { own: 0, kernel: 0 };
    for (const { name } of Deno.readDirSync(`${this.#proc}/task`)) {
      try {
        const comm = Deno.readTextFileSync(`${this.#proc}/task/${name}/comm`);
        if (comm.startsWith("iou-")) counts.kernel++;
        else counts.own++;
      } catch {
        // It has ended.
      }
    }
    return counts;
  }

  /** Memory that is its own, not that of files. */
  residentMB(): number {
    const status = Deno.readTextFileSync(`${this.#proc}/status`);
    return Number(/^RssAnon:\s*(\d+)/m.exec(status)![1]) / 1024;
  }

  cpuMs(): number {
    return cpuMs(this.#program.pid);
  }

  /** A file of its network namespace, of /proc/net. */
  net(name: string): string {
    return Deno.readTextFileSync(`${this.#proc}/net/${name}`);
  }

  /** A counter of its network: of a file of two lines for each group. */
  counter(file: string, group: string, name: string): number {
    const lines = this.net(file).split("\n").filter((line) =>
      line.startsWith(`${group}: `)
    ).map((line) => line.split(" "));
    return Number(lines[1]![lines[0]!.indexOf(name)]);
  }

  kill(signal: Deno.Signal): Promise<Ended> {
    this.#program.kill(signal);
    return this.#program.ended();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    undoing.delete(this.#undo);
    await this.#program[Symbol.asyncDispose]();
    const { code, signal, err } = await this.#program.ended();
    if (code !== 0 && signal !== "SIGKILL") console.log(err);
  }
}

/** Pipes that a context keeps for the next sendfile, each with two ends. */
export const PIPE_ENDS_KEPT = 2 * 16;
/** `kernelWorkersMax` of a context, and some of the kernel's own. */
const KERNEL_THREADS_MAX = 64 + 4;
/** Memory that the collector may leave for later, and that malloc keeps. It
 * comes in waves, of up to 80 MB where a server is fast. Memory in use is
 * judged by itself. */
const SLACK_MB = 96;
/** The tables of a context do not shrink, and the compiler keeps its code. */
const USED_MB_MAX = 8;
/** Memory of a connection: a buffer of 4 KiB, its objects, and garbage. */
const CONNECTION_MB_MAX = 24 / 1024;

/** `programs/server.ts`, running. */
export class Server extends Subject {
  readonly #load: Load;
  #echoPort!: number;
  #partsPort!: number;
  #fds!: FdCounts;
  #threads!: number;
  #residentMB!: number;
  #usedMB!: number;
  #pending!: number;

  private constructor(load: Load, args: string[], options?: SubjectOptions) {
    const host = options?.network === undefined ? "127.0.0.1" : "0.0.0.0";
    const own = [`--file=${load.file}`, `--host=${host}`];
    super("server", [...own, ...args], options);
    this.#load = load;
  }

  static async start(
    load: Load,
    args: string[] = [],
    options?: SubjectOptions,
  ): Promise<Server> {
    const server = new Server(load, args, options);
    const ports = await server.printed(
      /^listening on .*:(\d+)\nlistening on .*:(\d+)\n/,
    );
    [server.#echoPort = 0, server.#partsPort = 0] = ports.slice(1).map(Number);
    const { usedMB, stats } = await server.report();
    server.#usedMB = usedMB;
    server.#pending = stats.pending;
    server.#fds = server.fds();
    server.#threads = server.threads().own;
    server.#residentMB = server.residentMB();
    return server;
  }

  /** The address of the echo; in a network by the first address or another. */
  echoAt(host = this.#host): SocketAddress {
    return SocketAddress.v4(this.#echoPort, host);
  }

  /** The address of the parts of the file. */
  partsAt(host = this.#host): SocketAddress {
    return SocketAddress.v4(this.#partsPort, host);
  }

  get #host(): string {
    return this.network?.addresses[0] ?? "127.0.0.1";
  }

  /** Connections, by its fds. */
  get connections(): number {
    return this.fds().sockets - this.#fds.sockets;
  }

  /** Waits until it has so many connections; gives how many it has. */
  connected(count: number, limitMs?: number): Promise<number> {
    return eventually(() => this.connections, (n) => n === count, limitMs);
  }

  /** Checks that it holds no more than that many connections need. */
  judgeBounds(when: string, connections: number): void {
    const { own, kernel } = this.threads();
    this.#load.check(
      `${when}, at most ${this.#threads} threads and ${KERNEL_THREADS_MAX} of the kernel`,
      own <= this.#threads && kernel <= KERNEL_THREADS_MAX,
      `${own} and ${kernel}`,
    );
    const mbMax = Math.ceil(
      this.#residentMB + SLACK_MB + connections * CONNECTION_MB_MAX,
    );
    const mb = this.residentMB();
    this.#load.check(
      `${when}, at most ${mbMax} MB`,
      mb <= mbMax,
      `${mb.toFixed()} MB, ${this.#residentMB.toFixed()} at the start`,
    );
  }

  /** Checks that it has given everything back, and ends well. */
  async judgeEnd(limitMs?: number): Promise<void> {
    const left = await this.connected(0, limitMs);
    const { stats, connections, usedMB } = await this.report();
    this.#load.check(
      `in the end no connection is left, nor more than ${this.#pending} operations`,
      left === 0 && connections === 0 && stats.pending <= this.#pending,
      `${left} sockets, ${connections} connections, ${stats.pending} operations`,
    );
    const { pipes, others } = this.fds();
    this.#load.check(
      "nor an fd, but for the pipes that are kept",
      pipes <= this.#fds.pipes + PIPE_ENDS_KEPT && others <= this.#fds.others,
      `${pipes - this.#fds.pipes} ends of pipes, ${
        others - this.#fds.others
      } others`,
    );
    this.#load.check(
      `nor memory: at most ${USED_MB_MAX} MB more are in use`,
      usedMB <= this.#usedMB + USED_MB_MAX,
      `${(usedMB - this.#usedMB).toFixed(1)} MB`,
    );
    this.#load.note(`its errors: ${JSON.stringify(stats.errors)}`);
    const { code, err } = await this.kill("SIGINT");
    this.#load.check(
      "it ends well",
      code === 0,
      `exit code ${code} ${err}`,
    );
  }
}

/** `programs/visitor.ts`. The server must serve it, whatever other clients do.
 */
export class Visitor extends Subject {
  readonly #load: Load;

  private constructor(load: Load, server: Server) {
    // Other clients disturb the network of its first address only.
    const host = server.network?.addresses[1];
    super("visitor", [`${server.echoAt(host)}`, `${server.partsAt(host)}`]);
    this.#load = load;
  }

  static async start(load: Load, server: Server): Promise<Visitor> {
    const visitor = new Visitor(load, server);
    await visitor.printed(/^visited\n/);
    return visitor;
  }

  /** Ends it, and tells how it fared. */
  async judge(p99MsMax = Infinity): Promise<void> {
    const { out, err } = await this.kill("SIGINT");
    const { timesMs, errors } = JSON.parse(/^visits (.*)$/m.exec(out)![1]!);
    this.#load.check(
      "others are served, every byte right",
      errors.length === 0 && timesMs.length > 0,
      `${timesMs.length} visits, ${errors.length} failed ${errors[0] ?? err}`,
    );
    const what = "for two connections and two answers";
    const waits = summary(timesMs);
    if (p99MsMax === Infinity) {
      return this.#load.note(`they wait ${what}: ${waits}`);
    }
    this.#load.limit(
      `they wait at most ${p99MsMax} ms ${what} (p99)`,
      quantile(timesMs, 0.99) <= p99MsMax,
      waits,
    );
  }
}
