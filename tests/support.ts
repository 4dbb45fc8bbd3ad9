/**
 * Common parts of the tests of this folder. `kioTest()` checks after every test
 * that nothing was left behind; other functions are short names for files,
 * sockets and results. Run them with `deno test --allow-ffi tests/`, one file
 * at a time (not with `--parallel`): the fds that are counted belong to the
 * process.
 */
import { assert, assertEquals, AssertionError } from "@std/assert";
import {
  asyncAccept,
  asyncClose,
  asyncConnect,
  asyncOpen,
  asyncRead,
  asyncSend,
  asyncWrite,
  BlockingPool,
  type BufferLike,
  CURRENT_POSITION,
  IoContext,
  IPPROTO_TCP,
  MSG_DONTWAIT,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  offload,
  type Result,
  Socket,
  SocketAddress,
  type SocketType,
  TCP_INFO,
  TcpListener,
  unwrap,
} from "@kio/kio";
import { loadShim } from "../ffi/load.ts";
import { mappingCount } from "../ffi/memory.ts";
import { ringOf } from "../lib/internal.ts";
import { POLL } from "../lib/ops/table.ts";
import { setImmediate } from "node:timers";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Fds that are looked at; the tests open about 2500 at most. */
const FDS_MAX = 4096;
const EBADF = 9;
/** Fds and threads that Deno closes a turn later may take that long to be gone,
 * and so many looks: a machine may be slow, or be stopped meanwhile. */
const GRACE_MS = 2000;
const GRACE_LOOKS = 20;
/** A test that takes longer hangs: far more than any takes, as machines may be
 * busy and sanitizers slow. */
const BODY_MS_MAX = 120_000;

/** Opened before any test, so that lazily opened fds are in the baseline. */
const observer = new IoContext(64);

// ---- what is open and running -------------------------------------------------

/** Begins a grace. Returns a function that each look calls, and that tells
 * whether it is over. */
function grace(): () => boolean {
  const endMs = performance.now() + GRACE_MS;
  let looks = 0;
  return () => ++looks > GRACE_LOOKS && performance.now() > endMs;
}

/** Asks by a system call that changes nothing if an fd is open. */
export function isOpen(fd: number): boolean {
  const address = new Uint8Array(128);
  return loadShim().kio_socket_name(fd, false, address) !== -EBADF;
}

/** Fds that poll(2) is asked for at a time: no more than may be open. */
const POLL_MAX = 256;
const POLLNVAL = 0x20;

/** struct pollfd: the fd, and in the high half of the next the events found. */
const pollFds = Int32Array.from(
  { length: 2 * FDS_MAX },
  (_, i) => i % 2 === 0 ? i / 2 : 0,
);

/** Opened before any test, and closed at once: libc stays where it is. */
const libc = Deno.dlopen("libc.so.6", {
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
});
libc.close();

/** The fds of this process: many with one call, as there are kernels that run
 * on others and take 0.1 ms for each. */
export function openFds(): number[] {
  const fds: number[] = [];
  for (let first = 0; first < FDS_MAX; first += POLL_MAX) {
    const some = pollFds.subarray(2 * first, 2 * (first + POLL_MAX));
    assert(libc.symbols.poll(some, BigInt(POLL_MAX), 0) >= 0, "poll(2)");
    for (let i = 0; i < POLL_MAX; i++) {
      if ((some[2 * i + 1]! >> 16 & POLLNVAL) === 0) fds.push(first + i);
    }
  }
  return fds;
}

/** The text of a file of /proc; undefined if there is none. */
export async function procText(path: string): Promise<string | undefined> {
  const opened = await asyncOpen(observer, path, O_RDONLY);
  if (!opened.ok) return undefined;
  const fd = opened.value;
  const buffer = new Uint8Array(65536);
  const read = await asyncRead(observer, fd, buffer, CURRENT_POSITION);
  await asyncClose(observer, fd);
  return read.ok ? text(buffer.subarray(0, read.value)) : undefined;
}

