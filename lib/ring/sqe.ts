import type { Shim } from "../../ffi/load.ts";
import type { BufferLike } from "../check.ts";
import { DIRECT_FIRST } from "../DirectFd.ts";
import { type Retained, RetainedGroup } from "./retained.ts";

export const IOSQE_FIXED_FILE = 1;

const SPLICE_F_FD_IN_FIXED = 2 ** 31;

/**
 * The fields of one submission, by the kernel's names: see io_uring_enter(2).
 * It retains the memory that it points to until the completion.
 *
 * Each is an object of its own and not a scratch one of the ring. A getter in a
 * user's options may start another operation while the fields are filled.
 */
export class Sqe {
  opcode: number;
  /** IOSQE_* but those of chains. */
  flags = 0;
  ioprio = 0;
  /** An fd, a direct descriptor (see `DIRECT_FIRST`), a place of the registered
   * files, or another number of the opcode. */
  fd = -1;
  /** Memory that the field `addr` points to, from byte `at` on. Without memory
   * the field is `at`, and all its bits are set for -1. */
  addr: BufferLike | null = null;
  at = 0;
  len = 0;
  /** Memory and number for the field that is `addr2` or `off`. */
  addr2: BufferLike | null = null;
  off = 0;
  /** Memory that the field `addr3` points to. */
  addr3: BufferLike | null = null;
  /** rw_flags, msg_flags, open_flags …: one field with many names. */
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

  /** Sets the offset in a file; -1 is the file's own position. A bigint goes
   * into `off` and, with its low half, into `extra`: these operations have no
   * other use for that field. */
  set offset(offset: number | bigint) {
    if (typeof offset === "number") {
      this.off = offset;
      this.extra = 0;
    } else {
      this.off = Number(offset >> 32n) * 2 ** 32;
      this.extra = Number(offset & 0xffffffffn) | 0;
    }
  }

  /** Sets the file that a splice takes bytes from; after `opFlags`. */
  set source(fd: number) {
    const isDirect = fd <= DIRECT_FIRST;
    this.extra = isDirect ? DIRECT_FIRST - fd : fd;
    if (isDirect) this.opFlags += SPLICE_F_FD_IN_FIXED;
  }

  /** Retains the buffers that the iovecs or the msghdr at `addr` point to. */
  retain(parts: readonly BufferLike[]): void {
    this.#parts = parts;
  }

  /** All memory that the kernel may touch. */
  get retained(): Retained {
    const { addr, addr2, addr3 } = this;
    const isOne = addr2 === null && addr3 === null;
    if (isOne && this.#parts === null) return addr;
    const memory = [addr, addr2, addr3].filter((it) => it !== null);
    return this.#parts === null
      ? new RetainedGroup(memory, [])
      : new RetainedGroup(this.#parts, memory);
  }

  /** Queues the submission by kio_sqe(). Returns 0, or a negative errno if
   * nothing is queued. */
  submit(shim: Shim, handle: Deno.PointerObject, id: number): number {
    const isDirect = this.fd <= DIRECT_FIRST;
    const fd = isDirect ? DIRECT_FIRST - this.fd : this.fd;
    const flags = isDirect ? this.flags | IOSQE_FIXED_FILE : this.flags;
    const op = this.opcode | flags << 8 | this.ioprio << 16;
    const isSmall = this.addr2 === null && this.addr3 === null &&
      this.extra === 0 && this.buf === 0;
    if (isSmall) {
      return shim.kio_sqe(
        handle,
        id,
        op,
        fd,
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
        fd,
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
      fd,
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
