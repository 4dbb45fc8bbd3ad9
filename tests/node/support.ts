/** Sockets of Node over kio, for the tests of this folder. */
import { type IoContext, type Socket, SocketTransport } from "@kio/kio";
import { type NodeSocketOptions, toNodeSocket } from "@kio/kio/node";
import type net from "node:net";
import { tcpPair } from "../support.ts";

/** A socket of Node over a socket. */
export function nodeSocket(
  ctx: IoContext,
  socket: Socket,
  options?: NodeSocketOptions,
): net.Socket {
  const made = toNodeSocket(new SocketTransport(ctx, socket), options);
  // A test that fails must not end the process by the errors that follow.
  made.on("error", () => {});
  return noted(made);
}

/** A TCP connection over 127.0.0.1, of sockets of Node. */
export async function nodePair(
  ctx: IoContext,
  options?: NodeSocketOptions,
): Promise<[net.Socket, net.Socket]> {
  const { left, right } = await tcpPair(ctx);
  return [nodeSocket(ctx, left, options), nodeSocket(ctx, right, options)];
}

const closings = new WeakMap<net.Socket, Promise<void>>();

/** Notes when a socket is closed. */
export function noted(socket: net.Socket): net.Socket {
  const closing = new Promise<void>((resolve) =>
    socket.once("close", () => resolve())
  );
  closings.set(socket, closing);
  return socket;
}

/** Waits until sockets are closed. */
export async function closed(...sockets: net.Socket[]): Promise<void> {
  await Promise.all(sockets.map((it) => closings.get(it)));
}

/** Notes the events of a socket, in their order. */
export function eventsOf(socket: net.Socket): string[] {
  const seen: string[] = [];
  for (const name of ["connect", "ready", "end", "finish", "timeout"]) {
    socket.on(name, () => seen.push(name));
  }
  socket.on("error", ({ message }) => seen.push(message));
  socket.on("close", (hadError) => seen.push(`close ${hadError}`));
  return seen;
}

/** Reads a socket to its end. */
export async function textOf(
  socket: AsyncIterable<Uint8Array>,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of socket) {
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}
