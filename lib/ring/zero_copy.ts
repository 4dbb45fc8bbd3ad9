/**
 * Sends without a copy: two completions. The first has the result. The second,
 * the notification, says that the kernel is done with the memory.
 */
import { MSG_DONTWAIT, POLLOUT } from "../constants.ts";
import { EAGAIN, EINVAL, ENOMEM, EOPNOTSUPP } from "../errno.ts";
import { type Result, success } from "../result.ts";
import type { Notified } from "./entry.ts";
import type { Sqe } from "./sqe.ts";
import { WaitingOperation } from "./steps.ts";

/** IORING_SEND_ZC_REPORT_USAGE, of Linux 6.2. */
const REPORT_USAGE = 8;

/** IORING_NOTIF_USAGE_ZC_COPIED: bit 31 of the result of a notification. */
const COPIED = 1 << 31;

/** The value of a zero-copy send. */
export interface ZeroCopySent {
  /** The number of bytes that the kernel took, which may be fewer than given. */
  bytes: number;
  /** True if the kernel copied the data all the same, as it does on the loopback
   * interface; undefined before Linux 6.2, which does not tell. */
  copied: boolean | undefined;
}

/** This kernel knows REPORT_USAGE, as far as is known. */
let reportsUsage = true;

/** A zero-copy send, which becomes a plain one where the kernel refuses it. */
export class ZeroCopySend extends WaitingOperation implements Notified {
  readonly sent: Promise<Result<number>>;
  readonly #settleSent: (result: Result<number>) => void;
  readonly #plainOpcode: number;
  /** The result, while the notification has not come. */
  #result: number | null = null;
  #copied: boolean | undefined;

  constructor(sqe: Sqe, plainOpcode: number) {
    super(sqe, POLLOUT);
    this.#plainOpcode = plainOpcode;
    if (reportsUsage && !this.#isPlain()) sqe.ioprio |= REPORT_USAGE;
    const { promise, resolve } = Promise.withResolvers<Result<number>>();
    this.sent = promise;
    this.#settleSent = resolve;
  }

  #isPlain(): boolean {
    return this.sqe.opcode === this.#plainOpcode;
  }

  report(result: number): boolean {
    this.#result = result;
    if (result >= 0) this.#settleSent(success(result));
    return result >= 0;
  }

  resultOf(last: number): number {
    const result = this.#result;
    this.#result = null;
    this.#copied = this.#copiedBy(last);
    return result ?? last;
  }

  #copiedBy(last: number): boolean | undefined {
    if (this.#isPlain()) return true;
    return this.sqe.ioprio & REPORT_USAGE ? (last & COPIED) !== 0 : undefined;
  }

  override take(result: number): boolean {
    const { sqe } = this;
    if (result === -EAGAIN) return (sqe.opFlags & MSG_DONTWAIT) === 0;
    if (this.#isPlain()) return false;
    const reports = (sqe.ioprio & REPORT_USAGE) !== 0;
    // Only the flag can have been wrong before.
    if (result >= 0) reportsUsage = reports;
    if (result === -EINVAL && reports) sqe.ioprio &= ~REPORT_USAGE;
    else if (isRefusal(result)) {
      sqe.opcode = this.#plainOpcode;
      sqe.ioprio = 0;
      sqe.buf = 0;
    } else return false;
    return true;
  }

  /** Makes the value of a result. */
  decode(bytes: number): ZeroCopySent {
    return { bytes, copied: this.#copied };
  }

  /** Settles `sent` with the result of the whole, if it is not settled. */
  end(result: Result<ZeroCopySent>): void {
    this.#settleSent(result.ok ? success(result.value.bytes) : result);
  }
}

/** Tells whether the kernel has no such send, not for this socket, or may not
 * lock the memory. */
function isRefusal(result: number): boolean {
  return result === -EINVAL || result === -EOPNOTSUPP || result === -ENOMEM;
}
