/** Where reads go that need not be answered by the primary (`load_balance_mode`): the cluster's router over the pools. */
import type { Logger } from "../base/log.ts";
import {
  LatencyAverage,
  type ReadYourWrites,
  type Redirect,
  type RouteHint,
  type RouteRequest,
  Router,
  redirectFor,
  requiredFloor,
  type SessionNames,
  type TopologyNode,
  type TopologySnapshot,
  type WriteFloor,
} from "../cluster/index.ts";
import { type RedirectEntry, redirectEntry, redirectLists } from "../config/redirects.ts";
import type { Config, Settings } from "../config/schema.ts";
import type { Multiplexer } from "../pool/multiplexer.ts";
import type { Pool } from "../pool/pool.ts";
import type { Reader, Reading, ReadLoad, WaitingRead } from "../session/context.ts";
import type { Pools } from "./pools.ts";
import { ReadWaits } from "./read-waits.ts";

export type { RouteHint, TopologyNode };

/** Whose read it is, and the nodes as they are now. */
export interface RoutedRead extends SessionNames {
  readonly nodes: readonly TopologyNode[];
}

/**
 * Where a read goes; undefined: where it would go without the hook. Called once for each plain read outside of transactions and for
 * each read-only transaction, unless a comment or `pgsluice.route` says where: it has to be quick. What it throws is logged.
 */
export type ReadRouteHook = (read: RoutedRead) => RouteHint | undefined;

interface ReadRoutingOwner {
  readonly logger: Logger;
  readonly config: Config;
  readonly pools: Pools;
  readonly nodes: { readonly snapshot: TopologySnapshot | undefined; onNews: () => void; hasten(): void };
  readonly autoDatabases: { readonly written: WriteFloor; readerOf(pool: Pool): Multiplexer };
}

/** What the settings say, made anew with them. */
interface Rules {
  readonly settings: Settings;
  readonly router: Router;
  readonly redirects: readonly Redirect[];
}

