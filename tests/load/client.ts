/** Clients of `programs/server.ts`, and how they check its answers. */
import {
  asyncClose,
  asyncConnect,
  asyncRecvExact,
  asyncSendExact,
  type IoContext,
  Socket,
  type SocketAddress,
  unwrap,
} from "@kio/kio";
import { noiseAt, PERIOD } from "./noise.ts";

const SOL_SOCKET = 1;
const SO_LINGER = 13;
/** Longer than any client waits on a machine that is not broken. */
const ANSWER_MS_MAX = 30_000;

export const FILE_SIZE = 16 << 20;

/** Writes the file that the server sends parts of. */
export function writeFile(path: string): void {
  using file = Deno.openSync(path, { write: true, create: true });
  for (let at = 0; at < FILE_SIZE;) {
    at += file.writeSync(noiseAt(at, Math.min(PERIOD, FILE_SIZE - at)));
  }
}

const libc = Deno.dlopen("libc.so.6", {
  setsockopt: {
    parameters: ["i32", "i32", "i32", "buffer", "u32"],
    result: "i32",
  },
  memcmp: { parameters: ["buffer", "buffer", "usize"], result: "i32" },
});

/** Fails unless these are the bytes that were expected. */
export function assertBytes(
  got: Uint8Array<ArrayBuffer>,
  expected: Uint8Array<ArrayBuffer>,
): void {
  if (libc.symbols.memcmp(got, expected, BigInt(got.length)) === 0) return;
  const at = got.findIndex((byte, i) => byte !== expected[i]);
  throw new Error(`byte ${at} of ${got.length} is wrong`);
}

/** A client's connection. */
export async function connect(
  ctx: IoContext,
  address: SocketAddress,
): Promise<Socket> {
  const socket = unwrap(Socket.open(address.family));
  const connected = await asyncConnect(ctx, socket, address)
    .withTimeout(ANSWER_MS_MAX);
  if (connected.ok) return socket;
  await socket.close();
  throw new Error(`no connection to ${address}: ${connected.error.message}`);
}

/** Sends a message to the echo and checks that it comes back. */
export async function exchange(
  ctx: IoContext,
  socket: Socket,
  message: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const timeoutMs = ANSWER_MS_MAX;
  await asyncSendExact(ctx, socket, message, { timeoutMs }).orThrow();
  const answer = new Uint8Array(message.length);
  await asyncRecvExact(ctx, socket, answer, { timeoutMs }).orThrow();
  assertBytes(answer, message);
}

/** Makes the request for a part of the file. */
export function requestFor(
  offset: number,
  count: number,
): Uint8Array<ArrayBuffer> {
  const request = new DataView(new ArrayBuffer(8));
  request.setUint32(0, offset);
  request.setUint32(4, count);
  return new Uint8Array(request.buffer);
}

/** Receives a part of the file, and checks it. */
export async function receivePart(
  ctx: IoContext,
  socket: Socket,
  offset: number,
  count: number,
): Promise<void> {
  const buffer = new Uint8Array(Math.min(count, 1 << 16));
  for (let at = offset; at < offset + count;) {
    const piece = buffer.subarray(0, Math.min(offset + count - at, 1 << 16));
    await asyncRecvExact(ctx, socket, piece, { timeoutMs: ANSWER_MS_MAX })
      .orThrow();
    assertBytes(piece, noiseAt(at, piece.length));
    at += piece.length;
  }
}

/** Asks for a part of the file, and checks the answer. */
export async function fetchPart(
  ctx: IoContext,
  socket: Socket,
  offset: number,
  count: number,
): Promise<void> {
  await asyncSendExact(ctx, socket, requestFor(offset, count)).orThrow();
  await receivePart(ctx, socket, offset, count);
}

/** Ends a connection by a reset, without a word of farewell. */
export async function reset(ctx: IoContext, socket: Socket): Promise<void> {
  const linger = new Int32Array([1, 0]);
  const fd = socket.release();
  libc.symbols.setsockopt(fd, SOL_SOCKET, SO_LINGER, linger, 8);
  await asyncClose(ctx, fd);
}
