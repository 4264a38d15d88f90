/** Poolers that watch all nodes of a lab. */
import type { Lab } from "../../src/lab/index.ts";
import type { PooledOptions } from "./pooled.ts";

/** Options of a pooler that follows the primary among the nodes of a lab, under the lab's names. */
export function watched(lab: Lab, { settings, nodes, ...options }: PooledOptions = {}): PooledOptions {
  return {
    ...options,
    onlyNodes: nodes ?? nodesOf(lab),
    settings: { health_check_user: "postgres", health_check_period: 0.2, ...settings },
  };
}

/** [nodes.NAME] for each node of a lab, its role to be found out. */
export function nodesOf(lab: Lab): Record<string, Record<string, unknown>> {
  return Object.fromEntries(lab.nodes.map(({ name, host, port }) => [name, { host, port, role: "auto" }]));
}
