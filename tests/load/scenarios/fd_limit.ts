import type { Socket } from "@kio/kio";
import { connect, exchange } from "../client.ts";
import { messageOf } from "../noise.ts";
import { eventually, type Scenario } from "../scenario.ts";
import { sleep } from "../../process/support.ts";
import { Server } from "../subject.ts";

const FDS_MAX = 100;
/** An accept that finds no fd is answered after 10 ms, so an accept loop gets a
 * hundred such answers a second at most. */
const SHORT_PER_S_MAX = 100;
const CPU_MAX = 0.1;

export const fdLimit: Scenario = {
  about: `clients of a server with ${FDS_MAX} fds`,
  long: { seconds: 10, connections: 1000 },
  short: { seconds: 1, connections: 300 },
  async run(load) {
    const { ctx, connections, seconds } = load;
    await using server = await Server.start(load, [], { fdsMax: FDS_MAX });
    let answers = 0;
    const served: Socket[] = [];
    const ids = Array.from({ length: connections }, (_, i) => i);
    const clients = Promise.all(ids.map(async (i) => {
      const socket = await connect(ctx, server.echoAt());
      await exchange(ctx, socket, messageOf(i, 0, 64));
      answers++;
      served.push(socket);
    }));
    // Is thrown where it is waited for.
    clients.catch(() => {});
    const shortages = async () =>
      (await server.report()).stats.errors.EMFILE ?? 0;
    const first = await eventually(shortages, (count) => count > 0);
    load.check("the server meets its limit", first > 0, `${answers} clients`);

    const cpuBeforeMs = server.cpuMs();
    const [startMs, before] = [performance.now(), await shortages()];
    await sleep(1000 * seconds);
    const rate = 1000 * (await shortages() - before) /
      (performance.now() - startMs);
    const cpu = (server.cpuMs() - cpuBeforeMs) / (performance.now() - startMs);
    load.check(
      `it does not spin: at most ${SHORT_PER_S_MAX} failed accepts a second`,
      rate > 0 && rate <= SHORT_PER_S_MAX,
      rate.toFixed(1),
    );
    load.limit(
      `and takes at most ${100 * CPU_MAX} % of a core`,
      cpu <= CPU_MAX,
      `${(100 * cpu).toFixed(1)} %`,
    );
    await Promise.all(
      served.map((socket, i) => exchange(ctx, socket, messageOf(i, 1, 64))),
    );
    load.check("who is connected is served", true, `${served.length} clients`);

    // Each client leaves when served, and makes room for the next.
    let isOver = false;
    const leaving = (async () => {
      while (!isOver) {
        await Promise.all(served.splice(0).map((socket) => socket.close()));
        await sleep(5);
      }
    })();
    await clients;
    isOver = true;
    await leaving;
    await Promise.all(served.map((socket) => socket.close()));
    load.check(
      "all are served as others leave",
      answers === connections,
      `${answers} of ${connections}`,
    );
    await server.judgeEnd();
  },
};
