import { assert, assertEquals } from "@std/assert";
import { Duplex } from "node:stream";
import tls from "node:tls";
import { SocketTransport, type Transport } from "@kio/kio";
import { startTls, TlsAcceptor } from "@kio/kio/tls";
import { success } from "../../lib/result.ts";
import { Below } from "../../node/tls_below.ts";
import { type Engine, openEngine } from "../../node/tls_engine.ts";
import {
  assertCode,
  bytes,
  kioTest,
  pattern,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";
import { AUTHORITY, SERVER } from "./certificates.ts";

kioTest("openEngine() finds the members that it takes in this Deno", () => {
  const socket = new tls.TLSSocket(new Duplex() as never);
  assert(openEngine(socket) !== undefined);
  socket.destroy();
});

/** A connection below, whose sends end when the test says so, and an engine that
 * numbers what it encrypts. */
function rig() {
  const sent: string[] = [];
  const ends: (() => void)[] = [];
  const { promise, resolve: receive } = Promise.withResolvers<unknown>();
  const received = [promise];
  const transport = {
    recv: () => received.shift() ?? new Promise(() => {}),
    send(data: Uint8Array) {
      sent.push(text(data));
      const { promise, resolve } = Promise.withResolvers<unknown>();
      ends.push(() => resolve(success(data.length)));
      return promise;
    },
    close: () => Promise.resolve(),
  } as unknown as Transport;
  let count = 0;
  let answers = 0;
  const output = () => {
    const answer = answers > 0 ? `answer ${count++}` : "";
    answers = 0;
    return bytes(answer);
  };
  const engine = {
    decrypt: () => void answers++,
    encrypt: (data: Uint8Array) =>
      bytes(`${text(output())}${data.length} bytes ${count++}`),
    end: () => bytes(`end ${count++}`),
    output,
  } as unknown as Engine;
  const below = new Below(transport);
  below.engine = engine;
  return {
    below,
    sent,
    receive: async () => {
      below.open();
      receive(success(1));
      await turn();
    },
    /** Ends the send that is pending. */
    next: async () => {
      ends.shift()!();
      await turn();
    },
  };
}

kioTest("Below sends records in the order of their encryption", async () => {
  const { below, sent, next } = rig();
  const ends: string[] = [];
  below.encrypt(new Uint8Array(100_000), () => void ends.push("data"));
  below.encrypt("close_notify", () => void ends.push("end"));
  // Encrypted by Deno's own code.
  below.write(bytes("own"), () => void ends.push("own"));
  for (let i = 0; i < 4; i++) await next();
  assertEquals(ends, ["own", "data"]);
  await next();
  assertEquals(ends, ["own", "data", "end"]);
  assertEquals(sent, [
    "49152 bytes 0",
    "own",
    "49152 bytes 1",
    "1696 bytes 2",
    "end 3",
  ]);
  below.destroy();
});

kioTest("Below sends the answers of TLS, also behind a send", async () => {
  const { below, sent, next, receive } = rig();
  below.encrypt(bytes("x"), () => {});
  await receive();
  assertEquals(sent, ["1 bytes 0"]);
  await next();
  assertEquals(sent, ["1 bytes 0", "answer 1"]);
  below.destroy();
});

kioTest("send() of data that is taken away meanwhile fails", async (ctx) => {
  const { left, right } = unixPair();
  const [accepted, started] = await Promise.all([
    new TlsAcceptor(SERVER).accept(new SocketTransport(ctx, left)),
    startTls(new SocketTransport(ctx, right), "localhost", { ca: AUTHORITY }),
  ]);
  await using server = value(accepted);
  await using client = value(started);
  const taken = pattern(100_000);
  const sends = [server.send(pattern(100_000)), server.send(taken)];
  taken.buffer.transfer();
  const buffer = new Uint8Array(200_000);
  let count = 0;
  while (count < 100_000) count += value(await client.recv(buffer));
  assertEquals(count, 100_000);
  value(await sends[0]!);
  assertCode(await sends[1]!, "EFAULT");
  assertCode(await server.send(bytes("x")), "EFAULT");
});
