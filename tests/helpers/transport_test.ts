import { assertEquals } from "@std/assert";
import { SocketTransport } from "@kio/kio";
import { ringOf } from "../../lib/internal.ts";
import { RECV } from "../../lib/ops/table.ts";
import { kioTest, unixPair, value } from "../support.ts";

kioTest(
  "SocketTransport.unref() is for the pending receive and those that follow",
  async (ctx) => {
    using pair = unixPair();
    const transport = new SocketTransport(ctx, pair.left);
    const ring = ringOf(ctx, RECV);
    const byte = new Uint8Array(1);
    const unrefs = async (): Promise<number[]> => {
      const op = transport.recv(byte);
      const counts = [ring.unrefs];
      transport.unref();
      counts.push(ring.unrefs);
      transport.ref();
      counts.push(ring.unrefs);
      transport.unref();
      op.cancel();
      await op;
      return [...counts, ring.unrefs];
    };
    transport.ref();
    assertEquals(await unrefs(), [0, 1, 0, 0]);
    assertEquals(await unrefs(), [1, 1, 0, 0]);
    transport.ref();
    const last = transport.recv(byte);
    transport.unref();
    value(await new SocketTransport(ctx, pair.right).send(byte));
    value(await last);
    assertEquals(ring.unrefs, 0);
  },
);
