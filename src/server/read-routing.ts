/** Where reads go that need not be answered by the primary (`load_balance_mode`): the cluster's router over the pools. */
import {
  type ReadYourWrites,
  type RouteHint,
  type RouteRequest,
  Router,
  requiredFloor,
  type TopologySnapshot,
  type WriteFloor,
} from "../cluster/index.ts";
import type { Config } from "../config/schema.ts";
import type { Pool } from "../pool/pool.ts";
import type { Reading } from "../session/context.ts";
import type { Pools } from "./pools.ts";

interface ReadRoutingOwner {
  readonly config: Config;
  readonly pools: Pools;
  readonly nodes: { readonly snapshot: TopologySnapshot | undefined };
  readonly autoDatabases: { readonly written: WriteFloor };
}

/** The policy in use needs no load. */
const anyLoad = { outstanding: () => 0, latencyMs: () => undefined };

export class ReadRouting implements Reading {
  readonly #owner: ReadRoutingOwner;
  readonly #router: Router = new Router(
    { splitReads: true, balance: "weighted", perSession: false, zone: undefined, primaryShare: 0 },
    anyLoad,
    Math.random,
  );
  /** Used again for each read. */
  readonly #request: { -readonly [key in keyof RouteRequest]: RouteRequest[key] } = {
    read: true,
    hint: undefined,
    floor: undefined,
    redirect: undefined,
    last: undefined,
    besides: undefined,
  };

  constructor(owner: ReadRoutingOwner) {
    this.#owner = owner;
  }

  /** Undefined: every statement goes to the primary. */
  get active(): ReadRouting | undefined {
    const { config, nodes } = this.#owner;
    return config.pgsluice.load_balance_mode && nodes.snapshot !== undefined ? this : undefined;
  }

  /** A hint to a node that takes no reads is passed over: the primary answers. */
  poolFor(
    home: Pool,
    hint: RouteHint | undefined,
    written: WriteFloor,
    besides: Pool | undefined,
  ): Pool | undefined {
    const { config, nodes, pools, autoDatabases } = this.#owner;
    const { snapshot } = nodes;
    if (snapshot === undefined) return undefined;
    const level: ReadYourWrites = config.pgsluice.read_your_writes;
    const request = this.#request;
    request.hint = hint;
    request.floor = requiredFloor(level, written, autoDatabases.written, undefined, snapshot);
    request.besides = besides && pools.readFrom(besides);
    const decision = this.#router.route(request, snapshot);
    if (decision.kind !== "node" || decision.primary) return undefined;
    const pool = pools.readerOf(home, decision.name);
    return pool === besides ? undefined : pool;
  }
}