/** A number out of /proc/self/status: "Threads", "VmRSS" (kB) … */
export async function statusOf(name: string): Promise<number> {
  const status = await procText("/proc/self/status");
  const match = new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(status ?? "");
  assert(match !== null, `no ${name} in /proc/self/status`);
  return Number(match![1]);
}

/** The threads that are known, and up to which number they were looked for. */
const threads = new Map<number, string>();
let threadsSeenTo = 0;

/** Threads that come and go by themselves: the kernel's io workers, which
 * linger for some seconds, and the pool of Deno's own runtime. */
const NOT_OURS = /^(iou-|tokio-|V8 |deno)/;

/**
 * The names of this process's other threads. A folder cannot be listed here,
 * so all numbers that were given since the last time are tried.
 */
async function ownThreads(): Promise<string[]> {
  const last = Number(await procText("/proc/sys/kernel/ns_last_pid"));
  threadsSeenTo ||= await statusOf("Pid") - 1;
  if (last < threadsSeenTo) threadsSeenTo = 0; // the numbers have wrapped
  const candidates = new Set(threads.keys());
  while (threadsSeenTo < last) candidates.add(++threadsSeenTo);
  for (const tid of candidates) {
    const name = await procText(`/proc/self/task/${tid}/comm`);
    if (name === undefined) threads.delete(tid);
    else threads.set(tid, name.trim());
  }
  return [...threads.values()].filter((name) => !NOT_OURS.test(name));
}

/** Fails if there are more threads than before. */
async function assertThreads(max: number): Promise<void> {
  const isOver = grace();
  for (;;) {
    const names = await ownThreads();
    if (names.length <= max) return;
    if (isOver()) {
      throw new AssertionError(`${names.length} threads, not ${max}: ${names}`);
    }
    await turn(5);
  }
}

let threadsMax = 0;

/** Describes an fd, for the message about a leak. */
async function describe(fd: number): Promise<string> {
  const info = await procText(`/proc/self/fdinfo/${fd}`);
  const lines = (info ?? "gone meanwhile").trim().split("\n").slice(0, 8);
  const address = new Uint8Array(128);
  const isSocket = loadShim().kio_socket_name(fd, false, address) >= 0;
  const socket = isSocket ? new Socket(fd) : undefined;
  const names = socket &&
    ` (a socket, ${socket.localAddress} to ${socket.peerAddress})`;
  socket?.release();
  return `fd ${fd}${names ?? ""}: ${lines.join(", ").replaceAll("\t", " ")}`;
}

/**
 * Deno opens a pair of unix sockets for itself, some time after its start:
 * socketpair(2) without SOCK_NONBLOCK, which those of kio always have, and what
 * kio accepts has a name.
 */
async function isDenos(fd: number): Promise<boolean> {
  const address = new Uint8Array(128);
  const isNameless = (peer: boolean) =>
    loadShim().kio_socket_name(fd, peer, address) === 2 && address[0] === 1;
  if (!isNameless(false) || !isNameless(true)) return false;
  const info = await procText(`/proc/self/fdinfo/${fd}`);
  const flags = /^flags:\s*([0-7]+)$/m.exec(info ?? "")?.[1];
  return flags !== undefined && (parseInt(flags, 8) & 0o4000) === 0;
}

/**
 * Fails if fds are open that were not, or the other way round.
 *
 * @param swapsMax How many may have changed their number: Deno keeps some of a
 * thread that has ended until the next one ends.
 */
export async function assertFds(
  baseline: readonly number[],
  when: string,
  swapsMax = 0,
): Promise<void> {
  const isOver = grace();
  for (;;) {
    const now = openFds();
    const leaked: number[] = [];
    for (const fd of now.filter((fd) => !baseline.includes(fd))) {
      if (!await isDenos(fd)) leaked.push(fd);
    }
    const missing = baseline.filter((fd) => !now.includes(fd));
    const swaps = Math.min(leaked.length, missing.length, swapsMax);
    if (leaked.length === swaps && missing.length === swaps) return;
    if (isOver()) {
      const lines = await Promise.all(leaked.slice(0, 20).map(describe));
      throw new AssertionError(
        `${when}: ${leaked.length} fds leaked, ${missing.length} closed that are not its own (${missing})\n  ${
          lines.join("\n  ")
        }`,
      );
    }
    await turn(5);
  }
}

