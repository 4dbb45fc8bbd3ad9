import type { BufferLease } from "../lib/BufferLease.ts";
import { READ_BUFFERED } from "../lib/ops/table.ts";
import type { Result } from "../lib/result.ts";
import { AbortGroup, removeIdleListeners } from "../lib/ring/abort.ts";
import type { UringStream } from "../lib/UringStream.ts";
import type { ByteSource } from "./transport.ts";

const { verb: VERB } = READ_BUFFERED;

/** The longest time of a timer, in milliseconds. */
const TIMER_MAX_MS = 2 ** 31 - 1;

type Step = IteratorResult<Result<BufferLease>, undefined>;

/** Tells a stream of leases from a source that receives into memory. */
export function sourceOf(
  source: ByteSource | UringStream<BufferLease>,
): ByteSource | LeaseSource {
  if (typeof (source as ByteSource)?.recv === "function") {
    return source as ByteSource;
  }
  if (typeof (source as UringStream<BufferLease>)?.take !== "function") {
    throw new TypeError(
      `Cannot ${VERB}: expected a source that has recv(), as a SocketTransport, or a stream of leases, got ${typeof source}`,
    );
  }
  return new LeaseSource(source as UringStream<BufferLease>);
}

/** Takes leases of a stream. The wait for one can be given up, and loses none. */
export class LeaseSource {
  readonly #stream: UringStream<BufferLease>;
  readonly #iterator: AsyncIterator<Result<BufferLease>, undefined>;
  /** A lease was asked for, and has not come. */
  #isAsked = false;
  /** It has come when nobody waited any more. */
  #arrived: Step | undefined = undefined;
  #wake: (() => void) | null = null;

  constructor(stream: UringStream<BufferLease>) {
    this.#stream = stream;
    this.#iterator = stream[Symbol.asyncIterator]();
  }

  /** Takes the lease that is there already. */
  take(): Result<BufferLease> | undefined {
    const arrived = this.#arrived;
    this.#arrived = undefined;
    if (arrived !== undefined) return arrived.value;
    return this.#isAsked ? undefined : this.#stream.take();
  }

  /** Tells whether `take()` comes to the next turn of the stream. */
  get isFree(): boolean {
    return !this.#isAsked && this.#arrived === undefined;
  }

  /** Waits for the next lease. Returns null if there is none in that time. */
  async next(
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Step | null> {
    if (this.isFree) {
      const coming = this.#iterator.next();
      if (timeoutMs === Infinity && signal === undefined) return await coming;
      this.#isAsked = true;
      void coming.then((step) => {
        this.#isAsked = false;
        this.#arrived = step;
        this.#wake?.();
      });
    }
    if (this.#arrived === undefined) await this.#wait(timeoutMs, signal);
    if (this.#arrived === undefined) return null;
    const step = this.#arrived;
    this.#arrived = undefined;
    return step;
  }

  /** Waits for what was asked for, for the time, or for the signal. */
  async #wait(
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (signal?.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = timeoutMs === Infinity
      ? undefined
      : setTimeout(resolve, Math.min(timeoutMs, TIMER_MAX_MS));
    const group = signal && AbortGroup.of(signal);
    const target = { cancel: resolve };
    group?.add(target);
    this.#wake = resolve;
    await promise;
    this.#wake = null;
    clearTimeout(timer);
    group?.delete(target);
    removeIdleListeners();
  }
}
