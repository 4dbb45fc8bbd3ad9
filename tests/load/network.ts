/** A network of its own for a server, with wires that can be made to fail. */
import { must, Unavailable, undoing } from "./scenario.ts";

let made = 0;

/**
 * A network namespace with two wires to this one, of addresses that are
 * reserved for benchmarks. Needs root, `ip` and `nft`.
 */
export class Network implements Disposable {
  readonly #name: string;
  /** This end of the wire, and that of the other one. */
  readonly #wire: string;
  readonly #detour: string;
  readonly #subnet: number;
  /** The server's, both on the first wire. */
  readonly addresses: readonly [string, string];
  /** The start of a command that runs in the network. */
  readonly enter: readonly string[];
  readonly #undo = () => {
    // The wires by themselves: the kernel takes its time with a namespace.
    for (
      const command of [
        `link del ${this.#wire}`,
        `link del ${this.#detour}`,
        `netns del ${this.#name}`,
      ]
    ) new Deno.Command("ip", { args: command.split(" ") }).outputSync();
  };

  private constructor() {
    const id = `${Deno.pid}-${++made}`;
    this.#name = `kio-load-${id}`;
    this.#wire = `kioa${id}`;
    this.#detour = `kiob${id}`;
    this.#subnet = Deno.pid % 256;
    this.addresses = [`198.18.${this.#subnet}.2`, `198.18.${this.#subnet}.3`];
    this.enter = ["ip", "netns", "exec", this.#name];
  }

  static async make(): Promise<Network> {
    if (Deno.uid() !== 0) throw new Unavailable("it needs root");
    const network = new Network();
    await must("nft --version");
    await must(`ip netns add ${network.#name}`);
    undoing.add(network.#undo);
    try {
      await network.#build();
    } catch (error) {
      network[Symbol.dispose]();
      throw error;
    }
    return network;
  }

  async #build(): Promise<void> {
    const name = this.#name;
    for (const [i, end] of [this.#wire, this.#detour].entries()) {
      await must(
        `ip link add ${end} type veth peer name eth${i} netns ${name}`,
      );
      await must(
        `ip address add 198.${18 + i}.${this.#subnet}.1/24 dev ${end}`,
      );
      await must(`ip link set ${end} up`);
      await must(`ip -n ${name} link set eth${i} up`);
    }
    await must(`ip -n ${name} link set lo up`);
    for (const address of this.addresses) {
      await must(`ip -n ${name} address add ${address}/24 dev eth0`);
    }
  }

  /**
   * Loses this part of the packets in either direction, at random. Every fourth
   * of those that leave goes by the other wire, which is slow: they come out of
   * order.
   */
  async makeBad(lossPercent: number): Promise<void> {
    const name = this.#name;
    const [first] = this.addresses;
    const ours = `198.18.${this.#subnet}.1`;
    // Packets that come by the detour have a source that is on the other wire.
    const detour = `/proc/sys/net/ipv4/conf/${this.#detour}`;
    Deno.writeTextFileSync(`${detour}/rp_filter`, "2");
    await must(
      `ip -n ${name} route add ${ours} dev eth1 src ${first} table 100`,
    );
    await must(`ip -n ${name} rule add fwmark 1 lookup 100`);
    const slow = "tbf rate 20mbit burst 16kb latency 100ms";
    await must(`tc -n ${name} qdisc add dev eth1 root ${slow}`);
    const lose = `numgen random mod 100 < ${lossPercent} drop`;
    await this.filter(`
      chain out {
        type route hook output priority mangle
        oifname "eth0" numgen random mod 4 == 0 meta mark set 1
      }
      chain loseOut {
        type filter hook postrouting priority 0
        oifname "eth*" ${lose}
      }
      chain loseIn {
        type filter hook prerouting priority 0
        iifname "eth*" ${lose}
      }`);
  }

  /** Replaces the rules for packets in it. */
  async filter(rules: string): Promise<void> {
    const table = "table inet kio";
    await must(
      `${this.enter.join(" ")} nft -f -`,
      `${table} {}\ndelete ${table}\n${table} {\n${rules}\n}\n`,
    );
  }

  [Symbol.dispose](): void {
    undoing.delete(this.#undo);
    this.#undo();
  }
}
