/**
 * Cuts a list down to a part that still fails. Takes parts out, smaller ones
 * each time, until each is needed or the time is over.
 */
export async function shrink<T>(
  list: readonly T[],
  isEnough: (list: readonly T[]) => Promise<boolean>,
  timeMsMax: number,
): Promise<readonly T[]> {
  const endMs = performance.now() + timeMsMax;
  for (let part = list.length >> 1; part > 0;) {
    const before = list.length;
    for (let at = 0; at < list.length;) {
      if (performance.now() > endMs) return list;
      const rest = list.toSpliced(at, part);
      if (await isEnough(rest)) list = rest;
      else at += part;
    }
    // One that is spared may let others be spared, that came before it.
    if (part > 1 || list.length === before) part >>= 1;
  }
  return list;
}
