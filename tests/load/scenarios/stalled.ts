import { asyncSendExact, type Socket, unwrap } from "@kio/kio";
import {
  connect,
  FILE_SIZE,
  receivePart,
  requestFor,
  reset,
} from "../client.ts";
import { eventually, inLanes, type Scenario } from "../scenario.ts";
import { sleep } from "../../process/support.ts";
import { Server, Visitor } from "../subject.ts";

/** More than the buffers of a socket hold. */
const PART_SIZE = FILE_SIZE - 1000;

/** Bytes that wait for a reader of whom a transfer waits, at least. */
const FILLED = 32 * 1024;

/** The longest wait of other clients. */
const VISIT_MS_MAX = 250;

export const stalled: Scenario = {
  about: "clients that ask for much of a file and do not read it",
  long: { seconds: 10, connections: 500 },
  short: { seconds: 1, connections: 100 },
  async run(load) {
    const { ctx, connections, seconds } = load;
    await using server = await Server.start(load);
    await using visitor = await Visitor.start(load, server);
    const sockets: Socket[] = [];
    await inLanes(connections, 100, async (i) => {
      sockets[i] = await connect(ctx, server.partsAt());
      await asyncSendExact(ctx, sockets[i], requestFor(i, PART_SIZE)).orThrow();
    });
    // Each fills the buffers of its socket, and then waits for its reader.
    const begun = await eventually(
      () => sockets.filter((it) => unwrap(it.unreadBytes()) > FILLED).length,
      (count) => count === connections,
    );
    load.check(
      "all transfers are under way",
      begun === connections,
      `${begun} of them`,
    );
    const cpuBeforeMs = server.cpuMs();
    let threadsMax = 0;
    const endMs = performance.now() + 1000 * seconds;
    while (performance.now() < endMs) {
      threadsMax = Math.max(threadsMax, server.threads().kernel);
      await sleep(50);
    }
    load.note(`at most ${threadsMax} threads of the kernel at a time`);
    const cpu = (server.cpuMs() - cpuBeforeMs) / (1000 * seconds);
    load.note(`${(100 * cpu).toFixed()} % of a core, visitors included`);
    server.judgeBounds("with stalled readers", connections);
    await visitor.judge(VISIT_MS_MAX);

    // Some go on, the others have had enough.
    let bytes = 0;
    await inLanes(connections, 50, async (i) => {
      const socket = sockets[i]!;
      if (i % 2 === 0) return await reset(ctx, socket);
      await receivePart(ctx, socket, i, PART_SIZE);
      bytes += PART_SIZE;
      await socket.close();
    });
    load.check("who reads after all gets every byte", true, `${bytes} bytes`);
    await server.judgeEnd();
  },
};
