/** A program that imports kio, and does nothing. */
import "../../mod.ts";
