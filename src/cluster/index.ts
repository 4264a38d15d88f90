/** The nodes, who is the primary and where statements go: the public face of the room. */
export { type BalancePolicy, LatencyAverage, type NodeLoad, type RandomNumber } from "./balance.ts";
export { Cluster, type ClusterSettings, type NodeCommand } from "./cluster.ts";
export { type ReadYourWrites, requiredFloor, WriteFloor } from "./floor.ts";
export { formatLsn, parseLsn } from "./lsn.ts";
export { leaderOf, type ManagerAnswer, type ManagerWord } from "./manager.ts";
export { type ClusterMemory, memoryFromText, memoryToText } from "./memory.ts";
export {
  hintOf,
  type Need,
  needOf,
  type RouteHint,
  routeHint,
  type TransactionStart,
} from "./need.ts";
export { patroniAnswer } from "./patroni.ts";
export { type ProbeReport, type ProbeResult, probeQuery, probeReport } from "./probe-report.ts";
export { type Redirect, redirectFor, type SessionNames } from "./redirects.ts";
export { type Decision, type RouteError, type RouteRequest, Router, type RouteSettings } from "./route.ts";
export type * from "./topology.ts";
export { nodeNamed } from "./topology.ts";
