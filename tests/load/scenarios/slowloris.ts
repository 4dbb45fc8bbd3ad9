import { asyncSend, type Socket } from "@kio/kio";
import { connect, FILE_SIZE, receivePart, requestFor } from "../client.ts";
import { inLanes, type Scenario } from "../scenario.ts";
import { sleep } from "../../process/support.ts";
import { Server, Visitor } from "../subject.ts";

const PART_SIZE = 100;
/** Times in an interval that some of the connections send their byte. */
const TICKS = 20;

/** The longest wait of other clients. */
const VISIT_MS_MAX = 250;

export const slowloris: Scenario = {
  about: "clients that send their requests a byte a second",
  long: { seconds: 60, connections: 10_000 },
  short: { seconds: 2, connections: 500 },
  async run(load) {
    const { ctx, connections, seconds } = load;
    // In the short form more often, so that requests get whole.
    const intervalMs = load.isLong ? 1000 : 100;
    await using server = await Server.start(load);
    const sockets: Socket[] = [];
    await inLanes(connections, 500, async (i) => {
      sockets[i] = await connect(ctx, server.partsAt());
    });
    await using visitor = await Visitor.start(load, server);
    const cpuBeforeMs = server.cpuMs();

    const bytes = Math.floor(1000 * seconds / intervalMs);
    const offsetOf = (i: number) => i * 769 % (FILE_SIZE - PART_SIZE);
    let answers = 0;
    for (let byte = 0; byte < bytes; byte++) {
      const startMs = performance.now();
      for (let tick = 0; tick < TICKS; tick++) {
        for (let i = tick; i < connections; i += TICKS) {
          const request = requestFor(offsetOf(i), PART_SIZE);
          const at = byte % request.length;
          void asyncSend(ctx, sockets[i]!, request.subarray(at, at + 1));
          if (at === request.length - 1) {
            void receivePart(ctx, sockets[i]!, offsetOf(i), PART_SIZE)
              .then(() => answers++, (error) => {
                load.check("a slow client is served", false, error);
              });
          }
        }
        const restMs = startMs + intervalMs * (tick + 1) / TICKS -
          performance.now();
        await sleep(Math.max(1, restMs));
      }
    }
    const cpu = (server.cpuMs() - cpuBeforeMs) / (1000 * seconds);
    server.judgeBounds("with slow clients", connections);
    load.note(`${(100 * cpu).toFixed()} % of a core`);
    await visitor.judge(VISIT_MS_MAX);
    const expected = connections * Math.floor(bytes / 8);
    load.check(
      "slow clients get what they asked for in the end",
      answers === expected,
      `${answers} answers of ${expected}`,
    );
    await Promise.all(sockets.map((socket) => socket.close()));
    await server.judgeEnd();
  },
};
