import { connect, exchange, fetchPart, FILE_SIZE } from "../client.ts";
import { messageOf } from "../noise.ts";
import { Network } from "../network.ts";
import { type Scenario, summary } from "../scenario.ts";
import { Server } from "../subject.ts";

const LOSS_PERCENT = 2;
const PART_SIZE_MAX = 1 << 17;

export const badNetwork: Scenario = {
  about:
    `clients in a network that loses ${LOSS_PERCENT} % of the packets either way, and mixes up the rest`,
  long: { seconds: 60, connections: 100 },
  short: { seconds: 2, connections: 30 },
  async run(load) {
    const { ctx, connections, seconds } = load;
    using network = await Network.make();
    await using server = await Server.start(load, [], { network });
    await network.makeBad(LOSS_PERCENT);
    const endMs = performance.now() + 1000 * seconds;
    const timesMs: number[] = [];
    let messages = 0;
    let parts = 0;
    await Promise.all(Array.from({ length: connections }, async (_, i) => {
      for (let n = 0; n === 0 || performance.now() < endMs; n++) {
        const startMs = performance.now();
        if (i % 2 === 0) {
          await using socket = await connect(ctx, server.echoAt());
          for (let k = 0; k < 5; k++, messages++) {
            await exchange(ctx, socket, messageOf(i, 5 * n + k, 1 + k * 700));
          }
        } else {
          await using socket = await connect(ctx, server.partsAt());
          const size = Math.ceil(PART_SIZE_MAX * Math.random());
          const offset = Math.floor((FILE_SIZE - size) * Math.random());
          await fetchPart(ctx, socket, offset, size);
          parts++;
        }
        timesMs.push(performance.now() - startMs);
      }
    }));
    load.check(
      "every byte comes, in order and once",
      messages > 0 && parts > 0,
      `${messages} messages, ${parts} parts`,
    );
    load.note(`five messages, or a part: ${summary(timesMs)}`);
    const lost = server.counter("snmp", "Tcp", "RetransSegs");
    const early = server.counter("netstat", "TcpExt", "TCPOFOQueue") +
      server.counter("netstat", "TcpExt", "TCPSACKReorder");
    load.check(
      "the network was bad",
      lost > 0 && early > 0,
      `${lost} packets sent again, ${early} times out of order`,
    );
    server.judgeBounds("after that", connections);
    await server.judgeEnd(60_000);
  },
};
