/**
 * Fds that a callback was given and has not taken yet: by making a `Socket` of
 * one, passing it on or closing it. If the callback throws, the ring closes the
 * fd that it has offered.
 *
 * A number alone does not tell that. The callback may have closed the fd, and
 * the number may be another file by now, even one that was offered since. So
 * each offer has a mark of its own.
 */
export const offered: Map<number, symbol> = new Map();
