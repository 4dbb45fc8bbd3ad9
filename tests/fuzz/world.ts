/**
 * What the fuzzer acts on, and the model of it: what each operation may give,
 * from the man pages and from what has been done to it, and which bytes have to
 * come in which order.
 */
import { assert, assertEquals, AssertionError } from "@std/assert";
import {
  asyncAccept,
  asyncClose,
  asyncConnect,
  asyncFdatasync,
  asyncMsgRing,
  asyncOpen,
  asyncPoll,
  asyncRead,
  asyncReadFixed,
  asyncReadv,
  asyncRecv,
  asyncRecvExact,
  asyncRecvmsg,
  asyncSend,
  asyncSendExact,
  asyncSendfile,
  asyncSendmsg,
  asyncShutdown,
  asyncSleep,
  asyncWrite,
  asyncWriteExact,
  asyncWriteFixed,
  asyncWritev,
  IoContext,
  type IoError,
  link,
  O_RDWR,
  O_TMPFILE,
  POLLIN,
  POLLOUT,
  type Result,
  SHUT_WR,
  Socket,
  unwrap,
  type UringOp,
} from "@kio/kio";
import {
  assertFds,
  assertIdle,
  immediate,
  listen,
  openFds,
  pattern,
  tcpPair,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";
import type { Action } from "./actions.ts";

/** A prime, so that streams are in step with no buffer. */
const PERIOD = 65521;
const PATTERN = pattern(2 * PERIOD, 77);
/** More than the largest transfer, from any place in the first period. */
const FILE_PERIODS = 8;

const CONTEXTS = 3;
const PAIRS = 6;
const FILES = 3;
const REGION = 4096;
const REGIONS = 8;
/** Operations in flight at most: the model looks at all of them. */
const IN_FLIGHT_MAX = 200;
const HANG_MS = 20_000;

/** A direction of a connection. */
class Flow {
  readonly base: number;
  sent = 0;
  received = 0;
  /** Bytes of the send in flight, 0 for none. */
  sending = 0;
  receiving = false;
  /** Nothing is sent any more. */
  ended = false;
  readerClosed = false;
  /** Bytes may be lost: a reset. */
  broken = false;

  constructor(base: number) {
    this.base = base % PERIOD;
  }

  get next(): number {
    return (this.base + this.sent) % PERIOD;
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    const from = this.next;
    return Uint8Array.from(
      { length: count },
      (_, i) => PATTERN[(from + i) % PERIOD],
    );
  }

  /** That these are the next bytes of this stream, and of no other. */
  take(bytes: Uint8Array): void {
    const from = (this.base + this.received) % PERIOD;
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] === PATTERN[(from + i) % PERIOD]) continue;
      throw new AssertionError(
        `byte ${this.received + i} of a stream is another's`,
      );
    }
    this.received += bytes.length;
    assert(
      this.received <= this.sent + this.sending,
      `received ${this.received} of ${this.sent} bytes`,
    );
  }

  end(): void {
    assert(this.ended || this.readerClosed, "an end that nobody has made");
    if (this.broken || this.sending > 0 || this.readerClosed) return;
    assertEquals(this.received, this.sent, "bytes before the end");
  }
}

/** One end of a connection. */
class End {
  readonly socket: Socket;
  readonly out: Flow;
  readonly in: Flow;

  constructor(socket: Socket, out: Flow, incoming: Flow) {
    this.socket = socket;
    this.out = out;
    this.in = incoming;
  }

  get closed(): boolean {
    return this.socket.fd < 0;
  }

  close(): Promise<void> {
    this.out.ended = true;
    this.in.readerClosed = true;
    // What was not read, or is still being sent, makes it a reset.
    this.out.broken = true;
    this.in.broken = true;
    return this.socket.close();
  }
}

interface Context {
  ctx: IoContext;
  closed: boolean;
  /** Messages that are to arrive, and those that have. */
  expected: number;
  arrived: number;
}

/** A file in regions; undefined where the content is not known. */
interface File {
  fd: number;
  regions: (number | undefined)[];
  busy: boolean[];
  closed: boolean;
}

/** An operation in flight, and what the model knows of it. */
interface Flight {
  what: string;
  codes: Set<string>;
  op: UringOp<unknown>;
  done: Promise<void>;
}

