/** The limits on servers of all pools, made when a pool first needs them and forgotten when no pool has them. */
import type { Config } from "../config/schema.ts";
import { ServerBudget } from "../pool/budget.ts";
import {
  databaseConnectionsMax,
  nodeConnectionsMax,
  poolSizeOf,
  reserveSizeOf,
  userConnectionsMax,
} from "./pool-config.ts";

interface Entry {
  readonly budget: ServerBudget;
  readonly configure: (config: Config) => void;
}

/** What the limits of a pool are known by, in the order of {@link Budgets.of}. */
export function budgetKeys(
  database: string,
  user: string,
  nodeName: string,
): readonly [string, string, string, string, string] {
  return [
    JSON.stringify(["pool", database, user, nodeName]),
    JSON.stringify(["database", database]),
    JSON.stringify(["user", user]),
    JSON.stringify(["node", nodeName]),
    "all",
  ];
}

export class Budgets {
  #config: Config;
  /** The node that pools which follow the primary are on. */
  #primary: string | undefined;
  readonly #entries = new Map<string, Entry>();
  /** The limits are kept elsewhere: here is only counted. */
  readonly #unlimited: boolean;

  constructor(config: Config, unlimited = false) {
    this.#config = config;
    this.#unlimited = unlimited;
  }

  /** Those of the pool of a database, as clients call it, and a user on a node; that of its size first. */
  of(database: string, user: string, nodeName: string): readonly ServerBudget[] {
    const [poolKey, databaseKey, userKey, nodeKey, allKey] = budgetKeys(database, user, nodeName);
    return [
      this.#get(poolKey, "pool_size", (config, budget) => {
        budget.max = poolSizeOf(config, database, user);
        budget.reserve = reserveSizeOf(config, database, user);
        budget.reserveAfterMs = config.pgsluice.reserve_pool_timeout * 1000;
      }),
      this.#get(databaseKey, "max_db_connections", (config, budget) => {
        budget.max = databaseConnectionsMax(config, database);
      }),
      this.#get(userKey, "max_user_connections", (config, budget) => {
        budget.max = userConnectionsMax(config, user);
      }),
      this.#get(nodeKey, "max_connections", (config, budget) => {
        budget.max = nodeConnectionsMax(config, nodeName, this.#primary);
      }),
      this.#get(allKey, "max_server_connections", (config, budget) => {
        budget.max = config.pgsluice.max_server_connections;
      }),
    ];
  }

  reconfigure(config: Config, primary: string | undefined): void {
    this.#config = config;
    this.#primary = primary;
    for (const { configure } of this.#entries.values()) configure(config);
  }

  /** By their keys: those that there are. */
  *[Symbol.iterator](): IterableIterator<readonly [string, ServerBudget]> {
    for (const [key, { budget }] of this.#entries) yield [key, budget];
  }

  /** Forgets those that no pool has any more. */
  forgetUnused(): void {
    for (const [key, { budget }] of this.#entries) if (budget.memberCount === 0) this.#entries.delete(key);
  }

  #get(key: string, name: string, configure: (config: Config, budget: ServerBudget) => void): ServerBudget {
    const known = this.#entries.get(key);
    if (known !== undefined) return known.budget;
    const budget = new ServerBudget(name, 0);
    const configureAs = this.#unlimited ? (): void => undefined : configure;
    configureAs(this.#config, budget);
    this.#entries.set(key, { budget, configure: (config) => configureAs(config, budget) });
    return budget;
  }
}
