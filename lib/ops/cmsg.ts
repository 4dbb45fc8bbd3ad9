/** Ancillary data: headers and data, aligned; see cmsg(3). */

/** sizeof(struct cmsghdr) and its parts. */
const HEADER_SIZE = 16;
const LEVEL_AT = 8;
const TYPE_AT = 12;
const ALIGNMENT = 8;

/** One piece of ancillary data. */
export interface ControlMessage {
  readonly level: number;
  readonly type: number;
  readonly data: DataView<ArrayBufferLike>;
}

/** Gives the room that some bytes take. */
export function controlSpace(size: number): number {
  return Math.ceil((HEADER_SIZE + size) / ALIGNMENT) * ALIGNMENT;
}

/** Makes the control data of one piece; `fill` writes its bytes. */
export function controlMessage(
  level: number,
  type: number,
  size: number,
  fill: (data: DataView<ArrayBuffer>) => void,
): Uint8Array<ArrayBuffer> {
  const control = new Uint8Array(controlSpace(size));
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(HEADER_SIZE + size), true);
  view.setInt32(LEVEL_AT, level, true);
  view.setInt32(TYPE_AT, type, true);
  fill(new DataView(control.buffer, HEADER_SIZE, size));
  return control;
}

/** Lists the pieces of control data, up to one that is not whole. */
export function controlMessages(control: Uint8Array): ControlMessage[] {
  const { buffer, byteOffset, byteLength } = control;
  const view = new DataView(buffer, byteOffset, byteLength);
  const found: ControlMessage[] = [];
  for (let at = 0; at + HEADER_SIZE <= byteLength;) {
    const length = Number(view.getBigUint64(at, true));
    if (length < HEADER_SIZE || length > byteLength - at) break;
    const size = length - HEADER_SIZE;
    found.push({
      level: view.getInt32(at + LEVEL_AT, true),
      type: view.getInt32(at + TYPE_AT, true),
      data: new DataView(buffer, byteOffset + at + HEADER_SIZE, size),
    });
    at += controlSpace(size);
  }
  return found;
}
