import type { Socket } from "@kio/kio";
import { connect, exchange } from "../client.ts";
import { messageOf } from "../noise.ts";
import { inLanes, type Scenario, summary } from "../scenario.ts";
import { sleep } from "../../process/support.ts";
import { Server } from "../subject.ts";

/** Part of one core, with everything idle. */
const IDLE_CPU_MAX = 0.01;

export const connections: Scenario = {
  about: "connections that all echo, and then all are idle",
  long: { seconds: 60, connections: 10_000 },
  short: { seconds: 1, connections: 1000 },
  async run(load) {
    const { ctx, connections, seconds } = load;
    await using server = await Server.start(load);
    const sockets: Socket[] = [];
    await inLanes(connections, 500, async (i) => {
      sockets[i] = await connect(ctx, server.echoAt());
    });
    const held = await server.connected(connections);
    load.check("the server has all connections", held === connections, held);

    const endMs = performance.now() + 1000 * seconds;
    const timesMs: number[] = [];
    await Promise.all(sockets.map(async (socket, i) => {
      for (let n = 0; n === 0 || performance.now() < endMs; n++) {
        const startMs = performance.now();
        await exchange(ctx, socket, messageOf(i, n, 64 + i % 961));
        timesMs.push(performance.now() - startMs);
      }
    }));
    load.check("every byte comes back to its own", true, summary(timesMs));
    server.judgeBounds("echoing", connections);

    const cpuBeforeMs = server.cpuMs();
    await sleep(1000 * seconds);
    const cpu = (server.cpuMs() - cpuBeforeMs) / (1000 * seconds);
    load.limit(
      `idle, at most ${100 * IDLE_CPU_MAX} % of a core`,
      cpu <= IDLE_CPU_MAX,
      `${(100 * cpu).toFixed(1)} %`,
    );
    server.judgeBounds("idle", connections);

    await Promise.all(
      sockets.map((socket, i) => exchange(ctx, socket, messageOf(i, 1e6, 64))),
    );
    load.check("all are alive after that", true, `${connections} answers`);
    await Promise.all(sockets.map((socket) => socket.close()));
    await server.judgeEnd();
  },
};
