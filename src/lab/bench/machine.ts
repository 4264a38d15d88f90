/** What a result was measured on: without it a number says nothing. */
import os from "node:os";
import type { BenchDatabase } from "./database.ts";
import type { Tool, ToolName } from "./tools.ts";

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly platform: string;
}

/** By program; undefined: not installed, or not used. */
export type Versions = Readonly<Record<"pgsluice" | "node" | "postgresql" | ToolName, string | undefined>>;

export function describeMachine(): Machine {
  const processors = os.cpus();
  return {
    cpu: processors[0]?.model.trim() ?? "unknown",
    cores: processors.length,
    memoryBytes: os.totalmem(),
    kernel: os.release(),
    platform: `${os.platform()} ${os.arch()}`,
  };
}

export function describeVersions(
  pgsluice: string,
  database: BenchDatabase,
  tools: Readonly<Record<ToolName, Tool | undefined>>,
): Versions {
  return {
    pgsluice,
    node: process.versions.node,
    postgresql: database.version,
    pgbench: tools.pgbench?.version,
    pgbouncer: tools.pgbouncer?.version,
    pgpool: tools.pgpool?.version,
  };
}
