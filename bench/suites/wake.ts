/** The time from an arriving message to a running server. */

import { C, ECHO_SERVERS, KIO } from "../echo_servers.ts";
import { c, CLIENT_CORE, onCore } from "../programs.ts";
import { runForJson, Server } from "../run.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";

/** The waker pauses for 2 ms on average. */
const WAKES_PER_S = 500;

const TITLE = "8 bytes to an idle server and back";

/** Wake-ups of an idle server by a message. */
export function wake({ seconds }: Options): Suite {
  const wakes = Math.ceil(seconds * WAKES_PER_S);
  const table: Case = {
    title: TITLE,
    base: C,
    columns: [
      { head: "p50 µs", metric: "p50Us", digits: 1, spread: true, ratio: true },
      { head: "p99 µs", metric: "p99Us", digits: 1 },
      {
        head: "CPU µs/wake",
        metric: "cpuUs",
        digits: 1,
        spread: true,
        ratio: true,
      },
    ],
    peers: ECHO_SERVERS.map(({ name, installed, command }): Peer => ({
      name,
      installed,
      async sample() {
        await using server = await Server.start(command);
        const { p50Us, p99Us, cpuUsPerWake } = await runForJson(
          onCore(
            CLIENT_CORE,
            c("waker", server.port, wakes, "--pid", server.pid),
          ),
          seconds,
        );
        return { p50Us: p50Us!, p99Us: p99Us!, cpuUs: cpuUsPerWake! };
      },
    })),
  };
  return {
    turnSeconds: seconds * 2 + 1,
    notes: [
      "The echo servers of `echo`, asleep for 1 to 3 ms before each message; the",
      "round trip is taken by a client on the other core, which spins for the",
      "reply so that no wake-up of its own is in it.",
    ],
    cases: [table],
    bars: (figures) => [{
      text: `${TITLE}: median, of C`,
      figure: figures.compare(TITLE, KIO, C, "p50Us", ratio),
      limit: 1.5,
      kind: "at most",
    }],
  };
}
