/**
 * What is known of the nodes at one moment: an immutable snapshot, which everybody who routes reads and only
 * {@link makeSnapshot} makes. A session keeps the snapshot it decides by; a change is a new one, never an edit.
 *
 * `version` counts snapshots. `generation` counts primaries: it changes whenever another node, or the same node on
 * another timeline, becomes the one that is written to. Within one generation writes go to one node only.
 */
import { assert } from "../base/assert.ts";

/** What the configuration says of a node. Roles are found: a fixed role only forbids the other one. */
export interface NodeSettings {
  readonly name: string;
  readonly role: "auto" | "primary" | "standby";
  /** Its share of the reads, relative to the others; 0 for none. */
  readonly weight: number;
  readonly zone: string | undefined;
  /** Over these a standby gets no reads; 0 for no limit. */
  readonly lagBytesMax: number;
  readonly lagMsMax: number;
}

/** What pg_is_in_recovery() said last; unknown before the first answer. */
export type NodeRole = "primary" | "standby" | "unknown";

/**
 * - `up`: gets work.
 * - `draining`: what runs there goes on, nothing new comes: an administrator said so, or it is shutting down.
 * - `down`: does not answer, or an administrator took it out.
 * - `quarantined`: answers, and must not be used: another database cluster, a forbidden role, a history of its own.
 * - `recovering`: starts up, or is back and being checked.
 * - `fenced`: was the primary, or claims to be, of a history that is over. Only a person or a cluster manager ends that.
 */
export type NodeState = "up" | "draining" | "down" | "quarantined" | "recovering" | "fenced";

export interface TopologyNode {
  readonly name: string;
  readonly role: NodeRole;
  readonly state: NodeState;
  /** Why it is in this state, or why it gets no reads although it is up, for people; empty if it is simply up. */
  readonly reason: string;
  /** When it came into this state. */
  readonly since: number;
  readonly timeline: number | undefined;
  /** The end of the log of a primary, what a standby has replayed. */
  readonly lsn: bigint | undefined;
  /** Behind the primary; undefined if that cannot be known. */
  readonly lagBytes: number | undefined;
  readonly lagMs: number | undefined;
  /** A standby over a limit of lag, until it is well below. */
  readonly lagging: boolean;
  /** The same number in every snapshot for the same weight, so that tables over it may be kept. */
  readonly weight: number;
  readonly zone: string | undefined;
  /** Round trip of the last probe that was answered. */
  readonly latencyMs: number | undefined;
  /** May be given new reads: up, and not lagging. */
  readonly readable: boolean;
}

/** Why nobody can be written to. */
export type NoPrimaryReason =
  /** No node has claimed the role yet, or the one that did is gone. */
  | "none_found"
  /** Two claim it on the same timeline. */
  | "conflict"
  /** A claim is being checked against the others. */
  | "checking"
  /** It is there and takes nothing new: an administrator drains it, or it is shutting down or starting up. */
  | "draining"
  | "recovering";

export interface TopologySnapshot {
  readonly version: number;
  readonly generation: number;
  /** In the order of the configuration. */
  readonly nodes: readonly TopologyNode[];
  /** The one node that may be written to. */
  readonly primary: TopologyNode | undefined;
  readonly noPrimary: NoPrimaryReason | undefined;
  /** For people: why there is no primary. */
  readonly noPrimaryDetail: string;
  /** The highest timeline that was ever seen; 0 before any. */
  readonly timeline: number;
  /** Where the log of the last known primary was at the earliest, and when the probe was begun that told. */
  readonly position: LogPosition | undefined;
  /** Changes whenever the set of readable nodes or a weight does, so that tables over it may be kept. */
  readonly readersVersion: number;
}

export interface LogPosition {
  readonly lsn: bigint;
  readonly askedAt: number;
}

export interface SnapshotParts {
  readonly nodes: readonly TopologyNode[];
  readonly primary: string | undefined;
  readonly noPrimary: NoPrimaryReason | undefined;
  readonly noPrimaryDetail: string;
  readonly timeline: number;
  readonly position: LogPosition | undefined;
}

export const emptySnapshot: TopologySnapshot = Object.freeze({
  version: 0,
  generation: 0,
  nodes: Object.freeze([]),
  primary: undefined,
  noPrimary: "none_found",
  noPrimaryDetail: "no node has been probed yet",
  timeline: 0,
  position: undefined,
  readersVersion: 0,
});

/** The one door. `written`: the primary of the current generation, which may be gone from the snapshot before. */
export function makeSnapshot(
  before: TopologySnapshot,
  written: WrittenPrimary | undefined,
  parts: SnapshotParts,
): TopologySnapshot {
  const nodes = Object.freeze(parts.nodes.map((node) => Object.freeze(node)));
  const primary = nodes.find(({ name }) => name === parts.primary);
  assert((primary === undefined) === (parts.noPrimary !== undefined), "a missing primary has a reason");
  assert(primary === undefined || primary.state === "up", "the primary is up");
  assert(
    primary === undefined || primary.timeline === parts.timeline,
    "the primary has the highest timeline",
  );
  const same =
    primary === undefined || (primary.name === written?.name && primary.timeline === written.timeline);
  const readers = sameReaders(before.nodes, nodes);
  return Object.freeze({
    version: before.version + 1,
    generation: before.generation + (same ? 0 : 1),
    nodes,
    primary,
    noPrimary: parts.noPrimary,
    noPrimaryDetail: parts.noPrimaryDetail,
    timeline: parts.timeline,
    position: parts.position,
    readersVersion: before.readersVersion + (readers ? 0 : 1),
  });
}

export interface WrittenPrimary {
  readonly name: string;
  readonly timeline: number;
}

export function nodeNamed(snapshot: TopologySnapshot, name: string): TopologyNode | undefined {
  return snapshot.nodes.find((node) => node.name === name);
}

function sameReaders(before: readonly TopologyNode[], after: readonly TopologyNode[]): boolean {
  return (
    before.length === after.length &&
    after.every((node, index) => {
      const old = before[index];
      return (
        old !== undefined &&
        old.name === node.name &&
        old.role === node.role &&
        old.readable === node.readable &&
        old.weight === node.weight &&
        old.zone === node.zone
      );
    })
  );
}
