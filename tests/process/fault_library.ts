/** Chooses the library with faults for a test file. Import it before anything
 * that opens a context. */
import { FaultPlan } from "@kio/kio/testing";

FaultPlan.load();
