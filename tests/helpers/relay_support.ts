/** Two connections with a relay's ends between them. */
import { asyncRecv, type IoContext, type Socket } from "@kio/kio";
import { pipePoolOf } from "../../helpers/pipe_pool.ts";
import { ringOf } from "../../lib/internal.ts";
import { SPLICE_ALL } from "../../lib/ops/table.ts";
import { type Pair, tcpPair, unixPair, value } from "../support.ts";

/** More than a pipe and all sockets hold together. */
export const LARGE = 40 << 20;

/** Kinds of connections. */
export const KINDS: [string, (ctx: IoContext) => Promise<Pair>][] = [
  ["TCP", tcpPair],
  ["unix", () => Promise.resolve(unixPair())],
];

/** A client and a server, and the ends that a proxy has of them. */
export class Ends implements Disposable {
  readonly client: Socket;
  readonly left: Socket;
  readonly right: Socket;
  readonly server: Socket;

  constructor(toClient: Pair, toServer: Pair) {
    this.client = toClient.left;
    this.left = toClient.right;
    this.right = toServer.left;
    this.server = toServer.right;
  }

  [Symbol.dispose](): void {
    for (const it of [this.client, this.left, this.right, this.server]) {
      it[Symbol.dispose]();
    }
  }
}

export async function openEnds(
  ctx: IoContext,
  open: (ctx: IoContext) => Promise<Pair> = tcpPair,
): Promise<Ends> {
  return new Ends(await open(ctx), await open(ctx));
}

/** Closes the pipes of the pool: a test leaves no fd behind. */
export function emptyPool(ctx: IoContext): void {
  pipePoolOf(ringOf(ctx, SPLICE_ALL), 1 << 19).close();
}

/** All that comes until the end. */
export async function receivedAll(
  ctx: IoContext,
  socket: Socket,
  length: number,
): Promise<Uint8Array> {
  const all = new Uint8Array(length + 1);
  let at = 0;
  for (;;) {
    const count = value(await asyncRecv(ctx, socket, all.subarray(at)));
    if (count === 0) return all.subarray(0, at);
    at += count;
  }
}