/** A world of its own for each episode. */
export class World {
  readonly #random: (below: number) => number;
  readonly #lenient: boolean;
  readonly #flights = new Set<Flight>();
  readonly #later: (() => void)[] = [];
  readonly #closing: Promise<unknown>[] = [];
  /** For what is no part of the game: its queue is never full. */
  readonly #own = new IoContext(256);
  #contexts: Context[] = [];
  #ends: End[] = [];
  #files: File[] = [];
  #listener = listen();
  #streamFile = -1;
  #error: unknown;
  operations = 0;

  /** `lenient`: operations may also be interrupted, as by faults. */
  constructor(random: (below: number) => number, lenient: boolean) {
    this.#random = random;
    this.#lenient = lenient;
  }

  /** Does the actions, ends everything, and looks what is left. */
  static async run(
    actions: readonly Action[],
    random: (below: number) => number,
    lenient: boolean,
  ): Promise<number> {
    const before = openFds();
    const world = new World(random, lenient);
    try {
      await world.#open();
      for (const action of actions) {
        if (world.#error !== undefined) break;
        await world.#act(action);
      }
    } finally {
      await world.#close();
    }
    if (world.#error !== undefined) throw world.#error;
    await assertFds(before, "after an episode");
    return world.operations;
  }

  async #open(): Promise<void> {
    for (let i = 0; i < CONTEXTS; i++) this.#openContext();
    const ctx = this.#own;
    this.#streamFile = value(
      await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600),
    );
    for (let i = 0; i < FILE_PERIODS; i++) {
      const period = PATTERN.subarray(0, PERIOD);
      const at = i * PERIOD;
      value(await asyncWriteExact(ctx, this.#streamFile, period, at));
    }
    for (let i = 0; i < PAIRS; i++) await this.#openPair();
    for (let i = 0; i < FILES; i++) {
      this.#files.push(await this.#openFile());
    }
    for (const context of this.#contexts) this.#register(context);
  }

  #openContext(): void {
    const entries = [1, 4, 64][this.#random(3)];
    const context: Context = {
      ctx: new IoContext(entries),
      closed: false,
      expected: 0,
      arrived: 0,
    };
    context.ctx.onMessage = () => context.arrived++;
    this.#contexts.push(context);
  }

  #register({ ctx }: Context): void {
    value(ctx.registerFiles(this.#files.map(({ fd }) => fd)));
  }

  async #openPair(): Promise<void> {
    const ctx = this.#own;
    const isTcp = this.#random(2) === 0;
    const { left, right } = isTcp ? await tcpPair(ctx) : unixPair();
    const there = new Flow(this.#random(PERIOD));
    const back = new Flow(this.#random(PERIOD));
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
    { bound, ms }: Action,
    { closed }: Context,
    codes: readonly string[],
    op: UringOp<T>,
    onResult: (result: Result<T>) => void,
  ): void {
    assert(!closed);
    this.operations++;
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
    const done = op.then((result) => {
      this.#flights.delete(flight);
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
    const flight: Flight = { what, codes: legal, op, done };
    this.#flights.add(flight);
  }

  /** What is in flight may be cancelled from now on. */
  #mayCancel(): void {
    for (const { codes } of this.#flights) codes.add("ECANCELED");
  }

  #context(action: Action): Context {
    return this.#contexts[action.ctx % this.#contexts.length];
  }

  #end({ actor }: Action): End {
    return this.#ends[actor % this.#ends.length];
  }

  #file({ actor }: Action): File {
    return this.#files[actor % this.#files.length];
  }

  async #act(action: Action): Promise<void> {
    const { kind, size } = action;
    const isFull = this.#flights.size >= IN_FLIGHT_MAX;
    switch (isFull ? "turn" : kind) {
      case "recv":
      case "recvExact":
      case "recvmsg":
        return this.#receive(action);
      case "send":
      case "sendExact":
      case "sendmsg":
      case "sendfile":
        return this.#send(action);
      case "poll":
        return this.#poll(action);
      case "shutdown":
        return this.#shutdown(action);
      case "closeSocket":
        return await this.#closeSocket(action);
      case "accept":
        return this.#accept(action);
      case "connect":
        return this.#connect(action);
      case "closeListener":
        return this.#closeListener();
      case "sleep":
        return this.#sleep(action);
      case "read":
      case "readv":
      case "readFixed":
        return this.#read(action);
      case "write":
      case "writev":
      case "writeFixed":
        return this.#write(action);
      case "durableWrite":
        return this.#durableWrite(action);
      case "fsync": {
        const { fd } = this.#file(action);
        const context = this.#context(action);
        const op = asyncFdatasync(context.ctx, fd);
        return this.#start(kind, action, context, [], op, () => {});
      }
      case "replaceFile":
        return await this.#replaceFile(action);
      case "message":
        return this.#message(action);
      case "turn":
        if (size % 3 === 0) await immediate();
        else await null;
        return this.#runLater(1);
      case "wait":
        return await turn(action.ms / 2);
      case "cancelAll":
        this.#mayCancel();
        this.#closing.push(this.#context(action).ctx.cancelAllPending());
        return;
      case "closeContext":
        return this.#closeContext(action);
      case "collect":
        return (globalThis as { gc?: () => void }).gc?.();
    }
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
    const buffer = new Uint8Array(size);
    const codes = ["ECONNRESET", "ECANCELED", "ENODATA"].slice(
      0,
      kind === "recvExact" ? 3 : 1,
    );
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
      // A buffer that is free may be given away.
      if (count % 2 === 1) buffer.buffer.transfer();
    };
    if (kind === "recvmsg") {
      const half = size >> 1;
      const buffers = [buffer.subarray(0, half), buffer.subarray(half)];
      const op = asyncRecvmsg(ctx, socket, {
        buffers: half === 0 ? [buffer] : buffers,
      });
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
      );
      return;
    }
    const op = kind === "recv"
      ? asyncRecv(ctx, socket, buffer)
      : asyncRecvExact(ctx, socket, buffer);
    this.#start(kind, action, context, codes, op, onCount);
  }

