import { asyncConnect, asyncSendExact, Socket, unwrap } from "@kio/kio";
import { connect, exchange, FILE_SIZE, requestFor } from "../client.ts";
import { messageOf } from "../noise.ts";
import { Network } from "../network.ts";
import { eventually, inLanes, type Scenario } from "../scenario.ts";
import { Server, Visitor } from "../subject.ts";

/** Time that the server waits for a client. */
const TIMEOUT_MS = 2000;
/** Time to notice, with so many timeouts due. */
const LIMIT_MS = 30_000;

export const halfOpen: Scenario = {
  about: "clients whose network ends without a word",
  long: { seconds: 1, connections: 5000 },
  short: { seconds: 1, connections: 300 },
  async run(load) {
    const { ctx, connections } = load;
    using network = await Network.make();
    const args = [`--timeout=${TIMEOUT_MS}`];
    await using server = await Server.start(load, args, { network });
    await using visitor = await Visitor.start(load, server);

    // Some have said nothing, some are in the middle of a request, some get an
    // answer.
    const sockets: Socket[] = [];
    await inLanes(connections, 200, async (i) => {
      sockets[i] = await connect(ctx, server.partsAt());
      if (i % 3 === 0) return;
      const request = requestFor(0, FILE_SIZE);
      const end = i % 3 === 1 ? 5 : 8;
      await asyncSendExact(ctx, sockets[i], request.subarray(0, end)).orThrow();
    });
    const [victim] = network.addresses;
    await network.filter(`
      chain in {
        type filter hook input priority 0
        ip daddr ${victim} drop
      }
      chain out {
        type filter hook output priority 0
        ip saddr ${victim} drop
      }`);
    // Those of visitors come and go.
    const left = await eventually(
      async () => (await server.report()).stats.pending,
      (pending) => pending < 10,
      LIMIT_MS,
    );
    load.check(
      `the server has let go of all within their ${TIMEOUT_MS} ms`,
      left < 10,
      `${left} operations of ${connections}`,
    );
    server.judgeBounds("after that", connections);
    await Promise.all(sockets.map((socket) => socket.close()));

    // Now they only get as far as the first packet. Half-open connections
    // belong to the kernel, and must not be in the way.
    await network.filter(`
      chain out {
        type filter hook output priority 0
        ip saddr ${victim} tcp flags & (syn | ack) == syn | ack drop
      }`);
    const half = Array.from({ length: connections }, () => {
      const socket = unwrap(Socket.open("ipv4"));
      const connected = asyncConnect(ctx, socket, server.echoAt());
      return { socket, connected };
    });
    const opening = await eventually(
      () => server.net("tcp").match(/^ *\d+: \S+ \S+ 03 /gm)?.length ?? 0,
      (count) => count >= connections / 10,
    );
    load.check(
      "connections are half open",
      opening >= connections / 10,
      opening,
    );
    await visitor.judge();
    await network.filter("");
    let served = 0;
    await Promise.all(half.map(async ({ socket, connected }, i) => {
      if ((await connected.withTimeout(LIMIT_MS)).ok) {
        await exchange(ctx, socket, messageOf(i, 0, 64));
        served++;
      }
      await socket.close();
    }));
    load.check(
      "they are served when they get through",
      served === connections,
      `${served} of ${connections}`,
    );
    await server.judgeEnd(LIMIT_MS);
  },
};
