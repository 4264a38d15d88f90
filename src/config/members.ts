/** Nodes that are not in the file but were found, as if they stood there. */
import { schemaOfTable } from "./declare.ts";
import type { Config, NodeConfig } from "./schema.ts";
import { nodeSettings } from "./tables.ts";

/** One node as a cluster manager or a name server lists it. */
export interface Member {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Where it is, if `host` is only the name that it shows a certificate for. */
  readonly hostaddr?: string;
  /** It is not meant to get reads. */
  readonly noLoadBalance?: boolean;
}

/**
 * A configuration whose nodes are these; what [nodes.NAME] says of a member is kept, apart from where it is and which
 * role it has. With `discovery = "static"` it is what it was.
 */
export function withMembers(config: Config, members: readonly Member[]): Config {
  if (config.pgsluice.discovery === "static") return config;
  const nodes: Record<string, NodeConfig> = Object.create(null) as Record<string, NodeConfig>;
  for (const { name, host, port, hostaddr, noLoadBalance } of members) {
    const own = Object.hasOwn(config.nodes, name) ? config.nodes[name] : undefined;
    nodes[name] = {
      ...(own ?? defaults),
      ...{ host, port, role: "auto" },
      ...(hostaddr === undefined ? {} : { hostaddr }),
      ...(noLoadBalance === true ? { weight: 0 } : {}),
    };
  }
  return { ...config, nodes };
}

const defaults = schemaOfTable(nodeSettings).parse({}) as unknown as NodeConfig;
