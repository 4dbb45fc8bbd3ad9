/**
 * Fds that a callback was given and that nobody has taken yet, by
 * making a `Socket` of them, handing them over or closing them. If the callback
 * fails these are still to be closed; the number of any other may already be
 * that of another file, even of one that was offered since: so each offer has a
 * mark of its own.
 */
export const offered: Map<number, symbol> = new Map();