export class ReadRouting implements Reading {
  readonly #owner: ReadRoutingOwner;
  #rules: Rules | undefined;
  #waits: ReadWaits | undefined;
  /** By the name of the node. */
  readonly #loads = new Map<string, ReadLoad>();
  /** Used again for each read. */
  readonly #request: { -readonly [key in keyof RouteRequest]: RouteRequest[key] } = {
    read: true,
    hint: undefined,
    floor: undefined,
    redirect: undefined,
    last: undefined,
    besides: undefined,
  };

  readonly #hook: ReadRouteHook | undefined;
  /** The hook has thrown, and has not been well since. */
  #hookFails = false;

  constructor(owner: ReadRoutingOwner, hook: ReadRouteHook | undefined) {
    this.#owner = owner;
    this.#hook = hook;
  }

  /** For clients of a pool; undefined: every statement of theirs goes to the primary. */
  of({ settings }: Pool): ReadRouting | undefined {
    return settings.readsOnStandbys && this.#owner.nodes.snapshot !== undefined ? this : undefined;
  }

  /** A hint to a node that takes no reads is passed over: the primary answers. */
  poolFor(home: Pool, reader: Reader, besides: Pool | undefined): Pool | undefined {
    const { nodes, pools } = this.#owner;
    const { snapshot } = nodes;
    if (snapshot === undefined) return undefined;
    const router = this.#ask(reader, snapshot);
    const request = this.#request;
    request.besides = besides && pools.readFrom(besides);
    const decision = router.route(request, snapshot);
    if (decision.kind !== "node") return undefined;
    reader.last = decision.name;
    if (decision.primary) return undefined;
    const pool = pools.readerOf(home, decision.name);
    return pool === besides ? undefined : pool;
  }

  awaitStandby(reader: Reader, read: WaitingRead): (() => void) | undefined {
    const { config, nodes } = this.#owner;
    const waitMs = config.pgsluice.read_your_writes_wait * 1000;
    const { snapshot } = nodes;
    if (waitMs === 0 || snapshot === undefined) return undefined;
    const router = this.#ask(reader, snapshot);
    const request = this.#request;
    if (request.floor === undefined) return undefined;
    // It may be the primary's for another reason.
    request.floor = undefined;
    request.besides = undefined;
    const decision = router.route(request, snapshot);
    if (decision.kind !== "node" || decision.primary) return undefined;
    this.#waits ??= new ReadWaits(nodes);
    return this.#waits.add(read, waitMs);
  }

  /** Makes the request of a read. */
  #ask(reader: Reader, snapshot: TopologySnapshot): Router {
    const { config, autoDatabases } = this.#owner;
    const { router, redirects } = this.#rulesOf(config.pgsluice);
    if (reader.redirectedBy !== redirects) {
      reader.redirectedBy = redirects;
      reader.redirect = redirectFor(redirects, reader.names);
    }
    const level: ReadYourWrites = config.pgsluice.read_your_writes;
    const request = this.#request;
    request.hint = reader.hint ?? (this.#hook && this.#askHook(this.#hook, reader, snapshot));
    request.redirect = reader.redirect;
    request.last = reader.last;
    request.floor = requiredFloor(level, reader.written, autoDatabases.written, reader.wanted, snapshot);
    return router;
  }

  #askHook(hook: ReadRouteHook, { names }: Reader, { nodes }: TopologySnapshot): RouteHint | undefined {
    try {
      const hint = hook({ ...names, nodes });
      this.#hookFails = false;
      return hint;
    } catch (error) {
      // Not once for each read.
      if (!this.#hookFails) this.#owner.logger.warn({ err: error }, "routeRead has failed");
      this.#hookFails = true;
      return undefined;
    }
  }

  loadOf(pool: Pool): ReadLoad {
    return this.#loadOf(this.#owner.pools.readFrom(pool) ?? "");
  }

  multiplexerOf(pool: Pool): Multiplexer {
    return this.#owner.autoDatabases.readerOf(pool);
  }

  #loadOf(node: string): ReadLoad {
    let load = this.#loads.get(node);
    if (load === undefined) {
      load = { outstanding: 0, latency: new LatencyAverage() };
      this.#loads.set(node, load);
    }
    return load;
  }

  #rulesOf(settings: Settings): Rules {
    if (this.#rules?.settings === settings) return this.#rules;
    const { load_balance_policy: balance, primary_read_share: percent, zone } = settings;
    const router = new Router(
      {
        splitReads: true,
        balance,
        perSession: !settings.statement_level_load_balance,
        zone: zone === "" ? undefined : zone,
        // The other policies know nothing of what the primary has to do.
        primaryShare: balance === "weighted" ? percent / 100 : 0,
      },
      {
        outstanding: (node) => this.#loadOf(node).outstanding,
        latencyMs: (node) => this.#loadOf(node).latency.ms,
      },
      Math.random,
    );
    this.#rules = { settings, router, redirects: redirectsOf(settings) };
    return this.#rules;
  }
}

function redirectsOf(settings: Settings): Redirect[] {
  return redirectLists.flatMap((list) =>
    settings[list].flatMap((text) => {
      const entry = redirectEntry(text);
      // What is wrong was refused with the configuration.
      return typeof entry === "string" ? [] : [redirectOf(list, entry)];
    }),
  );
}

function redirectOf(
  list: (typeof redirectLists)[number],
  { pattern, where, share }: RedirectEntry,
): Redirect {
  return {
    applicationName: list === "app_name_redirect_preference_list" ? pattern : undefined,
    user: list === "user_redirect_preference_list" ? pattern : undefined,
    database: list === "database_redirect_preference_list" ? pattern : undefined,
    to:
      where === "primary" || where === "standby"
        ? { kind: "role", role: where }
        : { kind: "node", name: where },
    share,
  };
}
