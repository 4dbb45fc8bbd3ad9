/**
 * For tests of programs that use kio: a kernel that has bad days when it is
 * told to. See {@linkcode FaultPlan}.
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
