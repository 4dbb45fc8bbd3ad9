/** `datagrams.c` on kio. Usage: datagrams_kio.ts HOST SIZE SECONDS [WAY] */

import { cpuUsage } from "node:process";
import {
  asyncConnect,
  asyncSend,
  asyncSendZc,
  IoContext,
  Socket,
  SocketAddress,
  unwrap,
} from "../../mod.ts";

const DEPTH = 16;
const WARM_UP_MS = 500;
const MIB = 2 ** 20;

const [host, ...numbers] = Deno.args;
const [size, seconds] = numbers.map(Number);
const way = Deno.args[3] ?? "plain";
if (host === undefined || seconds === undefined) {
  throw new TypeError("Usage: datagrams_kio.ts HOST SIZE SECONDS [WAY]");
}

using ctx = new IoContext();
using socket = unwrap(Socket.open("ipv4", "datagram"));
await asyncConnect(ctx, socket, SocketAddress.v4(9, host)).orThrow();
const registered = way === "registered";
const data = ctx.allocate(size!, { registered }).fill(1);
const send = way === "plain" ? asyncSend : asyncSendZc;

const startMs = performance.now() + WARM_UP_MS;
const endMs = startMs + seconds * 1000;
let count = 0;
let startUs = 0;

function cpuUs(): number {
  const { user, system } = cpuUsage();
  return user + system;
}

async function sendAll(): Promise<void> {
  for (let nowMs = 0; nowMs < endMs; nowMs = performance.now()) {
    unwrap<unknown>(await send(ctx, socket, data));
    count++;
    if (startUs > 0 || nowMs < startMs) continue;
    startUs = cpuUs();
    count = 0;
  }
}

await Promise.all(Array.from({ length: DEPTH }, sendAll));
const cpuUsPerMib = (cpuUs() - startUs) / (count * size! / MIB);
console.log(JSON.stringify({ cpuUsPerMib }));