/** Asks the kernel for the rest in a ring: operations that are not submitted,
 * not taken over, waiting for an event, or without room in the queue. */
async function leftIn(ctx: IoContext): Promise<string[]> {
  const info = await procText(`/proc/self/fdinfo/${ctx.ringFd}`) ?? "";
  const counts = info.match(/^[SC]QEs:\t[1-9].*$/gm) ?? [];
  const lists = /^PollList:\n(.*)^CqOverflowList:\n(.*)^NAPI/ms.exec(info);
  const [, polls = "", overflow = ""] = lists ?? [];
  return [...counts, polls, overflow].filter((text) => text !== "");
}

/** Fails if something of a context is left, here or in the kernel. */
export async function assertIdle(ctx: IoContext): Promise<void> {
  assertEquals(ctx.pending, 0, `${ctx.pending} operations are pending`);
  const { started, completed } = ctx.stats();
  assertEquals(completed, started, "each operation completes once");
  const ring = ringOf(ctx, POLL);
  assertEquals(ring.table.size, 0, "slots that nobody gives back");
  assertEquals(ring.table.live(), [], "operations that are not counted");
  assertEquals(ring.timers.size, 0, "deadlines of nobody");
  const isOver = grace();
  for (;;) {
    // The drive may be about to take a timeout of its own over.
    const left = await leftIn(ctx);
    if (left.length === 0) return;
    if (isOver()) {
      throw new AssertionError(`the kernel still has ${left.join(", ")}`);
    }
    await turn(5);
  }
}

let gc: (() => void) | undefined;

/** Frees unreachable memory and writes over it: the next allocation gets it.
 * Twice, because the first time may leave the freeing to a thread. */
export function overwriteGarbage(): void {
  collectGarbage();
  collectGarbage();
  const others: Uint8Array[] = [];
  for (let size = 8; size < 512; size += 8) {
    for (let i = 0; i < 50; i++) others.push(new Uint8Array(size).fill(0xff));
  }
}

function collectGarbage(): void {
  if (gc === undefined) {
    setFlagsFromString("--expose-gc");
    gc = runInNewContext("gc") as () => void;
  }
  gc();
}

/** Fails if memory of `ctx.allocate()` is not given back. */
async function assertMappings(max: number): Promise<void> {
  const isOver = grace();
  while (mappingCount() > max) {
    if (isOver()) {
      throw new AssertionError(`${mappingCount() - max} mappings leaked`);
    }
    collectGarbage();
    await turn();
  }
}

/** Options of a test. */
export interface KioTestOptions {
  /** Entries of the context. */
  entries?: number;
  /** The test starts and ends threads. */
  threads?: boolean;
}

/**
 * Registers a test that has an `IoContext`. After the test it checks that each
 * operation has completed once, that its slot is free, and that the kernel has
 * nothing of it. Fds, threads and allocated memory must be those from before.
 * Closing the context must give its own fds back.
 */
export function kioTest(
  name: string,
  body: (ctx: IoContext) => Promise<void> | void,
  { entries = 64, threads = false }: KioTestOptions = {},
): void {
  const swapsMax = threads ? 4 : 0;
  Deno.test(name, async () => {
    threadsMax ||= (await ownThreads()).length;
    const outside = openFds();
    const mappings = mappingCount();
    const ctx = new IoContext(entries);
    try {
      const inside = openFds();
      assertEquals(inside.length, outside.length + 2, "a ring and an eventfd");
      await within(BODY_MS_MAX, body(ctx), "the test");
      // Work put off until the next turn must be over as well.
      await turn();
      if (!isClosed(ctx)) {
        await assertIdle(ctx);
        await assertFds(inside, "after the test", swapsMax);
      }
    } catch (error) {
      // Whatever is wrong must not keep the other tests from running.
      await within(GRACE_MS, ctx[Symbol.asyncDispose](), "closing")
        .catch(() => {});
      throw error;
    }
    ctx[Symbol.dispose]();
    await assertFds(outside, "after closing the context", swapsMax);
    await assertThreads(threadsMax);
    await assertMappings(mappings);
  });
}

