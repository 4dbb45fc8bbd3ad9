import type { Shim } from "../../ffi/load.ts";
import type { BufferLike } from "../check.ts";
import { type Retained, RetainedGroup } from "./retained.ts";

export const IOSQE_FIXED_FILE = 1;

/**
 * One submission, by the kernel's field names: see io_uring_enter(2). It points
 * to buffers, and what it points to is retained until the completion.
 *
 * Each is an object of its own and not a scratch one of the ring: what is read
 * out of options may be a getter that starts another operation.
 */
export class Sqe {
  readonly opcode: number;
  /** IOSQE_*, only those that concern the operation itself. */
  flags = 0;
  ioprio = 0;
  /** An fd, a place of the registered files, or what the opcode has there. */
  fd = -1;
  /** Memory that the field `addr` points to, from byte `at` on. Without memory
   * `at` is the field itself, and -1 stands for all bits set. */
  addr: BufferLike | null = null;
  at = 0;
  len = 0;
  /** The same for the field that is `off` or `addr2`. */
  addr2: BufferLike | null = null;
  off = 0;
  /** The same for the field `addr3`. */
  addr3: BufferLike | null = null;
  /** rw_flags, msg_flags, open_flags …: one field under many names. */
  opFlags = 0;
  /** splice_fd_in, file_index or addr_len. */
  extra = 0;
  /** buf_index or buf_group. */
  buf = 0;
  /** Buffers that the memory of `addr` points to in turn. */
  #parts: readonly BufferLike[] | null = null;

  constructor(opcode: number) {
    this.opcode = opcode;
  }

  /** An offset in a file: -1 for the current position. The shim takes the low
   * half of one above 2^53 in `extra`, which such operations do not have. */
  set offset(offset: number | bigint) {
    if (typeof offset === "number") {
      this.off = offset;
      this.extra = 0;
    } else {
      this.off = Number(offset >> 32n) * 2 ** 32;
      this.extra = Number(offset & 0xffffffffn) | 0;
    }
  }

  /** Keeps buffers that `addr` points to by way of an iovec or a msghdr. */
  retain(parts: readonly BufferLike[]): void {
    this.#parts = parts;
  }

  /** All that the kernel may touch. */
  get retained(): Retained {
    const { addr, addr2, addr3 } = this;
    const isOne = addr2 === null && addr3 === null;
    if (isOne && this.#parts === null) return addr;
    const memory = [addr, addr2, addr3].filter((it) => it !== null);
    return this.#parts === null
      ? new RetainedGroup(memory, [])
      : new RetainedGroup(this.#parts, memory);
  }

  /** Queues it; returns a status of the shim. */
  submit(shim: Shim, handle: Deno.PointerObject, id: number): number {
    const op = this.opcode | this.flags << 8 | this.ioprio << 16;
    const isSmall = this.addr2 === null && this.addr3 === null &&
      this.extra === 0 && this.buf === 0;
    if (isSmall) {
      return shim.kio_sqe(
        handle,
        id,
        op,
        this.fd,
        this.addr,
        this.at,
        this.len,
        this.off,
        this.opFlags,
      );
    }
    if (this.addr3 === null) {
      return shim.kio_sqe2(
        handle,
        id,
        op,
        this.fd,
        this.addr,
        this.at,
        this.len,
        this.addr2,
        this.off,
        this.opFlags,
        this.extra,
        this.buf,
      );
    }
    return shim.kio_sqe3(
      handle,
      id,
      op,
      this.fd,
      this.addr,
      this.at,
      this.len,
      this.addr2,
      this.off,
      this.opFlags,
      this.extra,
      this.buf,
      this.addr3,
      0,
    );
  }
}
