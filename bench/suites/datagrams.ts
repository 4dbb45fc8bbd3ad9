/** Sends with and without a copy. */

import { c, type Command, deno, firstLine } from "../programs.ts";
import { runForJson } from "../run.ts";
import type { Case, Options, Peer, Suite } from "../suite.ts";

const SIZES = [1400, 16_384, 60_000];
const HOST = "10.9.0.2";

const C = "C, send";

/** A network without a peer, which drops what is sent: nothing copies it. */
const NETWORK = [
  "set -e",
  "ip link add kio0 type veth peer name kio1",
  "ip address add 10.9.0.1/24 dev kio0",
  "ip link set kio0 mtu 65000 up",
  "ip link set kio1 mtu 65000 up",
  "tc qdisc add dev kio0 root blackhole",
  `ip neighbour add ${HOST} lladdr 02:00:00:00:00:01 dev kio0`,
  'exec "$@"',
].join("; ");

function inNetwork(command: Command): Command {
  return ["unshare", "--net", "sh", "-c", NETWORK, "sh", ...command];
}

const hasNetwork = await firstLine(inNetwork(["true"])) !== null;

function caseOf(size: number, seconds: number): Case {
  const peer = (name: string, command: Command): Peer => ({
    name,
    installed: hasNetwork,
    sample: async () => {
      const { cpuUsPerMib } = await runForJson(inNetwork(command), seconds);
      return { cpuUsPerMib: cpuUsPerMib! };
    },
  });
  const kio = (name: string, way: string) =>
    peer(name, deno("ffi", "datagrams_kio.ts", HOST, size, seconds, way));
  return {
    title: `datagrams of ${size} bytes`,
    parameters: { size },
    base: C,
    columns: [{
      head: "CPU µs/MiB",
      metric: "cpuUsPerMib",
      digits: 0,
      spread: true,
      ratio: true,
    }],
    peers: [
      kio("kio, asyncSend", "plain"),
      kio("kio, asyncSendZc", "zc"),
      kio("kio, asyncSendZc, registered memory", "registered"),
      peer(C, c("datagrams", HOST, size, seconds)),
      peer("C, send_zc", c("datagrams", HOST, size, seconds, "zc")),
    ],
  };
}

/** The CPU time of sends into a network that drops them. */
export function datagrams({ seconds }: Options): Suite {
  return {
    turnSeconds: seconds + 1,
    notes: [
      "Datagrams of one buffer, which stays in the cache, 16 in flight, to a network",
      "that drops them (tc qdisc … blackhole), in a network namespace. It needs root.",
    ],
    cases: SIZES.map((size) => caseOf(size, seconds)),
    bars: () => [],
  };
}
