/** To be imported before anything that opens a context: chooses the library
 * with faults for this test file. */
import { FaultPlan } from "@kio/kio/testing";

FaultPlan.load();