/** `kioTest()` for what starts and ends threads. */
export function kioThreadTest(
  name: string,
  body: (ctx: IoContext) => Promise<void> | void,
): void {
  kioTest(name, body, { threads: true });
}

/** Lets Deno open some fds of its own, which come with the first threads of a
 * process and stay. Call it before such tests are registered. */
export async function warmUpThreads(): Promise<void> {
  for (let i = 0; i < 4; i++) {
    await using pool = new BlockingPool(2);
    await Promise.all(
      [1, 2].map((n) => offload(observer, pool, (n) => n, n).orThrow()),
    );
  }
}

/** Waits for a promise, but not forever. */
export async function within<T>(
  timeMs: number,
  promise: T | Promise<T>,
  what: string,
): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const error = new AssertionError(`${what} is not over after ${timeMs} ms`);
  const timer = setTimeout(() => reject(error), timeMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function isClosed(ctx: IoContext): boolean {
  try {
    return ctx.ringFd < 0;
  } catch {
    return true;
  }
}

/** Place of tcpi_unacked in struct tcp_info: segments under way. */
const UNACKED = 24;

/** Tells whether TCP has sent what the peer has not acknowledged yet. */
function isUnderWay(socket: Socket): boolean {
  const info = socket.getOption(IPPROTO_TCP, TCP_INFO, UNACKED + 4);
  return info.ok && info.value.subarray(UNACKED).some((it) => it !== 0);
}

/** Fills a socket, so that sends must wait. Returns how many bytes it took.
 * `EAGAIN` alone is not enough: TCP has room once more when the peer
 * acknowledges, which it puts off for 40 ms. */
export async function fill(ctx: IoContext, socket: Socket): Promise<number> {
  const data = new Uint8Array(65536);
  let count = 0;
  for (;;) {
    const before = isUnderWay(socket) ? -1 : count;
    for (;;) {
      const sent = await asyncSend(ctx, socket, data, MSG_DONTWAIT);
      if (!sent.ok) break;
      count += sent.value;
    }
    if (count === before) return count;
    await turn(1);
  }
}

// ---- values ---------------------------------------------------------------------

/** Gives the value of a result that must have one. */
export function value<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new AssertionError(
    `expected a value, got ${result.error.code}: ${result.error.message}`,
  );
}

/** Fails if a result is not the error with that name. */
export function assertCode(
  result: Result<unknown>,
  ...codes: readonly string[]
): void {
  const got = result.ok ? `the value ${result.value}` : result.error.code;
  assert(codes.includes(got), `expected ${codes.join(" or ")}, got ${got}`);
}