  #send(action: Action): void {
    const { kind, size } = action;
    const { socket, closed, out: flow } = this.#end(action);
    if (closed || flow.sending > 0) return;
    const context = this.#context(action);
    const { ctx } = context;
    const at = flow.next;
    const data = flow.bytes(size);
    flow.sending = size;
    const op = kind === "send"
      ? asyncSend(ctx, socket, data)
      : kind === "sendExact"
      ? asyncSendExact(ctx, socket, data)
      : kind === "sendmsg"
      ? asyncSendmsg(ctx, socket, {
        buffers: size < 2
          ? [data]
          : [data.subarray(0, size >> 1), data.subarray(size >> 1)],
      })
      : asyncSendfile(ctx, socket, this.#streamFile, at, size);
    const codes = ["EPIPE", "ECONNRESET"];
    this.#start(kind, action, context, codes, op, (result) => {
      flow.sending = 0;
      const { count, error } = movedBy(result);
      flow.sent += count;
      if (error?.code !== "EPIPE" && error?.code !== "ECONNRESET") return;
      assert(flow.ended || flow.readerClosed, "a broken pipe by nobody");
      flow.broken = true;
    });
  }

  #poll(action: Action): void {
    const { socket, closed } = this.#end(action);
    if (closed) return;
    const context = this.#context(action);
    const events = action.size % 2 === 0 ? POLLIN : POLLOUT;
    const op = asyncPoll(context.ctx, socket, events);
    this.#start("poll", action, context, [], op, (result) => {
      assert(!result.ok || result.value > 0);
    });
  }

  #shutdown(action: Action): void {
    const end = this.#end(action);
    if (end.closed) return;
    end.out.ended = true;
    const context = this.#context(action);
    const op = asyncShutdown(context.ctx, end.socket, SHUT_WR);
    // The peer may have reset it; it may happen or not when it is cancelled.
    this.#start("shutdown", action, context, ["ENOTCONN"], op, () => {});
  }

  async #closeSocket(action: Action): Promise<void> {
    const end = this.#end(action);
    if (end.closed) return;
    this.#mayCancel();
    this.#closing.push(end.close());
    if (this.#ends.every(({ closed }) => closed)) await this.#openPair();
  }

  #accept(action: Action): void {
    const context = this.#context(action);
    const codes = ["EINVAL", "ECONNABORTED"];
    const op = asyncAccept(context.ctx, this.#listener.listener);
    this.#start("accept", action, context, codes, op, (result) => {
      if (result.ok) this.#closing.push(new Socket(result.value).close());
    });
  }

  #connect(action: Action): void {
    const context = this.#context(action);
    const client = unwrap(Socket.open("ipv4"));
    const codes = ["ECONNREFUSED", "ECONNRESET"];
    const op = asyncConnect(context.ctx, client, this.#listener.at);
    this.#start("connect", action, context, codes, op, () => {
      this.#closing.push(client.close());
    });
  }

  #closeListener(): void {
    this.#mayCancel();
    this.#closing.push(this.#listener.listener.close());
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
    const buffer = new Uint8Array(REGION);
    const at = region * REGION;
    const index = this.#files.indexOf(file);
    file.busy[region] = true;
    const op = action.kind === "read"
      ? asyncRead(ctx, file.fd, buffer, at)
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
    const content = this.#random(256);
    const data = new Uint8Array(REGION).fill(content);
    const at = region * REGION;
    const index = this.#files.indexOf(file);
    file.busy[region] = true;
    const op = action.kind === "write"
      ? asyncWrite(ctx, file.fd, data, at)
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

  /** A chain: the second ends with the first. */
  #durableWrite(action: Action): void {
    const found = this.#region(action);
    const context = this.#context(action);
    if (found === undefined) return;
    const { file, region } = found;
    const content = this.#random(256);
    const data = new Uint8Array(REGION).fill(content);
    file.busy[region] = true;
    const [written, synced] = link(context.ctx, () =>
      [
        asyncWrite(context.ctx, file.fd, data, region * REGION),
        asyncFdatasync(context.ctx, file.fd),
      ] as const);
    // On a ring of one entry a chain of two does not fit.
    const codes = ["E2BIG", "ECANCELED"];
    this.#start("durableWrite", action, context, codes, written, (result) => {
      file.busy[region] = false;
      noteWrite(file, region, content, result);
    });
    const unbound = { ...action, bound: "none" } as const;
    this.#start("durableSync", unbound, context, codes, synced, () => {});
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

  /** Waits for what uses files; sockets may have to wait for a peer. */
  async #filesIdle(): Promise<void> {
    while (this.#files.some(({ busy }) => busy.includes(true))) {
      await immediate();
    }
    const isSync = ({ what }: Flight) => /sync/i.test(what);
    while ([...this.#flights].some(isSync)) await immediate();
  }

  #message(action: Action): void {
    const context = this.#context(action);
    const target = this.#contexts[action.actor % this.#contexts.length];
    const op = asyncMsgRing(context.ctx, target.ctx.ringFd, 1, 2);
    this.#start("message", action, context, [], op, (result) => {
      if (result.ok) target.expected++;
    });
  }

  #closeContext(action: Action): void {
    const context = this.#context(action);
    // The others may have a message to it in their queues.
    if ([...this.#flights].some(({ what }) => what === "message")) return;
    this.#mayCancel();
    context.closed = true;
    this.#contexts.splice(this.#contexts.indexOf(context), 1);
    if (action.size % 2 === 0) context.ctx[Symbol.dispose]();
    else this.#closing.push(context.ctx[Symbol.asyncDispose]());
    this.#openContext();
    this.#register(this.#contexts.at(-1)!);
  }

  // ---- the end ----------------------------------------------------------------

  /** Ends all that is left, in an order in which nothing may hang. */
  async #close(): Promise<void> {
    const onHang = () => {
      const left = [...this.#flights].map(({ what }) => what);
      this.#error ??= new AssertionError(`hanging: ${left.join(", ")}`);
    };
    this.#mayCancel();
    this.#runLater(this.#later.length);
    for (const end of this.#ends) {
      if (!end.closed) this.#closing.push(end.close());
    }
    this.#closing.push(this.#listener.listener.close());
    const flights = [...this.#flights].map(({ done }) => done);
    await within(HANG_MS, Promise.all(flights), "operations").catch(onHang);
    await within(HANG_MS, this.#closeAll(), "closing").catch(onHang);
    for (const { fd } of this.#files) await asyncClose(this.#own, fd);
    await asyncClose(this.#own, this.#streamFile);
    if (this.#error === undefined) await this.#inspect();
    for (const { ctx } of this.#contexts) ctx[Symbol.dispose]();
    this.#own[Symbol.dispose]();
  }

  /** Results may close more. */
  async #closeAll(): Promise<void> {
    while (this.#closing.length > 0) {
      await Promise.all(this.#closing.splice(0));
    }
  }

  async #inspect(): Promise<void> {
    try {
      for (const context of this.#contexts) {
        for (let i = 0; i < 100 && context.arrived < context.expected; i++) {
          await turn(1);
        }
        assertEquals(context.arrived, context.expected, "messages");
        value(context.ctx.unregisterFiles());
        await assertIdle(context.ctx);
      }
    } catch (error) {
      this.#error = error;
    }
  }
}

function movedBy(result: Result<number>): { count: number; error?: IoError } {
  if (result.ok) return { count: result.value };
  return { count: result.error.bytesTransferred ?? 0, error: result.error };
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
