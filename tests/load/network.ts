/** A network of its own for a server, with wires that can be made to fail. */
import { run } from "../process/support.ts";
import { Unavailable, undoing } from "./scenario.ts";

let made = 0;

/**
 * A network namespace with two wires to this one, of addresses that are
 * reserved for benchmarks. Needs root, `ip` and `nft`.
 */
export class Network implements Disposable {
  readonly #name: string;
  readonly #links: readonly [string, string];
  /** Two addresses of the server on the first wire. */
  readonly addresses: readonly [string, string];
  /** What a command begins with that is to run in it. */
  readonly enter: readonly string[];
  readonly #undo = () => {
    for (const args of this.#removals) {
      new Deno.Command("ip", { args: [...args] }).outputSync();
    }
  };

  private constructor() {
    const id = `${Deno.pid}-${++made}`;
    const net = Deno.pid % 256;
    this.#name = `kio-load-${id}`;
    this.#links = [`kioa${id}`, `kiob${id}`];
    this.addresses = [`198.18.${net}.2`, `198.18.${net}.3`];
    this.enter = ["ip", "netns", "exec", this.#name];
  }

  /** The wires by themselves: the kernel takes its time with a namespace. */
  get #removals(): readonly string[][] {
    const wires = this.#links.map((link) => ["link", "del", link]);
    return [...wires, ["netns", "del", this.#name]];
  }

  static async make(): Promise<Network> {
    if (Deno.uid() !== 0) throw new Unavailable("it needs root");
    const network = new Network();
    await network.#run(["nft", "--version"]);
    await network.#run(["ip", "netns", "add", network.#name]);
    undoing.add(network.#undo);
    try {
      await network.#wire();
    } catch (error) {
      network[Symbol.dispose]();
      throw error;
    }
    return network;
  }

  async #wire(): Promise<void> {
    const name = this.#name;
    const inside = ["-n", name];
    const first = this.addresses[0];
    const ours = first.replace(/2$/, "1");
    for (const [i, link] of this.#links.entries()) {
      const end = `eth${i}`;
      const peer = ["type", "veth", "peer", "name", end, "netns", name];
      await this.#ip(["link", "add", link, ...peer]);
      await this.#ip(["link", "set", link, "up"]);
      await this.#ip([...inside, "link", "set", end, "up"]);
    }
    const [link, detour] = this.#links;
    await this.#ip([...inside, "link", "set", "lo", "up"]);
    await this.#ip(["addr", "add", `${ours}/24`, "dev", link]);
    for (const address of this.addresses) {
      await this.#ip([
        ...inside,
        "addr",
        "add",
        `${address}/24`,
        "dev",
        "eth0",
      ]);
    }
    await this.#ip([
      "addr",
      "add",
      `198.19.${Deno.pid % 256}.1/24`,
      "dev",
      detour,
    ]);
    // What comes by the detour has a source that is expected on the other wire.
    Deno.writeTextFileSync(`/proc/sys/net/ipv4/conf/${detour}/rp_filter`, "2");
  }

  #ip(args: readonly string[]): Promise<void> {
    return this.#run(["ip", ...args]);
  }

  async #run(
    [command, ...args]: readonly string[],
    input?: string,
  ): Promise<void> {
    let code: number, err: string;
    try {
      ({ code, err } = await run(command, args, { input }));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new Unavailable(`there is no ${command}`);
    }
    if (code !== 0) {
      throw new Unavailable(`${command} ${args.join(" ")}: ${err.trim()}`);
    }
  }

  /**
   * Loses that part of the packets in either direction, at random, and sends
   * every fourth of those that leave it by the other wire, which is slow: they
   * come out of order.
   */
  async makeBad(lossPercent: number): Promise<void> {
    const inside = ["-n", this.#name];
    const route = ["dev", "eth1", "src", this.addresses[0]];
    const ours = this.addresses[0].replace(/2$/, "1");
    await this.#ip([
      ...inside,
      "route",
      "add",
      `${ours}/32`,
      ...route,
      "table",
      "100",
    ]);
    await this.#ip([...inside, "rule", "add", "fwmark", "1", "lookup", "100"]);
    const slow = ["tbf", "rate", "20mbit", "burst", "16kb", "latency", "100ms"];
    await this.#run([
      "tc",
      ...inside,
      "qdisc",
      "add",
      "dev",
      "eth1",
      "root",
      ...slow,
    ]);
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
    await this.#run(
      [...this.enter, "nft", "-f", "-"],
      `${table} {}\ndelete ${table}\n${table} {\n${rules}\n}\n`,
    );
  }

  [Symbol.dispose](): void {
    undoing.delete(this.#undo);
    this.#undo();
  }
}
