/**
 * Which node a unit goes to: from what it needs (need.ts), what its client has seen (floor.ts) and a snapshot of the
 * nodes, to the name of a node, or to waiting, or to an error. Called once per unit that has no server yet; it
 * allocates nothing then, but when the readable nodes have changed.
 *
 * Whoever is in a transaction, or holds a server for another reason, is not asked about again: units never change their
 * node on the way.
 *
 * Reads: by redirect, else by the balancer over all nodes that may be read, the primary by its share; a node
 * behind the client's floor is replaced by one that is not, in the end by the primary.
 */
import { assert } from "../base/assert.ts";
import {
  type BalancePolicy,
  type Balancer,
  type Candidate,
  makeBalancer,
  type NodeLoad,
  type RandomNumber,
} from "./balance.ts";
import type { RouteHint } from "./need.ts";
import type { Redirect } from "./redirects.ts";
import { nodeNamed, type TopologyNode, type TopologySnapshot } from "./topology.ts";

export interface RouteSettings {
  /** Off: everything goes to the primary, except by hint or redirect. */
  readonly splitReads: boolean;
  readonly balance: BalancePolicy;
  /** Whether a client keeps the node of its first read while that may be read. */
  readonly perSession: boolean;
  /** Where the pooler is. */
  readonly zone: string | undefined;
  /** The primary's weight for reads is multiplied by this; with 0 it only gets them while no standby may be read. */
  readonly primaryShare: number;
}

export interface RouteRequest {
  readonly read: boolean;
  readonly hint: RouteHint | undefined;
  /** How far the node must have replayed. */
  readonly floor: bigint | "primary" | undefined;
  readonly redirect: Redirect | undefined;
  /** The node of the client's last read. */
  readonly last: string | undefined;
  /** The node that was of no use for this read. */
  readonly besides: string | undefined;
}

export type Decision =
  | { readonly kind: "node"; readonly name: string; readonly primary: boolean }
  /** Nothing can take it now; something may soon. See failover.ts for how long. */
  | { readonly kind: "wait"; readonly for: "primary" | "reader" }
  | { readonly kind: "error"; readonly error: RouteError };

export interface RouteError {
  readonly sqlstate: string;
  readonly message: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
}

/** Balancers over the nodes that may be read, made anew with them. */
interface Readers {
  readonly version: number;
  readonly everybody: Balancer | undefined;
}

export class Router {
  readonly #settings: RouteSettings;
  readonly #load: NodeLoad;
  readonly #random: RandomNumber;
  readonly #decisions = new Map<string, { readonly primary: Decision; readonly standby: Decision }>();
  #readers: Readers | undefined;
  /** Over the standbys alone, for hints and redirects; null: not made yet. */
  #standbys: Balancer | undefined | null = null;
  /** One node left out, for redirects; by its name. */
  readonly #without = new Map<string, Balancer | undefined>();

  constructor(settings: RouteSettings, load: NodeLoad, random: RandomNumber) {
    this.#settings = settings;
    this.#load = load;
    this.#random = random;
  }

  route(request: RouteRequest, snapshot: TopologySnapshot): Decision {
    const { read, hint, floor, redirect } = request;
    if (hint?.kind === "node") return this.#named(hint.name, read, snapshot);
    if (!read || floor === "primary") return this.#primary(snapshot);
    if (hint?.kind === "primary") return this.#primary(snapshot);
    const readers = this.#readersOf(snapshot);
    if (hint?.kind === "standby")
      return this.#read(this.#standbysOf(snapshot) ?? readers.everybody, request, floor, snapshot);
    if (redirect !== undefined) return this.#redirected(redirect, readers, request, floor, snapshot);
    if (!this.#settings.splitReads) return this.#primary(snapshot);
    return this.#read(readers.everybody, request, floor, snapshot);
  }

  #primary(snapshot: TopologySnapshot): Decision {
    const { primary } = snapshot;
    if (primary !== undefined) return this.#decision(primary.name, true);
    return snapshot.noPrimary === "conflict"
      ? { kind: "error", error: conflictError(snapshot) }
      : waitForPrimary;
  }

