/**
 * The shape of a configuration: types and zod schemas, both derived from the declarations in settings.ts
 * and tables.ts. Names are PgBouncer's, in snake_case; times are seconds, exactly as an operator writes them.
 */
import type { z } from "zod";
import { type DeclarationTable, schemaOfTable, type ValuesOf } from "./declare.ts";
import { settings } from "./settings.ts";
import { databaseSettings, nodeSettings, peerSettings, userSettings } from "./tables.ts";

/** [pgsluice]. */
export type Settings = ValuesOf<typeof settings>;
/** [nodes.NAME]: one PostgreSQL instance; `hostaddr` of one that was found: its address, where `host` is only a name for TLS. */
export type NodeConfig = ValuesOf<typeof nodeSettings> & { readonly hostaddr?: string };
/** [databases.NAME], with `node` filled in: one of [nodes.NAME], or empty for whichever is the primary ({@link watchesNodes}). */
export type DatabaseConfig = ValuesOf<typeof databaseSettings> & { readonly node: string };
/** [users.NAME]. */
export type UserConfig = ValuesOf<typeof userSettings>;

/** [peers.NAME]; the name is the `peer_id` of that process. */
export type PeerConfig = ValuesOf<typeof peerSettings>;

export type PoolMode = Settings["pool_mode"];
export type AuthType = Settings["auth_type"];
export type SslMode = Settings["server_tls_sslmode"];

/** A checked configuration: defaults filled in, paths absolute, every database's node existing. */
export interface Config {
  readonly pgsluice: Settings;
  readonly nodes: Readonly<Record<string, NodeConfig>>;
  /** By the name that clients use; "*" stands for every other name. */
  readonly databases: Readonly<Record<string, DatabaseConfig>>;
  readonly users: Readonly<Record<string, UserConfig>>;
  readonly peers: Readonly<Record<string, PeerConfig>>;
}

/**
 * Whether nodes are watched, so that databases may follow the primary: they are found by `discovery`, or there are
 * several and the role of one is to be found out.
 */
export function watchesNodes({ nodes, pgsluice }: Pick<Config, "nodes" | "pgsluice">): boolean {
  if (pgsluice.discovery !== "static") return true;
  const all = Object.values(nodes);
  return all.length > 1 && all.some(({ role }) => role === "auto");
}

/** Over these a standby gets no reads: its own thresholds, or those for all; 0: no limit. */
export function lagLimits(
  node: NodeConfig,
  settings: Settings,
): { readonly lagBytesMax: number; readonly lagMsMax: number } {
  const { delay_threshold: bytes, delay_threshold_by_time: seconds } = node;
  return {
    lagBytesMax: bytes ?? settings.delay_threshold,
    lagMsMax: (seconds ?? settings.delay_threshold_by_time) * 1000,
  };
}

/** Stands for every database that has no table of its own. */
export const anyDatabase = "*";

/** What is said of a database, or of all that nothing is said of. */
export function databaseOf({ databases }: Config, name: string): DatabaseConfig | undefined {
  return (Object.hasOwn(databases, name) ? databases[name] : undefined) ?? databases[anyDatabase];
}

/** In `required_nodes`: all of them. */
export const everyNode = "*";

/** A kind of table in the config file. */
export interface TableKind {
  /** "nodes" for [nodes.NAME]; "pgsluice" is the one table without names. */
  readonly name: keyof Config;
  readonly named: boolean;
  readonly declarations: DeclarationTable;
  readonly schema: z.ZodType<Record<string, unknown>>;
  readonly doc: string;
}

export const tableKinds: readonly TableKind[] = [
  {
    name: "pgsluice",
    named: false,
    declarations: settings,
    schema: schemaOfTable(settings),
    doc: "The pooler itself.",
  },
  {
    name: "nodes",
    named: true,
    declarations: nodeSettings,
    schema: schemaOfTable(nodeSettings),
    doc: "One PostgreSQL instance each, under a name of your choice. At least one is needed, unless `discovery` finds them.",
  },
  {
    name: "databases",
    named: true,
    declarations: databaseSettings,
    schema: schemaOfTable(databaseSettings),
    doc: 'One database each, under the name that clients use; `[databases."*"]` stands for every other name. If there is no such table at all, every database of the primary can be reached.',
  },
  {
    name: "users",
    named: true,
    declarations: userSettings,
    schema: schemaOfTable(userSettings),
    doc: "One user each.",
  },
  {
    name: "peers",
    named: true,
    declarations: peerSettings,
    schema: schemaOfTable(peerSettings),
    doc: "One process of the same fleet each, its `peer_id` as the name: `[peers.2]`. All of them may have the same tables; the own one is not used.",
  },
];

/** Every setting of [pgsluice] at its default. */
export function defaultSettings(): Settings {
  return schemaOfTable(settings).parse({}) as unknown as Settings;
}
