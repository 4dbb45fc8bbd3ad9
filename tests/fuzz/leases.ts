/** A stream of leases and its model: all bytes in order, none of another's. */
import { assert, assertEquals } from "@std/assert";
import {
  asyncRecvExact,
  asyncSendExact,
  asyncShutdown,
  type BufferLease,
  type IoContext,
  type Result,
  SHUT_WR,
  type UringStream,
} from "@kio/kio";
import { ECANCELED } from "../../lib/errno.ts";
import { RECV_MULTISHOT } from "../../lib/ops/table.ts";
import { failureOf } from "../../lib/result.ts";
import { type Pair, turn, unixPair } from "../support.ts";
import { Flow } from "./streams.ts";

/** A connection of its own: bytes that a stream has not given by its end are
 * dropped. */
export class Leases {
  readonly #size: number;
  readonly #own: IoContext;
  readonly #flow: Flow;
  readonly #all: Uint8Array<ArrayBuffer>;
  readonly #pair = unixPair();
  /** Where chunks are sent to. */
  readonly #sink: Pair | undefined;
  readonly #kept: Promise<void>[] = [];

  /** `own` has the other ends of the connections. */
  constructor(own: IoContext, size: number, isSent: boolean) {
    this.#own = own;
    this.#size = size;
    this.#flow = new Flow(size);
    this.#all = this.#flow.bytes(size);
    this.#sink = isSent ? unixPair() : undefined;
  }

  get fd(): number {
    return this.#pair.right.fd;
  }

  /** Takes all, and gives the number of bytes. */
  async take(stream: UringStream<BufferLease>): Promise<Result<number>> {
    const own = this.#own;
    const { left, right } = this.#pair;
    const sent = (async () => {
      const { ok } = await asyncSendExact(own, left, this.#all);
      await asyncShutdown(own, left, SHUT_WR);
      return ok;
    })();
    const back = new Uint8Array(this.#size);
    const echoed = this.#sink === undefined
      ? undefined
      : asyncRecvExact(own, this.#sink.right, back);
    let count = 0;
    let last: Result<number> | undefined;
    for await (const result of stream) {
      if (!result.ok) {
        last = result;
        break;
      }
      try {
        count += this.#look(result.value);
      } catch (error) {
        // Its context is closed meanwhile.
        if (!(error instanceof TypeError)) throw error;
        last = failureOf(RECV_MULTISHOT, ECANCELED);
        break;
      }
    }
    await Promise.all(this.#kept);
    await right.close();
    const isWhole = await sent;
    await left.close();
    if (last === undefined && isWhole) assertEquals(count, this.#size);
    await this.#sink?.left.close();
    const result = await echoed;
    if (result !== undefined) {
      const length = result.ok ? back.length : result.error.bytesTransferred!;
      assert(length <= count, "more was sent than received");
      assertEquals(back.subarray(0, length), this.#all.subarray(0, length));
      if (last === undefined) assertEquals(length, count, "lost sends");
    }
    await this.#sink?.right.close();
    return last ?? { ok: true, value: count };
  }

  /** Checks a chunk, and sends or keeps it now and then. */
  #look(chunk: BufferLease): number {
    const { length } = chunk;
    this.#flow.sent += length;
    this.#flow.take(chunk.bytes);
    if (this.#sink !== undefined) chunk.sendTo(this.#sink.left);
    else if (this.#kept.length < 3) this.#kept.push(this.#keep(chunk.keep()));
    return length;
  }

  async #keep(chunk: BufferLease): Promise<void> {
    const before = chunk.copy();
    await turn(chunk.length % 4);
    assertEquals(chunk.bytes, before, "a kept lease has another's bytes");
    chunk.release();
  }
}