export function bytes(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

export function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** `length` bytes that tell where they belong: no two regions look alike. */
export function pattern(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const random = randomOf(seed);
  return Uint8Array.from({ length }, () => random(256));
}

/** Integers from 0 to `below` - 1, the same for the same seed. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = state + 0x6d2b79f5 >>> 0;
    let bits = Math.imul(state ^ state >>> 15, state | 1);
    bits ^= bits + Math.imul(bits ^ bits >>> 7, bits | 61);
    return ((bits ^ bits >>> 14) >>> 0) % below;
  };
}

/** Waits for a turn of Deno's event loop: afterwards queued operations are in
 * the kernel. */
export function turn(delayMs = 0): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

/** The shortest turn: all microtasks have run, events maybe not. */
export function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

// ---- files and sockets --------------------------------------------------------------

/** A file without a name, closed at the end of its block. */
export class TempFile implements AsyncDisposable {
  readonly #ctx: IoContext;
  readonly fd: number;

  constructor(ctx: IoContext, fd: number) {
    this.#ctx = ctx;
    this.fd = fd;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    value(await asyncClose(this.#ctx, this.fd));
  }
}

/** Opens a file without a name that holds `content`. */
export async function tempFile(
  ctx: IoContext,
  content?: BufferLike,
  flags = 0,
  folder = "/tmp",
): Promise<TempFile> {
  const fd = value(
    await asyncOpen(ctx, folder, O_TMPFILE | O_RDWR | flags, 0o600),
  );
  if (content !== undefined) {
    const count = value(await asyncWrite(ctx, fd, content));
    assertEquals(count, content.byteLength);
  }
  return new TempFile(ctx, fd);
}

/** The first `length` bytes of a file, as many as there are. */
export async function contentOf(
  ctx: IoContext,
  file: TempFile,
  length = 65536,
): Promise<Uint8Array<ArrayBuffer>> {
  const buffer = new Uint8Array(length);
  const count = value(await asyncRead(ctx, file, buffer));
  return buffer.subarray(0, count);
}

/** Two sockets that are connected to each other. */
export class Pair implements Disposable {
  readonly left: Socket;
  readonly right: Socket;

  constructor([left, right]: [Socket, Socket]) {
    this.left = left;
    this.right = right;
  }

  [Symbol.dispose](): void {
    this.left[Symbol.dispose]();
    this.right[Symbol.dispose]();
  }
}

/** Two unix sockets. */
export function unixPair(type: SocketType = "stream"): Pair {
  return new Pair(unwrap(Socket.pair(type)));
}

/**
 * Opens pairs until an end has the number, which is free, and gives that pair
 * with this end as its left. Lower numbers may be free as well: Deno closes
 * some of its fds late.
 */
export function pairWithFd(
  opened: DisposableStack,
  fd: number,
  type?: SocketType,
): Pair {
  for (;;) {
    const pair = opened.use(unixPair(type));
    const { left, right } = pair;
    if (left.fd === fd) return pair;
    if (right.fd === fd) return new Pair([right, left]);
    assert(left.fd < fd, `${fd} is not free`);
  }
}

/** A listener on a free port of 127.0.0.1. */
export function listen(
  backlog = 4096,
): { listener: Socket; at: SocketAddress } {
  const listener = unwrap(
    TcpListener.bind(SocketAddress.v4(0, "127.0.0.1"), { backlog }),
  );
  return { listener, at: listener.localAddress! };
}

/** A TCP connection over 127.0.0.1: `left` has connected to `right`. */
export async function tcpPair(ctx: IoContext): Promise<Pair> {
  const { listener, at } = listen();
  using _ = listener;
  const left = unwrap(Socket.open("ipv4"));
  const [connected, accepted] = await Promise.all([
    asyncConnect(ctx, left, at),
    asyncAccept(ctx, listener),
  ]);
  value(connected);
  return new Pair([left, new Socket(value(accepted))]);
}

/** A listener whose queue is full: who connects waits. */
export class FullListener implements Disposable {
  readonly at: SocketAddress;
  readonly #sockets: Socket[];

  constructor(at: SocketAddress, sockets: Socket[]) {
    this.at = at;
    this.#sockets = sockets;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket[Symbol.dispose]();
  }
}

/** Fills the queue of a listener until a connection must wait. */
export async function fullListener(ctx: IoContext): Promise<FullListener> {
  const { listener, at } = listen(1);
  const sockets = [listener];
  for (let i = 0; i < 20; i++) {
    const client = unwrap(Socket.open("ipv4"));
    sockets.push(client);
    const result = await asyncConnect(ctx, client, at).withTimeout(100);
    if (!result.ok) return new FullListener(at, sockets);
  }
  throw new AssertionError("a listener takes more than its backlog");
}

/** The value of an option of a socket, as getsockopt(2) gives it. */
export function optionOf(fd: number, level: number, name: number): number {
  return loadShim().kio_option_get(fd, level, name);
}
