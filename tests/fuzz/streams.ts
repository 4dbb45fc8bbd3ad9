/** Streams of bytes and their model, which knows the bytes, their order and
 * both ends. */
import { assert, assertEquals, AssertionError } from "@std/assert";
import type { Socket } from "@kio/kio";
import { loadShim } from "../../ffi/load.ts";
import { pattern } from "../support.ts";

/** A prime, so that streams are in step with no buffer. */
export const PERIOD = 65521;
/** Two periods: from any place in the first one, there is a whole one. */
export const PATTERN = new Uint8Array(2 * PERIOD);
PATTERN.set(pattern(PERIOD, 77));
PATTERN.copyWithin(PERIOD, 0, PERIOD);

/** A direction of a connection. */
export class Flow {
  readonly base: number;
  sent = 0;
  received = 0;
  /** Bytes of the send in flight, 0 for none. */
  sending = 0;
  receiving = false;
  /** Nothing is sent any more. */
  ended = false;
  readerClosed = false;
  /** Bytes may be lost: a reset. */
  broken = false;

  constructor(base: number) {
    this.base = base % PERIOD;
  }

  get next(): number {
    return (this.base + this.sent) % PERIOD;
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    const from = this.next;
    const bytes = new Uint8Array(count);
    for (let at = 0; at < count; at += PERIOD) {
      const length = Math.min(PERIOD, count - at);
      bytes.set(PATTERN.subarray(from, from + length), at);
    }
    return bytes;
  }

  /** Checks that these are the next bytes of this stream, and of no other. */
  take(bytes: Uint8Array): void {
    const from = (this.base + this.received) % PERIOD;
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] === PATTERN[(from + i) % PERIOD]) continue;
      throw new AssertionError(
        `byte ${this.received + i} of a stream is another's`,
      );
    }
    this.received += bytes.length;
    assert(
      this.received <= this.sent + this.sending,
      `received ${this.received} of ${this.sent} bytes`,
    );
  }

  end(): void {
    assert(this.ended || this.readerClosed, "an end that nobody has made");
    if (this.broken || this.sending > 0 || this.readerClosed) return;
    assertEquals(this.received, this.sent, "bytes before the end");
  }
}

/** One end of a connection. */
export class End {
  readonly socket: Socket;
  readonly out: Flow;
  readonly in: Flow;

  constructor(socket: Socket, out: Flow, incoming: Flow) {
    this.socket = socket;
    this.out = out;
    this.in = incoming;
  }

  get closed(): boolean {
    return this.socket.fd < 0;
  }

  /** Closes it by `close()`, or as `using` does. */
  close(isUsing: boolean): Promise<void> {
    this.out.ended = true;
    this.in.readerClosed = true;
    // Bytes that are unread or still being sent turn the close into a reset.
    this.out.broken = true;
    this.in.broken = true;
    if (!isUsing) return this.socket.close();
    this.socket[Symbol.dispose]();
    return Promise.resolve();
  }
}

/** A pipe, whose ends are non-blocking, as those of the library are. */
export class Pipe {
  readonly flow: Flow;
  readonly readFd: number;
  readonly writeFd: number;

  constructor(base: number) {
    this.flow = new Flow(base);
    const fds = new Int32Array(2);
    const size = loadShim().kio_pipe(fds, 65536);
    assert(size > 0);
    [this.readFd = -1, this.writeFd = -1] = fds;
  }

  close(): void {
    loadShim().kio_fd_close(this.readFd);
    loadShim().kio_fd_close(this.writeFd);
  }
}
