/** The nodes and who is the primary: the public face of the room. */
export { Cluster, type ClusterSettings, type NodeCommand } from "./cluster.ts";
export { formatLsn, parseLsn } from "./lsn.ts";
export { type ClusterMemory, memoryFromText, memoryToText } from "./memory.ts";
export { type ProbeReport, type ProbeResult, probeQuery, probeReport } from "./probe-report.ts";
export type * from "./topology.ts";
