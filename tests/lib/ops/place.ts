/** Files, sockets and pipes that the samples of operations are done with. */
import { AssertionError } from "@std/assert";
import {
  asyncClose,
  asyncConnect,
  asyncOpen,
  asyncPipe,
  asyncSend,
  asyncSendExact,
  asyncSetxattr,
  asyncShutdown,
  asyncUnlink,
  asyncWrite,
  asyncWriteExact,
  AT_REMOVEDIR,
  type DirectFd,
  IoContext,
  MSG_DONTWAIT,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  type PipeFds,
  SHUT_WR,
  Socket,
  SocketAddress,
  unwrap,
} from "@kio/kio";
import {
  type FullListener,
  fullListener,
  isOpen,
  listen,
  pattern,
  unixPair,
} from "../../support.ts";

/** How often a sample may be done that uses something up. */
const SPARE = 4;
/** Bytes that `ready` has received. */
const READY_SIZE = 4096;

/** Bytes of the long file. */
export const LONG_SIZE = 2 ** 18;
let paths = 0;

/** One place. It opens everything beforehand, so that samples need not wait. */
export class Place implements AsyncDisposable {
  readonly #ctx: IoContext;
  readonly #stack = new DisposableStack();
  readonly #peers = new Map<Socket, Socket>();
  readonly #directs = new Map<IoContext, DirectFd>();
  /** Nothing is to be received. */
  readonly quiet: Socket = this.#pair();
  /** Nothing can be sent. */
  readonly full: Socket = this.#pair();
  /** Something has been received. */
  readonly ready: Socket = this.#pair();
  /** Something has been received, and the end of the peer. */
  readonly ended: Socket = this.#pair();
  /** Something can be sent. */
  readonly roomy: Socket = this.#pair();
  /** A datagram socket: it can be connected again and again. */
  readonly datagrams: Socket = this.#own(
    unwrap(Socket.open("ipv4", "datagram")),
  );
  /** A place that nobody has to be at. */
  readonly anywhere = SocketAddress.v4(9, "127.0.0.1");
  /** Nobody connects to it. */
  readonly lonely: Socket = this.#own(listen().listener);
  /** Somebody has connected to it. */
  readonly visited: Socket;
  /** A file of `pattern(64)`. */
  file = -1;
  /** A file of more than a full unix socket takes by splice(2), as it does up to
   * Linux 6.4. */
  long = -1;
  /** The path of a symbolic link. */
  readonly symlink = "/proc/self";
  /** An attribute that the file has, where /tmp has any. */
  attribute = "user.kio";
  /** A pipe that something can be read from, and one for it. */
  pipes: PipeFds[] = [];
  fullListener: FullListener | undefined;
  readonly #at: SocketAddress;
  readonly #paths: string[] = [];
  #nextPath = 0;
  readonly #newPaths: string[] = [];

  private constructor(ctx: IoContext) {
    this.#ctx = ctx;
    const { listener, at } = listen();
    this.visited = this.#own(listener);
    this.#at = at;
  }

  /** Opens a place. `isCrowded`: with a listener whose queue is full, which
   * takes some time. */
  static async open(ctx: IoContext, isCrowded = false): Promise<Place> {
    const place = new Place(ctx);
    await place.#open(isCrowded);
    return place;
  }

  #own<T extends Disposable>(it: T): T {
    return this.#stack.use(it);
  }

  #pair(): Socket {
    const pair = this.#own(unixPair());
    this.#peers.set(pair.left, pair.right);
    return pair.left;
  }

  async #open(isCrowded: boolean): Promise<void> {
    const ctx = this.#ctx;
    const data = new Uint8Array(65536);
    while ((await asyncSend(ctx, this.full, data, MSG_DONTWAIT)).ok);
    const peer = this.#peers.get(this.ready)!;
    await asyncSendExact(ctx, peer, data.subarray(0, READY_SIZE)).orThrow();
    const leaver = this.#peers.get(this.ended)!;
    await asyncSendExact(ctx, leaver, data.subarray(0, READY_SIZE)).orThrow();
    await asyncShutdown(ctx, leaver, SHUT_WR).orThrow();
    const flags = O_TMPFILE | O_RDWR;
    this.file = await asyncOpen(ctx, "/tmp", flags, 0o600).orThrow();
    await asyncWrite(ctx, this.file, pattern(64)).orThrow();
    this.long = await asyncOpen(ctx, "/tmp", flags, 0o600).orThrow();
    await asyncWriteExact(ctx, this.long, new Uint8Array(LONG_SIZE)).orThrow();
    const value = pattern(8);
    if (!(await asyncSetxattr(ctx, this.file, this.attribute, value)).ok) {
      // tmpfs before Linux 6.6 has those of root only.
      this.attribute = "trusted.kio";
      await asyncSetxattr(ctx, this.file, this.attribute, value).orThrow();
    }
    for (let i = 0; i < 2; i++) {
      this.pipes.push(await asyncPipe(ctx).orThrow());
    }
    await asyncWrite(ctx, this.pipes[0]!.writeFd, pattern(64)).orThrow();
    for (let i = 0; i < SPARE; i++) {
      const path = `/tmp/kio-place-${paths++}-${performance.timeOrigin}`;
      const fd = await asyncOpen(ctx, path, O_RDWR | O_CREAT, 0o600).orThrow();
      this.#paths.push(path);
      await asyncClose(ctx, fd).orThrow();
      const visitor = this.#own(unwrap(Socket.open("ipv4")));
      await asyncConnect(ctx, visitor, this.#at).orThrow();
    }
    if (isCrowded) this.fullListener = this.#own(await fullListener(ctx));
  }

  /** A path that is there, each time another one; then one that is not. */
  get path(): string {
    return this.#paths[this.#nextPath++] ?? "/no/such";
  }

  /** A path that nothing has, each time another one; it is empty at the end. */
  get newPath(): string {
    const path = `/tmp/kio-place-${paths++}-${performance.timeOrigin}`;
    this.#newPaths.push(path);
    return path;
  }

  /** A socket that is not connected, each time another one. */
  get client(): Socket {
    return this.#own(unwrap(Socket.open("ipv4")));
  }

  /** Opens a context for a sample. It has the file and the sockets as registered
   * files 0 to 2, or a direct descriptor and places for some more. */
  async context(
    { hasPlaces = false }: { readonly hasPlaces?: boolean },
    operationsMax = 64,
  ): Promise<IoContext> {
    const ctx = new IoContext({ entries: 64, operationsMax });
    if (hasPlaces) await this.givePlaces(ctx);
    else unwrap(ctx.registerFiles([this.file, this.quiet, this.full]));
    return ctx;
  }

  /** Gives a context a direct descriptor, and places for some more. */
  async givePlaces(ctx: IoContext): Promise<void> {
    unwrap(ctx.reserveFiles(16));
    const options = { direct: true } as const;
    const opening = asyncOpen(ctx, "/proc/version", O_RDONLY, options);
    this.#directs.set(ctx, await opening.orThrow());
  }

  /** The direct descriptor of a context. */
  directOf(ctx: IoContext): DirectFd {
    return this.#directs.get(ctx)!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ctx = this.#ctx;
    for (const path of [...this.#paths, ...this.#newPaths]) {
      const removed = await asyncUnlink(ctx, path);
      if (!removed.ok) await asyncUnlink(ctx, path, AT_REMOVEDIR);
    }
    const pipes = this.pipes.flatMap((
      { readFd, writeFd },
    ) => [readFd, writeFd]);
    for (const fd of [this.file, this.long, ...pipes]) {
      if (!isOpen(fd)) throw new AssertionError(`${fd} is not open any more`);
      await asyncClose(ctx, fd).orThrow();
    }
    this.#stack[Symbol.dispose]();
  }
}
