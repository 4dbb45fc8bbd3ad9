/**
 * The system's numbers that several modules need; the test of the layout
 * compares each with the C compiler's own.
 */

/** The level of options of any socket; see socket(7). */
export const SOL_SOCKET = 1;
/** An option: the type of a socket. */
export const SO_TYPE = 3;
