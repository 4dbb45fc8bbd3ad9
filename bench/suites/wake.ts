/** The time from an arriving message to a running server, and its CPU, at loads
 * from none to all that one connection gives. */

import { C, ECHO_SERVERS, KIO, KIO_EXCLUSIVE } from "../echo_servers.ts";
import { c, CLIENT_CORE, deno, onCore } from "../programs.ts";
import { runForJson, Server } from "../run.ts";
import {
  type Case,
  type Options,
  type Peer,
  ratio,
  type Suite,
} from "../suite.ts";

/** Microseconds between two messages, on average. */
const PAUSES_US = [100_000, 10_000, 3000, 1000, 300, 100, 0];
/** The pause of the bars: a server that is not busy. */
const QUIET_US = 3000;
/** Messages at the least, and where there is no pause. */
const WAKES_MIN = 20;
const WAKES_PER_S = 10_000;

const SERVERS = [
  ...ECHO_SERVERS,
  {
    name: KIO_EXCLUSIVE,
    installed: true,
    command: deno("ffi", "echo_kio.ts", "--exclusive"),
  },
];

const titleOf = (pauseUs: number) =>
  pauseUs === 0
    ? "8 bytes to a server and back, without a pause"
    : `8 bytes to a server and back, ${pauseUs / 1000} ms apart`;

function caseOf(pauseUs: number, seconds: number): Case {
  const rate = pauseUs === 0 ? WAKES_PER_S : 1e6 / pauseUs;
  const wakes = Math.ceil(Math.max(WAKES_MIN, seconds * rate));
  return {
    title: titleOf(pauseUs),
    parameters: { pauseUs },
    base: C,
    columns: [
      { head: "messages/s", metric: "perS", digits: 0 },
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
    peers: SERVERS.map(({ name, installed, command }): Peer => ({
      name,
      installed,
      async sample() {
        await using server = await Server.start(command);
        const waker = c(
          "waker",
          server.port,
          wakes,
          pauseUs,
          "--pid",
          server.pid,
        );
        const { perS, p50Us, p99Us, cpuUsPerWake } = await runForJson(
          onCore(CLIENT_CORE, waker),
          wakes / rate + seconds,
        );
        return {
          perS: perS!,
          p50Us: p50Us!,
          p99Us: p99Us!,
          cpuUs: cpuUsPerWake!,
        };
      },
    })),
  };
}

/** Wake-ups of a server by a message. */
export function wake({ seconds }: Options): Suite {
  const quiet = titleOf(QUIET_US);
  return {
    // With the longest pause a run takes a second more.
    turnSeconds: seconds + 2,
    notes: [
      "The echo servers of `echo`, asleep before each message; the round trip is",
      "taken by a client on the other core, which spins for the reply so that no",
      "wake-up of its own is in it. Each server has warmed up. `kio, exclusive`",
      "is kio with the option `exclusive`.",
    ],
    cases: PAUSES_US.map((pauseUs) => caseOf(pauseUs, seconds)),
    bars: (figures) => [
      {
        text: `${quiet}: median, of C`,
        figure: figures.compare(quiet, KIO, C, "p50Us", ratio),
        limit: 1.4,
        kind: "at most",
      },
      {
        text: `${quiet}: CPU, of C`,
        figure: figures.compare(quiet, KIO, C, "cpuUs", ratio),
        limit: 2,
        kind: "at most",
      },
      {
        text: `${quiet}: median of an exclusive context, of C`,
        figure: figures.compare(quiet, KIO_EXCLUSIVE, C, "p50Us", ratio),
        limit: 1.1,
        kind: "at most",
      },
      {
        text: `${quiet}: CPU of an exclusive context, of C`,
        figure: figures.compare(quiet, KIO_EXCLUSIVE, C, "cpuUs", ratio),
        limit: 1.3,
        kind: "at most",
      },
    ],
  };
}
