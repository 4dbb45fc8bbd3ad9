/** Reads and writes numeric IP addresses as text. */

/** Reads a decimal number of up to `max`, without sign and leading zeros;
 * undefined if the text is none. */
export function decimal(text: string, max: number): number | undefined {
  if (!/^(0|[1-9]\d{0,9})$/.test(text)) return undefined;
  return Number(text) <= max ? Number(text) : undefined;
}

/** The bytes of an IPv4 address. */
export type Ipv4Bytes = [number, number, number, number];

/** Reads an IPv4 address, four numbers with dots; undefined if the text is
 * none. */
export function parseIpv4(text: string): Ipv4Bytes | undefined {
  const parts = String(text).split(".").map((part) => decimal(part, 255));
  return parts.length === 4 && parts.every((part) => part !== undefined)
    ? parts as Ipv4Bytes
    : undefined;
}

/** Reads an IPv6 address without a scope as eight groups; undefined if the text
 * is none. */
export function parseIpv6(text: string): number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, i) =>
    parseGroups(half, i === halves.length - 1)
  );
  if (head === undefined) return undefined;
  if (halves.length === 1) return head.length === 8 ? head : undefined;
  if (tail === undefined || head.length + tail.length > 7) return undefined;
  const zeros = new Array(8 - head.length - tail.length).fill(0);
  return [...head, ...zeros, ...tail];
}

/** Reads groups between colons; at the end an IPv4 address may take the place
 * of two. */
function parseGroups(text: string, atEnd: boolean): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    const ipv4 = atEnd && i === parts.length - 1 ? parseIpv4(part) : undefined;
    if (ipv4 !== undefined) {
      groups.push(ipv4[0] << 8 | ipv4[1], ipv4[2] << 8 | ipv4[3]);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return groups;
}

/** Writes the shortest form (RFC 5952): the first longest run of two or more
 * zero groups becomes `::`. */
export function printIpv6(groups: number[]): string {
  const isMapped = groups.slice(0, 5).every((group) => group === 0) &&
    groups[5] === 0xffff;
  if (isMapped) {
    const [high = 0, low = 0] = groups.slice(6);
    return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) [start, length] = [i, end - i];
  }
  const hex = groups.map((group) => group.toString(16));
  if (start < 0) return hex.join(":");
  const head = hex.slice(0, start).join(":");
  return `${head}::${hex.slice(start + length).join(":")}`;
}
