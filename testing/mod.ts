/**
 * Lets tests of programs that use kio meet a kernel on a bad day, on request. See
 * {@linkcode FaultPlan}.
 *
 * @module
 */
export {
  type DelayFault,
  type ErrorFault,
  type FaultOperation,
  FaultPlan,
  type FaultPlanOptions,
  type FaultRule,
  type FaultTarget,
  type InjectedFault,
  type ShortFault,
} from "./fault_plan.ts";
