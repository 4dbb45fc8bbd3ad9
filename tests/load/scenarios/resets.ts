import { asyncRecv, asyncSend, type IoContext } from "@kio/kio";
import { connect, FILE_SIZE, requestFor, reset } from "../client.ts";
import { messageOf } from "../noise.ts";
import type { Scenario } from "../scenario.ts";
import { sleep } from "../../process/support.ts";
import { Server, Visitor } from "../subject.ts";

const LARGEST_PART = 1 << 20;

export const resets: Scenario = {
  about: "clients that reset their connection at any moment",
  long: { seconds: 60, connections: 200 },
  short: { seconds: 2, connections: 100 },
  async run(load) {
    const { ctx, connections, seconds } = load;
    await using server = await Server.start(load);
    await using visitor = await Visitor.start(load, server);
    const endMs = performance.now() + 1000 * seconds;
    let count = 0;
    await Promise.all(Array.from({ length: connections }, async () => {
      while (performance.now() < endMs) {
        await beReset(ctx, server, count++);
      }
    }));
    load.note(`${count} resets`);
    server.judgeBounds("after the resets", connections);
    await visitor.judge();
    await server.judgeEnd();
  },
};

/** Connects, goes some way through an exchange, and resets. */
async function beReset(
  ctx: IoContext,
  server: Server,
  number: number,
): Promise<void> {
  const isEcho = Math.random() < 0.5;
  const socket = await connect(
    ctx,
    isEcho ? server.echoAt() : server.partsAt(),
  );
  const message = isEcho
    ? messageOf(number, 0, 1 + Math.floor(4096 * Math.random()))
    : requestFor(
      Math.floor((FILE_SIZE - LARGEST_PART) * Math.random()),
      Math.floor(LARGEST_PART * Math.random()),
    );
  switch (Math.floor(5 * Math.random())) {
    case 0: // Before it is accepted, as a rule.
      break;
    case 1: // In the middle of its request.
      await asyncSend(ctx, socket, message.subarray(0, 3));
      await sleep(5 * Math.random());
      break;
    case 2: // While it is answered.
      await asyncSend(ctx, socket, message);
      break;
    case 3:
      await asyncSend(ctx, socket, message);
      await sleep(5 * Math.random());
      break;
    default: // With a part of the answer.
      await asyncSend(ctx, socket, message);
      await asyncRecv(ctx, socket, new Uint8Array(1000)).withTimeout(1000);
  }
  await reset(ctx, socket);
}
