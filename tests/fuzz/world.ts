/**
 * The world of the fuzzer and its model. From the man pages and the actions so
 * far the model knows the legal results of each operation. It also knows which
 * bytes must come in which order.
 */
import {
  assert,
  assertEquals,
  AssertionError,
  assertThrows,
} from "@std/assert";
import {
  asyncAccept,
  asyncAcceptFrom,
  asyncClose,
  asyncConnect,
  asyncFallocate,
  asyncFdatasync,
  asyncFstat,
  asyncFsync,
  asyncFtruncate,
  asyncMsgRing,
  asyncOpen,
  asyncPipe,
  asyncPoll,
  asyncRead,
  asyncReadExact,
  asyncReadFixed,
  asyncReadMultishot,
  asyncReadv,
  asyncRecv,
  asyncRecvExact,
  asyncRecvmsg,
  asyncRecvmsgMultishot,
  asyncRecvMultishot,
  asyncRename,
  asyncSend,
  asyncSendExact,
  asyncSendfile,
  asyncSendmsg,
  asyncSendmsgZc,
  asyncSendZc,
  asyncShutdown,
  asyncSleep,
  asyncSplice,
  asyncUnlink,
  asyncWrite,
  asyncWriteExact,
  asyncWriteFixed,
  asyncWritev,
  BufferPool,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  IoContext,
  type IoError,
  link,
  MSG_DONTWAIT,
  MSG_WAITALL,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  passFd,
  pin,
  POLLIN,
  POLLOUT,
  RESOLVE_BENEATH,
  type Result,
  SHUT_WR,
  Socket,
  unwrap,
  type UringOp,
  wake,
} from "@kio/kio";
import {
  assertFds,
  assertIdle,
  immediate,
  listen,
  openFds,
  tcpPair,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";
import { giveBack } from "../lib/ops/give_back.ts";
import { Place } from "../lib/ops/place.ts";
import { CASES, startGood, startWaiting } from "../lib/ops/samples.ts";
import type { Action, Kind } from "./actions.ts";
import { Leases } from "./leases.ts";
import { isPathKind, type PathKind, Paths } from "./paths.ts";
import { End, Flow, PATTERN, PERIOD, Pipe } from "./streams.ts";

/** More than the largest transfer, from any place in the first period. */
const FILE_PERIODS = 8;

/** Between the first bytes of two streams. */
const FLOW_STEP = 2477;

/** Streams of leases. */
const LEASING = [
  asyncRecvMultishot,
  asyncRecvmsgMultishot,
  asyncReadMultishot,
] as const;

const CONTEXTS = 3;
const PAIRS = 6;
const PIPES = 2;
const FILES = 3;
const NAMES = 4;
const REGION = 4096;
const REGIONS = 8;
/** Operations in flight at most: the model looks at all of them. */
const IN_FLIGHT_MAX = 200;
const HANG_MS = 20_000;

/** Operations that leave nothing behind but their result. */
const FORGETTABLE: ReadonlySet<Kind> = new Set([
  "recv",
  "recvExact",
  "recvmsg",
  "send",
  "sendExact",
  "sendmsg",
  "sendfile",
  "poll",
  "shutdown",
  "connect",
  "sleep",
]);

/** Operations of which the model has to know: they use its files and messages. */
const MODELLED = ["asyncReadFixed", "asyncWriteFixed", "asyncMsgRing"];
const SAMPLES = CASES.filter(({ row }) => !MODELLED.includes(row.name));

/** Errors of samples: names, pipes and sockets are used up. */
const SAMPLE_CODES = [
  "EAGAIN",
  "ECONNREFUSED",
  // A table of direct descriptors that is full.
  "ENFILE",
  "ENODATA",
  "ENOENT",
  "ENOTCONN",
  "EOPNOTSUPP",
  "EPIPE",
];

declare const gc: ((options: { type: "major" | "minor" }) => void) | undefined;

interface Context {
  ctx: IoContext;
  closed: boolean;
  pool: BufferPool;
  /** Messages that are to arrive, and those that have. */
  expected: number;
  arrived: number;
  /** Fds that were handed over and have not arrived: by tag, their peers. */
  handed: Map<number, Socket>;
  /** Flows that have a zero-copy send of it in flight. */
  zeroCopies: Set<Flow>;
}

/** A file in regions; undefined where the content is not known. */
interface File {
  fd: number;
  regions: (number | undefined)[];
  busy: boolean[];
  closed: boolean;
}

/** An operation in flight, and the model's knowledge of it. */
interface Flight {
  what: string;
  context: Context;
  /** The socket that it is for, if that may be closed. */
  on?: Socket | undefined;
  codes: Set<string>;
  done: Promise<void>;
}

/** Numbers of operations by their value or the name of their error. */
export type Counts = Map<string, number>;

/** The end of an episode. */
export interface Outcome {
  counts: Counts;
  /** Actions that were done. */
  done: number;
  error: unknown;
}

/** A world of its own for each episode. */
export class World {
  readonly #lenient: boolean;
  readonly #flights = new Set<Flight>();
  readonly #later: (() => void)[] = [];
  readonly #closing: Promise<unknown>[] = [];
  /** For operations outside of the game: its queue is never full. */
  readonly #own = new IoContext(256);
  #contexts: Context[] = [];
  #ends: End[] = [];
  #files: File[] = [];
  #pipes: Pipe[] = [];
  #listener = listen();
  #directory = -1;
  #place: Place | undefined;
  /** For what makes direct descriptors: the others have registered files. */
  #withPlaces: Context | undefined;
  #tag = 0;
  #streamFile = -1;
  readonly #paths = new Paths(`/tmp/kio-fuzz-${Deno.pid}`);
  #error: unknown;
  readonly #names = Array.from(
    { length: NAMES },
    (_, i) => `/tmp/kio-fuzz-${Deno.pid}-${i}`,
  );
  readonly #counts: Counts = new Map();

  /** `lenient`: operations may also be interrupted, as by faults. */
  constructor(lenient: boolean) {
    this.#lenient = lenient;
  }

  /** Does the actions, ends everything, and looks for leaks. */
  static async run(
    actions: readonly Action[],
    random: (below: number) => number,
    lenient: boolean,
  ): Promise<Outcome> {
    const before = openFds();
    const world = new World(lenient);
    let done = 0;
    try {
      await world.#open(random);
      for (const action of actions) {
        if (world.#error !== undefined) break;
        done++;
        await world.#act(action);
      }
    } catch (error) {
      world.#error ??= error;
    }
    try {
      await world.#close();
      // Also after an error: what closes late would be missed in the next one.
      await assertFds(before, "after an episode");
    } catch (error) {
      world.#error ??= error;
    }
    return { counts: world.#counts, done, error: world.#error };
  }

  async #open(random: (below: number) => number): Promise<void> {
    for (let i = 0; i < CONTEXTS; i++) this.#openContext(random(1000));
    const ctx = this.#own;
    this.#streamFile = value(
      await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600),
    );
    for (let i = 0; i < FILE_PERIODS; i++) {
      const period = PATTERN.subarray(0, PERIOD);
      const at = i * PERIOD;
      value(await asyncWriteExact(ctx, this.#streamFile, period, at));
    }
    this.#directory = value(
      await asyncOpen(ctx, "/tmp", O_RDONLY | O_DIRECTORY),
    );
    await this.#paths.open(ctx);
    for (let i = 0; i < PAIRS; i++) await this.#openPair(random(1000));
    for (let i = 0; i < PIPES; i++) this.#pipes.push(new Pipe(random(PERIOD)));
    for (let i = 0; i < FILES; i++) {
      this.#files.push(await this.#openFile());
    }
    this.#place = await Place.open(ctx);
    this.#withPlaces = contextOf(
      await this.#place.context({ hasPlaces: true }),
    );
    for (const context of this.#contexts) this.#register(context);
  }

  #openContext(number: number): void {
    const entries = [1, 4, 64][number % 3];
    const context = contextOf(new IoContext(entries));
    context.ctx.onMessage = () => context.arrived++;
    context.ctx.onFd = (fd, tag) => {
      const peer = context.handed.get(tag);
      if (peer === undefined) this.#error ??= new AssertionError("whose fd?");
      context.handed.delete(tag);
      this.#closing.push(new Socket(fd).close());
      if (peer !== undefined) this.#closing.push(peer.close());
    };
    this.#contexts.push(context);
  }

  #register({ ctx }: Context): void {
    value(ctx.registerFiles(this.#files.map(({ fd }) => fd)));
  }

  async #openPair(number: number): Promise<void> {
    const ctx = this.#own;
    const isTcp = number % 2 === 0;
    const { left, right } = isTcp ? await tcpPair(ctx) : unixPair();
    // Each connection has bytes of its own.
    const there = new Flow(2 * this.#ends.length * FLOW_STEP);
    const back = new Flow((2 * this.#ends.length + 1) * FLOW_STEP);
    this.#ends.push(new End(left, there, back), new End(right, back, there));
  }

  async #openFile(): Promise<File> {
    const ctx = this.#own;
    const fd = value(await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600));
    const regions = new Array(REGIONS).fill(0);
    value(await asyncWriteExact(ctx, fd, new Uint8Array(REGION * REGIONS)));
    return { fd, regions, busy: new Array(REGIONS).fill(false), closed: false };
  }

  // ---- operations -------------------------------------------------------------

  /** Bounds an operation and looks at its result when it is there. */
  #start<T>(
    what: string,
    action: Action,
    context: Context,
    codes: readonly string[],
    op: UringOp<T>,
    onResult: (result: Result<T>) => void,
    on?: Socket,
  ): void {
    assert(!context.closed);
    const { bound, ms } = action;
    const legal = new Set(codes);
    // EAGAIN: a queue that is full of what could not be submitted.
    if (this.#lenient) legal.add("EINTR").add("EAGAIN");
    const cancelled = () => legal.add("ECANCELED");
    switch (bound) {
      case "timeout":
        op.withTimeout(ms);
        legal.add("ETIMEDOUT");
        break;
      case "abortNow":
        cancelled();
        op.withSignal(AbortSignal.abort());
        break;
      case "abortLater": {
        const controller = new AbortController();
        op.withSignal(controller.signal);
        this.#later.push(() => {
          cancelled();
          controller.abort();
        });
        break;
      }
      case "cancelLater":
        this.#later.push(() => {
          cancelled();
          op.cancel();
        });
        break;
    }
    if (isForgotten(action)) return this.#count("forgotten");
    const done = op.then((result) => {
      this.#flights.delete(flight);
      this.#count(result.ok ? "value" : result.error.code);
      try {
        if (!result.ok && !legal.has(result.error.code)) {
          throw new AssertionError(
            `${what} (${bound}) gave ${result.error.code}, expected ${[
              ...legal,
            ]} or a value`,
          );
        }
        onResult(result);
      } catch (error) {
        this.#error ??= error;
      }
    });
    const flight: Flight = { what, context, on, codes: legal, done };
    this.#flights.add(flight);
  }

  #count(outcome: string): void {
    this.#counts.set(outcome, (this.#counts.get(outcome) ?? 0) + 1);
  }

  /** Some of the operations in flight may be cancelled from now on. */
  #mayCancel(isMeant: (flight: Flight) => boolean): void {
    for (const flight of this.#flights) {
      if (isMeant(flight)) flight.codes.add("ECANCELED");
    }
  }

  #context(action: Action): Context {
    return this.#contexts[action.ctx % this.#contexts.length]!;
  }

  #end({ actor }: Action): End {
    return this.#ends[actor % this.#ends.length]!;
  }

  #file({ actor }: Action): File {
    return this.#files[actor % this.#files.length]!;
  }

  async #act(action: Action): Promise<void> {
    const { kind, size } = action;
    const isFull = this.#flights.size >= IN_FLIGHT_MAX;
    if (!isFull && isPathKind(kind)) return this.#path(action, kind);
    switch (isFull ? "turn" : kind) {
      case "sample":
        return this.#sample(action);
      case "recv":
      case "recvExact":
      case "recvmsg":
        return this.#receive(action);
      case "leases":
        return this.#lease(action);
      case "send":
      case "sendExact":
      case "sendmsg":
      case "sendZc":
      case "sendmsgZc":
      case "sendfile":
        return this.#send(action);
      case "poll":
        return this.#poll(action);
      case "shutdown":
        return this.#shutdown(action);
      case "closeSocket":
        return await this.#closeSocket(action);
      case "accept":
      case "acceptFrom":
        return this.#accept(action);
      case "pipeRead":
        return this.#readPipe(action);
      case "pipeWrite":
      case "pipeSplice":
        return this.#fillPipe(action);
      case "pipe":
        return this.#makePipe(action);
      case "open":
      case "openat2":
      case "rename":
      case "unlink":
        return this.#name(action);
      case "fstat":
      case "ftruncate":
      case "fallocate":
        return this.#space(action);
      case "passFd":
        return this.#passFd(action);
      case "wake":
        return void value(wake(this.#context(action).ctx.ringFd));
      case "connect":
        return this.#connect(action);
      case "closeListener":
        return this.#closeListener();
      case "sleep":
        return this.#sleep(action);
      case "read":
      case "readExact":
      case "readv":
      case "readFixed":
        return this.#read(action);
      case "write":
      case "writeExact":
      case "writev":
      case "writeFixed":
        return this.#write(action);
      case "durableWrite":
        return this.#durableWrite(action);
      case "chain":
        return this.#chain(action);
      case "fsync": {
        const { fd } = this.#file(action);
        const context = this.#context(action);
        const sync = size % 2 === 0 ? asyncFsync : asyncFdatasync;
        const op = sync(context.ctx, fd);
        return this.#start(kind, action, context, [], op, () => {});
      }
      case "replaceFile":
        return await this.#replaceFile(action);
      case "closeFile":
        return await this.#closeFile(action);
      case "message":
        return this.#message(action);
      case "turn":
        if (size % 3 === 0) await immediate();
        else await null;
        return this.#runLater(1);
      case "wait":
        return await turn(action.ms / 2);
      case "cancelAll": {
        const context = this.#context(action);
        this.#mayCancel((flight) => flight.context === context);
        this.#closing.push(context.ctx.cancelAllPending());
        return;
      }
      case "closeContext":
        return await this.#closeContext(action);
      case "collect":
        // A large collection takes as long as all the rest.
        return gc?.({ type: size % 4 === 0 ? "major" : "minor" });
    }
  }

  /** Any operation, in its good call or one that waits. */
  #sample(action: Action): void {
    const { actor, size } = action;
    const { key, row, sample } = SAMPLES[actor % SAMPLES.length]!;
    const context = sample.hasPlaces
      ? this.#withPlaces!
      : this.#context(action);
    // A listener with a full queue takes long to make.
    const isGood = size % 2 === 0 || key === "CONNECT";
    const start = isGood ? startGood : startWaiting;
    const op = start(sample, this.#place!, context.ctx);
    const what = `sample ${key}`;
    this.#start(what, action, context, SAMPLE_CODES, op, (result) => {
      giveBack(row, result);
    });
  }

  #runLater(count: number): void {
    for (const run of this.#later.splice(0, count)) run();
  }

  #receive(action: Action): void {
    const { kind, size } = action;
    const { socket, closed, in: flow } = this.#end(action);
    if (closed || flow.receiving) return;
    const context = this.#context(action);
    const { ctx } = context;
    const buffer = this.#bufferFor(context, size);
    const flags = flagsOf(action);
    const codes = ["ECONNRESET"];
    if (kind === "recvExact") codes.push("ENODATA");
    else if (flags === MSG_DONTWAIT) codes.push("EAGAIN");
    flow.receiving = true;
    const onCount = (result: Result<number>) => {
      flow.receiving = false;
      const { count, error } = movedBy(result);
      flow.take(buffer.subarray(0, count));
      if (error?.code === "ECONNRESET") {
        assert(flow.ended || flow.readerClosed, "a reset by nobody");
        flow.broken = true;
      } else if (error?.code === "ENODATA" || (!error && count === 0)) {
        flow.end();
      }
      // A buffer that is free may be given away, if it can be.
      if (count % 2 === 1 && !isPinned(buffer)) buffer.buffer.transfer();
    };
    if (kind === "recvmsg") {
      const half = size >> 1;
      const buffers = [buffer.subarray(0, half), buffer.subarray(half)];
      const op = asyncRecvmsg(ctx, socket, {
        buffers: half === 0 ? [buffer] : buffers,
      }, flags);
      this.#start(
        kind,
        action,
        context,
        codes,
        op,
        (result) =>
          onCount(
            result.ok ? { ok: true, value: result.value.bytes } : result,
          ),
        socket,
      );
      return;
    }
    const op = kind === "recv"
      ? asyncRecv(ctx, socket, buffer, flags)
      : asyncRecvExact(ctx, socket, buffer);
    this.#start(kind, action, context, codes, op, onCount, socket);
  }

  #lease(action: Action): void {
    const { actor, size } = action;
    const context = this.#context(action);
    const leases = new Leases(this.#own, size, actor % 3 === 0);
    const start = LEASING[size % LEASING.length]!;
    const stream = start(context.ctx, leases.fd, context.pool, {
      leasesMax: 1 + actor % 5,
    });
    const op: UringOp<number> = Object.assign(leases.take(stream), {
      cancel: () => stream.cancel(),
      withTimeout: (timeoutMs: number) => (stream.withTimeout(timeoutMs), op),
      withSignal: (signal: AbortSignal) => (stream.withSignal(signal), op),
      orThrow: async () => unwrap(await op),
    });
    this.#start("leases", action, context, [], op, () => {});
  }

  #send(action: Action): void {
    const { kind, size } = action;
    const { socket, closed, out: flow } = this.#end(action);
    if (closed || flow.sending > 0) return;
    const context = this.#context(action);
    const { ctx } = context;
    const at = flow.next;
    const data = flow.bytes(kind === "sendfile" ? 0 : size);
    flow.sending = size;
    const flags = flagsOf(action);
    if (kind === "sendZc" || kind === "sendmsgZc") {
      return this.#sendZeroCopy(action, context, data, flags);
    }
    const op = kind === "send"
      ? asyncSend(ctx, socket, data, flags)
      : kind === "sendExact"
      ? asyncSendExact(ctx, socket, data)
      : kind === "sendmsg"
      ? asyncSendmsg(ctx, socket, {
        buffers: size < 2
          ? [data]
          : [data.subarray(0, size >> 1), data.subarray(size >> 1)],
      }, flags)
      : asyncSendfile(ctx, socket, this.#streamFile, at, size);
    const codes = ["EPIPE", "ECONNRESET"];
    const isPlain = kind === "send" || kind === "sendmsg";
    if (isPlain && flags === MSG_DONTWAIT) codes.push("EAGAIN");
    this.#start(kind, action, context, codes, op, (result) => {
      noteSend(flow, result);
    }, socket);
  }

  /** A send whose bytes may arrive long before it settles. */
  #sendZeroCopy(
    action: Action,
    context: Context,
    data: Uint8Array,
    flags: number,
  ): void {
    const { kind, size } = action;
    const { socket, out: flow } = this.#end(action);
    const half = size >> 1;
    const buffers = [data.subarray(0, half), data.subarray(half)];
    const op = kind === "sendZc"
      ? asyncSendZc(context.ctx, socket, data, flags)
      : asyncSendmsgZc(context.ctx, socket, { buffers }, flags);
    const codes = ["EPIPE", "ECONNRESET"];
    if (flags === MSG_DONTWAIT) codes.push("EAGAIN");
    context.zeroCopies.add(flow);
    this.#start(kind, action, context, codes, op, (result) => {
      context.zeroCopies.delete(flow);
      noteSend(
        flow,
        result.ok ? { ok: true, value: result.value.bytes } : result,
      );
    }, socket);
  }

  #poll(action: Action): void {
    const { socket, closed } = this.#end(action);
    if (closed) return;
    const context = this.#context(action);
    const events = action.size % 2 === 0 ? POLLIN : POLLOUT;
    const op = asyncPoll(context.ctx, socket, events);
    this.#start("poll", action, context, [], op, (result) => {
      assert(!result.ok || result.value > 0);
    }, socket);
  }

  #shutdown(action: Action): void {
    const end = this.#end(action);
    if (end.closed) return;
    end.out.ended = true;
    const context = this.#context(action);
    const { socket } = end;
    const op = asyncShutdown(context.ctx, socket, SHUT_WR);
    // The peer may have reset it; it may happen or not when it is cancelled.
    const codes = ["ENOTCONN"];
    this.#start("shutdown", action, context, codes, op, () => {}, socket);
  }

  async #closeSocket(action: Action): Promise<void> {
    const end = this.#end(action);
    if (end.closed) return;
    this.#mayCancel(({ on }) => on === end.socket);
    this.#closing.push(end.close(action.size % 4 === 0));
    await this.#openPair(action.size);
  }

  #accept(action: Action): void {
    const context = this.#context(action);
    const codes = ["EINVAL", "ECONNABORTED"];
    const { listener } = this.#listener;
    const close = (fd: number) => this.#closing.push(new Socket(fd).close());
    if (action.kind === "accept") {
      const op = asyncAccept(context.ctx, listener);
      this.#start("accept", action, context, codes, op, (result) => {
        if (result.ok) close(result.value);
      }, listener);
      return;
    }
    const op = asyncAcceptFrom(context.ctx, listener);
    this.#start("acceptFrom", action, context, codes, op, (result) => {
      if (!result.ok) return;
      assertEquals(result.value.address.host, "127.0.0.1");
      close(result.value.fd);
    }, listener);
  }

  #connect(action: Action): void {
    const context = this.#context(action);
    const client = unwrap(Socket.open("ipv4"));
    const codes = ["ECONNREFUSED", "ECONNRESET"];
    const op = asyncConnect(context.ctx, client, this.#listener.at);
    const close = () => this.#closing.push(client.close());
    if (isForgotten(action)) this.#later.push(close);
    this.#start("connect", action, context, codes, op, close, client);
  }

  #closeListener(): void {
    const { listener } = this.#listener;
    this.#mayCancel(({ on }) => on === listener);
    this.#closing.push(listener.close());
    this.#listener = listen();
  }

  #sleep(action: Action): void {
    const context = this.#context(action);
    const start = performance.now();
    const op = asyncSleep(context.ctx, action.ms);
    this.#start("sleep", action, context, [], op, (result) => {
      const tookMs = performance.now() - start;
      assert(!result.ok || tookMs >= action.ms - 0.1, "a sleep ended early");
    });
  }

  #region(action: Action): { file: File; region: number } | undefined {
    const file = this.#file(action);
    const region = action.size % REGIONS;
    return file.busy[region] ? undefined : { file, region };
  }

  #read(action: Action): void {
    const found = this.#region(action);
    if (found === undefined) return;
    const { file, region } = found;
    const context = this.#context(action);
    const { ctx } = context;
    const buffer = this.#regionBuffer(action, ctx);
    const at = region * REGION;
    const index = this.#files.indexOf(file);
    file.busy[region] = true;
    const op = action.kind === "read"
      ? asyncRead(ctx, file.fd, buffer, at)
      : action.kind === "readExact"
      ? asyncReadExact(ctx, file.fd, buffer, at)
      : action.kind === "readv"
      ? asyncReadv(ctx, file.fd, [
        buffer.subarray(0, 100),
        buffer.subarray(100),
      ], at)
      : asyncReadFixed(ctx, index, buffer, at);
    this.#start(action.kind, action, context, [], op, (result) => {
      file.busy[region] = false;
      const content = file.regions[region];
      if (!result.ok || content === undefined) return;
      assert(result.value > 0);
      const read = buffer.subarray(0, result.value);
      assert(read.every((byte) => byte === content), "bytes of a file");
    });
  }

  #write(action: Action): void {
    const found = this.#region(action);
    if (found === undefined) return;
    const { file, region } = found;
    const context = this.#context(action);
    const { ctx } = context;
    const content = action.size % 256;
    const data = this.#regionBuffer(action, ctx).fill(content);
    const at = region * REGION;
    const index = this.#files.indexOf(file);
    file.busy[region] = true;
    const op = action.kind === "write"
      ? asyncWrite(ctx, file.fd, data, at)
      : action.kind === "writeExact"
      ? asyncWriteExact(ctx, file.fd, data, at)
      : action.kind === "writev"
      ? asyncWritev(ctx, file.fd, [
        data.subarray(0, 100),
        data.subarray(100),
      ], at)
      : asyncWriteFixed(ctx, index, data, at);
    this.#start(action.kind, action, context, [], op, (result) => {
      file.busy[region] = false;
      noteWrite(file, region, content, result);
    });
  }

  /** Memory for a region. Some is registered, until the operation that is about
   * to use it is complete. */
  #regionBuffer({ size }: Action, ctx: IoContext): Uint8Array<ArrayBuffer> {
    if (size % 4 > 0) return new Uint8Array(REGION);
    const memory = ctx.allocate(REGION, { registered: true });
    queueMicrotask(() => this.#closing.push(ctx.unregisterMemory(memory)));
    return memory;
  }

  /** A chain: operations behind one that fails do not happen. */
  #durableWrite(action: Action): void {
    const found = this.#region(action);
    const context = this.#context(action);
    if (found === undefined) return;
    const { ctx } = context;
    const { file, region } = found;
    const content = action.size % 256;
    const data = new Uint8Array(REGION).fill(content);
    const copy = new Uint8Array(REGION);
    const at = region * REGION;
    file.busy[region] = true;
    const [written, synced, read] = link(ctx, () =>
      [
        asyncWrite(ctx, file.fd, data, at),
        asyncFdatasync(ctx, file.fd),
        asyncRead(ctx, file.fd, copy, at),
      ] as const);
    // On a small ring a chain of three does not fit.
    const codes = ["E2BIG", "ECANCELED"];
    const unbound = { ...action, bound: "none" } as const;
    this.#start("durableWrite", action, context, codes, written, (result) => {
      noteWrite(file, region, content, result);
    });
    this.#start("durableSync", unbound, context, codes, synced, () => {});
    this.#start("durableRead", unbound, context, codes, read, (result) => {
      if (!result.ok) return;
      assert(copy.subarray(0, result.value).every((byte) => byte === content));
    });
    // One that does not fit is over before the others.
    void Promise.all([written, synced, read]).then(() =>
      file.busy[region] = false
    );
  }

  /** A chain that waits, with a link that is cancelled before it can start. A
   * link that did not happen leaves no byte. */
  #chain(action: Action): void {
    const context = this.#context(action);
    const { ctx } = context;
    const waiting = unixPair();
    const target = unixPair();
    const length = 2 + action.size % 4;
    const cut = 1 + action.actor % (length - 1);
    const ops = link(ctx, () => [
      asyncPoll(ctx, waiting.left, POLLIN),
      ...Array.from(
        { length: length - 1 },
        (_, i) => asyncSend(ctx, target.left, Uint8Array.of(i)),
      ),
    ]);
    const codes = ["E2BIG", "ECANCELED"];
    const unbound = { ...action, bound: "none" } as const;
    let isFired = false;
    let isCut = false;
    const done = ops.map((op, at) =>
      new Promise<Result<unknown>>((resolve) => {
        const bounds = at === cut && action.bound !== "dropped"
          ? action
          : unbound;
        void op.then((result) => {
          if (at === cut && !result.ok && !isFired) isCut = true;
        });
        this.#start<unknown>("chain", bounds, context, codes, op, resolve);
      })
    );
    const fire = () => {
      // It may be over, and its sockets closed.
      if (waiting.right.fd < 0) return;
      isFired = true;
      this.#closing.push(
        asyncSend(this.#own, waiting.right, PATTERN.subarray(0, 1)),
      );
    };
    this.#later.push(fire);
    this.#closing.push(
      Promise.all(done).then(async (results) => {
        const memory = new Uint8Array(8);
        let came = 0;
        for (;;) {
          const flags = MSG_DONTWAIT;
          const op = asyncRecv(this.#own, target.right, memory, flags);
          const result = await op;
          if (result.ok) came += result.value;
          // A fault of the plan.
          else if (result.error.code !== "EINTR") break;
        }
        const sent = results.slice(1).filter(({ ok }) => ok).length;
        try {
          assertEquals(came, sent, "bytes of a chain");
          assert(!isCut || sent < cut, "a link that was given up has run");
        } catch (error) {
          this.#error ??= error;
        }
        for (const { left, right } of [waiting, target]) {
          await left.close();
          await right.close();
        }
      }),
    );
  }

  /** Allocates space and makes holes: no byte that is read changes. */
  #space(action: Action): void {
    const found = this.#region(action);
    if (found === undefined) return;
    const { file, region } = found;
    const context = this.#context(action);
    const { ctx } = context;
    const { kind } = action;
    const size = REGION * REGIONS;
    file.busy[region] = true;
    const free = () => file.busy[region] = false;
    if (kind === "fstat") {
      const op = asyncFstat(ctx, file.fd);
      this.#start(kind, action, context, [], op, (result) => {
        free();
        if (result.ok) assertEquals(result.value.size, size);
      });
    } else if (kind === "ftruncate") {
      const op = asyncFtruncate(ctx, file.fd, size);
      this.#start(kind, action, context, [], op, free);
    } else {
      const at = region * REGION;
      const mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
      const op = asyncFallocate(ctx, file.fd, mode, at, REGION);
      this.#start(kind, action, context, ["EOPNOTSUPP"], op, (result) => {
        free();
        if (result.ok) file.regions[region] = 0;
        else if (result.error.code !== "EOPNOTSUPP") {
          file.regions[region] = undefined;
        }
      });
    }
  }

  /** Names, which come and go in no order. */
  #name(action: Action): void {
    const { kind, actor, size } = action;
    const context = this.#context(action);
    const { ctx } = context;
    const name = this.#names[actor % NAMES]!;
    const codes = ["ENOENT"];
    const close = (result: Result<number>) => {
      if (result.ok) this.#closing.push(asyncClose(this.#own, result.value));
    };
    if (kind === "rename") {
      const op = asyncRename(ctx, name, this.#names[size % NAMES]!);
      this.#start(kind, action, context, codes, op, () => {});
    } else if (kind === "unlink") {
      const op = asyncUnlink(ctx, name);
      this.#start(kind, action, context, codes, op, () => {});
    } else if (kind === "open") {
      const op = asyncOpen(ctx, name, O_RDWR | O_CREAT, 0o600);
      this.#start(kind, action, context, [], op, close);
    } else {
      const base = name.slice("/tmp/".length);
      const how = { resolve: RESOLVE_BENEATH };
      const op = asyncOpen(ctx, base, O_RDONLY, {
        dir: this.#directory,
        ...how,
      });
      this.#start(kind, action, context, codes, op, close);
    }
  }

  #path(action: Action, kind: PathKind): void {
    const context = this.#context(action);
    const source = this.#pipe(action).readFd;
    const { op, codes, check } = this.#paths
      .start(context.ctx, action, kind, source);
    this.#start(kind, action, context, codes, op, (result) => {
      if (result.ok) check(result.value);
    });
  }

  // ---- pipes and what goes to other contexts ----------------------------------

  #pipe({ actor }: Action): Pipe {
    return this.#pipes[actor % PIPES]!;
  }

  #readPipe(action: Action): void {
    const { readFd, flow } = this.#pipe(action);
    if (flow.receiving) return;
    const context = this.#context(action);
    const buffer = this.#bufferFor(context, action.size);
    flow.receiving = true;
    const op = asyncRead(context.ctx, readFd, buffer);
    this.#start("pipeRead", action, context, [], op, (result) => {
      flow.receiving = false;
      const { count } = movedBy(result);
      assert(!result.ok || count > 0, "an end that nobody has made");
      flow.take(buffer.subarray(0, count));
    });
  }

  #fillPipe(action: Action): void {
    const { kind, size } = action;
    const { writeFd, flow } = this.#pipe(action);
    if (flow.sending > 0) return;
    const context = this.#context(action);
    const { ctx } = context;
    const at = flow.next;
    // A splice does not wait for a non-blocking pipe.
    const codes = kind === "pipeSplice" ? ["EAGAIN"] : [];
    const op = kind === "pipeWrite"
      ? asyncWrite(ctx, writeFd, flow.bytes(size))
      : asyncSplice(ctx, this.#streamFile, writeFd, size, { fromOffset: at });
    flow.sending = size;
    this.#start(kind, action, context, codes, op, (result) => {
      flow.sending = 0;
      flow.sent += movedBy(result).count;
    });
  }

  #makePipe(action: Action): void {
    const context = this.#context(action);
    const op = asyncPipe(context.ctx, { size: action.size });
    this.#start("pipe", action, context, [], op, (result) => {
      if (!result.ok) return;
      const { readFd, writeFd, size } = result.value;
      assert(size >= Math.min(action.size, 65536), "a pipe that is too small");
      for (const fd of [readFd, writeFd]) {
        this.#closing.push(asyncClose(this.#own, fd));
      }
    });
  }

  #passFd(action: Action): void {
    const { ctx, handed } = this.#context(action);
    const { left, right } = unixPair();
    const tag = this.#tag++;
    handed.set(tag, right);
    value(passFd(ctx.ringFd, left.release(), tag));
  }

  /** Closes a file that nothing is pending on, and opens another. */
  async #replaceFile(action: Action): Promise<void> {
    const old = this.#file(action);
    // A context of its own may still have operations to look the fd up for.
    await within(HANG_MS, this.#filesIdle(), "operations on files");
    const created = await this.#openFile();
    this.#files[this.#files.indexOf(old)] = created;
    value(await asyncClose(this.#own, old.fd));
    const index = this.#files.indexOf(created);
    for (const { ctx } of this.#contexts) {
      value(ctx.updateFiles(index, [created.fd]));
    }
  }

  /** An fd that is closed while a write is pending, which goes on. */
  async #closeFile(action: Action): Promise<void> {
    const flags = O_TMPFILE | O_RDWR;
    const fd = value(await asyncOpen(this.#own, "/tmp", flags, 0o600));
    const context = this.#context(action);
    const { ctx } = context;
    const data = new Uint8Array(action.size);
    const queue = () =>
      [asyncWrite(ctx, fd, data), asyncClose(ctx, fd)] as const;
    const isChain = action.ms % 2 === 0;
    const [written, closed] = isChain ? link(ctx, queue) : queue();
    // On a ring of one entry a chain does not fit. After a write that fails or
    // is short it ends, and the fd is gone all the same. The number may soon be
    // a socket's, which ends pending operations when it closes.
    const codes = ["E2BIG", "ECANCELED"].slice(isChain ? 0 : 1);
    this.#start("closedWrite", action, context, codes, written, () => {});
    this.#start("close", action, context, codes, closed, (result) => {
      assert(result.ok || isChain || this.#lenient, "a close that failed");
    });
  }

  /** Waits for operations on files; those on sockets may wait for a peer. */
  async #filesIdle(): Promise<void> {
    while (this.#files.some(({ busy }) => busy.includes(true))) {
      await immediate();
    }
    const isSync = ({ what }: Flight) => /sync/i.test(what);
    while ([...this.#flights].some(isSync)) await immediate();
  }

  #message(action: Action): void {
    const context = this.#context(action);
    const target = this.#contexts[action.actor % this.#contexts.length]!;
    const op = asyncMsgRing(context.ctx, target.ctx.ringFd, 1, 2);
    this.#start("message", action, context, [], op, (result) => {
      if (result.ok) target.expected++;
    });
  }

  async #closeContext(action: Action): Promise<void> {
    const context = this.#context(action);
    // The others may have a message to it in their queues.
    if ([...this.#flights].some(({ what }) => what === "message")) return;
    this.#mayCancel((flight) => flight.context === context);
    context.closed = true;
    // It resets a connection whose peer does not read.
    const { zeroCopies } = context;
    const reset = this.#ends.filter(({ out, in: incoming, closed }) =>
      !closed && (zeroCopies.has(out) || zeroCopies.has(incoming))
    );
    for (const { on, codes } of this.#flights) {
      if (!reset.some(({ socket }) => socket === on)) continue;
      for (const code of ["ECANCELED", "ENOTCONN"]) codes.add(code);
    }
    // The context closes fds that have not arrived.
    for (const peer of context.handed.values()) {
      this.#closing.push(this.#assertClosed(peer));
    }
    context.handed.clear();
    this.#contexts.splice(this.#contexts.indexOf(context), 1);
    if (action.size % 2 === 0) context.ctx[Symbol.dispose]();
    else this.#closing.push(context.ctx[Symbol.asyncDispose]());
    for (const end of reset) this.#closing.push(end.close(false));
    this.#openContext(action.size);
    this.#register(this.#contexts.at(-1)!);
    for (let i = 0; i < reset.length; i += 2) await this.#openPair(action.size);
  }

  /** Checks that the other end is closed, soon. */
  async #assertClosed(socket: Socket): Promise<void> {
    const op = asyncRecv(this.#own, socket, new Uint8Array(1));
    const result = await op.withTimeout(HANG_MS);
    assert(result.ok ? result.value === 0 : this.#lenient, "an end");
    await socket.close();
  }

  /** Makes memory for incoming bytes: some of it cannot be taken away. */
  #bufferFor({ ctx }: Context, size: number): Uint8Array<ArrayBuffer> {
    if (size % 16 > 1) return new Uint8Array(size);
    const buffer = size % 16 === 0
      ? ctx.allocate(size)
      : pin(new Uint8Array(size));
    this.#later.push(() => {
      assertThrows(() =>
        structuredClone(buffer, { transfer: [buffer.buffer] })
      );
    });
    return buffer;
  }

  // ---- the end ----------------------------------------------------------------

  /** Ends all that is left, in an order in which nothing may hang. */
  async #close(): Promise<void> {
    const onHang = () => {
      const left = [...this.#flights].map(({ what }) => what);
      this.#error ??= new AssertionError(`hanging: ${left.join(", ")}`);
    };
    this.#mayCancel(() => true);
    this.#runLater(this.#later.length);
    for (const end of this.#ends) {
      if (!end.closed) this.#closing.push(end.close(false));
    }
    this.#closing.push(this.#listener.listener.close());
    // Nothing else would end the operations that wait for a pipe.
    for (const { ctx } of this.#allContexts()) {
      this.#closing.push(ctx.cancelAllPending());
    }
    const flights = [...this.#flights].map(({ done }) => done);
    await within(HANG_MS, Promise.all(flights), "operations").catch(onHang);
    await within(HANG_MS, this.#closeAll(), "closing").catch(onHang);
    for (const { fd } of this.#files) await asyncClose(this.#own, fd);
    await asyncClose(this.#own, this.#streamFile);
    await asyncClose(this.#own, this.#directory);
    for (const name of this.#names) await asyncUnlink(this.#own, name);
    await this.#paths.close(this.#own);
    for (const pipe of this.#pipes) pipe.close();
    await this.#place?.[Symbol.asyncDispose]();
    if (this.#error === undefined) await this.#inspect();
    await within(HANG_MS, this.#closeAll(), "closing").catch(onHang);
    for (const { ctx } of this.#allContexts()) ctx[Symbol.dispose]();
    this.#own[Symbol.dispose]();
  }

  #allContexts(): Context[] {
    const withPlaces = this.#withPlaces;
    return withPlaces === undefined
      ? this.#contexts
      : [...this.#contexts, withPlaces];
  }

  /** Results may close more. */
  async #closeAll(): Promise<void> {
    while (this.#closing.length > 0) {
      await Promise.all(this.#closing.splice(0));
    }
  }

  async #inspect(): Promise<void> {
    try {
      value(await this.#place!.directOf(this.#withPlaces!.ctx).close());
      for (const context of this.#allContexts()) {
        const isShort = () =>
          context.arrived < context.expected || context.handed.size > 0;
        for (let i = 0; i < 100 && isShort(); i++) await turn(1);
        // The script does not await forgotten operations. They are over by now
        // or soon.
        const { ctx } = context;
        for (let i = 0; i < 100 && ctx.pending > 0; i++) await turn(1);
        assertEquals(context.arrived, context.expected, "messages");
        assertEquals(context.handed.size, 0, "fds that were handed over");
        // Not while a direct descriptor is open that nobody has.
        value(ctx.unregisterFiles());
        await assertIdle(ctx);
      }
    } catch (error) {
      this.#error = error;
    }
  }
}

function contextOf(ctx: IoContext): Context {
  return {
    ctx,
    closed: false,
    pool: new BufferPool(ctx, { count: 5, size: 512 }),
    expected: 0,
    arrived: 0,
    handed: new Map(),
    zeroCopies: new Set(),
  };
}

/** True if the script has dropped an operation and will not know its result.
 * Its direction of a connection stays in use until that is closed. */
function isForgotten({ kind, bound, ms }: Action): boolean {
  return bound === "dropped" && ms === 0 && FORGETTABLE.has(kind);
}

function movedBy(result: Result<number>): { count: number; error?: IoError } {
  if (result.ok) return { count: result.value };
  return { count: result.error.bytesTransferred ?? 0, error: result.error };
}

function noteSend(flow: Flow, result: Result<number>): void {
  flow.sending = 0;
  const { count, error } = movedBy(result);
  flow.sent += count;
  if (error?.code !== "EPIPE" && error?.code !== "ECONNRESET") return;
  assert(flow.ended || flow.readerClosed, "a broken pipe by nobody");
  flow.broken = true;
}

function noteWrite(
  file: File,
  region: number,
  content: number,
  result: Result<number>,
): void {
  const whole = result.ok && result.value === REGION;
  file.regions[region] = whole ? content : undefined;
}

/** Now and then an operation is to move all, or not to wait. */
function flagsOf({ size }: Action): number {
  return [MSG_WAITALL, MSG_DONTWAIT][size % 7] ?? 0;
}

function isPinned({ length }: Uint8Array): boolean {
  return length % 16 <= 1;
}