  /** By hint: there or nowhere. */
  #named(name: string, read: boolean, snapshot: TopologySnapshot): Decision {
    const node = nodeNamed(snapshot, name);
    if (node === undefined) return { kind: "error", error: unknownNode(name, snapshot) };
    if (!read) return this.#primary(snapshot);
    if (node.state === "up") return this.#decision(name, node === snapshot.primary);
    return { kind: "error", error: unusableNode(node) };
  }

  #read(
    balancer: Balancer | undefined,
    request: RouteRequest,
    floor: bigint | undefined,
    snapshot: TopologySnapshot,
  ): Decision {
    if (balancer === undefined)
      return snapshot.primary === undefined ? waitForReader : this.#primary(snapshot);
    const { last, besides } = request;
    if (
      this.#settings.perSession &&
      last !== undefined &&
      last !== besides &&
      includes(balancer.candidates, last)
    ) {
      if (isPast(floor, last, snapshot)) return this.#decision(last, last === snapshot.primary?.name);
    }
    const name = balancer.pick(this.#random);
    if (name !== besides && isPast(floor, name, snapshot)) {
      return this.#decision(name, name === snapshot.primary?.name);
    }
    const other = this.#anotherPast(floor, balancer.candidates, besides, snapshot);
    return other === undefined
      ? this.#primary(snapshot)
      : this.#decision(other, other === snapshot.primary?.name);
  }

  #redirected(
    { to, share }: Redirect,
    readers: Readers,
    request: RouteRequest,
    floor: bigint | undefined,
    snapshot: TopologySnapshot,
  ): Decision {
    const taken = share >= 1 || this.#random() < share;
    if (to.kind === "role") {
      if ((to.role === "primary") === taken) {
        if (snapshot.primary !== undefined) return this.#decision(snapshot.primary.name, true);
        return this.#read(readers.everybody, request, floor, snapshot);
      }
      return this.#read(this.#standbysOf(snapshot) ?? readers.everybody, request, floor, snapshot);
    }
    const node = nodeNamed(snapshot, to.name);
    if (node === undefined || !node.readable) return this.#read(readers.everybody, request, floor, snapshot);
    if (taken) {
      if (isPast(floor, node.name, snapshot)) return this.#decision(node.name, node === snapshot.primary);
      return this.#primary(snapshot);
    }
    return this.#read(this.#allBut(node.name, snapshot) ?? readers.everybody, request, floor, snapshot);
  }

  /** From a random place on, so that not all go to the first. */
  #anotherPast(
    floor: bigint | undefined,
    candidates: readonly Candidate[],
    besides: string | undefined,
    snapshot: TopologySnapshot,
  ): string | undefined {
    const start = Math.floor(this.#random() * candidates.length);
    for (let step = 0; step < candidates.length; step++) {
      const candidate = candidates[(start + step) % candidates.length];
      if (candidate === undefined || candidate.name === besides) continue;
      if (isPast(floor, candidate.name, snapshot)) return candidate.name;
    }
    return undefined;
  }

  #readersOf(snapshot: TopologySnapshot): Readers {
    if (this.#readers?.version === snapshot.readersVersion) return this.#readers;
    const { primaryShare, balance, zone } = this.#settings;
    const standbys = snapshot.nodes.filter(isReadableStandby);
    const { primary } = snapshot;
    const shared =
      primary === undefined || !primary.readable
        ? []
        : [{ ...primary, weight: primary.weight * primaryShare }];
    this.#without.clear();
    this.#standbys = null;
    this.#readers = {
      version: snapshot.readersVersion,
      everybody: makeBalancer(balance, [...standbys, ...shared], zone, this.#load),
    };
    return this.#readers;
  }

  #standbysOf({ nodes }: TopologySnapshot): Balancer | undefined {
    const { balance, zone } = this.#settings;
    if (this.#standbys === null) {
      this.#standbys = makeBalancer(balance, nodes.filter(isReadableStandby), zone, this.#load);
    }
    return this.#standbys;
  }

  #allBut(name: string, snapshot: TopologySnapshot): Balancer | undefined {
    if (!this.#without.has(name)) {
      const { balance, zone } = this.#settings;
      const others = snapshot.nodes.filter((node) => node.readable && node.name !== name);
      this.#without.set(name, makeBalancer(balance, others, zone, this.#load));
    }
    return this.#without.get(name);
  }

  #decision(name: string, primary: boolean): Decision {
    let known = this.#decisions.get(name);
    if (known === undefined) {
      known = {
        primary: Object.freeze({ kind: "node", name, primary: true }),
        standby: Object.freeze({ kind: "node", name, primary: false }),
      };
      this.#decisions.set(name, known);
    }
    return primary ? known.primary : known.standby;
  }
}

const waitForPrimary: Decision = Object.freeze({ kind: "wait", for: "primary" });
const waitForReader: Decision = Object.freeze({ kind: "wait", for: "reader" });

function isReadableStandby({ readable, role }: TopologyNode): boolean {
  return readable && role === "standby";
}

function includes(candidates: readonly Candidate[], name: string): boolean {
  for (const candidate of candidates) if (candidate.name === name) return true;
  return false;
}

/** The primary is past every position of its own; a standby by what it was last seen to have replayed. */
function isPast(floor: bigint | undefined, name: string, snapshot: TopologySnapshot): boolean {
  if (floor === undefined || name === snapshot.primary?.name) return true;
  for (const node of snapshot.nodes) {
    if (node.name === name) return node.lsn !== undefined && node.lsn >= floor;
  }
  return false;
}

function conflictError({ noPrimaryDetail }: TopologySnapshot): RouteError {
  return {
    sqlstate: "57P03",
    message: "nothing can be written: two nodes claim to be the primary",
    detail: `${noPrimaryDetail}.`,
    hint: "An administrator has to decide with ACCEPT NODE or FENCE NODE.",
  };
}

function unknownNode(name: string, { nodes }: TopologySnapshot): RouteError {
  return {
    sqlstate: "22023",
    message: `there is no node "${name}"`,
    detail: undefined,
    hint: `Nodes are ${nodes.map((node) => node.name).join(", ")}.`,
  };
}

function unusableNode({ name, state, reason }: TopologyNode): RouteError {
  assert(state !== "up", "a node that is up is used");
  return {
    sqlstate: "57P03",
    message: `node "${name}" takes no statements: it is ${state}`,
    detail: reason === "" ? undefined : `It ${reason}.`,
    hint: undefined,
  };
}
